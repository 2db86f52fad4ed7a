// SPDX-License-Identifier: Apache-2.0

package channeltest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/penstock-io/penstock/host/channel"
)

// openDropping opens a channel for 10 events, and remembers what it says of drops.
func (e *env) openDropping(p channel.FullPolicy) *[]channel.Drop {
	e.Helper()
	said := &[]channel.Drop{}
	e.options.Capacity.Events = 10
	e.options.OnFull = p
	e.options.Observer.Dropped = func(d channel.Drop) { *said = append(*said, d) }
	e.open()
	return said
}

// pairs commits all bodies, two in each transaction.
func (e *env) pairs(bodies ...string) {
	e.Helper()
	for pair := range slices.Chunk(bodies, 2) {
		e.put(pair...)
	}
}

// lost checks how many events of the channel were given up, and of each reader.
func (e *env) lost(loss channel.Loss, n uint64, readers map[string]uint64) {
	e.Helper()
	s := e.operator().Stats()
	for l, got := range s.Dropped {
		if l == loss && got != n || l != loss && got != 0 {
			e.Fatalf("%d events are counted as %v, want %d as %v", got, l, n, loss)
		}
	}
	for name, want := range readers {
		if got := s.Readers[name].Dropped; got != want {
			e.Fatalf("%s counts %d dropped events, want %d", name, got, want)
		}
	}
	e.conserves()
}

// conserves checks that no reader's events came from nowhere or went there.
func (e *env) conserves() {
	e.Helper()
	for name, r := range e.operator().Stats().Readers {
		if n := r.Unaccounted(); n != 0 {
			e.Fatalf("%s was offered %d events, and of %d it is not known what became: %+v", name, r.Offered, n, r)
		}
	}
}

func (e *env) lagging(name string, lag channel.Lag) channel.Reader {
	e.Helper()
	return e.readerOf(channel.ReaderSpec{Name: name, Lag: lag})
}

var newestCases = []scenario{
	{"what finds the channel full is acknowledged without its events, where the newest go", func(e *env) {
		said := e.openDropping(channel.DropNewest)
		r := e.reader("sink.a")
		want := bodies("", 10)
		e.put(want...)
		e.must(e.submit(channel.Put{Source: "source.a", Batch: e.batch("11", "12", "13"), Changed: at("13")})())
		e.cursorIs("source.a", at("13"))
		e.lost(channel.LostNewest, 3, map[string]uint64{"sink.a": 3})
		if put := e.operator().Stats().Put; put != 13 {
			e.Errorf("%d events are said to be put, and 13 were acknowledged", put)
		}
		if len(*said) != 1 || (*said)[0].Range.Len() != 3 || (*said)[0].Events != 3 || (*said)[0].Loss != channel.LostNewest {
			e.Errorf("it was said: %+v", *said)
		}
		e.must(e.take(r, 1).Commit())
		e.put("14")
		e.same(e.drain(r, 10), append(want[1:], "14"))
		e.empty(r)
	}},
	{"a transaction that began while there was room is kept", func(e *env) {
		e.openDropping(channel.DropNewest)
		r := e.reader("sink.a")
		early, err := e.ch.Begin(e.Context())
		e.must(err)
		e.put(bodies("", 10)...)
		late, err := e.ch.Begin(e.Context())
		e.must(err)
		e.must(early.Put(channel.Put{Source: "source.b", Batch: e.batch("early")}))
		e.must(early.Submit()())
		e.same(e.drain(r, 11)[10:], []string{"early"})
		e.must(late.Put(channel.Put{Source: "source.b", Batch: e.batch("late")})) // now there is room for it
		e.must(late.Submit()())
		e.same(e.drain(r, 1), []string{"late"})
		e.lost(channel.LostNewest, 0, nil)
	}},
	{"of events for one reader the others lose none", func(e *env) {
		e.openDropping(channel.DropNewest)
		a, b := e.reader("sink.a"), e.reader("sink.b")
		e.put(bodies("", 10)...)
		e.only("sink.a", "1", "2")
		e.lost(channel.LostNewest, 2, map[string]uint64{"sink.a": 2, "sink.b": 0})
		e.is(e.submit(channel.Put{Source: "dead", Batch: e.batch("3"), Only: "sink.none"})(), channel.ErrNoReader)
		e.lost(channel.LostNewest, 2, nil)
		e.drain(a, 10)
		e.drain(b, 10)
	}},
	{"a cursor alone is never dropped", func(e *env) {
		e.openDropping(channel.DropNewest)
		e.reader("sink.a")
		e.put(bodies("", 10)...)
		e.must(e.submit(channel.Put{Source: "source.a", Changed: at("1")})())
		e.cursorIs("source.a", at("1"))
		e.lost(channel.LostNewest, 0, nil)
	}},
}

