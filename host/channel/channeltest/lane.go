// SPDX-License-Identifier: Apache-2.0

package channeltest

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// layout names the readers of count lanes by the body, which is an attribute of every event here.
func layout(count int) []channel.ReaderSpec {
	specs := make([]channel.ReaderSpec, count)
	for i := range specs {
		lane := channel.Lane{Key: "of", Index: uint32(i), Count: uint32(count)}
		specs[i] = channel.ReaderSpec{Name: "sink.a/" + lane.String(), Lane: lane}
	}
	return specs
}

func namesOf(specs []channel.ReaderSpec) (names []string) {
	for _, s := range specs {
		names = append(names, s.Name)
	}
	return names
}

// inLane is what a lane has of these bodies.
func inLane(lane channel.Lane, bodies []string) []string {
	return slices.DeleteFunc(slices.Clone(bodies), func(body string) bool {
		e := made(body)
		return !lane.Has(&e)
	})
}

func (e *env) openLanes(specs []channel.ReaderSpec) []channel.Reader {
	e.Helper()
	var readers []channel.Reader
	for _, s := range specs {
		readers = append(readers, e.readerOf(s))
	}
	return readers
}

// putParts commits bodies in transactions of seven events.
func (e *env) putParts(bodies []string) {
	e.Helper()
	for part := range slices.Chunk(bodies, 7) {
		e.put(part...)
	}
}

// drained checks that a reader has handed over, and has all that it will ever get.
func (e *env) drained(r channel.Reader) {
	e.Helper()
	_, err := r.Take(e.Context(), channel.Want{})
	e.is(err, channel.ErrDrained)
	e.counts(r, 0, 0)
}

