// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// errNotKept is wrapped when dead letters could not be made durable: then what they are of is not committed.
var errNotKept = errors.New("dead letters are not kept")

// handed is what is left to deliver of a lease, and then what the destination took. The batch is the lease's until some of it is rejected.
type handed struct {
	batch event.Batch
	own   bool
}

// hand writes the batch of d. What will never be taken is durable among the dead letters when it returns nil, and before the rest is
// written again to a destination that has applied nothing. The caller releases what it answers.
func (s *Sink) hand(ctx, late context.Context, to plugin.Sink, o offer) (h handed, err error) {
	d := o.d
	h.batch = d.Batch
	for {
		d.Batch = h.batch
		out, err := s.write(late, to, d)
		nothing := errors.Is(err, plugin.ErrRejected)
		switch {
		case err != nil && !nothing:
			return h, err
		case err == nil && len(out.Rejected) == 0:
			return h, nil
		case s.Dead == nil:
			return h, s.rejected(d, out)
		}
		o.d = d
		if err := s.bury(ctx, o, blamed(d, out, err)); err != nil {
			return h, err
		}
		if err := s.leave(&h, blamed(d, out, err)); err != nil {
			return h, err
		}
		if !nothing || h.batch.Len() == 0 {
			return h, nil
		}
	}
}

// blamed are the events that are rejected, in order: where none is listed, all.
func blamed(d channel.Delivery, out plugin.Outcome, err error) []plugin.Rejection {
	if len(out.Rejected) > 0 {
		return inOrder(out.Rejected)
	}
	all := make([]plugin.Rejection, d.Batch.Len())
	for i := range all {
		all[i] = rejection(err)
		all[i].Index = i
	}
	return all
}

// leave takes events out of what is handed over. The others keep their offsets.
func (s *Sink) leave(h *handed, out []plugin.Rejection) error {
	gone := map[event.Offset]bool{}
	err := eachRejected(h.batch, out, func(o event.Offset, _ event.Event, _ plugin.Rejection) error {
		gone[o] = true
		return nil
	})
	if err != nil {
		return err
	}
	return s.without(h, func(o event.Offset) bool { return gone[o] })
}

// without takes the events out of what is handed over of which gone says so.
func (s *Sink) without(h *handed, gone func(event.Offset) bool) error {
	rest, err := event.Select(s.Buffers, func(o event.Offset) bool { return !gone(o) }, h.batch)
	if err != nil {
		return fmt.Errorf("leave out what was rejected: %w: %w", err, errHold)
	}
	h.release()
	h.batch, h.own = rest, true
	return nil
}

func (h *handed) release() {
	if h.own {
		h.batch.Release()
		h.own = false
	}
}

// bury makes events of what was offered durable among the dead letters, as they are in the channel.
func (s *Sink) bury(ctx context.Context, o offer, which []plugin.Rejection) error {
	l := &letters{component: s.Address, group: s.Group}
	by := blame{plugin: s.Plugin, attempts: o.d.Attempt}
	why := map[event.Offset]plugin.Rejection{}
	err := eachRejected(o.d.Batch, which, func(at event.Offset, _ event.Event, r plugin.Rejection) error {
		why[at] = r
		return nil
	})
	info := s.Reader.Info()
	for at, e := range o.taken.All() {
		if r, is := why[at]; is && err == nil {
			err = l.add(e, r, by, identity(info, at)...)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errNotKept, err)
	}
	if err := s.keep(ctx, l); err != nil {
		return err
	}
	for at := range why {
		s.refiner.remember(at, true)
	}
	return nil
}

// keep makes letters durable.
func (s *Sink) keep(ctx context.Context, l *letters) error {
	if l.empty() {
		return nil
	}
	s.Observer.Step("dead")
	err := s.Dead.keep(ctx, l, s.Observer)
	if err == nil || ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("%w: %w", errNotKept, err)
}

// identity is that of the event with this offset: it tells the event from all others, for ever.
func identity(info channel.ReaderInfo, o event.Offset) []event.Attribute {
	uuid, _, _ := strings.Cut(info.Stream, "/")
	id := []event.Attribute{{Key: event.DeadChannel, Value: []byte(uuid)}}
	for _, in := range slices.Backward(info.Incarnations) {
		if in.First <= o {
			id = append(id, event.Attribute{Key: event.DeadIncarnation, Value: strconv.AppendUint(nil, in.ID, 16)})
			break
		}
	}
	return append(id, event.Attribute{Key: event.DeadOffset, Value: strconv.AppendUint(nil, uint64(o), 10)})
}

