// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// EndGrace is how long an instance may take to end, after its delivery's time is over or it is closed, before
// someone is told: a guest that sleeps is woken at once, and a system call is over within that on a disk that works.
const EndGrace = 10 * time.Second

// pruneEvery is how often a destination is told which of the ranges that it stores cannot come again. It may store one for each
// delivery, which are thousands in that time.
const pruneEvery = time.Minute

// errDeadline is wrapped when a delivery was not over in time. A destination that hangs is more often the cause than
// the plugin, so it does not count as one of its crashes.
var errDeadline = errors.New("deadline")

// SinkObserver is told what a sink does. Calls must be short.
type SinkObserver interface {
	Lifecycle
	// Expired: a delivery was not over in time.
	Expired()
	// Committed: a lease ended well.
	Committed(d Delivered)
	// Step names what comes next ("take", "write", "commit"): for tests that kill the process there.
	Step(name string)
}

// Sink writes from a channel to a plugin.
type Sink struct {
	Address string // "sink.archive"
	Group   string // that it is a member of: "sink_group.web"; "": of none
	From    string // "channel.main"
	Plugin  string // and its version, for dead letters
	Reader  channel.Reader
	Open    func(ctx context.Context, info channel.ReaderInfo) (plugin.Instance, error)
	Want    channel.Want
	Filter  Filter      // which events it gets
	Through []Processor // what these go through before they are written
	Backoff Backoff
	// Await, if not nil, waits until it may open an instance: it is a member of a group, which says for how long it is left alone after it failed. Then Backoff
	// is between the tries of its processors alone.
	Await    func(ctx context.Context) error
	Timeout  time.Duration // how long a delivery may take before its instance is ended; 0 = no bound
	Drain    time.Duration // how long a delivery that has begun may take after ctx ended
	Dead     *DeadLetters  // nil: what is rejected holds the sink
	Buffers  event.Buffers // for batches of which some is rejected or left out; may be nil without Dead, Filter and Through
	Suspects *Suspects     // those of its reader; nil: it is the only one
	Pause    *Pause        // that of all loops of the sink; nil: it is the only one
	Observer SinkObserver
	Log      *slog.Logger

	picker  *picker
	refiner refiner
	said    time.Time // when the log last said that something cannot be said of events
	failing bool      // its last delivery is to be tried again, by whoever takes it
}

// Run delivers until ctx ends or the reader is drained (nil), or the sink must be held (*HeldError). What was taken is
// committed, or rolled back and stays in the channel.
func (s *Sink) Run(ctx context.Context) error {
	if s.Suspects == nil {
		s.Suspects = new(Suspects)
	}
	if s.Pause == nil {
		s.Pause = new(Pause)
	}
	s.picker = newPicker(s.Filter, s.Buffers)
	sup := supervisor{address: s.Address, backoff: s.pauses(), log: s.Log, fate: s.Observer}
	return sup.run(ctx, s.session)
}

// pauses are those that it makes itself after it failed.
func (s *Sink) pauses() Backoff {
	if s.Await != nil {
		return Backoff{}
	}
	return s.Backoff
}

// session runs one instance to its end.
func (s *Sink) session(ctx context.Context) (moved bool, err error) {
	info := s.Reader.Info()
	if info.Detached { // an instance that cannot be opened would never ask
		return false, channel.ErrDetached
	}
	if s.Await != nil {
		if err := s.Await(ctx); err != nil {
			return false, fmt.Errorf("wait for its turn: %w", err)
		}
	}
	if err := s.openRefiner(ctx); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, s.refiner.chain.close()) }()
	inst, err := s.Open(ctx, info)
	if err != nil {
		return false, err
	}
	var left channel.Lease // with which the instance ended
	var many []channel.Lease
	defer func() {
		err = errors.Join(err, s.end(inst.Sink))
		if left != nil { // never while a write of it may still run
			left.Rollback()
		}
		for _, l := range slices.Backward(many) {
			l.Rollback()
		}
	}()
	held, err := known(info, inst.Held)
	if err != nil {
		return false, err
	}
	if err := s.Reader.Finish(held...); err != nil {
		return false, fmt.Errorf("join what the destination holds: %w", err)
	}
	late, cancel := grace(ctx, s.Drain)
	defer cancel()
	if err := s.prune(late, inst.Sink, info.Oldest); err != nil {
		return false, err
	}
	pruned := time.Now()
	s.Observer.State(Running, "")
	if to, ok := inst.Sink.(plugin.Streamer); ok && len(s.Through) == 0 { // behind processors one delivery follows the other
		many, moved, err = s.stream(ctx, late, to, inst.MaxBatch)
		return moved, err
	}
	for {
		var idle bool
		left, idle, err = s.deliver(ctx, late, inst.Sink)
		switch {
		case errors.Is(err, channel.ErrDrained):
			return moved, nil
		case err != nil:
			return moved, err
		}
		moved = moved || !idle
		if time.Since(pruned) < pruneEvery {
			continue
		}
		pruned = time.Now()
		switch err := s.prune(late, inst.Sink, s.Reader.Info().Oldest); {
		case err != nil && plugin.ClassOf(err) != abi.Retry:
			return moved, err
		case err != nil:
			s.Log.Warn("the destination keeps more ranges than it needs, and is asked again", "error", err, "in", pruneEvery)
		}
	}
}

