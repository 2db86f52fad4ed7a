// SPDX-License-Identifier: Apache-2.0

// Package pipeline moves batches from sources, through a channel, to sinks.
//
// [Source] and [Sink] are each a loop of one screen, with one verb: Run. The order of their steps is
// the promise that the product makes, so it is asserted as a transcript:
//
//	begin read put submit · begin read put submit · durable ack · durable ack
//	take write commit
//
// A source is acknowledged only after its batch is durable; a lease is committed only after the
// destination said that it holds the batch, and rolled back only after the instance that had it has ended,
// or has said itself that it may be asked again. Begin comes before Read, so that a full channel stops the
// source from reading rather than leaving a batch in hand: that is all of back-pressure.
//
// Both loops live in sessions. A session opens an instance of the plugin, from the committed cursor or with
// the ranges that the destination holds, and ends when the instance does; then [supervise]
// decides by the class of the error whether to open another, and when.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
)

const (
	// crashBudget in crashWindow is how often a plugin may break before its component is held: more
	// would only fill the log.
	crashBudget = 5
	crashWindow = time.Minute
	// poisonAttempts is how often one batch may break a plugin before it is taken for the cause.
	poisonAttempts = 3
)

// State is what a component is doing, in a word that status and metrics show.
type State string

// The states.
const (
	Starting State = "starting"
	Running  State = "running"
	Retrying State = "retrying" // waits before it tries again
	Held     State = "held"     // stopped until someone acts; events stay where they are
	Finished State = "finished" // a source that has no more, a reader that has handed over and is drained
	Paused   State = "paused"   // by someone, until they let it go on
	Stopped  State = "stopped"
)

// Lifecycle is told how a component fares. Calls must be short.
type Lifecycle interface {
	State(s State, reason string)
	// Failed: something did not succeed, and of what class that was. Where an event is to blame, and not the component, nobody gives it time.
	Failed(class abi.Class, event bool)
}

// HeldError ends Run of a component that cannot go on until someone acts. Nothing is lost: events stay in the channel.
type HeldError struct {
	Component string
	Err       error
}

// Error says what is held and why.
func (e *HeldError) Error() string { return fmt.Sprintf("%s is held: %v", e.Component, e.Err) }

// Unwrap returns the reason.
func (e *HeldError) Unwrap() error { return e.Err }

// Backoff is how long to wait between tries: full jitter, doubling from Min to Max, for ever.
type Backoff struct{ Min, Max time.Duration }

// Delay returns how long to wait before try n+1, n ≥ 1. It never overflows.
func (b Backoff) Delay(n int) time.Duration {
	ceiling := min(b.Min, b.Max)
	for ; n > 1 && ceiling < b.Max; n-- {
		ceiling = min(ceiling, b.Max-ceiling) + ceiling // twice as much, at most Max
	}
	if ceiling <= 0 {
		return 0
	}
	return rand.N(ceiling) + 1
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// grace returns a context that ends a while after ctx does: for what has begun and may still finish.
func grace(ctx context.Context, after time.Duration) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		sleep(late, after)
		cancel()
	})
	return late, func() {
		stop()
		cancel()
	}
}

// supervisor keeps a component alive from session to session.
type supervisor struct {
	address string
	backoff Backoff
	log     *slog.Logger
	fate    Lifecycle
	crashes []time.Time
	tries   int // failed sessions in a row that did nothing
	said    time.Time
	unsaid  int // failures since then that the log has at debug alone
}

// A component that is tried again several times a second, as a hop is, would turn over what the agent keeps of its log in half an hour, and bury all else
// in it: after the first failures in a row the log has one in a while, and how many there were in between.
const (
	sayTries = 10
	sayEvery = 30 * time.Second
)

// say logs that a session has failed.
func (s *supervisor) say(err error, delay time.Duration) {
	level, args := slog.LevelWarn, []any{"error", err, "in", delay.Round(time.Millisecond)}
	switch {
	case s.tries > sayTries && time.Since(s.said) < sayEvery:
		level = slog.LevelDebug
		s.unsaid++
	default:
		if s.unsaid > 0 {
			args = append(args, "others_since", s.unsaid)
		}
		s.said, s.unsaid = time.Now(), 0
	}
	s.log.Log(context.Background(), level, "will open it again", args...)
}

// run calls session again and again until ctx ends, the source has finished, or the component must be held.
// session says whether it moved anything.
func (s *supervisor) run(ctx context.Context, session func(context.Context) (moved bool, err error)) error {
	for {
		s.fate.State(Starting, "")
		moved, err := session(ctx)
		if ctx.Err() != nil {
			if err != nil && !interrupted(ctx, err) {
				s.log.Warn("what had begun did not end well: it is not acknowledged, and comes again", "error", err)
			}
			s.fate.State(Stopped, "")
			return nil
		}
		if err == nil {
			s.fate.State(Finished, "")
			return nil
		}
		s.fate.Failed(plugin.ClassOf(err), errors.Is(err, errSuspect) || errors.Is(err, errConvicted))
		if err := s.held(err); err != nil {
			s.fate.State(Held, err.Error())
			return &HeldError{s.address, err}
		}
		s.tries++
		if moved {
			s.tries = 1
		}
		delay := max(s.backoff.Delay(s.tries), delayOf(err))
		s.fate.State(Retrying, err.Error())
		s.say(err, delay)
		sleep(ctx, delay)
	}
}

// interrupted says whether err is nothing but the end of ctx, whose cause may be any error.
func interrupted(ctx context.Context, err error) bool {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		return !slices.ContainsFunc(several.Unwrap(), func(err error) bool { return !interrupted(ctx, err) })
	}
	return errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))
}

// held returns why the component cannot go on after err, or nil.
func (s *supervisor) held(err error) error {
	switch {
	case errors.Is(err, errHold):
		return err
	case errors.Is(err, errConvicted):
		s.crashes, s.tries = nil, 0
		return nil
	case errors.Is(err, errSuspect), errors.Is(err, errSpared):
		s.tries = 0 // no destination is given time by a pause
		return nil
	case errors.Is(err, channel.ErrDetached):
		return fmt.Errorf("its channel was full because of this sink alone, and on_lag is \"detach\": what it had not delivered is dropped; "+
			"start the agent again, and it begins anew: %w", err)
	case errors.Is(err, channel.ErrStopped), errors.Is(err, channel.ErrClosed), errors.Is(err, channel.ErrCorrupt), errors.Is(err, channel.ErrKey):
		return err // no other instance would find the disk in another state
	case errors.Is(err, channel.ErrLimit):
		return err // nor give the channel less
	}
	switch class := plugin.ClassOf(err); {
	case class == abi.Config:
		return err
	case class == abi.Fatal && !errors.Is(err, errDeadline):
		now := time.Now()
		s.crashes = append(s.crashes, now)
		for now.Sub(s.crashes[0]) > crashWindow {
			s.crashes = s.crashes[1:]
		}
		if len(s.crashes) >= crashBudget {
			return fmt.Errorf("plugin broke %d times within %v, last: %w", len(s.crashes), crashWindow, err)
		}
	}
	return nil
}

// errHold is wrapped by what holds a component whatever its class.
var errHold = errors.New("needs someone to act")

func delayOf(err error) time.Duration {
	if e, ok := errors.AsType[*plugin.Error](err); ok {
		return e.Delay
	}
	return 0
}
