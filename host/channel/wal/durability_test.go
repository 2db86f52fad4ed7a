// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// TestBelowFsyncACrashTakesTheNewestAndNothingElse: whatever was not flushed, what is left is a beginning of what
// was put, every cursor fits it, no number is given twice, and a process that is only killed has lost nothing.
func TestBelowFsyncACrashTakesTheNewestAndNothingElse(t *testing.T) {
	whole, h := newSimDisk(), newHistory()
	h.level = OS
	if err := h.workload(whole); err != nil {
		t.Fatal(err)
	}
	for at := 1; at <= whole.steps; at++ {
		for kind := range crashes {
			d, h := newSimDisk(), newHistory()
			h.level, d.crashAt, d.half = OS, at, at%2 == 0
			if h.workload(d) == nil {
				t.Fatalf("step %d of %d was not reached", at, whole.steps)
			}
			if err := h.check(d.crash(kind), strings.HasPrefix(kind, "kill -9")); err != nil {
				t.Fatalf("crash before step %d (%s), %s: %v", at, d.last, kind, err)
			}
		}
	}
}

// levelled opens a channel at a level in a bubble of time, and counts its flushes.
func levelled(t *testing.T, o Options, f func(b *bench, flushes func() uint64)) {
	t.Helper()
	o.Dir = t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c, err := open(o, realSystem(o.Dir))
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{T: t, c: c}
		b.reader("sink.a")
		before := c.Stats().Syncs
		f(b, func() uint64 { return c.Stats().Syncs - before })
		b.close()
	})
}

// A cursor that moves is flushed before it is removed elsewhere, where the level may be another.
func TestACursorThatMovesIsFlushedAtOnceAtAnyLevel(t *testing.T) {
	levelled(t, Options{Durability: OS}, func(b *bench, flushes func() uint64) {
		for i, c := range []struct {
			put  channel.Put
			want uint64
		}{
			{channel.Put{Move: 1, Changed: event.Cursor{"k": []byte("1")}}, 1},
			{channel.Put{Move: 1, Changed: event.Cursor{"k": []byte("2")}}, 1},
			{channel.Put{Removed: true, Move: 1}, 2},
		} {
			begun := time.Now()
			c.put.Source = "source.a"
			tx, err := b.c.Begin(t.Context())
			b.must(err)
			b.must(tx.Put(c.put))
			b.must(tx.Submit()())
			if n := flushes(); n != c.want || (time.Since(begun) == 0) != (i != 1) {
				t.Errorf("put %d: %d flushes after %v, want %d", i, n, time.Since(begun), c.want)
			}
		}
	})
}

func TestAtIntervalOneFlushFollowsInTimeAndNoneWhenIdle(t *testing.T) {
	levelled(t, Options{Durability: Interval, FlushEvery: 50 * time.Millisecond}, func(b *bench, flushes func() uint64) {
		for range 10 {
			b.put("source.a", "1", "event")
		}
		if n := flushes(); n != 0 {
			t.Errorf("%d flushes before the time", n)
		}
		time.Sleep(50*time.Millisecond + time.Microsecond)
		synctest.Wait()
		if n := flushes(); n != 1 || b.c.tail.dirty {
			t.Errorf("%d flushes after the time", n)
		}
		time.Sleep(time.Hour)
		if n := flushes(); n != 1 {
			t.Errorf("%d flushes in an idle hour", n-1)
		}
	})
}

// TestAFlushThatIsDueWhileSomebodyWritesFollowsAtOnce: it does not wait for another turn of the timer.
func TestAFlushThatIsDueWhileSomebodyWritesFollowsAtOnce(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		slow, gate := false, make(chan struct{})
		sys := faulty(realSystem(dir), func(step string) error {
			if step == "put" && slow {
				<-gate
			}
			return nil
		})
		c, err := open(Options{Dir: dir, Durability: Interval, FlushEvery: 50 * time.Millisecond}, sys)
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{T: t, c: c}
		before := c.Stats().Syncs
		b.put("source.a", "1", "event")
		slow = true
		put := make(chan error, 1)
		go func() { put <- submit(c, "source.a", "2", "event")() }()
		time.Sleep(60 * time.Millisecond) // the timer has come and found somebody who leads
		if n := c.Stats().Syncs - before; n != 0 {
			t.Fatalf("%d flushes meanwhile", n)
		}
		close(gate)
		synctest.Wait()
		b.must(<-put)
		b.put("source.a", "3", "not due")
		if n := c.Stats().Syncs - before; n != 1 {
			t.Errorf("%d flushes", n)
		}
		b.close()
	})
}