// prune tells a destination that stores ranges which of them cannot come again.
func (s *Sink) prune(ctx context.Context, to plugin.Sink, low event.Offset) error {
	p, ok := to.(plugin.Pruner)
	if !ok {
		return nil
	}
	err := s.bounded(ctx, "the removal of ranges that cannot come again", func(ctx context.Context) error { return p.Prune(ctx, low) })
	if err != nil {
		return fmt.Errorf("forget what cannot come again: %w", err)
	}
	return nil
}

// deliver is the loop's body: take, write, commit. When the instance must end with it, the lease is the caller's, who
// rolls it back after that. Only where the plugin itself said that it may be asked again is it rolled back here. It is idle when nothing of
// what was taken was for the sink: that says nothing of the plugin.
func (s *Sink) deliver(ctx, late context.Context, to plugin.Sink) (left channel.Lease, idle bool, err error) {
	s.Pause.wait(ctx)
	s.Suspects.forget(s.Reader)
	s.Observer.Step("take")
	lease, err := s.Reader.Take(ctx, s.Suspects.narrow(s.picker.want(s.Want)))
	if err != nil {
		return nil, true, fmt.Errorf("take: %w", err)
	}
	if s.Group == "" { // else another member would have it sooner
		if s.Pause.wait(ctx); ctx.Err() != nil {
			return lease, true, context.Cause(ctx)
		}
	}
	d := lease.Delivery()
	chosen, err := s.choose(d)
	if err != nil {
		return lease, true, err
	}
	defer chosen.release()
	if !s.picker.fits(s.Want, d.Batch, chosen.Batch) {
		lease.Rollback()
		return nil, true, nil
	}
	o := offer{lease: lease, d: d, chosen: chosen.Delivered, taken: chosen.Batch, all: d.Batch.Len()}
	o.d.Batch = o.taken
	refined, err := s.refine(ctx, late, &o)
	defer refined.release()
	if err != nil {
		return lease, true, err
	}
	if o.d.Batch = refined.batch; o.d.Batch.Len() == 0 {
		return nil, true, s.pass(o)
	}
	left, err = s.give(ctx, late, to, o)
	return left, false, err
}

// choose finds what of a delivery is for the sink.
func (s *Sink) choose(d channel.Delivery) (picked, error) {
	p, err := s.picker.pick(d.Batch)
	if s.picker.unsaid != "" && time.Since(s.said) >= undecidedEvery {
		s.said = time.Now()
		s.Log.Warn("it cannot be said of some events whether they are for the sink: they are not given to it", "events", p.Undecided, "reason", s.picker.unsaid)
	}
	s.picker.unsaid = ""
	return p, err
}

