// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"fmt"
	"unsafe"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/event"
)

// maxGone bounds what a sink remembers of what it has given up: more of one that does not come to its commit are given up again, which makes letters
// of equal identity.
const maxGone = 1 << 16

// refiner takes what is for a sink through its processors. It belongs to one goroutine.
//
// What a batch loses on the way, to the dead letters or because on_error drops it, is durable or counted before the rest is delivered; and that may fail for
// hours, with the same batch each time. So it is remembered until the batch is committed, and is neither looked for nor kept again.
type refiner struct {
	chain *chain                // of the session
	gone  map[event.Offset]bool // given up, and not committed yet: whether it is among the dead letters
	lost  []loss                // of this batch
}

// loss is an event that a processor gives up.
type loss struct {
	offset event.Offset
	why    plugin.Rejection
	by     *use
}

// openRefiner opens the processors of a sink for a session.
func (s *Sink) openRefiner(ctx context.Context) (err error) {
	r := &s.refiner
	r.chain, err = openChain(ctx, s.Through, use{buffers: s.Buffers, backoff: s.Backoff, fate: s.Observer, log: s.Log, gaveUp: r.gaveUp, tracked: true})
	return err
}

// gaveUp notes events that a processor gives up.
func (r *refiner) gaveUp(u *use, b event.Batch, rejected []plugin.Rejection) error {
	return eachRejected(b, rejected, func(place event.Offset, _ event.Event, why plugin.Rejection) error {
		r.lost = append(r.lost, loss{u.offset(place), why, u})
		return nil
	})
}

// remember notes what is given up of a batch that is not committed yet.
func (r *refiner) remember(o event.Offset, kept bool) {
	if r.gone == nil || len(r.gone) >= maxGone {
		r.gone = map[event.Offset]bool{}
	}
	r.gone[o] = kept
}

func (r *refiner) remembers(o event.Offset) bool {
	_, is := r.gone[o]
	return is
}

// committed forgets what was given up of a range that does not come again.
func (r *refiner) committed(span event.Range) {
	for o := range r.gone {
		if o >= span.First && o < span.Next {
			delete(r.gone, o)
		}
	}
}

// refine takes what is for the sink through its processors. What comes out keeps its offsets; the caller releases it. What they give up is durable among the
// dead letters when it returns nil.
func (s *Sink) refine(ctx, late context.Context, o *offer) (out handed, err error) {
	out.batch = o.d.Batch
	if err := s.forego(&out, o); err != nil {
		return out, err
	}
	if err := s.process(ctx, late, &out, o); err != nil {
		return out, err
	}
	o.chosen.Consumed = o.taken.Len() - out.batch.Len() - o.dead
	return out, nil
}

// process takes what is left of an offer through the processors.
func (s *Sink) process(ctx, late context.Context, out *handed, o *offer) error {
	if len(s.Through) == 0 || out.batch.Len() == 0 {
		return nil
	}
	in, offsets, err := s.numbered(out.batch)
	if err != nil {
		return err
	}
	s.refiner.lost = s.refiner.lost[:0]
	made, err := s.refiner.chain.tracked(late, in, &offsets)
	if err != nil {
		return err
	}
	if unsafe.SliceData(made.Bytes()) == unsafe.SliceData(out.batch.Bytes()) { // it passed by all of them
		made.Release()
	} else {
		out.release()
		out.batch, out.own = event.Assign(made, offsets), true
	}
	if len(s.refiner.lost) == 0 {
		return nil
	}
	return s.lose(ctx, o)
}

// forego leaves out what was given up when the batch came before.
func (s *Sink) forego(h *handed, o *offer) error {
	if len(s.refiner.gone) == 0 {
		return nil
	}
	all := h.batch.Len()
	for _, at := range numbers(h.batch) {
		if kept, is := s.refiner.gone[at]; is {
			all--
			if kept {
				o.dead++
			}
		}
	}
	if all == h.batch.Len() {
		return nil
	}
	return s.without(h, s.refiner.remembers)
}

// numbered is b as a processor takes it, numbered 0, 1, 2…, with a hold for the caller; and the offsets.
func (s *Sink) numbered(b event.Batch) (event.Batch, []event.Offset, error) {
	offsets := numbers(b)
	if b.Numbered() {
		b.Retain()
		return b.WithBase(0), offsets, nil
	}
	dense, err := event.Join(s.Buffers, b)
	if err != nil {
		err = fmt.Errorf("take a batch through the processors: %w: %w", err, errHold)
	}
	return dense, offsets, err
}

// tracked is process for events that have offsets, in order; then they are those of what comes out.
func (c *chain) tracked(ctx context.Context, b event.Batch, offsets *[]event.Offset) (event.Batch, error) {
	for _, u := range c.uses {
		if b.Len() == 0 {
			break
		}
		u.offsets = *offsets
		out, err := u.process(ctx, b)
		b.Release()
		if err != nil {
			return event.Batch{}, err
		}
		b, *offsets = out, u.offsets
	}
	return b, nil
}

// lose keeps what processors have given up, where they say so, and remembers all of it. A letter has the event as it is in the channel, so that it can go
// the same way again.
func (s *Sink) lose(ctx context.Context, o *offer) error {
	l := &letters{component: s.Address, group: s.Group}
	info := s.Reader.Info()
	by := make(map[event.Offset]loss, len(s.refiner.lost))
	for _, lost := range s.refiner.lost {
		by[lost.offset] = lost
	}
	for at, e := range o.taken.All() {
		lost, is := by[at]
		if !is || lost.by.OnError == Drop {
			continue
		}
		blamed := blame{processor: lost.by.Address, plugin: lost.by.Plugin, attempts: o.d.Attempt}
		if err := l.add(e, lost.why, blamed, identity(info, at)...); err != nil {
			return fmt.Errorf("%w: %w", errNotKept, err)
		}
	}
	if err := s.keep(ctx, l); err != nil {
		return err
	}
	for at, lost := range by {
		kept := lost.by.OnError == DeadLetter
		if s.refiner.remember(at, kept); kept {
			o.dead++
		}
	}
	return nil
}