// TestNothingIsWrittenDuringAFlushThatTheTimerBegan: one at a time has the end of the log.
func TestNothingIsWrittenDuringAFlushThatTheTimerBegan(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var slow atomic.Bool
		var writes atomic.Int32
		gate := make(chan struct{})
		sys := faulty(realSystem(dir), func(step string) error {
			if step == "put" {
				writes.Add(1)
			} else if slow.Load() {
				<-gate
			}
			return nil
		})
		c, err := open(Options{Dir: dir, Durability: Interval, FlushEvery: 50 * time.Millisecond}, sys)
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{T: t, c: c}
		b.put("source.a", "1", "event")
		slow.Store(true)
		time.Sleep(60 * time.Millisecond) // the timer flushes
		before, put := writes.Load(), make(chan error, 1)
		go func() { put <- submit(c, "source.a", "2", "event")() }()
		synctest.Wait()
		if writes.Load() != before || len(put) > 0 {
			t.Error("it was written meanwhile")
		}
		close(gate)
		b.must(<-put)
		b.close()
	})
}

func TestAtOSNothingIsFlushedButReadersAreRegisteredDurably(t *testing.T) {
	levelled(t, Options{Durability: OS}, func(b *bench, flushes func() uint64) {
		b.put("source.a", "1", "event")
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := flushes(); n != 0 {
			t.Errorf("%d flushes", n)
		}
		b.reader("sink.b")
		if n := flushes(); n != 1 {
			t.Errorf("a reader was registered with %d flushes", n)
		}
	})
}

func TestAFlushThatFailsLaterStopsTheChannelAsWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDisk()
		c, err := open(Options{Dir: "sim", Durability: Interval}, d.system())
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{T: t, c: c}
		b.put("source.a", "1", "event")
		d.with(func() {
			d.fail = func(what, _ string) error {
				if what == "fsync" {
					return syscall.EIO
				}
				return nil
			}
		})
		time.Sleep(DefaultFlushEvery + time.Microsecond)
		synctest.Wait()
		if c.Stats().Stopped == nil {
			t.Error("the channel goes on")
		}
		_ = c.Close()
	})
}

// cutBehindPosition makes a log whose end is lost, though a reader had committed it.
func cutBehindPosition(t *testing.T, o Options) *bench {
	t.Helper()
	b := newBench(t, o)
	r := b.reader("sink.a")
	b.put("source.a", "1", "event 1")
	good := b.c.tail.size
	b.put("source.a", "2", "event 2")
	b.drained(r, "event 1", "event 2")
	b.must(b.c.flushPositions(false))
	dir := b.copyDir()
	b.must(os.Truncate(fmt.Sprint(dir, "/", segmentName(1)), good))
	o.Dir = dir
	return &bench{T: t, o: o}
}

func TestAPositionBehindTheEndIsRefusedAtFsyncAndTakenBackBelow(t *testing.T) {
	b := cutBehindPosition(t, Options{})
	if _, err := Open(b.o); !errors.Is(err, channel.ErrCorrupt) || !strings.Contains(err.Error(), "pos/sink.a") {
		t.Errorf("at fsync open answered: %v", err)
	}
	for _, next := range []Durability{OS, Fsync} { // what counts is the level at which it was written
		b = cutBehindPosition(t, Options{Durability: OS})
		b.o.Durability = next
		b.open()
		if gaps := b.c.Stats().Gaps; gaps != 1 {
			t.Errorf("%d gaps are counted", gaps)
		}
		b.cursor("source.a", "1")
		b.put("source.a", "2", "event 2 again")
		b.drained(b.reader("sink.a"), "event 2 again")
		b.close()
	}
}
