// SPDX-License-Identifier: Apache-2.0

package channeltest

import (
	"context"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// closeCases show what happens when a reader gives its name back.
var closeCases = []scenario{
	{"a reader that was closed can be opened again, and goes on where it stood", func(e *env) {
		e.open()
		r := e.anyOrder("sink.a")
		e.put(bodies("", 6)...)
		one := e.take(r, 2)
		e.must(e.expect(r, 2, 1, "0002", "0003").Commit())
		before := r.Info()
		e.must(r.Close())
		one.Rollback()
		if info := e.operator().Stats().Readers["sink.a"]; r.Info().InUse || info.InUse || info.Waiting != 4 || info.Leased != 0 {
			e.Errorf("it is registered as %+v", info)
		}
		e.put("new")
		r = e.reader("sink.a")
		if info := r.Info(); info.Stream != before.Stream || info.Low != before.Low || !info.InUse {
			e.Errorf("it stood at %+v, it stands at %+v", before, info)
		}
		e.same(e.drain(r, 5), []string{"0000", "0001", "0004", "0005", "new"})
		e.empty(r)
	}},
	{"a lease counts as rolled back when its reader is closed, and cannot be committed any more", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		e.put("1", "2")
		l := e.expect(r, 1, 1, "1")
		e.must(r.Close())
		again := e.reader("sink.a")
		second := e.expect(again, 1, 2, "1")
		e.is(l.Commit(), channel.ErrClosed)
		l.Rollback()
		e.counts(again, 2, 1)
		e.must(second.Commit())
		e.is(l.Commit(), channel.ErrDone)
		e.same(e.drain(again, 1), []string{"2"})
		e.counts(again, 0, 0)
	}},
	{"a lease of a reader that was closed is not rolled back once more", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		e.put("1", "2")
		l := e.expect(r, 1, 1, "1")
		e.must(r.Close())
		again := e.reader("sink.a")
		second := e.expect(again, 1, 2, "1")
		l.Rollback()
		e.counts(again, 2, 1)
		e.must(second.Commit())
		e.same(e.drain(again, 1), []string{"2"})
		e.counts(again, 0, 0)
	}},
	{"who takes ends when the reader is closed", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		takes := e.later(func() error {
			_, err := r.Take(context.Background(), channel.Want{})
			return err
		})
		takes.waits("the take")
		e.must(r.Close())
		e.is(takes.ends("the take"), channel.ErrClosed)
	}},
	{"a reader that was closed does nothing any more, and its name is free at once", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		e.put("1")
		e.must(r.Close())
		e.must(r.Close())
		next := e.reader("sink.a")
		e.must(r.Close()) // of the one that had it before
		if _, err := e.ch.Reader(channel.ReaderSpec{Name: "sink.a"}); err == nil {
			e.Error("the name of the one that has it now was given to another")
		}
		_, err := r.Take(e.Context(), channel.Want{})
		e.is(err, channel.ErrClosed)
		e.is(r.Finish(event.Range{Next: 1 << 40}), channel.ErrClosed)
		e.counts(next, 1, 0)
		e.same(e.drain(next, 1), []string{"1"})
	}},
	{"a reader that was closed holds its events, until it is forgotten", func(e *env) {
		e.options.Capacity.Events = 4
		e.options.OnFull = channel.Refuse
		e.open()
		r, gone := e.reader("sink.a"), e.reader("sink.gone")
		stream := gone.Info().Stream
		e.put(bodies("", 4)...)
		e.drain(r, 4)
		e.must(gone.Close())
		_, err := e.ch.Begin(e.Context())
		e.is(err, channel.ErrFull)
		e.must(e.operator().Forget("sink.gone"))
		e.put("5")
		e.same(e.drain(r, 1), []string{"5"})
		if again := e.reader("sink.gone"); again.Info().Stream == stream {
			e.Error("forgotten and registered again, it has the same stream")
		}
	}},
}