var oldestCases = []scenario{
	{"the oldest events go, no more than make room, where that is the policy", func(e *env) {
		said := e.openDropping(channel.DropOldest)
		slow, fast := e.reader("sink.slow"), e.reader("sink.fast")
		want := bodies("", 12)
		e.pairs(want[:10]...)
		e.drain(fast, 10)
		e.pairs(want[10:]...)
		e.lost(channel.LostOldest, 1, map[string]uint64{"sink.slow": 1, "sink.fast": 0})
		if len(*said) != 1 || (*said)[0] != (channel.Drop{Loss: channel.LostOldest, Reader: "sink.slow", Range: (*said)[0].Range, Events: 1}) || (*said)[0].Range.Len() != 1 {
			e.Errorf("it was said: %+v", *said)
		}
		e.same(e.drain(slow, 11), want[1:])
		e.same(e.drain(fast, 2), want[10:])
		e.empty(slow)
	}},
	{"an event that several readers lose counts once for the channel", func(e *env) {
		e.openDropping(channel.DropOldest)
		a, b := e.reader("sink.a"), e.reader("sink.b")
		e.pairs(bodies("", 14)...)
		e.lost(channel.LostOldest, 3, map[string]uint64{"sink.a": 3, "sink.b": 3})
		e.drain(a, 11)
		e.drain(b, 11)
	}},
	{"what is dropped while it is leased may still be committed", func(e *env) {
		e.openDropping(channel.DropOldest)
		r := e.reader("sink.a")
		want := bodies("", 12)
		e.pairs(want[:10]...)
		l := e.take(r, 2)
		e.pairs(want[10:]...)
		e.lost(channel.LostOldest, 0, map[string]uint64{"sink.a": 0}) // it is in doubt
		e.counts(r, 12, 2)
		e.same(e.read(l), want[:2])
		e.must(l.Commit())
		e.same(e.drain(r, 10), want[2:])
		e.lost(channel.LostOldest, 0, map[string]uint64{"sink.a": 0})
	}},
	{"what is dropped while it is leased does not come again", func(e *env) {
		e.openDropping(channel.DropOldest)
		r := e.anyOrder("sink.a")
		want := bodies("", 14)
		e.pairs(want[:10]...)
		one, two := e.take(r, 2), e.take(r, 4)
		e.must(e.take(r, 1).Commit()) // the 7th
		e.pairs(want[10:]...)         // the first three go
		one.Rollback()
		two.Rollback() // of which one is gone
		e.lost(channel.LostOldest, 3, map[string]uint64{"sink.a": 3})
		e.same(e.drain(r, 10), slices.Concat(want[3:6], want[7:]))
		e.empty(r)
	}},
	{"of a transaction larger than the capacity no more goes than must", func(e *env) {
		e.openDropping(channel.DropOldest)
		r := e.reader("sink.a")
		e.put(bodies("a", 30)...)
		e.put(bodies("b", 30)...)
		e.lost(channel.LostOldest, 21, map[string]uint64{"sink.a": 21})
		e.same(e.drain(r, 39), append(bodies("a", 30)[21:], bodies("b", 30)...))
	}},
	{"with no reader nothing is dropped", func(e *env) {
		e.openDropping(channel.DropOldest)
		e.put(bodies("", 10)...)
		begin := e.begin()
		begin.waits("Begin on a full channel that nobody reads")
		r := e.reader("sink.a")
		e.must(begin.ends("Begin when somebody does"))
		e.lost(channel.LostOldest, 1, nil)
		e.drain(r, 9)
	}},
	{"a smaller capacity has events dropped at the next Begin", func(e *env) {
		e.openDropping(channel.DropOldest)
		r := e.reader("sink.a")
		want := bodies("", 10)
		e.pairs(want...)
		e.operator().Resize(channel.Capacity{Events: 5})
		e.must(e.take(r, 2).Commit())
		e.pairs("11", "12")
		e.lost(channel.LostOldest, 4, nil)
		e.same(e.drain(r, 6), append(want[6:], "11", "12"))
	}},
	{"what is too old goes by itself", func(e *env) {
		e.openDropping(channel.DropOldest)
		e.operator().Resize(channel.Capacity{Age: time.Hour})
		r := e.reader("sink.a")
		e.pairs("1", "2")
		time.Sleep(30 * time.Minute)
		e.pairs("3", "4")
		time.Sleep(29 * time.Minute)
		e.lost(channel.LostOldest, 0, nil)
		time.Sleep(2 * time.Minute)
		e.lost(channel.LostOldest, 2, map[string]uint64{"sink.a": 2})
		l := e.take(r, 0)
		e.same(e.read(l), []string{"3", "4"})
		time.Sleep(time.Hour)
		e.counts(r, 2, 2) // in doubt
		e.lost(channel.LostOldest, 2, nil)
		l.Rollback()
		e.lost(channel.LostOldest, 4, nil)
	}},
}

