// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// inBubble runs f on a channel in a bubble of time.
func inBubble(t *testing.T, f func(b *bench)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c, err := open(Options{Dir: dir}, realSystem(dir))
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{T: t, c: c}
		f(b)
		b.close()
	})
}

func TestAMovedCursorAloneWaitsASecondForCompany(t *testing.T) {
	inBubble(t, func(b *bench) {
		begun, syncs := time.Now(), b.c.Stats().Syncs
		b.put("source.a", "1")
		if took := time.Since(begun); took != emptyDelay {
			t.Errorf("it took %v", took)
		}
		if n := b.c.Stats().Syncs - syncs; n != 1 {
			t.Errorf("%d flushes", n)
		}
		b.cursor("source.a", "1")
	})
}

func TestAMovedCursorGoesWithTheNextEvents(t *testing.T) {
	inBubble(t, func(b *bench) {
		begun, syncs := time.Now(), b.c.Stats().Syncs
		done := make(chan error, 2) // one from each of the first two
		for i := range 2 {
			wait := submit(b.c, fmt.Sprint("source.", i), "1")
			go func() { done <- wait() }()
		}
		synctest.Wait()
		// Its wait is called last, as that of a source is which submits in order: the others must lead.
		wait := submit(b.c, "source.2", "1", "event")
		b.must(<-done)
		b.must(<-done)
		b.must(wait())
		if took := time.Since(begun); took != 0 {
			t.Errorf("it took %v", took)
		}
		if n := b.c.Stats().Syncs - syncs; n != 1 {
			t.Errorf("%d flushes", n)
		}
	})
}

func TestCursorDoesNotWaitForCompany(t *testing.T) {
	inBubble(t, func(b *bench) {
		begun := time.Now()
		wait := submit(b.c, "source.a", "1")
		b.cursor("source.a", "1")
		b.must(wait())
		if took := time.Since(begun); took != 0 {
			t.Errorf("it took %v", took)
		}
	})
}

func TestABatchThatOthersHoldIsNotWrittenInto(t *testing.T) {
	b := newBench(t, Options{})
	r := b.reader("sink.a")
	held := batch("event")
	mark := bytes.Repeat([]byte("m"), event.Headroom)
	copy(held.Buffer().Memory(), mark)
	for range 2 { // as when one batch goes into two channels at once
		tx, err := b.c.Begin(t.Context())
		b.must(err)
		held.Retain()
		b.must(tx.Put(channel.Put{Source: "source.a", Batch: held}))
		b.must(tx.Submit()())
	}
	if !bytes.Equal(held.Buffer().Memory()[:event.Headroom], mark) {
		t.Error("the headroom of a shared buffer was written")
	}
	b.drained(r, "event", "event")
}

func TestABatchThatNobodyElseHoldsIsNotCopied(t *testing.T) {
	b := newBench(t, Options{})
	r := b.reader("sink.a")
	given := batch("event")
	tx, err := b.c.Begin(t.Context())
	b.must(err)
	b.must(tx.Put(channel.Put{Source: "source.a", Batch: given, Changed: event.Cursor{"at": []byte("1")}}))
	b.must(tx.Submit()())
	l, err := r.Take(t.Context(), channel.Want{})
	b.must(err)
	if got := l.Delivery().Batch; got.Buffer() != given.Buffer() || &got.Bytes()[0] != &given.Bytes()[0] {
		t.Error("what is delivered is a copy")
	}
	b.must(l.Commit())
}

func TestSegmentsGrowWithState(t *testing.T) {
	b := newBench(t, Options{SegmentSize: 4 << 10})
	value := strings.Repeat("v", 1000)
	for i := range 40 {
		b.put(fmt.Sprint("source.", i), value, "event")
	}
	for i := range 400 {
		b.put("source.x", fmt.Sprint(i), value)
	}
	if size := int64(b.c.state.size()); b.c.tail.limit < statesPerSegment*size*9/10 {
		t.Errorf("STATE has %d bytes, segments %d", size, b.c.tail.limit)
	}
	b.open()
	report, err := Verify(b.o.Dir, nil)
	b.must(err)
	if len(report.Damage) > 0 {
		t.Errorf("verify found %+v", report.Damage)
	}
	b.cursor("source.7", value)
}

func TestALogIsOpenedWithSmallerSegmentsThanItWasWritten(t *testing.T) {
	b := newBench(t, Options{SegmentSize: 64 << 10})
	r := b.reader("sink.a")
	_ = r
	want := numbered("event", 100)
	for i, body := range want[:50] {
		b.put("source.a", fmt.Sprint(i), body)
	}
	b.o.SegmentSize = 2 << 10
	b.open()
	for i, body := range want[50:] {
		b.put("source.a", fmt.Sprint(50+i), body)
	}
	report, err := Verify(b.o.Dir, nil)
	b.must(err)
	if len(report.Damage) > 0 || report.Segments < 3 {
		t.Errorf("%d segments, verify found %+v", report.Segments, report.Damage)
	}
	b.open()
	b.drained(b.reader("sink.a"), want...)
}

func TestARecordLargerThanASegmentHasOneOfItsOwn(t *testing.T) {
	b := newBench(t, Options{SegmentSize: 4 << 10})
	b.reader("sink.a")
	large := strings.Repeat("x", 100<<10)
	for i, body := range []string{"a", large, "b", large} {
		b.put("source.a", fmt.Sprint(i), body)
	}
	b.open()
	b.drained(b.reader("sink.a"), "a", large, "b", large)
}

