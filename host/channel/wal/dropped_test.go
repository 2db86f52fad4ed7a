// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"fmt"
	"slices"
	"testing"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

func TestTheLogSaysWhatWasDropped(t *testing.T) {
	b := newBench(t, Options{Capacity: channel.Capacity{Events: 2}, OnFull: channel.DropNewest})
	_, err := b.c.Reader(channel.ReaderSpec{Name: "sink.slow", Lag: channel.Skip})
	b.must(err)
	hold := b.reader("sink.hold")
	at := hold.Info().Low
	b.put("source.a", "2", "1", "2")
	b.put("source.a", "3", "3")
	b.put("source.a", "5", "4", "5")
	b.drained(hold, "1", "2")
	b.put("source.a", "6", "6")
	want := []Dropped{
		{channel.Drop{Loss: channel.LostNewest, Range: event.Range{First: at + 2, Next: at + 4}, Events: 3}, 2},
		{channel.Drop{Loss: channel.LostSkip, Reader: "sink.slow", Range: event.Range{First: at, Next: at + 1}, Events: 1}, 1},
	}
	for range 2 {
		report, err := Verify(b.o.Dir, nil)
		b.must(err)
		info, err := Inspect(b.o.Dir)
		b.must(err)
		if !slices.Equal(report.Dropped, want) || !slices.Equal(info.Dropped, want) {
			t.Fatalf("verify finds %+v, inspect %+v; want %+v", report.Dropped, info.Dropped, want)
		}
		b.open() // which counts nothing twice
	}
}

func TestWhatWasDroppedIsListedBehindDamage(t *testing.T) {
	b := newBench(t, Options{SegmentSize: 600, Capacity: channel.Capacity{Events: 30}, OnFull: channel.DropNewest})
	b.reader("sink.a")
	for i := range 36 {
		b.put("source.a", fmt.Sprint(i), fmt.Sprintf("event %d", i))
	}
	b.strike()
	report, err := Verify(b.o.Dir, nil)
	b.must(err)
	if report.Sound() || len(report.Dropped) != 1 || report.Dropped[0].Events != 6 {
		t.Fatalf("found: %+v", report)
	}
	_, err = Inspect(b.o.Dir) // the end of the log, which is sound
	b.must(err)
}