var lagCases = []scenario{
	{"a reader that may be skipped makes room by itself, and no other loses anything", func(e *env) {
		said := e.openDropping(channel.Block)
		slow, hold := e.lagging("sink.slow", channel.Skip), e.reader("sink.hold")
		want := bodies("", 20)
		e.pairs(want[:10]...)
		e.same(e.drain(hold, 10), want[:10]) // nothing is moved before somebody wants room
		e.lost(channel.LostSkip, 0, nil)
		e.pairs(want[10:12]...)
		e.lost(channel.LostSkip, 1, map[string]uint64{"sink.slow": 1, "sink.hold": 0})
		if len(*said) != 1 || (*said)[0].Reader != "sink.slow" || (*said)[0].Loss != channel.LostSkip {
			e.Errorf("it was said: %+v", *said)
		}
		e.same(e.drain(slow, 11), want[1:12])
		e.same(e.drain(hold, 2), want[10:12])
	}},
	{"a reader is not skipped where that makes no room", func(e *env) {
		e.openDropping(channel.Block)
		slow, hold := e.lagging("sink.slow", channel.Skip), e.reader("sink.hold")
		e.pairs(bodies("", 10)...)
		begin := e.begin()
		begin.waits("Begin on a channel that one holds who may")
		e.lost(channel.LostSkip, 0, nil)
		e.must(e.take(hold, 5).Commit()) // in the midst of a transaction
		e.must(begin.ends("Begin, since only the other is in the way"))
		e.lost(channel.LostSkip, 1, map[string]uint64{"sink.slow": 1})
		e.drain(hold, 5)
		e.drain(slow, 9)
	}},
	{"a reader is not skipped for one who has ceased to wait for room", func(e *env) {
		e.openDropping(channel.Block)
		slow, hold := e.lagging("sink.slow", channel.Skip), e.reader("sink.hold")
		want := bodies("", 10)
		e.pairs(want...)
		ctx, stop := context.WithTimeout(e.Context(), time.Minute)
		defer stop()
		_, err := e.ch.Begin(ctx)
		e.is(err, context.DeadlineExceeded)
		e.drain(hold, 10)
		e.lost(channel.LostSkip, 0, nil)
		e.same(e.drain(slow, 10), want)
	}},
	{"a reader is skipped no further than makes room", func(e *env) {
		e.openDropping(channel.Block)
		slow, hold := e.lagging("sink.slow", channel.Skip), e.reader("sink.hold")
		want := bodies("", 11)
		e.put(want[:10]...)
		e.must(e.take(hold, 3).Commit())
		e.put(want[10])
		e.lost(channel.LostSkip, 1, map[string]uint64{"sink.slow": 1})
		e.same(e.drain(slow, 10), want[1:])
		e.same(e.drain(hold, 8), want[3:])
	}},
	{"where a reader can be skipped, nothing is refused, and nothing dropped for others", func(e *env) {
		for _, p := range []channel.FullPolicy{channel.Refuse, channel.DropOldest, channel.DropNewest} {
			e.openDropping(p)
			e.lagging("sink.slow", channel.Skip)
			hold := e.reader("sink.hold")
			e.pairs(bodies("", 10)...)
			e.drain(hold, 10)
			e.pairs("11", "12")
			e.lost(channel.LostSkip, 1, map[string]uint64{"sink.hold": 0})
			e.drain(hold, 2)
			e.options.Dir += fmt.Sprint(p) // the next is another channel
			e.close()
		}
	}},
	{"a lease of a reader that was skipped ends without harm", func(e *env) {
		e.openDropping(channel.Block)
		slow, hold := e.lagging("sink.slow", channel.Skip), e.reader("sink.hold")
		e.pairs(bodies("", 10)...)
		e.drain(hold, 10)
		l := e.take(slow, 4)
		e.pairs("11", "12")
		l.Rollback() // one of it is gone
		e.lost(channel.LostSkip, 1, map[string]uint64{"sink.slow": 1})
		e.drain(slow, 11)
		e.drain(hold, 2)
	}},
	{"a reader that may be detached holds nothing any more, and says so", func(e *env) {
		e.openDropping(channel.Block)
		slow, hold := e.lagging("sink.slow", channel.Detach), e.reader("sink.hold")
		e.pairs(bodies("", 10)...)
		l := e.take(slow, 2)
		waits := e.later(func() error { _, err := slow.Take(e.Context(), channel.Want{}); return err })
		waits.waits("Take while the one lease is out")
		e.drain(hold, 10)
		e.pairs("11", "12")
		e.is(waits.ends("Take of a reader that was detached"), channel.ErrDetached)
		_, err := slow.Take(e.Context(), channel.Want{})
		e.is(err, channel.ErrDetached)
		if !slow.Info().Detached || hold.Info().Detached {
			e.Error("the one that was detached does not say so, or another does")
		}
		e.lost(channel.LostDetach, 8, map[string]uint64{"sink.hold": 0})
		if _, there := e.operator().Stats().Readers["sink.slow"]; there {
			e.Error("it is registered still")
		}
		l.Rollback()
		e.lost(channel.LostDetach, 10, nil)
		again := e.lagging("sink.slow", channel.Detach)
		e.must(slow.Close()) // which is not the one that has the name now
		e.same(e.drain(again, 2), []string{"11", "12"})
		e.drain(hold, 2)
	}},
	{"a reader that was detached and closed is gone", func(e *env) {
		e.openDropping(channel.Block)
		slow, hold := e.lagging("sink.slow", channel.Detach), e.reader("sink.hold")
		e.pairs(bodies("", 10)...)
		e.drain(hold, 10)
		e.pairs("11", "12")
		e.must(slow.Close())
		if _, there := e.operator().Stats().Readers["sink.slow"]; there {
			e.Error("it is registered still")
		}
		e.drain(hold, 2)
	}},
	{"a reader that is closed is not moved", func(e *env) {
		e.openDropping(channel.Block)
		slow, hold := e.lagging("sink.slow", channel.Skip), e.reader("sink.hold")
		e.pairs(bodies("", 10)...)
		e.must(slow.Close())
		e.drain(hold, 10)
		begin := e.begin()
		begin.waits("Begin on a channel that a reader holds whose sink is gone")
		e.lagging("sink.slow", channel.Skip)
		e.must(begin.ends("Begin when its sink is there again"))
		e.lost(channel.LostSkip, 1, nil)
	}},
	{"the last readers are not detached", func(e *env) {
		e.openDropping(channel.Block)
		a, b := e.lagging("sink.a", channel.Detach), e.lagging("sink.b", channel.Detach)
		e.pairs(bodies("", 10)...)
		begin := e.begin()
		begin.waits("Begin on a channel that would have no reader left")
		e.drain(a, 10)
		begin.waits("Begin while the other holds it")
		e.lost(channel.LostDetach, 0, nil)
		e.drain(b, 2)
		e.must(begin.ends("Begin with room"))
	}},
	{"what is too old of a reader that may be skipped goes by itself", func(e *env) {
		e.openDropping(channel.Block)
		e.operator().Resize(channel.Capacity{Age: time.Hour})
		slow, hold := e.lagging("sink.slow", channel.Skip), e.reader("sink.hold")
		e.pairs("1", "2")
		e.drain(hold, 2)
		time.Sleep(time.Hour + 2*time.Second)
		e.lost(channel.LostSkip, 2, map[string]uint64{"sink.slow": 2})
		e.empty(slow)
	}},
}

