// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// pick is cut for a reader with a lane: it covers what is in others.
func (r *reader) pick(want channel.Want) (cut, bool) {
	for {
		next, attempt := r.next(want)
		if next.Empty() {
			return cut{}, false
		}
		out := cut{attempt: attempt, span: event.Range{First: next.First, Next: next.First}, enough: next.Next < r.c.end, mine: &channel.Ranges{}}
		events, size := 0, event.HeaderSize
		room := func(e event.Event) bool {
			n := encoded(e)
			if events > 0 && tooMuch(events+1, size+n, want) {
				return false
			}
			events, size = events+1, size+n
			return true
		}
		for _, rec := range r.c.queue[r.c.find(next.First):] {
			span := rec.span().Intersect(next)
			if span.Empty() || r.passes(rec) && events > 0 {
				break
			}
			if !r.passes(rec) {
				mine, end := r.spec.Lane.Pick(rec.batch, span, room)
				if mine.Count() > 0 {
					out.parts = append(out.parts, rec.batch)
				}
				for m := range mine.All() {
					out.mine.Add(m)
				}
				span.Next, out.enough = end, out.enough || end < span.Next
			}
			if out.span.Next = span.Next; out.enough && span.Next < rec.next {
				break
			}
		}
		if events > 0 {
			out.enough = out.enough || out.span.Next < next.Next || events == want.Events || size >= want.Bytes
			return out, true
		}
		r.ledger.Pass(out.span)
		r.c.reclaim()
	}
}
