// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"cmp"
	"context"
	"errors"
	"io"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

const (
	// defaultEvents is how many events a poll is asked for: 1 MiB of ordinary log lines.
	defaultEvents = 4096
	// pollTimeout is how long a poll may wait for data, so that the host gets the guest back without asking.
	pollTimeout = 250 * time.Millisecond
	// firstIdle and maxIdle bound the wait after a poll that brought nothing and did not wait itself: an idle
	// guest costs nothing then, and what comes is seen within 50 ms.
	firstIdle = time.Millisecond
	maxIdle   = 50 * time.Millisecond
)

// source is an instance that brings events in.
type source struct {
	*instance
	maxEvents, maxBytes uint64

	// These belong to whoever has the turn.
	next int   // of queue
	then error // what to answer when the queue is empty; nil: poll

	left bool // there are no more polls; Read's and Leave's
}

var (
	_ plugin.Source = (*source)(nil)
	_ plugin.Leaver = (*source)(nil)
)

func newSource(in *instance, l plugin.Limits) *source {
	return &source{
		instance:  in,
		maxEvents: uint64(cmp.Or(l.BatchEvents, defaultEvents)),
		maxBytes:  uint64(cmp.Or(l.BatchBytes, event.DefaultBatch)),
	}
}

// Read waits for the next batch. The turn is free while the host waits, so that an ack can get in.
func (s *source) Read(ctx context.Context) (plugin.Emission, error) {
	for wait := firstIdle; ; wait = min(2*wait, maxIdle) {
		e, slept, err := s.step(ctx)
		if err != nil || e.Seq != 0 {
			return e, err
		}
		if slept {
			continue
		}
		if err := s.rest(ctx, wait); err != nil {
			return plugin.Emission{}, err
		}
	}
}

// step hands out what was emitted, or else polls once. An Emission with Seq 0 means that there was
// nothing; then slept says whether the guest has waited for something.
func (s *source) step(ctx context.Context) (e plugin.Emission, slept bool, err error) {
	if err := s.enter(ctx); err != nil {
		return e, false, err
	}
	defer s.leave()
	if s.left && (s.next == len(s.queue) || len(s.grants.Listen) == 0) { // who has no connections can read the rest again
		return e, false, io.EOF
	}
	if s.next == len(s.queue) && s.then == nil {
		if err := s.poll(ctx); err != nil {
			return e, false, err
		}
	}
	if s.next < len(s.queue) {
		e, s.queue[s.next] = s.queue[s.next], plugin.Emission{}
		s.next++
		return e, s.slept, nil
	}
	if err = s.then; !errors.Is(err, io.EOF) {
		s.then = nil // EOF is for good, anything else may have passed
	}
	return e, s.slept, err
}

func (s *source) poll(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.queue, s.next, s.queued = s.queue[:0], 0, 0
	if err := s.idle(ctx); err != nil {
		return err
	}
	code, err := s.run(ctx, &s.guest.poll, s.maxEvents, s.maxBytes, uint64(pollTimeout.Milliseconds()))
	switch {
	case err != nil:
		return err
	case code == abi.EOF:
		s.then = io.EOF
	case code < 0 && code != abi.EINTR:
		s.then = s.failed(code)
	}
	return nil
}

// Leave implements [plugin.Leaver].
func (s *source) Leave() { s.left = true }

// rest waits between polls of a guest that has nothing.
func (s *source) rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-s.closing:
		return nil // the next step says that it is closed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Ack does what waited for it, and tells the guest, between its calls; a guest that sleeps is woken for it.
func (s *source) Ack(ctx context.Context, seq uint64, refused error) error {
	s.commits.Ack(seq, refused == nil)
	if !s.guest.ack.there {
		return nil
	}
	if err := s.enterSoon(ctx); err != nil {
		return err
	}
	defer s.leave()
	_, err := s.run(ctx, &s.guest.ack, seq, answer(status(refused)))
	return err
}

// status is the code that says why a batch was refused.
func status(err error) abi.Code {
	if err == nil {
		return abi.OK
	}
	if e, ok := errors.AsType[*plugin.Error](err); ok && e.Code < 0 {
		return e.Code
	}
	return abi.EAGAIN
}
