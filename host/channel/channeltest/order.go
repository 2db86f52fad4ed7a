// SPDX-License-Identifier: Apache-2.0

package channeltest

import (
	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// anyOrder registers a reader that hands out many leases at a time.
func (e *env) anyOrder(name string) channel.Reader {
	e.Helper()
	return e.readerOf(channel.ReaderSpec{Name: name, Order: channel.AnyOrder})
}

// expect takes n events at most and checks what they are and which attempt it is.
func (e *env) expect(r channel.Reader, n, attempt int, want ...string) channel.Lease {
	e.Helper()
	l := e.take(r, n)
	e.same(e.read(l), want)
	if d := l.Delivery(); d.Attempt != attempt {
		e.Fatalf("%q comes as attempt %d, want %d", want, d.Attempt, attempt)
	}
	return l
}

var orderCases = []scenario{
	{"in order, there is one lease at a time", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		e.put("1", "2", "3")
		l := e.expect(r, 1, 1, "1")
		var second channel.Lease
		taking := e.later(func() (err error) {
			second, err = r.Take(e.Context(), channel.Want{Events: 1})
			return err
		})
		taking.waits("a second take")
		e.must(l.Commit())
		e.must(taking.ends("the second take"))
		e.same(e.read(second), []string{"2"})
		third := e.later(func() (err error) {
			l, err = r.Take(e.Context(), channel.Want{Events: 1})
			return err
		})
		third.waits("a third take")
		second.Rollback()
		e.must(third.ends("the third take"))
		e.same(e.read(l), []string{"2"})
		e.must(l.Commit())
		e.expect(r, 0, 1, "3").Rollback()
	}},
	{"in any order, leases end in any order", func(e *env) {
		e.open()
		r := e.anyOrder("sink.a")
		e.put("1", "2", "3", "4")
		one, two := e.expect(r, 1, 1, "1"), e.expect(r, 1, 1, "2")
		three := e.expect(r, 1, 1, "3")
		e.must(two.Commit())
		if info := r.Info(); info.Low != one.Delivery().Range.First || info.Waiting != 3 || info.Leased != 2 {
			e.Fatalf("with the second of three committed: %+v", info)
		}
		one.Rollback()
		again := e.expect(r, 1, 2, "1")
		e.must(three.Commit())
		e.must(again.Commit())
		four := e.expect(r, 1, 1, "4")
		if low := r.Info().Low; low != four.Delivery().Range.First {
			e.Fatalf("low mark is %d, three are committed before %v", low, four.Delivery().Range)
		}
		e.must(four.Commit())
		e.empty(r)
	}},
	{"what was rolled back comes before anything newer, the oldest first", func(e *env) {
		e.open()
		r := e.anyOrder("sink.a")
		e.put(bodies("", 6)...)
		var leases []channel.Lease
		for range 4 {
			leases = append(leases, e.take(r, 1))
		}
		leases[2].Rollback()
		leases[1].Rollback()
		e.must(e.expect(r, 1, 2, "0001").Commit())
		e.must(e.expect(r, 1, 2, "0002").Commit())
		e.must(e.expect(r, 1, 1, "0004").Commit())
		leases[3].Rollback()
		e.must(e.expect(r, 1, 2, "0003").Commit())
		e.must(leases[0].Commit())
		e.same(e.drain(r, 1), []string{"0005"})
		e.empty(r)
	}},
	{"what was rolled back may be taken in smaller pieces, and each keeps its count", func(e *env) {
		e.open()
		r := e.anyOrder("sink.a")
		e.put(bodies("", 8)...)
		e.take(r, 0).Rollback()
		half := e.expect(r, 4, 2, bodies("", 8)[:4]...)
		half.Rollback()
		quarter := e.expect(r, 2, 3, "0000", "0001")
		e.must(quarter.Commit())
		e.must(e.expect(r, 2, 3, "0002", "0003").Commit())
		e.must(e.expect(r, 0, 2, bodies("", 8)[4:]...).Commit())
		e.empty(r)
	}},
	{"what a destination holds is not handed out", func(e *env) {
		e.open()
		r := e.anyOrder("sink.a")
		e.put(bodies("", 10)...)
		first := e.take(r, 1)
		base := first.Delivery().Range.First
		e.must(first.Commit())
		e.must(r.Finish(event.Range{First: base + 1, Next: base + 3}, event.Range{First: base + 2, Next: base + 5}, event.Range{First: base + 7, Next: base + 8}))
		e.must(r.Finish()) // nothing
		if info := r.Info(); info.Waiting != 4 || info.Low != base+5 {
			e.Fatalf("with 0–5 and 7 of 10 done: %+v", info)
		}
		e.same(e.drain(r, 4), []string{"0005", "0006", "0008", "0009"})
		e.empty(r)
	}},
	{"what a destination says beyond what was put, or of what is leased, is ignored", func(e *env) {
		e.open()
		r := e.anyOrder("sink.a")
		e.put(bodies("", 4)...)
		l := e.expect(r, 2, 1, "0000", "0001")
		base := l.Delivery().Range.First
		e.must(r.Finish(event.Range{First: base + 1, Next: base + 3}, event.Range{First: base + 4, Next: base + 1000}, event.Range{First: base + 9, Next: base + 2}))
		e.counts(r, 3, 2)
		e.put("later")
		l.Rollback()
		e.same(e.drain(r, 4), []string{"0000", "0001", "0003", "later"})
		e.empty(r)
	}},
	{"what was rolled back and is held after all does not come again", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		e.put(bodies("", 6)...)
		l := e.take(r, 0)
		span := l.Delivery().Range
		l.Rollback()
		e.must(r.Finish(event.Range{First: span.First + 2, Next: span.First + 4}))
		e.must(e.expect(r, 0, 2, "0000", "0001").Commit())
		e.must(e.expect(r, 0, 2, "0004", "0005").Commit())
		e.empty(r)
	}},
}
