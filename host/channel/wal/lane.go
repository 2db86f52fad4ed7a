// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"context"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// A reader with a lane looks at every event, and picks its own out of the records: outside of the channel's mutex, and
// each event once, since what was picked is kept while the take waits for more. What is picked is copied at once, so
// that a lane with few events does not hold the batches of all others.
const (
	// laneStep is how much of the ring is held while it is looked at: a batch of the usual size.
	laneStep = 1 << 20
	// lanePass is how much is looked at for one lease that has something already: a key that is seen once in a day must not
	// wait for its neighbours until all of a backlog has been read.
	lanePass = 16 << 20
)

// leaseLane is lease for a reader with a lane.
func (r *reader) leaseLane(ctx context.Context, want channel.Want) (*lease, cut, error) {
	var got cut
	var alarm alarm
	defer alarm.stop()
	for {
		r.c.mu.Lock()
		err := r.renew(ctx, want, &got)
		if err == nil && got.events > 0 && (got.full || got.seen() && (got.last || alarm.due(want.Wait))) {
			l := r.hand(&got)
			r.c.mu.Unlock()
			return l, got, nil
		}
		var wake <-chan struct{}
		if err == nil && got.seen() {
			wake = r.await()
		}
		tail := r.tail(&got)
		r.c.mu.Unlock()
		switch {
		case err != nil:
		case wake != nil:
			select {
			case <-wake:
			case <-alarm.rings:
			case <-r.c.done:
			case <-ctx.Done():
			}
		case len(tail) > 0:
			r.pickTail(&got, tail)
		default:
			err = r.pickFromDisk(ctx, &got)
		}
		if err != nil {
			got.release()
			return nil, cut{}, err
		}
	}
}

// renew brings a cut up to date with the ledger: it goes on from where it was, or begins anew. What was looked at in vain
// at its beginning is passed over.
func (r *reader) renew(ctx context.Context, want channel.Want, got *cut) error {
	_, err := r.look(ctx, want)
	if err != nil && err != errAside {
		return err
	}
	now := r.next(want)
	if now.next.First != got.next.First || now.attempt != got.attempt || now.next.Next < got.span.Next {
		got.release() // something was rolled back or finished meanwhile
		*got = now
	}
	got.next, got.last = now.next, now.last
	if got.events > 0 || got.span.Empty() {
		return nil
	}
	r.passHole(hole{Range: got.span})
	*got = cut{}
	return r.renew(ctx, want, got)
}

// seen says whether a cut has looked at all that there is.
func (c *cut) seen() bool { return c.span.Next >= c.next.Next }

// tail returns what the ring has of what the cut is to look at, held for the caller. c.mu is held.
func (r *reader) tail(got *cut) (tail []tailBatch) {
	if got.seen() || got.full {
		return nil
	}
	bytes := 0
	for _, b := range r.c.ring.from(got.span.Next) {
		if bytes += b.bytes; bytes > laneStep && len(tail) > 0 {
			break
		}
		b.batch.Retain()
		tail = append(tail, b)
	}
	if len(tail) > 0 && tail[0].span.First > got.span.Next {
		release(tail) // there is a gap, which only the log can explain
		return nil
	}
	return tail
}

func release(tail []tailBatch) {
	for _, b := range tail {
		b.batch.Release()
	}
}

// pickTail picks from what the ring had.
func (r *reader) pickTail(got *cut, tail []tailBatch) {
	defer release(tail)
	for _, b := range tail {
		switch {
		case b.span.First > got.span.Next, r.passes(b.only) && got.events > 0:
			got.full = true // it is met again at the beginning of the next
		case r.passes(b.only):
			got.span.Next = b.span.Intersect(got.next).Next
		default:
			got.add(b.span, b.batch)
		}
		if got.full || got.seen() {
			return
		}
	}
}

// pickFromDisk picks from the log.
func (r *reader) pickFromDisk(ctx context.Context, got *cut) error {
	if err := r.beginReading(ctx); err != nil {
		return err
	}
	defer func() { <-r.tape.gate }()
	from := got.span.Next
	hole, err := r.tape.gather(got, r.entry.name)
	switch {
	case !hole.Empty():
		r.reachHole(got, hole)
	case err != nil && got.span.Empty() && !r.moved(got):
		return r.damaged(err)
	case err != nil || got.span.Next == from:
		got.full = true // it is met again at the beginning of the next
	}
	return nil
}

// reachHole passes over a hole at the beginning of a cut that has nothing yet.
func (r *reader) reachHole(got *cut, h hole) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if r.next(got.want).next.First == got.next.First {
		r.passHole(h)
	}
}

// pick is add for a lane: it copies what is in the lane.
func (c *cut) pick(in event.Range, b event.Batch) (more bool) {
	mine, next := c.lane.Pick(b, in, func(e event.Event) bool {
		size := encoded(e)
		if c.events > 0 && c.tooMuch(c.events+1, c.size+size) {
			c.full = true
			return false
		}
		c.events, c.size = c.events+1, c.size+size
		return true
	})
	if mine.Count() > 0 {
		part, err := event.Select(c.pool, mine.Follow(), b)
		if err != nil {
			panic("BUG: a part of a batch is no batch: " + err.Error())
		}
		c.parts = append(c.parts, part)
	}
	c.passed += b.Size()
	c.span.Next = next
	c.full = c.full || c.events > 0 && (c.want.Events > 0 && c.events >= uint64(c.want.Events) || c.size >= c.want.Bytes) || c.passed >= lanePass
	return !c.full
}
