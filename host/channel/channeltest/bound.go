// SPDX-License-Identifier: Apache-2.0

package channeltest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/penstock-io/penstock/host/channel"
)

// putMany commits more events than a reader may have in separate pieces, and returns their bodies.
func (e *env) putMany() []string {
	e.Helper()
	all := bodies("", 5*channel.MaxFinished/4)
	var waits []func() error
	for part := range slices.Chunk(all, 16) {
		waits = append(waits, e.submit(channel.Put{Source: "source.a", Batch: e.batch(part...)}))
	}
	for _, wait := range waits {
		e.must(wait())
	}
	return all
}

// scatter takes one event at a time and commits every second one, until nothing more is handed out; it
// returns what is still leased, and the bodies of that.
func (e *env) scatter(r channel.Reader) (held []channel.Lease, bodies []string) {
	e.Helper()
	for i := 0; ; i++ {
		ctx, stop := context.WithTimeout(e.Context(), time.Second)
		l, err := r.Take(ctx, channel.Want{Events: 1})
		stop()
		if err != nil {
			e.is(err, context.DeadlineExceeded)
			return held, bodies
		}
		if i%2 == 1 {
			e.must(l.Commit())
			continue
		}
		held = append(held, l)
		bodies = append(bodies, e.read(l)...)
	}
}

var boundCases = []scenario{
	{"a take waits while what is committed is in as many pieces as a reader may have", func(e *env) {
		e.open()
		r := e.anyOrder("sink.a")
		all := e.putMany()
		held, _ := e.scatter(r)
		if n := 2 * len(held); n < channel.MaxFinished/2 || n > channel.MaxFinished+2 {
			e.Fatalf("%d leases were handed out, the bound is %d", n, channel.MaxFinished)
		}
		e.counts(r, uint64(len(all)-len(held)), uint64(len(held)))
		held[0].Rollback()
		e.must(e.expect(r, 1, 2, all[0]).Commit()) // what was rolled back is not in the way of itself
		for _, l := range held[1:] {
			e.must(l.Commit())
		}
		e.same(e.drain(r, len(all)-2*len(held)), all[2*len(held):])
		e.empty(r)
	}},
	{"more pieces of what is for another reader than a reader may finish are passed over", func(e *env) {
		e.open()
		slow, other := e.reader("sink.slow"), e.reader("sink.other")
		var waits []func() error
		var want []string
		for i := range channel.MaxFinished + 100 {
			body := fmt.Sprint(i)
			want = append(want, body)
			waits = append(waits,
				e.submit(channel.Put{Source: "source.a", Batch: e.batch(body)}),
				e.submit(channel.Put{Source: "source.a", Batch: e.batch("other"), Only: "sink.other"}))
		}
		for _, wait := range waits {
			e.must(wait())
		}
		e.same(e.drain(slow, len(want)), want)
		e.empty(slow)
		e.counts(slow, 0, 0)
		if got := e.drain(other, 2*len(want)); len(got) != 2*len(want) {
			e.Fatalf("the other got %d", len(got))
		}
	}},
}

var boundDurable = scenario{
	"as many pieces as a reader may have are kept over an opening", func(e *env) {
		e.open()
		r := e.anyOrder("sink.a")
		all := e.putMany()
		held, want := e.scatter(r)
		e.reopen()
		for _, l := range held {
			l.Rollback() // frees what it held
		}
		e.same(e.drain(e.anyOrder("sink.a"), len(all)-len(held)), append(want, all[2*len(held):]...))
	},
}
