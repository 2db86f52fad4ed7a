// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"fmt"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// cut is what a take would get now.
type cut struct {
	span    event.Range
	attempt int
	parts   []event.Batch
	mine    *channel.Ranges // of a lane: the events of parts that are in it; nil: all
	enough  bool            // waiting would not make it more
}

// cut looks at what is next, as far as it fits want. Nothing is leased yet.
func (r *reader) cut(want channel.Want) (cut, bool) {
	if !r.spec.Lane.All() {
		return r.pick(want)
	}
	next, attempt := r.next(want)
	if next.Empty() {
		return cut{}, false
	}
	// What does not reach the end is followed by something that cannot be in the same lease.
	out := cut{attempt: attempt, span: event.Range{First: next.First, Next: next.First}, enough: next.Next < r.c.end}
	events, size := 0, event.HeaderSize
	for _, rec := range r.c.queue[r.c.find(next.First):] {
		span := rec.span().Intersect(next)
		if span.Empty() {
			break
		}
		if r.passes(rec) {
			out.enough = true
			break
		}
		n, bytes := int(span.Len()), rec.batch.Size()-event.HeaderSize
		if tooMuch(events+n, size+bytes, want) {
			out.enough = true
			if len(out.parts) == 0 { // a record that does not fit is split only when it comes first
				out.span.Next = split(rec.batch, span, want)
				out.parts = append(out.parts, rec.batch)
			}
			break
		}
		events, size = events+n, size+bytes
		out.span.Next = span.Next
		out.parts = append(out.parts, rec.batch)
	}
	out.enough = out.enough || events == want.Events || size >= want.Bytes
	return out, true
}

// next is what the ledger gives out next, behind what is for others and was too much for it to cover before.
func (r *reader) next(want channel.Want) (event.Range, int) {
	for {
		next, attempt := r.ledger.Next(r.end())
		if want.Member != "" {
			next, attempt = r.ledger.NextOf(r.end(), want.Member, want.Own)
		}
		if next.Empty() {
			return next, attempt
		}
		rec := r.c.queue[r.c.find(next.First)]
		if !r.passes(rec) {
			return next, attempt
		}
		r.ledger.Pass(rec.span().Intersect(next))
		r.c.reclaim()
	}
}

func tooMuch(events, size int, want channel.Want) bool {
	return want.Events > 0 && events > want.Events || size > want.Bytes
}

// split returns where to end a lease that begins with span.First in b: at least one event further.
func split(b event.Batch, span event.Range, want channel.Want) event.Offset {
	events, size := 0, event.HeaderSize
	end := span.First
	for o, e := range b.All() {
		if o < span.First {
			continue
		}
		events, size = events+1, size+encoded(e)
		if o >= span.Next || tooMuch(events, size, want) && events > 1 {
			break
		}
		end = o + 1
	}
	return end
}

func encoded(e event.Event) int {
	n := event.RecordSize + len(e.Body)
	for _, a := range e.Attributes {
		n += event.AttributeSize + len(a.Key) + len(a.Value)
	}
	return n
}

// hand leases a cut.
func (r *reader) hand(c cut) *lease {
	r.ledger.Lease(c.span)
	for _, b := range c.parts {
		b.Retain()
	}
	l := &lease{r: r, mine: c.mine, delivery: channel.Delivery{Range: c.span, Attempt: c.attempt}}
	r.leases[l] = struct{}{}
	return l
}

// lease is a range on its way.
type lease struct {
	r        *reader
	delivery channel.Delivery
	mine     *channel.Ranges // of a lane; nil: all events of its range
	done     bool
}

var _ channel.Lease = (*lease)(nil)

// fill makes one batch of the parts, and gives them back where they were copied.
func (l *lease) fill(parts []event.Batch) (err error) {
	span, pool, events := l.delivery.Range, l.r.c.o.Pool, 0
	for _, b := range parts {
		events += b.Len()
	}
	whole := events == int(span.Len())
	if whole && len(parts) == 1 && l.mine == nil {
		l.delivery.Batch = parts[0] // the very buffer that the source's batch came in
		return nil
	}
	defer func() {
		for _, b := range parts {
			b.Release()
		}
	}()
	switch {
	case l.mine != nil:
		l.delivery.Batch, err = event.Select(pool, l.mine.Follow(), parts...)
	case whole:
		l.delivery.Batch, err = event.Merge(pool, parts...)
	case len(parts) == 1:
		l.delivery.Batch, err = event.Slice(pool, parts[0], span)
	default:
		l.delivery.Batch, err = event.Select(pool, func(o event.Offset) bool { return span.First <= o && o < span.Next }, parts...)
	}
	return err
}

func (l *lease) Delivery() channel.Delivery { return l.delivery }

func (l *lease) Commit() error {
	c := l.r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.done {
		return fmt.Errorf("commit of %v for %s: lease %w", l.delivery.Range, l.r.spec.Name, channel.ErrDone)
	}
	events := uint64(l.delivery.Batch.Len())
	l.end()
	if c.closed || l.r.closed {
		return fmt.Errorf("commit of %v for %s: %w", l.delivery.Range, l.r.spec.Name, channel.ErrClosed)
	}
	l.r.ledger.Commit(l.delivery.Range, events)
	c.reclaim()
	l.r.arrived() // in order, one at a time: now the next may go
	return nil
}

func (l *lease) Rollback() {
	c := l.r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.done {
		return
	}
	if !l.r.closed { // else its range was rolled back then
		l.r.rollback(l)
	}
	l.end()
	l.r.arrived()
}

func (l *lease) end() {
	l.done = true
	delete(l.r.leases, l)
	l.delivery.Batch.Release()
}
