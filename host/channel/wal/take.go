// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// cut is what a take would get.
type cut struct {
	want    channel.Want
	next    event.Range // of which it is a part
	span    event.Range
	attempt int
	parts   []event.Batch // held
	events  uint64
	size    int
	full    bool // nothing more fits
	last    bool // what follows cannot be in the same lease
	lane    channel.Lane
	pool    event.Buffers // for what is picked out of records
	passed  int           // bytes that were looked at
}

// enough says whether waiting would not make it more.
func (c *cut) enough() bool { return c.full || c.last }

// add joins a record to the cut as far as it fits, and says whether more may be added.
func (c *cut) add(span event.Range, b event.Batch) bool {
	in := span.Intersect(c.next)
	if in.First != c.span.Next || in.Empty() {
		c.last = true
		return false
	}
	if !c.lane.All() {
		return c.pick(in, b)
	}
	n := in.Len()
	size := b.Size() - event.HeaderSize // of the whole record, where a part is left of it: what that is larger than, split finds out
	if c.tooMuch(c.events+n, c.size+size) {
		c.full = true
		if len(c.parts) > 0 { // a record that does not fit is split only when it comes first
			return false
		}
		in.Next = c.split(b, in)
		n, size = in.Len(), c.want.Bytes
	}
	b.Retain()
	c.parts = append(c.parts, b)
	c.span.Next = in.Next
	c.events, c.size = c.events+n, c.size+size
	c.full = c.full || c.want.Events > 0 && c.events >= uint64(c.want.Events) || c.size >= c.want.Bytes
	return !c.full
}

func (c *cut) tooMuch(events uint64, size int) bool {
	return c.want.Events > 0 && events > uint64(c.want.Events) || size > c.want.Bytes
}

