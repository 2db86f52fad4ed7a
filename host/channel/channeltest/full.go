// SPDX-License-Identifier: Apache-2.0

package channeltest

import (
	"context"
	"strings"
	"time"

	"github.com/penstock-io/penstock/host/channel"
)

// begin starts a transaction at the side and gives it back at once.
func (e *env) begin() *pending {
	return e.later(func() error {
		tx, err := e.ch.Begin(e.Context())
		if err == nil {
			tx.Rollback()
		}
		return err
	})
}

var fullCases = []scenario{
	{"a full channel lets nobody begin until a take is committed", func(e *env) {
		e.options.Capacity.Events = 10
		e.open()
		r := e.reader("sink.a")
		e.put(bodies("", 10)...)
		waiters := []*pending{e.begin(), e.begin()}
		waiters[0].waits("Begin on a full channel")
		l := e.take(r, 4)
		waiters[0].waits("Begin while the take is not committed")
		l.Rollback()
		waiters[0].waits("Begin while the take is rolled back")
		e.must(e.take(r, 4).Commit())
		for _, w := range waiters {
			e.must(w.ends("Begin with room"))
		}
		e.put(bodies("", 10)...) // one transaction may go over
		e.begin().waits("Begin on a channel that is full again")
		e.drain(r, 16)
	}},
	{"a full channel refuses where that is its policy", func(e *env) {
		e.options.Capacity.Events = 10
		e.options.OnFull = channel.Refuse
		var reasons []string
		e.options.Observer.Refused = func(reason string) { reasons = append(reasons, reason) }
		e.open()
		r := e.reader("sink.a")
		e.put(bodies("", 10)...)
		begun := time.Now()
		ctx, stop := context.WithTimeout(e.Context(), time.Second)
		defer stop()
		_, err := e.ch.Begin(ctx)
		e.is(err, channel.ErrFull)
		if took := time.Since(begun); took > 0 {
			e.Errorf("it took %v to refuse", took)
		}
		if got := strings.Join(reasons, " "); got != "full" {
			e.Errorf("the observer was told %q", got)
		}
		e.must(e.take(r, 1).Commit())
		e.put("there is room")
		e.drain(r, 10)
	}},
	{"Begin on a full channel ends with its context", func(e *env) {
		e.options.Capacity.Events = 1
		e.open()
		e.reader("sink.a")
		e.put("1")
		ctx, stop := context.WithTimeout(e.Context(), time.Second)
		defer stop()
		_, err := e.ch.Begin(ctx)
		e.is(err, context.DeadlineExceeded)
	}},
	{"Close ends a Begin that waits", func(e *env) {
		e.options.Capacity.Events = 1
		e.open()
		e.reader("sink.a")
		e.put("1")
		begin := e.begin()
		begin.waits("Begin on a full channel")
		e.close()
		e.is(begin.ends("Begin on a closed channel"), channel.ErrClosed)
	}},
	{"what a destination holds already makes room", func(e *env) {
		e.options.Capacity.Events = 4
		e.open()
		r := e.reader("sink.a")
		e.put(bodies("", 4)...)
		begin := e.begin()
		begin.waits("Begin on a full channel")
		l := e.take(r, 0)
		held := l.Delivery().Range
		l.Rollback()
		e.must(r.Finish(held))
		e.must(begin.ends("Begin with room"))
	}},
	{"a larger capacity lets in who waits", func(e *env) {
		e.options.Capacity.Events = 2
		e.open()
		r := e.reader("sink.a")
		e.put("1", "2")
		begin := e.begin()
		begin.waits("Begin on a full channel")
		e.operator().Resize(channel.Capacity{Events: 3})
		e.must(begin.ends("Begin with room"))
		e.operator().Resize(channel.Capacity{Events: 1})
		e.begin().waits("Begin under a smaller capacity")
		if got := e.operator().Stats().Capacity; got.Events != 1 {
			e.Errorf("the capacity is said to be %+v", got)
		}
		e.drain(r, 2)
	}},
	{"a capacity in bytes holds, and comes back", func(e *env) {
		e.options.Capacity.Bytes = 1 << 20
		e.open()
		r := e.reader("sink.a")
		body := strings.Repeat("b", 64<<10)
		var begin *pending
		n := 0
		for ; n < 64; n++ {
			ctx, stop := context.WithTimeout(e.Context(), time.Minute)
			tx, err := e.ch.Begin(ctx)
			stop()
			if err != nil {
				e.is(err, context.DeadlineExceeded)
				break
			}
			e.must(tx.Put(channel.Put{Source: "source.a", Batch: e.batch(body)}))
			e.must(tx.Submit()())
		}
		if n > 17 {
			e.Fatalf("%d events of 64 KiB went into 1 MiB", n)
		}
		begin = e.begin()
		begin.waits("Begin on a full channel")
		e.drain(r, n)
		e.must(begin.ends("Begin on an empty channel"))
	}},
	{"a channel is full when what it holds is too old", func(e *env) {
		e.options.Capacity.Age = time.Hour
		e.open()
		r := e.reader("sink.a")
		time.Sleep(2 * time.Hour)
		e.put("1") // nothing is not old
		time.Sleep(30 * time.Minute)
		e.put("2")
		time.Sleep(30 * time.Minute)
		begin := e.begin()
		begin.waits("Begin with an event that is an hour old")
		e.must(e.take(r, 1).Commit())
		e.must(begin.ends("Begin with an event that is half as old"))
		time.Sleep(30 * time.Minute)
		begin = e.begin()
		begin.waits("Begin with an event that is an hour old")
		e.operator().Resize(channel.Capacity{Age: 2 * time.Hour})
		e.must(begin.ends("Begin where events may be older"))
		e.operator().Resize(channel.Capacity{Age: time.Minute})
		e.begin().waits("Begin where they may not")
		e.drain(r, 1)
		e.put("there is room")
	}},
}
