// SPDX-License-Identifier: Apache-2.0

package channeltest

import (
	"context"
	"fmt"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// takeAs takes n events at most for a member of a group, and checks what they are.
func (e *env) takeAs(r channel.Reader, member string, n int, want ...string) channel.Lease {
	e.Helper()
	l := e.takeWant(r, channel.Want{Events: n, Member: member})
	e.same(e.read(l), want)
	return l
}

// hasNothing checks that nothing waits that is a member's own.
func (e *env) hasNothing(r channel.Reader, member string) {
	e.Helper()
	_, err := r.Take(e.Context(), channel.Want{Member: member, Own: true})
	e.is(err, channel.ErrNotOwn)
}

// settle ends the doubt over what a member has of a range, which is so many offsets.
func (e *env) settle(r channel.Reader, member string, held bool, of event.Range, want uint64) {
	e.Helper()
	n, err := r.(channel.Sharer).Settle(member, held, of)
	e.must(err)
	if n != want {
		e.Fatalf("%d offsets of %s were settled, want %d", n, member, want)
	}
}

// everything is a range that has all others in it.
var everything = event.Range{Next: 1 << 60}

var shareCases = []scenario{
	{"what a member was given and has rolled back is its own, and nobody else's", func(e *env) {
		e.open()
		r := e.anyOrder("group.a")
		e.put(bodies("", 6)...)
		e.hasNothing(r, "a")
		e.takeAs(r, "a", 2, "0000", "0001").Rollback()
		e.must(e.takeAs(r, "b", 2, "0002", "0003").Commit())
		if doubt := r.Info().InDoubt; len(doubt) != 1 || doubt[0].Member != "a" || doubt[0].Len() != 2 {
			e.Fatalf("in doubt is %v", doubt)
		}
		e.hasNothing(r, "b")
		own := e.takeWant(r, channel.Want{Member: "a", Own: true})
		e.same(e.read(own), []string{"0000", "0001"})
		e.must(own.Commit())
		e.hasNothing(r, "a")
		e.must(e.takeAs(r, "b", 0, "0004", "0005").Commit())
		e.empty(r)
	}},
	{"a member gets its own before what is new, in its own pieces", func(e *env) {
		e.open()
		r := e.anyOrder("group.a")
		e.put(bodies("", 6)...)
		one, two := e.takeAs(r, "a", 2, "0000", "0001"), e.takeAs(r, "b", 2, "0002", "0003")
		two.Rollback()
		one.Rollback()
		e.must(e.takeAs(r, "b", 1, "0002").Commit())
		e.must(e.takeAs(r, "b", 3, "0003").Commit())
		e.must(e.takeAs(r, "a", 4, "0000", "0001").Commit())
		e.must(e.takeAs(r, "a", 4, "0004", "0005").Commit())
		e.empty(r)
	}},
	{"what a destination holds is nobody's any more", func(e *env) {
		e.open()
		r := e.anyOrder("group.a")
		e.put(bodies("", 4)...)
		l := e.takeAs(r, "a", 3, "0000", "0001", "0002")
		span := l.Delivery().Range
		l.Rollback()
		span.Next--
		e.must(r.Finish(span))
		e.must(e.takeAs(r, "a", 0, "0002").Commit())
		e.hasNothing(r, "a")
		e.must(e.takeAs(r, "b", 0, "0003").Commit())
	}},
	{"what is released goes to whoever comes, but for what is leased", func(e *env) {
		e.open()
		r := e.anyOrder("group.a")
		e.put(bodies("", 4)...)
		e.takeAs(r, "a", 2, "0000", "0001").Rollback()
		l := e.takeAs(r, "a", 1, "0000")
		e.settle(r, "a", false, everything, 1)
		e.settle(r, "b", false, everything, 0)
		e.must(e.takeAs(r, "b", 1, "0001").Commit())
		l.Rollback()
		e.must(e.takeAs(r, "b", 0, "0002", "0003").Commit())
		e.must(e.takeAs(r, "a", 0, "0000").Commit())
		e.empty(r)
	}},
	{"what is said to have arrived is not given to anybody, and the rest stays its member's", func(e *env) {
		e.open()
		r := e.anyOrder("group.a")
		e.put(bodies("", 6)...)
		mine, yours := e.takeAs(r, "a", 3, "0000", "0001", "0002"), e.takeAs(r, "b", 1, "0003")
		span := mine.Delivery().Range
		mine.Rollback()
		yours.Rollback()
		e.settle(r, "a", true, event.Range{First: span.First + 1, Next: span.Next + 1}, 2)
		e.settle(r, "a", true, event.Range{First: span.First + 1, Next: span.Next + 1}, 0)
		if info := r.Info(); info.Waiting != 4 || info.Committed != 2 || info.Held != 2 {
			e.Fatalf("it stands at %+v", info)
		}
		e.must(e.takeAs(r, "a", 3, "0000").Commit())
		e.hasNothing(r, "a")
		e.must(e.takeAs(r, "b", 3, "0003").Commit())
		e.must(e.takeAs(r, "c", 0, "0004", "0005").Commit())
		e.empty(r)
		e.must(r.Close())
		_, err := r.(channel.Sharer).Settle("a", true, everything)
		e.is(err, channel.ErrClosed)
	}},
	{"no more is given away than a position keeps", func(e *env) {
		e.open()
		r := e.anyOrder("group.a")
		e.put(bodies("", channel.MaxShares+2)...)
		for i := range channel.MaxShares + 1 {
			ctx, stop := context.WithTimeout(e.Context(), time.Minute)
			l, err := r.Take(ctx, channel.Want{Events: 1, Member: fmt.Sprint("m", i)})
			stop()
			if err == nil {
				l.Rollback()
				continue
			}
			if e.is(err, context.DeadlineExceeded); i != channel.MaxShares {
				e.Fatalf("the bound is met with %d", i)
			}
			e.must(e.takeAs(r, "m7", 1, "0007").Commit()) // each gets its own still, and makes room
			e.takeAs(r, "new", 1, fmt.Sprintf("%04d", channel.MaxShares)).Rollback()
			return
		}
		e.Fatal("there is no bound")
	}},
}

var durableShareCases = []scenario{
	{"what a member was given is its own after an opening too", func(e *env) {
		e.open()
		r := e.anyOrder("group.a")
		e.put(bodies("", 6)...)
		e.takeAs(r, "a", 2, "0000", "0001").Rollback()
		e.must(e.takeAs(r, "b", 2, "0002", "0003").Commit())
		e.reopen()
		r = e.anyOrder("group.a")
		e.hasNothing(r, "c")
		e.must(e.takeAs(r, "a", 0, "0000", "0001").Commit())
		e.must(e.takeAs(r, "b", 0, "0004", "0005").Commit()) // it was to get them, and may have
		e.put("6")
		e.must(e.takeAs(r, "c", 0, "6").Commit())
		e.reopen()
		e.empty(e.anyOrder("group.a"))
	}},
	{"what was settled stays so", func(e *env) {
		e.open()
		r := e.anyOrder("group.a")
		e.put("1", "2")
		e.takeAs(r, "a", 1, "1").Rollback()
		e.settle(r, "a", false, everything, 1)
		e.reopen()
		r = e.anyOrder("group.a")
		e.hasNothing(r, "a")
		e.must(e.takeAs(r, "b", 1, "1").Commit())
		e.takeAs(r, "b", 0, "2").Rollback()
		e.settle(r, "b", true, everything, 1)
		e.reopen()
		e.empty(e.anyOrder("group.a"))
	}},
}