// split returns where to end a lease that begins with in.First in b: at least one event further.
func (c *cut) split(b event.Batch, in event.Range) event.Offset {
	events, size := uint64(0), event.HeaderSize
	end := in.First
	for o, e := range b.All() {
		if o < in.First {
			continue
		}
		events, size = events+1, size+encoded(e)
		if o >= in.Next || events > 1 && c.tooMuch(events, size) {
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

func (c *cut) release() {
	for _, b := range c.parts {
		b.Release()
	}
	c.parts = nil
}

// Take waits until there is something, and leases it.
func (r *reader) Take(ctx context.Context, want channel.Want) (channel.Lease, error) {
	if want.Bytes <= 0 {
		want.Bytes = event.DefaultBatch
	}
	want.Bytes = min(want.Bytes, event.MaxBatch)
	if err := want.Check(); err != nil {
		return nil, fmt.Errorf("take of reader %s: %w", r.entry.name, err)
	}
	l, parts, err := r.lease(ctx, want)
	if err == nil {
		err = l.keepShare()
	}
	if err == nil {
		err = l.fill(parts)
	}
	if err != nil {
		return nil, fmt.Errorf("take of reader %s: %w", r.entry.name, err)
	}
	return l, nil
}

// lease waits until there is enough, and leases it. The caller owns the holds on the parts.
func (r *reader) lease(ctx context.Context, want channel.Want) (*lease, cut, error) {
	if !r.entry.lane.All() {
		return r.leaseLane(ctx, want)
	}
	var alarm alarm
	defer alarm.stop()
	for {
		r.c.mu.Lock()
		got, err := r.look(ctx, want)
		if err == nil && !got.span.Empty() && (got.enough() || alarm.due(want.Wait)) {
			l := r.hand(&got)
			r.c.mu.Unlock()
			return l, got, nil
		}
		got.release()
		var wake <-chan struct{}
		if err == nil {
			wake = r.await()
		}
		r.c.mu.Unlock()
		switch {
		case errors.Is(err, errAside):
			l, got, err := r.leaseFromDisk(ctx, want)
			if l != nil || err != nil {
				return l, got, err
			}
			continue
		case err != nil:
			return nil, cut{}, err
		}
		select {
		case <-wake:
		case <-alarm.rings:
		case <-r.c.done:
		case <-ctx.Done():
		}
	}
}

// await returns what is closed when it is worth to look again.
func (r *reader) await() <-chan struct{} {
	if r.wake == nil {
		r.wake = make(chan struct{})
	}
	return r.wake
}

// errAside: what comes next is not in memory, or is not for looking at under the mutex.
var errAside = errors.New("on disk")

// look cuts from memory what is next. An empty cut means that there is nothing now.
func (r *reader) look(ctx context.Context, want channel.Want) (cut, error) {
	c := r.c
	switch {
	case c.closed || r.closed:
		return cut{}, channel.ErrClosed
	case r.detached:
		return cut{}, channel.ErrDetached
	case ctx.Err() != nil:
		return cut{}, context.Cause(ctx)
	case r.busy() && !want.Own:
		return cut{}, nil
	}
	got := r.next(want)
	if got.next.Empty() {
		if want.Own {
			return cut{}, channel.ErrNotOwn
		}
		if r.drained() {
			return cut{}, channel.ErrDrained
		}
		if err := c.usable(); err != nil { // what is durable is given out to the end
			return cut{}, err
		}
		return cut{}, nil
	}
	if !r.entry.lane.All() {
		return cut{}, errAside
	}
	for _, b := range c.ring.from(got.next.First) {
		if r.passes(b.only) { // a ledger that is at its bound could not cover it
			got.last = true
			break
		}
		if !got.add(b.span, b.batch) {
			break
		}
	}
	if got.span.Empty() {
		return cut{}, errAside // it is not in memory, or there is a gap, which only the log can explain
	}
	return got, nil
}

// busy says whether nothing is handed out until a lease ends.
func (r *reader) busy() bool {
	return r.order == channel.InOrder && r.ledger.Leases() > 0 || r.ledger.Full()
}

// next begins a cut with what the ledger gives out next.
func (r *reader) next(want channel.Want) cut {
	if r.busy() {
		return cut{}
	}
	next, attempt := r.ledger.Next(r.end())
	if want.Member != "" {
		next, attempt = r.ledger.NextOf(r.end(), want.Member, want.Own)
	}
	return cut{
		want: want, next: next, attempt: attempt, size: event.HeaderSize,
		span: event.Range{First: next.First, Next: next.First},
		last: next.Next < r.c.state.end,
		lane: r.entry.lane, pool: r.c.pool,
	}
}

// hand leases a cut.
func (r *reader) hand(c *cut) *lease {
	r.ledger.Lease(c.span)
	l := &lease{r: r, delivery: channel.Delivery{Range: c.span, Attempt: c.attempt}}
	if c.want.Member != "" {
		l.member, l.fresh = c.want.Member, r.ledger.Assign(c.span, c.want.Member)
	}
	r.leases[l] = struct{}{}
	return l
}

// fill makes one batch of the parts.
func (l *lease) fill(c cut) error {
	span := l.delivery.Range
	if len(c.parts) == 1 && uint64(c.parts[0].Len()) == c.events {
		l.delivery.Batch = c.parts[0] // the very buffer that the source's batch came in, or a part of what was read
		return nil
	}
	defer c.release()
	b, err := c.gathered(l.r.c.pool)
	if err != nil {
		l.Rollback()
		return fmt.Errorf("gather %v: %w", span, err)
	}
	l.delivery.Batch = b
	return nil
}

// gathered copies what the cut covers of its parts into one batch.
func (c *cut) gathered(pool event.Buffers) (event.Batch, error) {
	events := 0
	for _, b := range c.parts {
		events += b.Len()
	}
	if uint64(events) == c.events {
		return event.Merge(pool, c.parts...)
	}
	return event.Select(pool, func(o event.Offset) bool { return c.span.First <= o && o < c.span.Next }, c.parts...)
}

// alarm ends the time for gathering. It is made when it is first needed.
type alarm struct {
	timer *time.Timer
	rings <-chan time.Time
	end   time.Time
}

// due says whether a taker has gathered for long enough; the time counts from the first call.
func (a *alarm) due(wait time.Duration) bool {
	if wait <= 0 {
		return true
	}
	if a.timer == nil {
		a.end = time.Now().Add(wait)
		a.timer = time.NewTimer(wait)
		a.rings = a.timer.C
		return false
	}
	return !time.Now().Before(a.end)
}

func (a *alarm) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
}
