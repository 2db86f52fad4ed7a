// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

const (
	rounds   = 7
	turnTime = 30 * time.Millisecond // of one case in a round
)

// racer is one way of a batch of 64 events of 256 bytes that is measured.
type racer struct {
	name  string
	batch func() error
	speed []float64 // events for each second of this thread's processor time, of each round
}

// BenchmarkForwardTable is the table of spec/performance.md: a batch through a processor in each language, its processor time counted or not
// (trusted), beside the host's own way of a batch out of one guest and into another. All take turns, so that ratios hold on a machine that
// is not quiet. It makes the same measurement whatever -benchtime says.
func BenchmarkForwardTable(b *testing.B) {
	cases := []*racer{hostsWay(b)}
	for _, mode := range []string{"keep", "rebuild"} {
		for _, l := range append(sdks[:len(sdks):len(sdks)], struct{ language, echo string }{"go", ""}) {
			for _, trusted := range []bool{true, false} {
				cases = append(cases, raced(b, l.language, l.echo, mode, trusted))
			}
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for range rounds {
		for _, c := range cases {
			if err := c.turn(); err != nil {
				b.Fatal(err)
			}
		}
	}
	host := cases[0].median()
	fmt.Printf("host alone                %5.1f M events/s\n", host/1e6)
	for i := 1; i < len(cases); i += 2 {
		trusted, counted := cases[i].median(), cases[i+1].median()
		fmt.Printf("%-24s  %5.1f M events/s  %.2f of the host's way   trusted %5.1f M  %.2f  the count costs %.2f×\n",
			cases[i].name, counted/1e6, counted/host, trusted/1e6, trusted/host, trusted/counted)
	}
	b.ReportMetric(0, "ns/op")
}

// turn measures for a while.
func (f *racer) turn() error {
	events, began, before := 0, time.Now(), threadTime()
	for time.Since(began) < turnTime {
		for range 64 {
			if err := f.batch(); err != nil {
				return err
			}
			events += 64
		}
	}
	f.speed = append(f.speed, float64(events)/(threadTime()-before).Seconds())
	return nil
}

func (f *racer) median() float64 {
	slices.Sort(f.speed)
	return f.speed[len(f.speed)/2]
}

// raced opens the echo processor of a language.
func raced(b *testing.B, language, echo, mode string, trusted bool) *racer {
	var code []byte
	if echo == "" {
		var err error
		if code, err = goEcho(); err != nil {
			b.Fatal(err)
		}
	} else {
		code = built(b, echo)
	}
	p, err := shared.Load(b.Context(), plugin.Ref{Name: "test", Source: "test.wasm", Code: code, Trusted: trusted})
	if err != nil {
		b.Fatal(err)
	}
	s := &setup{}
	r := s.request(abi.Processor)
	r.Plugin, r.Config, r.Metrics, r.Buffers = "echo", json.RawMessage(`{"mode":"`+mode+`"}`), nil, &pool{}
	in, err := p.Open(b.Context(), abi.Processor, r)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := errors.Join(in.Processor.Close(), p.Close()); err != nil {
			b.Error(err)
		}
	})
	batch, ctx := someBatch(b, slices.Repeat([]string{strings.Repeat("x", 256)}, 64)...), b.Context()
	return &racer{name: language + " " + mode, batch: func() error {
		out, _, err := in.Processor.Process(ctx, batch)
		out.Release()
		return err
	}}
}

// hostsWay is what [BenchmarkForward] measures.
func hostsWay(b *testing.B) *racer {
	src, dst := forwardingPair(b)
	ctx := b.Context()
	return &racer{name: "host", batch: func() error {
		e, err := src.Read(ctx)
		if err == nil {
			_, err = dst.Write(ctx, event.Range{First: 0, Next: 64}, e.Batch)
			e.Batch.Release()
		}
		return err
	}}
}