var laneCases = []scenario{
	{"the lanes together get every event once, each in order", func(e *env) {
		e.open()
		specs, all := layout(4), bodies("", 300)
		readers := e.openLanes(specs)
		e.putParts(all[:200])
		for i, r := range readers {
			want := inLane(specs[i].Lane, all[:200])
			e.same(e.drain(r, len(want)), want)
		}
		e.putParts(all[200:])
		for i, r := range readers {
			want := inLane(specs[i].Lane, all[200:])
			e.same(e.drain(r, len(want)), want)
			e.empty(r)
			e.counts(r, 0, 0)
		}
		if s := e.operator().Stats(); s.Events != 0 {
			e.Errorf("%d events are held after every lane has all", s.Events)
		}
	}},
	{"the ranges of a lane's leases follow each other without a gap, and what is left out counts as covered", func(e *env) {
		e.open()
		specs, all := layout(3), bodies("", 100)
		r := e.readerOf(specs[1])
		next := r.Info().Low
		e.putParts(all)
		for got := 0; got < len(inLane(specs[1].Lane, all)); {
			l := e.take(r, 5)
			d := l.Delivery()
			if d.Range.First != next || d.Batch.Len() == 0 || d.Batch.Len() > 5 {
				e.Fatalf("%d events in %v, the one before ended at %d", d.Batch.Len(), d.Range, next)
			}
			next = d.Range.Next
			got += d.Batch.Len()
			e.must(l.Commit())
		}
		e.empty(r)
		if low := r.Info().Low; low < next {
			e.Errorf("low is %d, the last lease ended at %d", low, next)
		}
	}},
	{"a lane with nothing in it holds no space", func(e *env) {
		e.options.Capacity.Events = 8
		e.options.OnFull = channel.Refuse
		e.open()
		specs := layout(2)
		readers := e.openLanes(specs)
		mine := inLane(specs[0].Lane, bodies("", 100))[:8]
		e.put(mine...)
		e.empty(readers[1])
		e.counts(readers[1], 0, 0)
		e.same(e.drain(readers[0], 8), mine)
		e.put("1")
	}},
	{"what a lane rolls back comes again to it, in order and with its count", func(e *env) {
		e.open()
		specs := layout(2)
		r := e.readerOf(specs[0])
		all := bodies("", 60)
		mine := inLane(specs[0].Lane, all)
		e.putParts(all)
		l := e.take(r, 10)
		e.same(e.read(l), mine[:10])
		span := l.Delivery().Range
		l.Rollback()
		e.must(e.expect(r, 4, 2, mine[:4]...).Commit())
		again := e.expect(r, 100, 2, mine[4:10]...)
		if again.Delivery().Range.Next != span.Next {
			e.Fatalf("it was %v, and ends as %v", span, again.Delivery().Range)
		}
		e.must(again.Commit())
		e.same(e.drain(r, len(mine)-10), mine[10:])
		e.empty(r)
	}},
	{"what a destination holds of a lane is not handed out", func(e *env) {
		e.open()
		specs := layout(2)
		r := e.readerOf(specs[0])
		all := bodies("", 60)
		mine := inLane(specs[0].Lane, all)
		e.put(all...)
		l := e.take(r, 6)
		span := l.Delivery().Range
		l.Rollback()
		e.must(r.Finish(event.Range{First: span.First, Next: span.First + 1}, event.Range{First: span.Next, Next: span.Next + 1000}))
		got := e.drain(r, 5)
		if !slices.IsSorted(got) || got[len(got)-1] != mine[5] {
			e.Fatalf("got %q of %q", got, mine[:6])
		}
		if len(got) == 5 && got[0] == mine[0] {
			e.same(e.drain(r, 1), mine[5:6])
		}
		e.empty(r)
	}},
	{"a lane gathers as long as it is told, and then gives what there is", func(e *env) {
		e.open()
		specs := layout(2)
		r := e.readerOf(specs[0])
		mine := inLane(specs[0].Lane, bodies("", 50))
		var l channel.Lease
		taking := e.later(func() (err error) {
			l, err = r.Take(e.Context(), channel.Want{Events: 3, Wait: time.Minute})
			return err
		})
		e.put(mine[0])
		taking.waits("a take of one event")
		e.put(inLane(specs[1].Lane, bodies("", 50))...)
		e.put(mine[1])
		taking.waits("a take of two events")
		e.put(mine[2], mine[3])
		e.must(taking.ends("the take"))
		e.same(e.read(l), mine[:3])
		e.must(l.Commit())
		start := time.Now()
		l = e.takeWant(r, channel.Want{Events: 3, Wait: time.Second})
		if took := time.Since(start); took != time.Second {
			e.Errorf("it gathered for %v", took)
		}
		e.same(e.read(l), mine[3:4])
		l.Rollback()
	}},
	{"a take of a lane ends with its context, and gives back what it gathered", func(e *env) {
		e.open()
		specs := layout(2)
		r := e.readerOf(specs[0])
		e.put(inLane(specs[0].Lane, bodies("", 9))...)
		ctx, stop := context.WithCancel(e.Context())
		taking := e.later(func() error {
			_, err := r.Take(ctx, channel.Want{Events: 1000, Wait: time.Hour})
			return err
		})
		taking.waits("a take")
		stop()
		e.is(taking.ends("the take"), context.Canceled)
	}},
	{"a reader that was registered for a lane is not opened for another", func(e *env) {
		e.open()
		specs := layout(4)
		e.must(e.readerOf(specs[1]).Close())
		for _, other := range []channel.Lane{{}, {Key: "of", Index: 2, Count: 4}, {Key: "of", Index: 1, Count: 3}, {Key: "by", Index: 1, Count: 4}} {
			spec := specs[1]
			spec.Lane = other
			if _, err := e.ch.Reader(spec); err == nil || !strings.Contains(err.Error(), "of/1-of-4") {
				e.Errorf("opened for %v: %v", other, err)
			}
		}
		if info := e.readerOf(specs[1]).Info(); info.Lane != specs[1].Lane {
			e.Errorf("its lane is %v", info.Lane)
		}
		_, err := e.ch.Reader(channel.ReaderSpec{Name: "sink.b", Lane: channel.Lane{Key: "of", Index: 4, Count: 4}})
		e.is(err, channel.ErrLimit)
	}},
	{"readers that hand over get all that was before, the new ones all behind it", func(e *env) {
		e.open()
		all, specs := bodies("", 90), layout(3)
		r := e.reader("sink.a")
		e.putParts(all[:30])
		out := e.take(r, 7)
		e.must(e.operator().Handover([]string{"sink.a"}, specs))
		if info := r.Info(); info.End == 0 || info.Waiting != 30 {
			e.Fatalf("the old reader: %+v", info)
		}
		lanes := e.openLanes(specs)
		e.putParts(all[30:])
		for i, l := range lanes {
			want := inLane(specs[i].Lane, all[30:])
			e.same(e.drain(l, len(want)), want)
			e.empty(l)
		}
		e.must(out.Commit())
		e.same(e.drain(r, 23), all[7:30])
		e.drained(r)
		e.conserves()
		e.must(r.Close())
		e.must(e.operator().Forget("sink.a"))
		if s := e.operator().Stats(); s.Events != 0 || len(s.Readers) != 3 {
			e.Errorf("%d events are held by %d readers", s.Events, len(s.Readers))
		}
	}},
	{"a take that waits is told that the reader is drained, and one that still has a lease waits for it", func(e *env) {
		e.open()
		r := e.anyOrder("sink.a")
		take := func() error {
			_, err := r.Take(e.Context(), channel.Want{})
			return err
		}
		e.put("1")
		l := e.take(r, 0)
		taking := e.later(take)
		taking.waits("a take with all that there is out")
		e.must(e.operator().Handover([]string{"sink.a"}, layout(2)))
		taking.waits("with a lease out, a take")
		e.must(l.Commit())
		e.is(taking.ends("the take"), channel.ErrDrained)
		idle := e.reader("sink.b")
		taking = e.later(func() error {
			_, err := idle.Take(e.Context(), channel.Want{})
			return err
		})
		taking.waits("a take of nothing")
		e.must(e.operator().Handover([]string{"sink.b"}, nil))
		e.is(taking.ends("that take"), channel.ErrDrained)
	}},
	{"nothing is put for a reader alone that has handed over", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		e.only("sink.a", "before")
		e.must(e.operator().Handover([]string{"sink.a"}, layout(2)))
		e.is(e.submit(channel.Put{Source: "dead", Batch: e.batch("behind its end"), Only: "sink.a"})(), channel.ErrNoReader)
		e.same(e.drain(r, 1), []string{"before"})
		e.drained(r)
	}},
	{"lanes hand over to other lanes, and a lane that has nothing left is drained", func(e *env) {
		e.open()
		all, old, next := bodies("", 40), layout(4), layout(3)
		lanes := e.openLanes(old)
		e.put(all[:20]...)
		e.must(e.operator().Handover(namesOf(old), next))
		e.put(all[20:]...)
		for i, l := range lanes {
			want := inLane(old[i].Lane, all[:20])
			e.same(e.drain(l, len(want)), want)
			e.drained(l)
		}
		for i, l := range e.openLanes(next) {
			want := inLane(next[i].Lane, all[20:])
			e.same(e.drain(l, len(want)), want)
		}
	}},
	{"of what a policy gives up, a lane has no event any more and counts each one, whoever's it was", func(e *env) {
		e.openDropping(channel.DropOldest)
		specs, all := layout(2), bodies("", 30)
		readers := e.openLanes(specs)
		e.pairs(all...)
		for i, r := range readers {
			want := inLane(specs[i].Lane, all[19:])
			e.same(e.drain(r, len(want)), want)
			e.empty(r)
		}
		e.lost(channel.LostOldest, 19, map[string]uint64{specs[0].Name: 19, specs[1].Name: 19})
	}},
	{"readers that are registered together begin together", func(e *env) {
		e.open()
		slow := e.reader("sink.slow")
		e.put(bodies("", 10)...)
		specs := layout(3)
		for i := range specs {
			specs[i].Start = channel.Now
		}
		e.must(e.operator().Handover(nil, specs))
		oldest := channel.ReaderSpec{Name: "sink.oldest"}
		e.must(e.operator().Handover(nil, []channel.ReaderSpec{oldest}))
		e.put("new")
		n := 0
		for _, l := range e.openLanes(specs) {
			n += int(l.Info().Waiting)
		}
		if n != 3 { // each looks at the one
			e.Errorf("%d wait", n)
		}
		e.same(e.drain(e.readerOf(oldest), 11), append(bodies("", 10), "new"))
		e.same(e.drain(slow, 11), append(bodies("", 10), "new"))
	}},
	{"a handover that cannot be changes nothing", func(e *env) {
		e.open()
		a, b := e.reader("sink.a"), e.reader("sink.b")
		e.put("1")
		for _, err := range []error{
			e.operator().Handover([]string{"sink.nobody"}, layout(2)),
			e.operator().Handover([]string{"sink.a", "sink.nobody"}, layout(2)),
			e.operator().Handover([]string{"sink.a"}, []channel.ReaderSpec{{Name: "sink.b"}}),
			e.operator().Handover([]string{"sink.a"}, append(layout(2), layout(2)[0])),
			e.operator().Handover([]string{"sink.a"}, []channel.ReaderSpec{{Name: ""}}),
		} {
			if err == nil {
				e.Error("it was done")
			}
		}
		if n := len(e.operator().Stats().Readers); n != 2 {
			e.Errorf("there are %d readers", n)
		}
		e.same(e.drain(a, 1), []string{"1"})
		e.empty(a)
		e.must(e.operator().Handover([]string{"sink.a"}, layout(2)))
		if err := e.operator().Handover([]string{"sink.a"}, layout(3)); err == nil {
			e.Error("it handed over twice")
		}
		e.same(e.drain(b, 1), []string{"1"})
	}},
}

