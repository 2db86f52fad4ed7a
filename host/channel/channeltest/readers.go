// SPDX-License-Identifier: Apache-2.0

package channeltest

import (
	"strings"

	"github.com/penstock-io/penstock/host/channel"
)

// only commits one transaction whose events one reader alone sees.
func (e *env) only(reader string, bodies ...string) {
	e.Helper()
	e.must(e.submit(channel.Put{Source: "dead", Batch: e.batch(bodies...), Only: reader})())
}

// counts checks what Info says against conservation: put = committed + waiting.
func (e *env) counts(r channel.Reader, waiting, leased uint64) {
	e.Helper()
	if info := r.Info(); info.Waiting != waiting || info.Leased != leased {
		e.Fatalf("waiting %d, leased %d; want %d and %d", info.Waiting, info.Leased, waiting, leased)
	}
}

var readerCases = []scenario{
	{"each reader sees everything, at its own pace", func(e *env) {
		e.open()
		a, b := e.reader("sink.a"), e.reader("sink.b")
		want := bodies("line", 30)
		e.put(want[:10]...)
		e.same(e.drain(a, 10), want[:10])
		e.put(want[10:]...)
		e.same(e.drain(a, 20), want[10:])
		e.empty(a)
		e.same(e.drain(b, 30), want)
		e.empty(b)
	}},
	{"a name that is in use cannot be registered again", func(e *env) {
		e.open()
		e.reader("sink.a")
		if _, err := e.ch.Reader(channel.ReaderSpec{Name: "sink.a"}); err == nil || !strings.Contains(err.Error(), "sink.a") {
			e.Fatalf("it answered %v", err)
		}
	}},
	{"a new reader starts with the oldest event that is there, or with the next", func(e *env) {
		e.open()
		slow := e.reader("sink.slow")
		e.put("1", "2")
		oldest := e.reader("sink.oldest")
		now := e.readerOf(channel.ReaderSpec{Name: "sink.now", Start: channel.Now})
		e.empty(now)
		e.put("3")
		e.same(e.drain(oldest, 3), []string{"1", "2", "3"})
		e.same(e.drain(now, 1), []string{"3"})
		e.same(e.drain(slow, 3), []string{"1", "2", "3"})
	}},
	{"a channel with no reader keeps everything", func(e *env) {
		e.open()
		e.put("1")
		e.put("2")
		e.same(e.drain(e.reader("sink.a"), 2), []string{"1", "2"})
	}},
	{"a put for a reader that is not there is refused, and nothing of it is kept", func(e *env) {
		e.open()
		all := e.reader("sink.all")
		e.is(e.submit(channel.Put{Source: "dead", Batch: e.batch("for nobody"), Changed: at("1"), Only: "sink.none"})(), channel.ErrNoReader)
		e.is(e.submit(channel.Put{Source: "dead", Batch: e.batch("behind it"), Changed: at("2")})(), channel.ErrPrior)
		e.cursorIs("dead", nil) // and asked for
		gone := e.reader("sink.gone")
		e.must(gone.Close())
		e.only("sink.gone", "somebody may open it again")
		e.must(e.operator().Forget("sink.gone"))
		e.is(e.submit(channel.Put{Source: "dead", Batch: e.batch("for who is gone"), Only: "sink.gone"})(), channel.ErrNoReader)
		e.cursorIs("dead", nil)
		e.must(e.submit(channel.Put{Source: "dead", Changed: at("3"), Only: "sink.gone"})()) // no events
		e.cursorIs("dead", at("3"))
		e.empty(all)
		e.counts(all, 0, 0)
	}},
	{"the slowest reader holds the space", func(e *env) {
		e.options.Capacity.Events = 4
		e.options.OnFull = channel.Refuse
		e.open()
		fast, slow := e.reader("sink.fast"), e.reader("sink.slow")
		e.put("1", "2", "3", "4")
		e.drain(fast, 4)
		_, err := e.ch.Begin(e.Context())
		e.is(err, channel.ErrFull)
		e.drain(slow, 4)
		e.put("5")
	}},
	{"a put for one reader only is passed over by the others", func(e *env) {
		e.open()
		a, b := e.reader("sink.a"), e.reader("sink.b")
		e.put("1")
		e.only("sink.a", "again", "and again")
		e.put("2")
		e.same(e.drain(a, 4), []string{"1", "again", "and again", "2"})
		e.same(e.drain(b, 2), []string{"1", "2"})
		e.empty(b)
		e.only("sink.b", "3")
		e.empty(a)
		e.same(e.drain(b, 1), []string{"3"})
		e.counts(a, 0, 0)
		e.counts(b, 0, 0)
		if s := e.operator().Stats(); s.Events != 0 {
			e.Errorf("%d events are held after every reader has all", s.Events)
		}
	}},
	{"a reader that is registered later passes over what is for another", func(e *env) {
		e.open()
		a := e.reader("sink.a")
		e.only("sink.a", "mine")
		e.put("all")
		b := e.reader("sink.b")
		e.same(e.drain(b, 1), []string{"all"})
		e.same(e.drain(a, 2), []string{"mine", "all"})
		e.empty(b)
	}},
	{"a reader that begins in the middle of what is for another passes over the rest", func(e *env) {
		e.open()
		a := e.reader("sink.a")
		e.only("sink.a", "1", "2", "3")
		e.must(e.expect(a, 1, 1, "1").Commit())
		b := e.reader("sink.b")
		e.put("4")
		e.same(e.drain(b, 1), []string{"4"})
		e.same(e.drain(a, 3), []string{"2", "3", "4"})
		e.empty(b)
	}},
	{"events for one reader and events for all do not mix in one transaction", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		tx, err := e.ch.Begin(e.Context())
		e.must(err)
		defer tx.Rollback()
		e.must(tx.Put(channel.Put{Source: "source.a", Batch: e.batch("all")}))
		if err := tx.Put(channel.Put{Source: "source.a", Batch: e.batch("one"), Only: "sink.b"}); err == nil {
			e.Error("they were mixed")
		}
		e.must(tx.Put(channel.Put{Source: "source.a", Changed: at("1"), Only: "sink.b"})) // no events
		e.must(tx.Submit()())
		e.same(e.drain(r, 1), []string{"all"})
		e.cursorIs("source.a", at("1"))
	}},
	{"the figures add up at every step", func(e *env) {
		e.open()
		a, b := e.anyOrder("sink.a"), e.reader("sink.b")
		e.put(bodies("", 10)...)
		e.put(bodies("", 10)...)
		e.counts(a, 20, 0)
		l := e.take(a, 5)
		e.counts(a, 20, 5)
		e.must(l.Commit())
		e.counts(a, 15, 0)
		l = e.take(a, 5)
		l.Rollback()
		e.counts(a, 15, 0)
		e.drain(a, 15)
		e.counts(a, 0, 0)
		e.counts(b, 20, 0)
		s := e.operator().Stats()
		if s.Put != 20 || s.Transactions != 2 || s.Events != 20 || s.Readers["sink.b"].Waiting != 20 || s.Stopped != nil {
			e.Fatalf("stats are %+v", s)
		}
		if s.Oldest.IsZero() || s.Bytes == 0 {
			e.Errorf("oldest %v, bytes %d with 20 events held", s.Oldest, s.Bytes)
		}
		e.drain(b, 20)
		if s = e.operator().Stats(); s.Events != 0 || s.Put != 20 {
			e.Fatalf("stats at the end are %+v", s)
		}
	}},
	{"the stream and the incarnation are there, and the first offset is a multiple of 2^32", func(e *env) {
		e.open()
		a, b := e.reader("sink.a"), e.reader("sink.b")
		info := a.Info()
		if info.Stream == "" || info.Stream == b.Info().Stream || len(info.Stream) > 512 {
			e.Errorf("streams %q and %q", info.Stream, b.Info().Stream)
		}
		if len(info.Incarnations) == 0 {
			e.Fatal("no incarnation")
		}
		if last := info.Incarnations[len(info.Incarnations)-1]; last.First%(1<<32) != 0 || last.ID == 0 {
			e.Errorf("incarnation %+v", last)
		}
	}},
	{"a reader in use cannot be forgotten, nor one that never was", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		for _, name := range []string{"sink.a", "sink.never"} {
			if err := e.operator().Forget(name); err == nil {
				e.Errorf("forgot %s", name)
			}
		}
		e.put("1")
		e.same(e.drain(r, 1), []string{"1"})
	}},
}
