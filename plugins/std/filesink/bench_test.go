// SPDX-License-Identifier: Apache-2.0

package filesink

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/sdk/sdktest"
	"github.com/penstock-io/penstock/spec/event"
)

// repeating is the sink without its journal: what was written and not answered comes again. It is what exactly once is measured against.
type repeating struct{ *Sink }

func (s repeating) Write(_ event.Range, b event.Batch, _ *sdk.Delivery) error {
	s.render(0, b, true)
	if err := s.append(); err != nil {
		return err
	}
	s.state.length += int64(len(s.buf))
	return nil
}

// BenchmarkExactlyOnceAgainstAtLeastOnce delivers batches as sinks get them, 4096 events of 256 bytes, now to the one and now to the other, each time on
// disk before the answer. "ratio" is the median of the rounds, of the time of exactly once to that of at least once.
func BenchmarkExactlyOnceAgainstAtLeastOnce(b *testing.B) {
	const deliveries, events = 8, 4096
	dir := b.TempDir()
	sinks := []*sdktest.Sink{
		sdktest.OpenSink(b, New, config{Path: filepath.Join(dir, "once")}),
		sdktest.OpenSink(b, func() sdk.Sink { return repeating{New().(*Sink)} }, config{Path: filepath.Join(dir, "again")}),
	}
	batch := make([]event.Event, events)
	for i := range batch {
		batch[i] = event.Event{Time: 1, Body: []byte(strings.Repeat("x", 256))}
	}
	var ratios []float64
	var took [2]time.Duration
	first := event.Offset(0)
	for b.Loop() {
		var round [2]time.Duration
		for n := range deliveries {
			for i := range sinks {
				which := (i + n) % 2 // neither is always the second
				begun := time.Now()
				if err := sinks[which].Deliver(first, batch...); err != nil {
					b.Fatal(err)
				}
				round[which] += time.Since(begun)
			}
			first += events
		}
		ratios = append(ratios, float64(round[0])/float64(round[1]))
		took[0], took[1] = took[0]+round[0], took[1]+round[1]
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
	for i, unit := range []string{"once-ms/delivery", "again-ms/delivery"} {
		b.ReportMetric(took[i].Seconds()*1000/float64(len(ratios)*deliveries), unit)
	}
}
