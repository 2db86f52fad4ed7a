// SPDX-License-Identifier: Apache-2.0

package channeltest

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

var takeCases = []scenario{
	{"taken and rolled back, the same events come again in the same order, as attempt 2 and 3", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		want := bodies("line", 20)
		e.put(want...)
		var first channel.Delivery
		for attempt := 1; attempt <= 3; attempt++ {
			l := e.take(r, 0)
			d := l.Delivery()
			if attempt == 1 {
				first = d
			}
			if d.Attempt != attempt || d.Range != first.Range {
				e.Fatalf("lease of %v attempt %d, want %v attempt %d", d.Range, d.Attempt, first.Range, attempt)
			}
			e.same(e.read(l), want)
			l.Rollback()
			l.Rollback() // twice is nothing
		}
		e.same(e.drain(r, 20), want)
		e.empty(r)
	}},
	{"commit after commit and commit after rollback change nothing and say so", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		e.put("1")
		l := e.take(r, 0)
		l.Rollback()
		e.is(l.Commit(), channel.ErrDone)
		l = e.take(r, 0)
		e.must(l.Commit())
		e.is(l.Commit(), channel.ErrDone)
		l.Rollback()
		e.empty(r)
		e.put("2")
		e.same(e.drain(r, 1), []string{"2"})
	}},
	{"a want of events is kept to, and the rest follows", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		want := bodies("line", 25)
		e.put(want[:20]...)
		e.put(want[20:]...)
		e.same(e.drainWant(r, channel.Want{Events: 7}, 25), want)
	}},
	{"a want of bytes is kept to", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		want := bodies(strings.Repeat("w", 100), 40)
		e.put(want[:30]...)
		e.put(want[30:]...)
		e.same(e.drainWant(r, channel.Want{Bytes: 1500}, 40), want)
	}},
	{"an event larger than the want of bytes comes alone", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		want := []string{"small", strings.Repeat("large", 1000), "small again", "and again"}
		e.put(want...)
		var got []string
		for len(got) < len(want) {
			l := e.takeWant(r, channel.Want{Bytes: 400})
			more := e.read(l)
			if size := l.Delivery().Batch.Size(); size > 400 && len(more) != 1 {
				e.Fatalf("%d events in %d bytes", len(more), size)
			}
			got = append(got, more...)
			e.must(l.Commit())
		}
		e.same(got, want)
	}},
	{"a want of bytes is kept to when the sizes in a batch differ", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		var want []string
		for i, size := range []int{50, 50, 50, 50, 1000, 1000, 1000, 1000, 1000, 50, 50} {
			want = append(want, strings.Repeat(string(rune('a'+i)), size))
		}
		e.put(want...)
		// Attributes repeat the body: two of the large ones and some small are within it, three are not.
		e.same(e.drainWant(r, channel.Want{Bytes: 5100}, len(want)), want)
	}},
	{"small batches are joined, with their offsets", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		want := bodies("line", 30)
		for i := 0; i < 30; i += 3 {
			e.put(want[i : i+3]...)
		}
		l := e.take(r, 0)
		e.same(e.read(l), want)
		if d := l.Delivery(); d.Range.Len() != 30 {
			e.Fatalf("the lease covers %v", d.Range)
		}
		e.must(l.Commit())
	}},
	{"a take that gathers waits for more, and no longer than it was told", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		begun := time.Now()
		var l channel.Lease
		taking := e.later(func() (err error) {
			l, err = r.Take(e.Context(), channel.Want{Events: 100, Wait: 5 * time.Second})
			return err
		})
		taking.waits("a take with nothing there")
		time.Sleep(time.Second)
		e.put("1")
		taking.waits("a take that gathers")
		e.put("2")
		e.must(taking.ends("a take that gathers"))
		e.same(e.read(l), []string{"1", "2"})
		if took := time.Since(begun); took < 6*time.Second || took > 10*time.Second {
			e.Errorf("it gathered until %v, the first event came at 1s", took)
		}
		e.must(l.Commit())
	}},
	{"a take that gathers ends as soon as there is enough", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		begun := time.Now()
		var l channel.Lease
		taking := e.later(func() (err error) {
			l, err = r.Take(e.Context(), channel.Want{Events: 4, Wait: time.Hour})
			return err
		})
		e.put("1", "2")
		taking.waits("a take that gathers")
		e.put("3", "4")
		e.must(taking.ends("a take that has enough"))
		e.same(e.read(l), []string{"1", "2", "3", "4"})
		if took := time.Since(begun); took > time.Minute {
			e.Errorf("it took %v", took)
		}
		e.must(l.Commit())
	}},
	{"a take that gathers lets what was rolled back go at once", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		e.put("1")
		e.take(r, 0).Rollback()
		e.put("2")
		begun := time.Now()
		l := e.takeWant(r, channel.Want{Events: 10, Wait: 30 * time.Second})
		e.same(e.read(l), []string{"1"})
		if took := time.Since(begun); took > time.Second {
			e.Errorf("it took %v", took)
		}
		e.must(l.Commit())
		e.same(e.drain(r, 1), []string{"2"})
	}},
	{"a take ends with its context, and takes nothing then", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		ctx, stop := context.WithCancelCause(e.Context())
		taking := e.later(func() error {
			_, err := r.Take(ctx, channel.Want{})
			return err
		})
		taking.waits("a take with nothing there")
		why := errors.New("enough")
		stop(why)
		if err := taking.ends("a take whose context ended"); !errors.Is(err, context.Canceled) && !errors.Is(err, why) {
			e.Fatalf("it answered %v", err)
		}
		e.put("1")
		e.same(e.drain(r, 1), []string{"1"})
	}},
	{"a take that gathers ends with its context, and what it saw is not lost", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		ctx, stop := context.WithCancel(e.Context())
		taking := e.later(func() error {
			l, err := r.Take(ctx, channel.Want{Events: 2, Wait: time.Hour})
			if err == nil {
				l.Rollback()
			}
			return err
		})
		e.put("1")
		taking.waits("a take that gathers")
		stop()
		e.is(taking.ends("a take whose context ended"), context.Canceled)
		l := e.take(r, 0)
		if a := l.Delivery().Attempt; a != 1 {
			e.Errorf("it comes as attempt %d, though nobody had it", a)
		}
		e.same(e.read(l), []string{"1"})
		e.must(l.Commit())
	}},
	{"Close ends a take that waits", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		taking := e.later(func() error {
			_, err := r.Take(e.Context(), channel.Want{})
			return err
		})
		taking.waits("a take with nothing there")
		e.close()
		e.is(taking.ends("a take on a closed channel"), channel.ErrClosed)
	}},
	{"a lease keeps its batch until it ends, whatever the channel does", func(e *env) {
		e.open()
		r := e.readerOf(channel.ReaderSpec{Name: "sink.a", Order: channel.AnyOrder})
		want := bodies("kept", 10)
		e.put(want...)
		l := e.take(r, 0)
		e.must(r.Finish(event.Range{First: 0, Next: 1 << 40})) // it is leased: nothing happens
		for range 5 {
			e.put(bodies("other", 10)...)
			e.same(e.drain(r, 10), bodies("other", 10))
		}
		e.same(e.read(l), want)
		e.must(l.Commit())
		e.empty(r)
	}},
}

// drainWant takes n events by want, checks that want is kept to, and commits.
func (e *env) drainWant(r channel.Reader, want channel.Want, n int) []string {
	e.Helper()
	var got []string
	next := event.Offset(0)
	for len(got) < n {
		l := e.takeWant(r, want)
		d := l.Delivery()
		if d.Range.First < next || want.Events > 0 && d.Batch.Len() > want.Events || want.Bytes > 0 && d.Batch.Size() > want.Bytes {
			e.Fatalf("a want of %+v got %v after %d: %d events, %d bytes", want, d.Range, next, d.Batch.Len(), d.Batch.Size())
		}
		next = d.Range.Next
		got = append(got, e.read(l)...)
		e.must(l.Commit())
	}
	return got
}