var laneDurable = []scenario{
	{"lanes stand where they stood, over an opening", func(e *env) {
		e.open()
		specs, all := layout(3), bodies("", 120)
		readers := e.openLanes(specs)
		e.putParts(all[:60])
		want := inLane(specs[0].Lane, all)
		e.must(e.expect(readers[0], 5, 1, want[:5]...).Commit())
		e.reopen()
		e.putParts(all[60:])
		for i, r := range e.openLanes(specs) {
			mine := inLane(specs[i].Lane, all)
			if i == 0 {
				mine = mine[5:]
			}
			e.same(e.drain(r, len(mine)), mine)
			e.empty(r)
		}
		_, err := e.ch.Reader(channel.ReaderSpec{Name: specs[0].Name})
		if err == nil {
			e.Error("a lane was opened for everything")
		}
	}},
	{"a handover is there after an opening, whatever was drained of it", func(e *env) {
		e.open()
		all, specs := bodies("", 60), layout(2)
		r := e.reader("sink.a")
		e.putParts(all[:30])
		e.must(e.operator().Handover([]string{"sink.a"}, specs))
		e.putParts(all[30:50])
		e.same(e.drain(r, 30), all[:30])
		e.drained(r)
		e.reopen()
		e.putParts(all[50:])
		e.conserves()
		r = e.reader("sink.a")
		e.drained(r)
		e.must(r.Close())
		e.must(e.operator().Forget("sink.a"))
		e.reopen()
		for i, l := range e.openLanes(specs) {
			want := inLane(specs[i].Lane, all[30:])
			e.same(e.drain(l, len(want)), want)
			e.empty(l)
		}
		if n := len(e.operator().Stats().Readers); n != 2 {
			e.Errorf("there are %d readers", n)
		}
	}},
}
