// SPDX-License-Identifier: Apache-2.0

package channeltest

import (
	"fmt"
	"slices"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

var durableCases = []scenario{
	{"what was committed is there after close and open, what was rolled back is not", func(e *env) {
		e.open()
		want := bodies("line", 50)
		e.reader("sink.a")
		e.put(want[:20]...)
		tx, err := e.ch.Begin(e.Context())
		e.must(err)
		e.must(tx.Put(channel.Put{Source: "source.a", Batch: e.batch("never"), Changed: at("never")}))
		tx.Rollback()
		e.put(want[20:]...)
		e.reopen()
		e.cursorIs("source.a", nil)
		r := e.reader("sink.a")
		e.counts(r, 50, 0)
		e.same(e.drain(r, 50), want)
		e.empty(r)
	}},
	{"a reader goes on where it stood", func(e *env) {
		e.open()
		want := bodies("line", 30)
		r := e.reader("sink.a")
		e.put(want...)
		e.must(e.expect(r, 10, 1, want[:10]...).Commit())
		before := r.Info()
		e.reopen()
		r = e.reader("sink.a")
		if info := r.Info(); info.Stream != before.Stream || info.Low != before.Low {
			e.Fatalf("it stood at %+v, it stands at %+v", before, info)
		}
		e.same(e.drain(r, 20), want[10:])
		e.reopen()
		e.empty(e.reader("sink.a"))
	}},
	{"how old an event is does not change with an opening", func(e *env) {
		e.options.Capacity.Age = time.Hour
		e.open()
		e.reader("sink.a")
		e.put("1")
		time.Sleep(50 * time.Minute)
		e.reopen()
		r := e.reader("sink.a")
		e.must(e.begin().ends("Begin before the event is an hour old"))
		e.put("2")
		time.Sleep(10 * time.Minute)
		begin := e.begin()
		begin.waits("Begin when it is")
		e.must(e.take(r, 1).Commit())
		e.must(begin.ends("Begin when it is gone"))
		e.drain(r, 1)
	}},
	{"ranges committed out of order are kept", func(e *env) {
		e.open()
		r := e.anyOrder("sink.a")
		e.put(bodies("", 6)...)
		one := e.take(r, 2)
		e.must(e.expect(r, 2, 1, "0002", "0003").Commit())
		one.Rollback()
		e.reopen()
		r = e.anyOrder("sink.a")
		e.counts(r, 4, 0)
		e.same(e.drain(r, 4), []string{"0000", "0001", "0004", "0005"})
		e.empty(r)
	}},
	{"what was leased and not committed comes again", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		e.put("1", "2")
		l := e.take(r, 1)
		e.close()
		l.Rollback()
		e.open()
		e.same(e.drain(e.reader("sink.a"), 2), []string{"1", "2"})
	}},
	{"each opening has its own incarnation, which begins at a new multiple of 2^32", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		var last channel.Incarnation
		seen := map[uint64]bool{}
		next := event.Offset(0)
		for i := range 4 {
			all := r.Info().Incarnations
			now := all[len(all)-1]
			if now.First%(1<<32) != 0 || seen[now.ID] || i > 0 && now.First <= last.First {
				e.Fatalf("incarnation %+v after %+v", now, last)
			}
			if last.Next = last.First + 1; i > 0 && (!slices.Contains(all, last) || now.Next != 0) { // one event was put, and the newest goes on
				e.Fatalf("%+v is not among %+v any more", last, all)
			}
			last, seen[now.ID] = now, true
			e.put("event")
			l := e.take(r, 0)
			if d := l.Delivery(); d.Range.First < now.First || d.Range.First < next {
				e.Fatalf("offset %d in incarnation %+v, after %d", d.Range.First, now, next)
			}
			next = l.Delivery().Range.Next
			e.must(l.Commit())
			e.reopen()
			r = e.reader("sink.a")
		}
	}},
	{"events of two openings come in order, and never in one lease", func(e *env) {
		e.open()
		e.reader("sink.a")
		e.put("1", "2")
		e.reopen()
		r := e.reader("sink.a")
		e.put("3")
		e.counts(r, 3, 0)
		e.must(e.expect(r, 0, 1, "1", "2").Commit())
		e.must(e.expect(r, 0, 1, "3").Commit())
		e.counts(r, 0, 0)
		e.empty(r)
		if s := e.operator().Stats(); s.Events != 0 {
			e.Errorf("%d events are held after all are committed", s.Events)
		}
	}},
	{"cursors are kept, with version and move, and so is that one is gone", func(e *env) {
		e.open()
		e.move(event.Cursor{"a": []byte("1"), "b": []byte("1")})
		e.must(e.submit(channel.Put{Source: "source.b", Changed: at("1"), Version: 2, Move: 3})())
		e.must(e.submit(channel.Put{Source: "source.c", Changed: at("1")})())
		e.reopen()
		e.move(event.Cursor{"a": nil, "b": []byte("2")})
		e.must(e.submit(channel.Put{Source: "source.c", Removed: true})())
		e.reopen()
		e.cursorIs("source.a", event.Cursor{"b": []byte("2")})
		e.positionIs("source.b", at("1"), 2, 3)
		e.cursorIs("source.c", nil)
	}},
	{"an idle source keeps its cursor while others fill and empty the channel", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		e.must(e.submit(channel.Put{Source: "source.idle", Changed: at("here")})())
		body := string(make([]byte, 256<<10))
		for round := range 3 {
			for i := range 20 {
				e.must(e.submit(channel.Put{Source: "source.busy", Batch: e.batch(body, body), Changed: at(fmt.Sprint(round, i))})())
				e.drain(r, 2)
			}
			e.reopen()
			r = e.reader("sink.a")
		}
		e.cursorIs("source.idle", at("here"))
		e.cursorIs("source.busy", at("2 19"))
	}},
	{"a reader that nobody has open holds the events, until it is forgotten", func(e *env) {
		e.options.Capacity.Events = 4
		e.options.OnFull = channel.Refuse
		e.open()
		a := e.reader("sink.a")
		stream := e.reader("sink.gone").Info().Stream
		e.put(bodies("", 4)...)
		e.drain(a, 4)
		e.reopen()
		a = e.reader("sink.a")
		e.empty(a)
		_, err := e.ch.Begin(e.Context())
		e.is(err, channel.ErrFull)
		if info, ok := e.operator().Stats().Readers["sink.gone"]; !ok || info.Waiting != 4 {
			e.Fatalf("the reader that nobody has open: %+v", info)
		}
		e.must(e.operator().Forget("sink.gone"))
		e.put("5")
		e.same(e.drain(a, 1), []string{"5"})
		e.reopen()
		again := e.reader("sink.gone")
		if again.Info().Stream == stream {
			e.Error("forgotten and registered again, it has the same stream")
		}
	}},
	{"a new reader may be registered at any time, and starts where it was told", func(e *env) {
		e.open()
		a := e.reader("sink.a")
		e.put("1")
		e.readerOf(channel.ReaderSpec{Name: "sink.now", Start: channel.Now})
		e.put("2")
		e.drain(a, 2)
		e.reopen()
		e.same(e.drain(e.readerOf(channel.ReaderSpec{Name: "sink.now", Start: channel.Now}), 1), []string{"2"})
	}},
	{"what is for one reader only is so after close and open", func(e *env) {
		e.open()
		e.reader("sink.a")
		e.reader("sink.b")
		e.put("1")
		e.only("sink.a", "again")
		e.put("2")
		e.reopen()
		e.same(e.drain(e.reader("sink.a"), 3), []string{"1", "again", "2"})
		b := e.reader("sink.b")
		e.same(e.drain(b, 2), []string{"1", "2"})
		e.empty(b)
	}},
	{"what a destination holds of an earlier opening is not handed out", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		e.put(bodies("", 6)...)
		l := e.take(r, 0)
		span := l.Delivery().Range
		e.close()
		l.Rollback()
		e.open()
		r = e.reader("sink.a")
		e.put("new")
		e.must(r.Finish(event.Range{First: span.First, Next: span.First + 4}))
		e.same(e.drain(r, 3), []string{"0004", "0005", "new"})
	}},
	{"a backlog of many batches comes out whole", func(e *env) {
		e.open()
		e.reader("sink.a")
		var want []string
		for i := range 60 {
			more := bodies(fmt.Sprintf("%d-%s", i, string(make([]byte, 1000))), 30)
			e.put(more...)
			want = append(want, more...)
		}
		e.reopen()
		e.same(e.drainWant(e.reader("sink.a"), channel.Want{Events: 77, Bytes: 100 << 10}, len(want)), want)
	}},
}