// TestAfterOneThatNeverFitsNothingOfItsSourceIsTaken until it asks for its cursor: what came later would overtake it.
func TestAfterOneThatNeverFitsNothingOfItsSourceIsTaken(t *testing.T) {
	b := newBench(t, Options{})
	one := submit(b.c, "source.a", "1", "one") // and is not written yet
	tx, err := b.c.Begin(t.Context())
	b.must(err)
	large := strings.Repeat("x", event.MaxBatch*2/3)
	for range 2 {
		b.must(tx.Put(channel.Put{Source: "source.a", Batch: batch(large), Changed: event.Cursor{"at": []byte("2")}}))
	}
	if err := tx.Submit()(); !errors.Is(err, channel.ErrLimit) {
		t.Fatalf("two batches that do not fit into one record: %v", err)
	}
	for range 2 {
		if err := submit(b.c, "source.a", "3", "three")(); !errors.Is(err, channel.ErrPrior) {
			t.Errorf("the next one answered %v", err)
		}
		b.must(one())
	}
	b.put("source.b", "1", "another source")
	b.cursor("source.a", "1")
	b.put("source.a", "2", "two")
	b.cursor("source.a", "2")
}

// TestWhatFollowsOneThatWasNotWrittenIsRefusedInALaterGroupToo though the disk is well again by then.
func TestWhatFollowsOneThatWasNotWrittenIsRefusedInALaterGroupToo(t *testing.T) {
	dir, failures := t.TempDir(), 0
	sys := faulty(realSystem(dir), func(step string) error {
		if step == "put" && failures > 0 {
			failures--
			return errors.New("bad sector")
		}
		return nil
	})
	c, err := open(Options{Dir: dir}, sys)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, c: c}
	large := strings.Repeat("x", maxGroup*2/3) // two do not fit into a group
	failures = 1
	one, two, other := submit(c, "source.a", "1", large), submit(c, "source.a", "2", large), submit(c, "source.b", "1", "event")
	if err := one(); err == nil || errors.Is(err, channel.ErrPrior) {
		t.Errorf("the first answered %v", err)
	}
	if err := two(); !errors.Is(err, channel.ErrPrior) {
		t.Errorf("the second answered %v", err)
	}
	b.must(other())
	b.cursor("source.a", "")
	b.close()
}

// TestOneAtATimeHasTheEndOfTheLog: who comes while a group is flushed waits for the next.
func TestOneAtATimeHasTheEndOfTheLog(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var slow atomic.Bool
		var writes atomic.Int32
		gate := make(chan struct{})
		c, err := open(Options{Dir: dir}, faulty(realSystem(dir), func(step string) error {
			switch {
			case !slow.Load():
			case step == "put":
				writes.Add(1)
			default:
				<-gate
			}
			return nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{T: t, c: c}
		b.put("source.a", "1", "event")
		slow.Store(true)
		var puts []chan error
		for i := range 3 {
			puts = append(puts, later(func() error { return submit(c, fmt.Sprint("source.", i), "1", "event")() }))
		}
		if n := writes.Load(); n != 1 {
			t.Errorf("%d groups are being written", n)
		}
		close(gate)
		for _, put := range puts {
			b.must(<-put)
		}
		if n := writes.Load(); n != 2 {
			t.Errorf("three transactions went in %d groups", n)
		}
		b.close()
	})
}

// TestInOneGroupNothingFollowsForAReaderThatEndsThere: it is forgotten, or its policy gives it up, by a record that is not published yet.
func TestInOneGroupNothingFollowsForAReaderThatEndsThere(t *testing.T) {
	for what, ends := range map[string]changes{
		"it is forgotten":          {forget: []string{"sink.a"}},
		"it is detached":           {drops: []drop{{loss: channel.LostDetach, reader: "sink.a"}}},
		"another is forgotten":     {forget: []string{"sink.b"}},
		"another is detached":      {drops: []drop{{loss: channel.LostDetach, reader: "sink.b"}}},
		"it skips to where others": {drops: []drop{{loss: channel.LostSkip, reader: "sink.a"}}},
	} {
		t.Run(what, func(t *testing.T) {
			b := newBench(t, Options{})
			b.must(b.reader("sink.a").Close())
			b.must(b.reader("sink.b").Close())
			first := (&tx{c: b.c, internal: true, changes: ends}).Submit()
			second := submitOnly(b, "sink.a", "for it alone")
			b.must(first())
			want := strings.HasPrefix(what, "it is")
			if err := second(); errors.Is(err, channel.ErrNoReader) != want {
				t.Errorf("a put for sink.a alone in the group in which %s: %v", what, err)
			}
			b.close()
		})
	}
}

// TestNothingIsPutForAReaderThatHasJustEnded, whether it is cleaned up already or not.
func TestNothingIsPutForAReaderThatHasJustEnded(t *testing.T) {
	for what, ends := range map[string]changes{
		"forgotten": {forget: []string{"sink.a"}},
		"detached":  {drops: []drop{{loss: channel.LostDetach, reader: "sink.a"}}},
	} {
		b := newBench(t, Options{})
		b.must(b.reader("sink.a").Close())
		b.must((&tx{c: b.c, internal: true, changes: ends}).Submit()())
		if err := submitOnly(b, "sink.a", "for it alone")(); !errors.Is(err, channel.ErrNoReader) {
			t.Errorf("a put for one that is %s: %v", what, err)
		}
		b.close()
	}
}