// broken decides what is done after the plugin broke on d. The instance is dead already: what is committed here it does not touch any more.
// Else the lease is the caller's, to be rolled back when the instance has ended.
func (s *Sink) broken(ctx context.Context, o offer, err error) (left channel.Lease, cause error) {
	lease, d := o.lease, o.d
	if errors.Is(err, errDeadline) || d.Batch.Len() == 0 {
		return lease, err
	}
	p := s.Suspects.broke(d, o.all)
	last := d.Batch.Last() // the only one, where it matters
	switch {
	case p.times < poisonAttempts && !s.Suspects.looking():
		return lease, err
	case p.times < poisonAttempts:
		return lease, fmt.Errorf("%w: %w", errSpared, err)
	case d.Batch.Len() > 1 || p.alone < poisonAttempts:
		return lease, fmt.Errorf("%w (%v): %w", errSuspect, p, err)
	case s.Dead == nil:
		return lease, fmt.Errorf("event %d, of offsets %v, broke the plugin %d times; mend the plugin, or name a channel for dead letters: dead_letter = channel.NAME in %s: %w: %w",
			last, d.Range, p.alone, s.From, err, errHold)
	case s.Suspects.hopeless():
		return lease, fmt.Errorf("the plugin broke on %d events one after the other, event %d the last of them, and none was delivered between: it is not they that are the cause: %w: %w",
			poisonBudget, last, err, errHold)
	}
	d.Attempt = max(d.Attempt, p.times)
	o.d = d
	if left, err := s.giveUp(ctx, o, plugin.Rejection{Reason: rejection(err).Reason}); err != nil {
		return left, err
	}
	s.Suspects.convicted()
	return nil, fmt.Errorf("%w: %w", errConvicted, err)
}

// tooBig decides what is done after the plugin said that it cannot take so much as d: it is handed half, down to one event.
func (s *Sink) tooBig(ctx context.Context, o offer, err error) (left channel.Lease, cause error) {
	lease, d := o.lease, o.d
	switch {
	case d.Batch.Len() > 1:
		s.Suspects.halve(d, o.all)
		lease.Rollback()
		return nil, nil
	case s.Dead == nil:
		out := plugin.Outcome{Rejected: []plugin.Rejection{rejection(err)}}
		return lease, s.rejected(d, out)
	}
	return s.giveUp(ctx, o, rejection(err))
}

// giveUp commits the one event of d when it is durable among the dead letters.
func (s *Sink) giveUp(ctx context.Context, o offer, why plugin.Rejection) (left channel.Lease, err error) {
	if err := s.bury(ctx, o, []plugin.Rejection{why}); err != nil {
		return o.lease, err
	}
	s.Observer.Step("commit")
	if o.chosen.Filtered+o.chosen.Consumed > 0 {
		o.chosen.Batch = event.Batch{}
		s.Observer.Committed(o.chosen)
	}
	s.refiner.committed(o.d.Range)
	if err := o.lease.Commit(); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	s.Suspects.passed(o.d, o.all)
	return nil, nil
}

// rejected says which event the destination will never take. There is nowhere to put it, so the sink is held.
func (s *Sink) rejected(d channel.Delivery, out plugin.Outcome) error {
	which, reason := fmt.Sprintf("all events of %v", d.Range), "no reason given"
	if len(out.Rejected) > 0 {
		first := out.Rejected[0]
		_, o := at(d.Batch, first.Index)
		which, reason = fmt.Sprintf("event %d", o), first.Reason
		if n := len(out.Rejected) - 1; n > 0 {
			which += fmt.Sprintf(" and %d more", n)
		}
	}
	return fmt.Errorf("destination rejects %s: %s; the events stay in the channel: mend the destination or the sink and start again, or name a channel for "+
		"dead letters: dead_letter = channel.NAME in %s: %w: %w", which, reason, s.From, plugin.ErrRejected, errHold)
}

// rejection is what is said of an event that err is about.
func rejection(err error) plugin.Rejection {
	r := plugin.Rejection{Code: abi.EREJECT, Reason: err.Error()}
	if e, ok := errors.AsType[*plugin.Error](err); ok {
		r.Code, r.Reason = e.Code, e.Error()
	}
	return r
}
