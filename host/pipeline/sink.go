// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// SinkObserver is told what a sink does. Calls must be short.
type SinkObserver interface {
	Lifecycle
	// Committed: a lease ended well; took is the destination's time.
	Committed(b event.Batch, took time.Duration)
	// Step names what comes next ("take", "write", "commit"): for tests that kill the process there.
	Step(name string)
}

// Sink writes from a channel to a plugin.
type Sink struct {
	Address  string // "sink.archive"
	Reader   channel.Reader
	Open     func(ctx context.Context, info channel.ReaderInfo) (plugin.Instance, error)
	Want     channel.Want
	Backoff  Backoff
	Drain    time.Duration // how long a delivery that has begun may take after ctx ended
	Observer SinkObserver
	Log      *slog.Logger

	broke struct { // the plugin, of late
		at    event.Offset // with which the batch began that it broke on
		times int          // in a row
	}
}

// Run delivers until ctx ends (nil), or the sink must be held (*HeldError). What was taken is
// committed, or rolled back and stays in the channel.
func (s *Sink) Run(ctx context.Context) error {
	sup := supervisor{address: s.Address, backoff: s.Backoff, log: s.Log, fate: s.Observer}
	return sup.run(ctx, s.session)
}

// session runs one instance to its end.
func (s *Sink) session(ctx context.Context) (moved bool, err error) {
	info := s.Reader.Info()
	inst, err := s.Open(ctx, info)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, inst.Sink.Close()) }()
	held, err := known(info, inst.Held)
	if err != nil {
		return false, err
	}
	if err := s.Reader.Finish(held...); err != nil {
		return false, fmt.Errorf("join what the destination holds: %w", err)
	}
	late, cancel := grace(ctx, s.Drain)
	defer cancel()
	if p, ok := inst.Sink.(plugin.Pruner); ok {
		if err := p.Prune(late, info.Oldest); err != nil {
			return false, fmt.Errorf("forget what cannot come again: %w", err)
		}
	}
	s.Observer.State(Running, "")
	for {
		if err := s.deliver(ctx, late, inst.Sink); err != nil {
			return moved, err
		}
		moved = true
	}
}

// deliver is the loop's body: take, write, commit.
func (s *Sink) deliver(ctx, late context.Context, to plugin.Sink) error {
	s.Observer.Step("take")
	lease, err := s.Reader.Take(ctx, s.Want)
	if err != nil {
		return fmt.Errorf("take: %w", err)
	}
	defer lease.Rollback()
	d := lease.Delivery()
	s.Observer.Step("write")
	start := time.Now()
	out, err := write(late, to, d)
	took := time.Since(start)
	if err == nil && len(out.Rejected) == 0 {
		s.Observer.Step("commit")
		s.Observer.Committed(d.Batch, took) // before Commit: the batch is ours until then
		if err := lease.Commit(); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		if d.Attempt > 1 {
			s.Observer.State(Running, "")
		}
		return nil
	}
	if err == nil || errors.Is(err, plugin.ErrRejected) {
		err = rejected(d, out)
	}
	switch {
	case plugin.ClassOf(err) == abi.Fatal:
		return s.poison(d, err)
	case !retry(ctx, err):
		return err
	}
	lease.Rollback()
	s.Observer.Failed(abi.Retry)
	delay := max(s.Backoff.Delay(d.Attempt), delayOf(err))
	s.Observer.State(Retrying, err.Error())
	s.Log.Warn("cannot deliver, will try again", "error", err, "attempt", d.Attempt, "in", delay.Round(time.Millisecond))
	sleep(ctx, delay)
	return nil
}

// write hands the batch over; a range of which nothing is left to deliver needs no destination.
func write(ctx context.Context, to plugin.Sink, d channel.Delivery) (plugin.Outcome, error) {
	if d.Batch.Len() == 0 {
		return plugin.Outcome{}, nil
	}
	return to.Write(ctx, d.Range, d.Batch)
}

// poison counts how often the same batch broke the plugin, and holds the sink when it seems to be the cause. The
// attempts of the lease say nothing of that: most are of a destination that was down.
func (s *Sink) poison(d channel.Delivery, err error) error {
	if s.broke.at != d.Range.First {
		s.broke.at, s.broke.times = d.Range.First, 0
	}
	if s.broke.times++; s.broke.times < poisonAttempts {
		return err
	}
	return fmt.Errorf("the batch of offsets %v broke the plugin %d times: %w: %w", d.Range, s.broke.times, err, errHold)
}

// retry says whether err is one that the same instance may overcome by itself.
func retry(ctx context.Context, err error) bool {
	return ctx.Err() == nil && plugin.ClassOf(err) == abi.Retry
}

// rejected says which event the destination will never take. There is nowhere to put it, so the sink is held.
func rejected(d channel.Delivery, out plugin.Outcome) error {
	which, reason := fmt.Sprintf("all events of %v", d.Range), "no reason given"
	if len(out.Rejected) > 0 {
		first := out.Rejected[0]
		reason = first.Reason
		i := 0
		for o := range d.Batch.All() {
			if i == first.Index {
				which = fmt.Sprintf("event %d", o)
			}
			i++
		}
		if n := len(out.Rejected) - 1; n > 0 {
			which += fmt.Sprintf(" and %d more", n)
		}
	}
	return fmt.Errorf("destination rejects %s: %s; mend the destination or the sink and start again, the events stay in the channel: %w: %w",
		which, reason, plugin.ErrRejected, errHold)
}

// known returns the ranges that a destination holds, and refuses what this channel cannot have sent. What
// lies below the oldest event that there is says nothing any more.
func known(info channel.ReaderInfo, held []plugin.Held) ([]event.Range, error) {
	lives := make(map[uint64]event.Range, len(info.Incarnations))
	for i, inc := range info.Incarnations {
		life := event.Range{First: inc.First, Next: math.MaxUint64} // the newest one has no end yet
		if i+1 < len(info.Incarnations) {
			life.Next = info.Incarnations[i+1].First
		}
		lives[inc.ID] = life
	}
	ranges := make([]event.Range, 0, len(held))
	for _, h := range held {
		if h.Range.Next <= info.Oldest {
			continue
		}
		if life, ok := lives[h.Incarnation]; !ok || h.Range.Intersect(life) != h.Range {
			return nil, fmt.Errorf("diverged: the destination holds %v of incarnation %x, which this channel does not know: "+
				"it was written by another life of this channel (a restored backup?); move the destination's data aside, or restore the channel that wrote it: %w",
				h.Range, h.Incarnation, errHold)
		}
		ranges = append(ranges, h.Range)
	}
	return ranges, nil
}