var durableDropCases = []scenario{
	{"what was dropped does not come again, nor count again, after an opening", func(e *env) {
		e.openDropping(channel.DropOldest)
		r := e.reader("sink.a")
		want := bodies("", 14)
		e.pairs(want[:10]...)
		l := e.take(r, 2)
		e.pairs(want[10:]...)
		l.Rollback()
		e.lost(channel.LostOldest, 3, nil)
		e.reopen()
		r = e.reader("sink.a")
		e.lost(channel.LostOldest, 0, nil)
		e.same(e.drain(r, 11), want[3:])
		e.empty(r)
	}},
	{"a cursor whose events were dropped is there after an opening", func(e *env) {
		e.openDropping(channel.DropNewest)
		e.reader("sink.a")
		e.put(bodies("", 10)...)
		e.must(e.submit(channel.Put{Source: "source.a", Batch: e.batch("11"), Changed: at("11")})())
		e.reopen()
		e.cursorIs("source.a", at("11"))
		e.drain(e.reader("sink.a"), 10)
	}},
	{"a reader that was detached is new after an opening", func(e *env) {
		e.openDropping(channel.Block)
		slow, hold := e.lagging("sink.slow", channel.Detach), e.reader("sink.hold")
		stream := slow.Info().Stream
		e.pairs(bodies("", 10)...)
		e.drain(hold, 10)
		e.pairs("11", "12")
		e.reopen()
		if _, there := e.operator().Stats().Readers["sink.slow"]; there {
			e.Error("it is registered still")
		}
		slow = e.readerOf(channel.ReaderSpec{Name: "sink.slow", Start: channel.Now})
		if slow.Info().Stream == stream {
			e.Error("it has the stream of the one before")
		}
		e.empty(slow)
		e.drain(e.reader("sink.hold"), 2)
	}},
	{"a reader that nobody has open is not moved, whatever it was told before", func(e *env) {
		e.openDropping(channel.Block)
		e.lagging("sink.gone", channel.Skip)
		e.reader("sink.hold")
		e.reopen()
		hold := e.reader("sink.hold")
		e.pairs(bodies("", 10)...)
		e.drain(hold, 10)
		begin := e.begin()
		begin.waits("Begin on a channel that a reader holds whose sink is gone")
		e.must(e.operator().Forget("sink.gone"))
		e.must(begin.ends("Begin when it is forgotten"))
	}},
}
