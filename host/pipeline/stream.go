// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// window is what lies between the two loops of a sink that streams: a slot is taken before a lease, and given back when that is committed.
type window struct {
	want  channel.Want
	slots chan struct{} // never closed
	sent  chan sent     // closed when nothing more is taken
}

// sent is a lease whose outcome is not known yet.
type sent struct {
	lease  channel.Lease
	chosen picked
	all    int   // events of the lease, those of others too
	slots  int   // that it has: all, if nothing else is to be on its way
	empty  bool  // nothing of it was for the sink
	err    error // it was not sent, and why
	began  time.Time
}

// streamed is how the second loop ended.
type streamed struct {
	left  []channel.Lease // that it did not commit, in their order
	moved bool
	err   error
}

// stream delivers to a sink that takes a delivery before the ones before it have their outcome: one loop takes and sends, in the order of the channel, the other
// commits, in the same order. most is how many bytes may be sent at a time, 0 for any. After an error all that was sent and has no outcome is the caller's, who rolls it back when the instance has ended.
func (s *Sink) stream(ctx, late context.Context, to plugin.Streamer, most int) (left []channel.Lease, moved bool, err error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	late, abort := context.WithCancelCause(late)
	defer abort(nil)
	want := s.Want
	if most > 0 {
		want.Bytes = min(cmp.Or(want.Bytes, event.DefaultBatch), most)
	}
	w := window{want: want, slots: make(chan struct{}, to.Window()), sent: make(chan sent, to.Window())}
	ended := make(chan streamed, 1)
	go func() {
		ended <- s.settle(late, to, w, func(err error) {
			stop(err)
			abort(err)
		})
	}()
	err = s.feed(ctx, late, to, w)
	close(w.sent)
	end := <-ended
	switch {
	case end.err != nil:
		err = end.err // it came first, or is why the first loop ended
	case errors.Is(err, channel.ErrDrained):
		err = nil
	}
	return end.left, end.moved, err
}

// feed is the first loop: take, write. It ends with an error.
func (s *Sink) feed(ctx, late context.Context, to plugin.Streamer, w window) error {
	for {
		s.Suspects.forget(s.Reader)
		one := sent{slots: s.Suspects.share(cap(w.slots))}
		if err := w.enter(ctx, one.slots); err != nil {
			return err
		}
		s.Observer.Step("take")
		lease, err := s.Reader.Take(ctx, s.Suspects.narrow(s.picker.want(w.want)))
		if err != nil {
			return fmt.Errorf("take: %w", err)
		}
		d := lease.Delivery()
		one.lease, one.all, one.began = lease, d.Batch.Len(), time.Now()
		one.chosen, one.err = s.choose(d) // nothing is chosen after an error
		if !s.picker.fits(w.want, d.Batch, one.chosen.Batch) {
			one.chosen.release()
			lease.Rollback() // nothing was taken after it
			w.leave(one.slots)
			continue
		}
		if one.empty = one.chosen.Batch.Len() == 0; !one.empty {
			s.Observer.Step("write")
			one.err = to.Send(late, d.Range, one.chosen.Batch)
		}
		w.sent <- one
		if one.err != nil {
			return one.err
		}
	}
}

// enter takes slots, and waits for them.
func (w window) enter(ctx context.Context, n int) error {
	for range n {
		select {
		case w.slots <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// leave gives slots back.
func (w window) leave(n int) {
	for range n {
		<-w.slots
	}
}

// settle is the second loop: the outcome, commit. After the first that is not committed it ends the first loop, and keeps the rest.
func (s *Sink) settle(late context.Context, to plugin.Streamer, w window, stop context.CancelCauseFunc) (end streamed) {
	for one := range w.sent {
		if end.err == nil {
			end.err = s.settleOne(late, to, one, cap(w.slots))
			end.moved = end.moved || end.err == nil && !one.empty
		}
		one.chosen.release()
		if end.err != nil {
			stop(end.err)
			end.left = append(end.left, one.lease) // rolling back what is committed does nothing
		}
		w.leave(one.slots)
	}
	return end
}

func (s *Sink) settleOne(late context.Context, to plugin.Streamer, one sent, slots int) error {
	d := one.lease.Delivery()
	if one.err == nil && !one.empty {
		one.err = s.outcome(late, to, d)
	}
	if plugin.ClassOf(one.err) == abi.Reject {
		return s.tooMuch(late, one, one.slots == slots)
	}
	if one.err != nil {
		return one.err
	}
	s.Observer.Step("commit")
	delivered := one.chosen.Delivered
	delivered.Took = time.Since(one.began)
	s.Observer.Committed(delivered) // before Commit: the batch is ours until then
	s.Suspects.passed(d, one.all)
	if err := one.lease.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// tooMuch decides what is done after the destination said that it will not take so much at a time. What it said that of is the oldest without an outcome, and for
// sure only if nothing else was on its way: then that is halved, down to one event, which goes to the dead letters. The stream ends with the error in
// any case.
func (s *Sink) tooMuch(ctx context.Context, one sent, alone bool) error {
	d := one.lease.Delivery()
	d.Batch = one.chosen.Batch
	switch {
	case !alone || d.Batch.Len() > 1:
		s.Suspects.halve(d, one.all)
		return fmt.Errorf("%w: %w", errSuspect, one.err)
	case s.Dead == nil:
		return s.rejected(d, plugin.Outcome{Rejected: []plugin.Rejection{rejection(one.err)}})
	}
	o := offer{lease: one.lease, d: d, chosen: one.chosen.Delivered, taken: d.Batch, all: one.all}
	if _, err := s.giveUp(ctx, o, rejection(one.err)); err != nil {
		return err
	}
	return fmt.Errorf("%w: %w", errConvicted, one.err)
}

// outcome waits for one, for as long as a delivery may take.
func (s *Sink) outcome(late context.Context, to plugin.Streamer, d channel.Delivery) error {
	if s.Timeout == 0 {
		return to.Outcome(late)
	}
	ctx, cancel := context.WithTimeout(late, s.Timeout)
	defer cancel()
	err := to.Outcome(ctx)
	if err == nil || ctx.Err() == nil || late.Err() != nil {
		return err
	}
	s.Observer.Expired()
	return fmt.Errorf("the delivery of %v was not over after %v, and its stream is opened again: see what its destination does", d.Range, s.Timeout)
}
