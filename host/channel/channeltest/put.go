// SPDX-License-Identifier: Apache-2.0

package channeltest

import (
	"strings"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

var putCases = []scenario{
	{"a committed transaction of 100 comes out whole, in order, with its bytes and attributes", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		want := bodies("line", 100)
		e.put(want...)
		e.same(e.drain(r, 100), want)
		e.empty(r)
	}},
	{"transactions come out in the order of Submit", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		var want []string
		for _, size := range []int{1, 7, 100, 3, 1, 1, 64} {
			more := bodies(string(rune('a'+len(want)%26)), size)
			e.put(more...)
			want = append(want, more...)
		}
		e.same(e.drain(r, len(want)), want)
	}},
	{"waits may be called in any order and say the same", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		first := e.submit(channel.Put{Source: "source.a", Batch: e.batch("1")})
		second := e.submit(channel.Put{Source: "source.a", Batch: e.batch("2")})
		later := e.later(second)
		e.must(e.later(first).ends("the first wait"))
		e.must(later.ends("the second wait"))
		e.same(e.drain(r, 2), []string{"1", "2"})
	}},
	{"a rolled-back transaction is not seen and takes no room", func(e *env) {
		e.options.Capacity.Events = 10
		e.open()
		r := e.reader("sink.a")
		for range 5 {
			tx, err := e.ch.Begin(e.Context())
			e.must(err)
			e.must(tx.Put(channel.Put{Source: "source.a", Batch: e.batch(bodies("gone", 10)...), Changed: event.Cursor{"k": []byte("gone")}}))
			tx.Rollback()
			tx.Rollback() // twice is nothing
		}
		e.empty(r)
		e.cursorIs("source.a", nil)
		e.put("there")
		e.same(e.drain(r, 1), []string{"there"})
	}},
	{"a transaction of several batches and sources is one", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		tx, err := e.ch.Begin(e.Context())
		e.must(err)
		e.must(tx.Put(channel.Put{Source: "source.a", Batch: e.batch("1", "2"), Changed: event.Cursor{"k": []byte("a")}}))
		e.must(tx.Put(channel.Put{Source: "source.b", Changed: event.Cursor{"k": []byte("b")}}))
		e.must(tx.Put(channel.Put{Source: "source.c", Batch: e.batch("3"), Changed: event.Cursor{"k": []byte("c")}}))
		e.empty(r)
		e.must(tx.Submit()())
		e.same(e.drain(r, 3), []string{"1", "2", "3"})
		for source, want := range map[string]string{"source.a": "a", "source.b": "b", "source.c": "c"} {
			e.cursorIs(source, event.Cursor{"k": []byte(want)})
		}
	}},
	{"what a filter left out leaves no gap in the offsets", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		whole := e.batch(bodies("", 10)...)
		half, err := event.Select(&e.memory, func(o event.Offset) bool { return o%2 == 1 }, whole.WithBase(70))
		e.must(err)
		whole.Release()
		e.must(e.submit(channel.Put{Source: "source.a", Batch: half})())
		e.put("next")
		e.counts(r, 6, 0)
		l := e.expect(r, 0, 1, "0001", "0003", "0005", "0007", "0009", "next")
		if d := l.Delivery(); d.Range.Len() != 6 {
			e.Errorf("the lease covers %v", d.Range)
		}
		e.must(l.Commit())
		e.empty(r)
	}},
	{"a transaction of nothing commits", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		tx, err := e.ch.Begin(e.Context())
		e.must(err)
		e.must(tx.Submit()())
		e.empty(r)
	}},
	{"put after submit, submit after submit and submit after rollback change nothing and say so", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		tx, err := e.ch.Begin(e.Context())
		e.must(err)
		e.must(tx.Put(channel.Put{Source: "source.a", Batch: e.batch("once")}))
		wait := tx.Submit()
		e.is(tx.Put(channel.Put{Source: "source.a", Batch: e.batch("late")}), channel.ErrDone)
		e.is(tx.Submit()(), channel.ErrDone)
		tx.Rollback()
		e.must(wait())
		e.is(tx.Put(channel.Put{Source: "source.a", Batch: e.batch("later")}), channel.ErrDone)

		tx, err = e.ch.Begin(e.Context())
		e.must(err)
		tx.Rollback()
		e.is(tx.Put(channel.Put{Source: "source.a", Batch: e.batch("dead")}), channel.ErrDone)
		e.is(tx.Submit()(), channel.ErrDone)
		e.same(e.drain(r, 1), []string{"once"})
		e.empty(r)
	}},
	{"what is over a limit is refused, and the transaction can still be rolled back", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		for name, p := range map[string]channel.Put{
			"source name": {Source: strings.Repeat("s", channel.MaxName+1)},
			"no source":   {},
			"reader name": {Source: "source.a", Only: strings.Repeat("s", channel.MaxName+1)},
			"key":         {Source: "source.a", Changed: event.Cursor{strings.Repeat("k", abi.MaxKey+1): {1}}},
			"value":       {Source: "source.a", Changed: event.Cursor{"k": make([]byte, abi.MaxValue+1)}},
		} {
			p.Batch = e.batch(name)
			tx, err := e.ch.Begin(e.Context())
			e.must(err)
			e.is(tx.Put(p), channel.ErrLimit)
			tx.Rollback()
		}
		e.empty(r)
		_, err := e.ch.Reader(channel.ReaderSpec{Name: strings.Repeat("r", channel.MaxName+1)})
		e.is(err, channel.ErrLimit)
	}},
	{"a cursor that grows over its bound is refused, and nothing of it is kept", func(e *env) {
		e.open()
		value := make([]byte, abi.MaxValue)
		changed := event.Cursor{}
		for _, k := range bodies("k", channel.MaxCursor/abi.MaxValue+1) {
			changed[k] = value
		}
		e.is(e.submit(channel.Put{Source: "source.a", Batch: e.batch("with it"), Changed: changed})(), channel.ErrLimit)
		e.cursorIs("source.a", nil)
		e.empty(e.reader("sink.a"))
	}},
	{"offsets grow and are never used twice", func(e *env) {
		e.open()
		r := e.readerOf(channel.ReaderSpec{Name: "sink.a", Order: channel.AnyOrder})
		next := event.Offset(0)
		for i := range 20 {
			e.put(bodies("x", i%3+1)...)
			l := e.take(r, 0)
			d := l.Delivery()
			if d.Range.First < next || d.Range.Empty() {
				e.Fatalf("lease of %v after %d", d.Range, next)
			}
			next = d.Range.Next
			e.must(l.Commit())
		}
	}},
	{"what was done to a channel that is closed says that it is closed", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		e.put("1")
		tx, err := e.ch.Begin(e.Context())
		e.must(err)
		e.must(tx.Put(channel.Put{Source: "source.a", Batch: e.batch("2")}))
		l := e.take(r, 0)
		ch := e.ch
		e.close()
		e.must(ch.Close()) // twice is nothing

		e.is(tx.Submit()(), channel.ErrClosed)
		if l.Commit() == nil {
			e.Error("a lease was committed after Close")
		}
		l.Rollback()
		_, err = ch.Begin(e.Context())
		e.is(err, channel.ErrClosed)
		_, err = ch.Reader(channel.ReaderSpec{Name: "sink.b"})
		e.is(err, channel.ErrClosed)
		_, err = ch.Cursor(e.Context(), "source.a")
		e.is(err, channel.ErrClosed)
		_, err = r.Take(e.Context(), channel.Want{})
		e.is(err, channel.ErrClosed)
		e.is(r.Finish(event.Range{Next: 1 << 40}), channel.ErrClosed)
	}},
}