// pass commits a lease of which nothing is for the sink: its destination is not asked.
func (s *Sink) pass(o offer) error {
	s.Observer.Step("commit")
	o.chosen.Batch = event.Batch{}
	s.Observer.Committed(o.chosen)
	s.Suspects.passed(o.d, o.all)
	s.refiner.committed(o.d.Range)
	if err := o.lease.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// offer is what was taken.
type offer struct {
	lease  channel.Lease
	d      channel.Delivery // with what is for the sink, as it is handed over
	chosen Delivered
	taken  event.Batch // what is for the sink, as it is in the channel
	dead   int         // of that, events that a processor, or the destination at an earlier try, has given to the dead letters
	all    int         // events of the lease, those of others too
}

// give writes what is for the sink, and commits.
func (s *Sink) give(ctx, late context.Context, to plugin.Sink, o offer) (left channel.Lease, err error) {
	lease, d := o.lease, o.d
	s.Observer.Step("write")
	start := time.Now()
	taken, err := s.hand(ctx, late, to, o)
	defer taken.release()
	if err == nil {
		s.Observer.Step("commit")
		o.chosen.Batch, o.chosen.Took = taken.batch, time.Since(start)
		s.Observer.Committed(o.chosen) // before Commit: the batch is ours until then
		s.Suspects.passed(d, o.all)
		s.Suspects.delivered()
		s.refiner.committed(d.Range)
		if err := lease.Commit(); err != nil {
			return nil, fmt.Errorf("commit: %w", err)
		}
		if s.failing {
			s.failing = false
			s.Observer.State(Running, "")
		}
		return nil, nil
	}
	switch class := plugin.ClassOf(err); {
	case errors.Is(err, errHold), errors.Is(err, errNotKept):
		return lease, err
	case class == abi.Fatal:
		return s.broken(ctx, o, err)
	case class == abi.Reject:
		return s.tooBig(ctx, o, err)
	case !retry(ctx, err):
		return lease, err
	}
	s.Pause.extend(delayOf(err)) // before another loop has it
	lease.Rollback()
	s.Observer.Failed(abi.Retry, false)
	delay := max(s.pauses().Delay(d.Attempt), delayOf(err))
	s.failing = true
	s.Observer.State(Retrying, err.Error())
	s.Log.Warn("cannot deliver, will try again", "error", err, "attempt", d.Attempt, "in", delay.Round(time.Millisecond))
	sleep(ctx, delay)
	return nil, nil
}

// write hands the batch over, for as long as it may take; a range of which nothing is left to deliver needs no destination.
func (s *Sink) write(late context.Context, to plugin.Sink, d channel.Delivery) (out plugin.Outcome, err error) {
	if d.Batch.Len() == 0 {
		return out, nil
	}
	err = s.bounded(late, fmt.Sprintf("the delivery of %v", d.Range), func(ctx context.Context) (err error) {
		out, err = to.Write(ctx, d.Range, d.Batch)
		return err
	})
	return out, err
}

// bounded makes a call, for as long as one may take.
func (s *Sink) bounded(late context.Context, call string, do func(context.Context) error) error {
	if s.Timeout == 0 {
		return do(late)
	}
	ctx, cancel := context.WithTimeout(late, s.Timeout)
	defer cancel()
	stuck := s.watch(s.Timeout+EndGrace, fmt.Sprintf("%s, which has a timeout of %v,", call, s.Timeout))
	err := do(ctx)
	if stuck.stop() {
		s.Observer.State(Running, "")
	}
	if err == nil || errors.Is(err, plugin.ErrRejected) || ctx.Err() == nil || late.Err() != nil {
		return err // it has answered, or is to stop anyway
	}
	s.Observer.Expired()
	return &plugin.Error{
		Class: abi.Fatal, Message: fmt.Sprintf("%s was not over after %v, and was ended: %v", call, s.Timeout, err),
		Hint: "see what its destination does; if it needs so long, raise timeout of the sink, or make its batches smaller",
		Err:  fmt.Errorf("%w: %w", errDeadline, err),
	}
}

// end closes an instance.
func (s *Sink) end(inst plugin.Sink) error {
	stuck := s.watch(EndGrace, "its close")
	defer stuck.stop()
	return inst.Close()
}

// watchdog tells that a call into a plugin does not come back. A plugin that is caught in one cannot be told to stop: what it holds
// stays with it, since it might still write it.
type watchdog struct {
	timer *time.Timer
	told  chan struct{} // closed when that was told
}

func (s *Sink) watch(after time.Duration, call string) watchdog {
	w := watchdog{told: make(chan struct{})}
	w.timer = time.AfterFunc(after, func() {
		defer close(w.told)
		reason := call + " does not return, and cannot be ended: its events stay with it until the agent is started again"
		s.Observer.State(Held, reason)
		s.Log.Error("an instance of the plugin does not end", "reason", reason)
	})
	return w
}

// stop ends the watch, and says whether anything was told.
func (w watchdog) stop() bool {
	if w.timer.Stop() {
		return false
	}
	<-w.told
	return true
}

// retry says whether err is one that the same instance may overcome by itself.
func retry(ctx context.Context, err error) bool {
	return ctx.Err() == nil && plugin.ClassOf(err) == abi.Retry
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
