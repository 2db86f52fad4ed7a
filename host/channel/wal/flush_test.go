// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// stands is where the position on disk says that a reader stands.
func stands(d *simDisk, r channel.Reader) event.Offset {
	p, err := loadPosition(d, r.(*reader).entry)
	if err != nil {
		panic(err)
	}
	return p.low
}

func TestAReaderThatMovesWhilePositionsAreWrittenHasItsWrittenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDisk()
		var late func()
		o := Options{Dir: "sim", Observer: channel.Observer{Step: func(name string) {
			if name == "position" && late != nil {
				late()
			}
		}}}
		c, err := open(o, d.system())
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{T: t, c: c}
		r, err := c.Reader(channel.ReaderSpec{Name: "sink.a", Order: channel.AnyOrder})
		b.must(err)
		b.put("source.a", "1", "one", "two")
		one, err := r.Take(t.Context(), channel.Want{Events: 1})
		b.must(err)
		two, err := r.Take(t.Context(), channel.Want{Events: 1})
		b.must(err)
		late = func() {
			late = nil
			b.must(two.Commit())
		}
		b.must(one.Commit())
		time.Sleep(time.Minute)
		if at := stands(d, r); at != r.Info().Low {
			t.Errorf("the reader stands at %d, a minute later its position says %d", r.Info().Low, at)
		}
		b.close()
	})
}

func TestAPositionThatIsOnDiskIsNotFlushedAgain(t *testing.T) {
	d := newSimDisk()
	b := openSim(t, d)
	r := b.reader("sink.a")
	b.put("source.a", "1", "event")
	b.drained(r, "event")
	flushes := 0
	d.failing(func(what, name string) error {
		if what == "fsync" && strings.HasPrefix(name, posDir) {
			flushes++
		}
		return nil
	})
	for range 3 {
		b.must(b.c.flushPositions(true))
	}
	d.failing(nil)
	if flushes != 1 {
		t.Errorf("it was flushed %d times", flushes)
	}
	b.close()
}

// TestAReaderThatMovesWhenTheChannelIsClosedHasNothingWritten: the directory may be another's by then.
func TestAReaderThatMovesWhenTheChannelIsClosedHasNothingWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDisk()
		b := openSim(t, d)
		r := b.reader("sink.a").(*reader)
		time.Sleep(time.Minute)
		b.must(b.c.Close())
		steps := d.steps
		b.c.mu.Lock()
		b.c.touched(r)
		b.c.mu.Unlock()
		time.Sleep(time.Minute)
		d.with(func() { steps = d.steps - steps })
		if steps != 0 {
			t.Errorf("%d steps were made on the disk", steps)
		}
	})
}

// TestWhatIsGoneStaysGoneInAPowerCut: a destination was told that it cannot come again.
func TestWhatIsGoneStaysGoneInAPowerCut(t *testing.T) {
	d := newSimDisk()
	b := openSim(t, d)
	b.must(b.c.reopen(300))
	r := b.reader("sink.a")
	began := r.Info().Oldest
	for i := range 20 {
		b.put("source.a", fmt.Sprint(i), "event")
	}
	_, err := drain(r)
	b.must(err)
	b.must(b.c.flushPositions(false))
	left := d.crash("power cut, nothing unflushed is there").segments()
	if info := r.Info(); info.Oldest == began || info.Oldest != b.c.segments[0].first || left[0] != segmentName(b.c.segments[0].index) {
		t.Errorf("nothing below %d is there any more, of what began at %d; a power cut leaves %q", info.Oldest, began, left)
	}
	b.close()
}

// TestWhatIsLeftOfALogIsItsEnd also when not all could be unlinked.
func TestWhatIsLeftOfALogIsItsEnd(t *testing.T) {
	d := newSimDisk()
	b := openSim(t, d)
	b.must(b.c.reopen(300))
	r := b.reader("sink.a")
	for i := range 60 {
		b.put("source.a", fmt.Sprint(i), "event")
	}
	all, removed := d.segments(), 0
	_, err := drain(r)
	b.must(err)
	d.failing(func(what, _ string) error {
		if what != "remove" {
			return nil
		}
		if removed++; removed > 2 {
			return syscall.EIO
		}
		return nil
	})
	if err := b.c.flushPositions(false); !errors.Is(err, syscall.EIO) {
		t.Errorf("it answered %v", err)
	}
	d.failing(nil)
	if left := d.segments(); !slices.Equal(left, all[2:]) {
		t.Errorf("of %q there are %q", all, left)
	}
	b.close()
}

func TestALogWithoutAReaderKeepsAllWhileItRuns(t *testing.T) {
	b := newBench(t, Options{SegmentSize: 600})
	for _, body := range allEvents(36) {
		b.put("source.a", "1", body)
	}
	b.must(b.c.flushPositions(true))
	b.drained(b.reader("sink.a"), allEvents(36)...)
}

func TestWhatIsGivenUpGoesFromTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDisk()
		b := onSmallDisk(t, d, Options{SegmentSize: 600, OnFull: channel.DropOldest, Capacity: channel.Capacity{Events: 36}})
		b.reader("sink.a")
		for i, body := range allEvents(36) {
			b.put("source.a", fmt.Sprint(i), body)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		before := d.segments()
		b.put("source.a", "36", "the one that needs room")
		time.Sleep(time.Minute)
		synctest.Wait()
		if after := d.segments(); after[0] == before[0] {
			t.Errorf("%s is still there", after[0])
		}
		b.close()
	})
}

// TestWhereAReaderStandsIsWrittenWhateverMovedIt: what is for another only, or what its destination holds already.
func TestWhereAReaderStandsIsWrittenWhateverMovedIt(t *testing.T) {
	for name, move := range map[string]func(b *bench, r channel.Reader) error{
		"for another": func(b *bench, _ channel.Reader) error {
			tx, err := b.c.Begin(b.Context())
			b.must(err)
			b.must(tx.Put(channel.Put{Source: "dead", Batch: batch("event"), Only: "sink.b"}))
			return tx.Submit()()
		},
		"held": func(b *bench, r channel.Reader) error {
			b.put("source.a", "1", "event")
			low := r.Info().Low
			return r.Finish(event.Range{First: low, Next: low + 1})
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := newSimDisk()
			b := openSim(t, d)
			r := b.reader("sink.a")
			b.reader("sink.b")
			time.Sleep(time.Minute)
			b.must(move(b, r))
			time.Sleep(time.Minute)
			if info := r.Info(); info.Waiting != 0 || stands(d, r) != info.Low {
				t.Errorf("%s: %d events wait for it, it stands at %d, and its position says %d", name, info.Waiting, info.Low, stands(d, r))
			}
			b.close()
		})
	}
}

func TestWhatOnlyAForgottenReaderHeldGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := onSmallDisk(t, newSimDisk(), Options{SegmentSize: 4 << 10})
		r := b.reader("sink.gone")
		b.drained(b.reader("sink.a"), b.fill(30)...)
		b.must(r.Close())
		before := b.segments()
		b.must(b.c.Forget("sink.gone"))
		if after := b.segments(); before < 5 || after > 2 {
			t.Errorf("%d segments are left of %d", after, before)
		}
		b.close()
	})
}
