// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/event"
)

// readAhead is how many batches of a source may be on their way to disk while it reads the next:
// two hide the flush; eight were no faster, at four times the latency.
const readAhead = 2

// blockedTurn is after how long a source that waits for room says so.
const blockedTurn = time.Second

// SourceObserver is told what a source does. Calls must be short.
type SourceObserver interface {
	Lifecycle
	Read(events, bytes int)
	Acked(events int)
	Blocked(d time.Duration) // has waited so much longer for room in the channel
}

// Source reads from a plugin into a channel.
type Source struct {
	Address string // "source.shop"
	Channel channel.Channel
	Version uint32                          // of the cursor that the plugin writes
	Reads   []uint32                        // older versions that it resumes from
	Fetch   func(ctx context.Context) error // before each instance: sees to it that the cursor is in Channel; nil: it is
	Open    func(ctx context.Context, cursor event.Cursor) (plugin.Source, error)
	Through []Processor   // what each batch goes through before it is put
	Buffers event.Buffers // for what they make; may be nil when there are none
	Dead    *DeadLetters  // of those that have OnError DeadLetter; nil: none has
	Origin  *Origin       // what each event is given; nil: nothing. Then Buffers must not be nil
	Resumes bool          // it reads the same again from its cursor: then the content of an event is its identity
	Backoff Backoff
	Drain   time.Duration // how long what has been read may take to commit after ctx ended
	Ahead   int           // batches on their way to disk while the next is read; 0: readAhead
	// Patience, if not 0: somebody waits for an answer to what the plugin has taken in. When there has been no room for so long, here or for dead letters, after
	// something was read, the instance is closed, and whoever still waits is refused; the next one is not asked for anything before there is room.
	Patience time.Duration
	Observer SourceObserver
	Log      *slog.Logger
}

// Run reads until ctx ends or the source has no more (nil), or it must be held (*HeldError). What
// was read before is committed and acknowledged, or neither.
func (s *Source) Run(ctx context.Context) error {
	sup := supervisor{address: s.Address, backoff: s.Backoff, log: s.Log, fate: s.Observer}
	return sup.run(ctx, s.session)
}

// inFlight is a batch on its way to disk.
type inFlight struct {
	seq    uint64
	events int
	wait   func() error
}

// flight is what lies between the two loops: a slot is taken before a batch is read, and given back when it is durable.
type flight struct {
	slots   chan struct{}
	pending chan inFlight
}

// ending is how the second loop ended.
type ending struct {
	moved   bool  // something became durable
	refused error // why the first batch was refused that was, or nil
}

// session runs one instance from the committed cursor to its end.
func (s *Source) session(ctx context.Context) (moved bool, err error) {
	if s.Fetch != nil {
		if err := s.Fetch(ctx); err != nil {
			return false, err
		}
	}
	pos, err := s.Channel.Cursor(ctx, s.Address)
	if err != nil {
		return false, fmt.Errorf("read cursor: %w", err)
	}
	if len(pos.Cursor) > 0 && pos.Version != s.Version && !slices.Contains(s.Reads, pos.Version) {
		return false, fmt.Errorf("the cursor was written in form %d, and this plugin reads form %d: "+
			"run the version of the plugin that wrote it; or, to begin anew and read again what it can: penstock source reset %s: %w",
			pos.Version, s.Version, strings.TrimPrefix(s.Address, "source."), errHold)
	}
	kept := &letters{component: s.Address, timed: !s.Resumes}
	through, err := openChain(ctx, s.Through, use{buffers: s.Buffers, backoff: s.Backoff, fate: s.Observer, log: s.Log, gaveUp: kept.gaveUp})
	if err != nil {
		return false, err
	}
	through.letters, through.origins = kept, s.origins()
	defer func() { err = errors.Join(err, through.close()) }()
	inst, err := s.Open(ctx, pos.Cursor)
	if err != nil {
		return false, err
	}
	s.Observer.State(Running, "")

	late, cancel := grace(ctx, s.Drain)
	defer cancel()
	asked := ctx
	ctx, stop := context.WithCancelCause(ctx)
	working, abort := context.WithCancelCause(late) // what was read may be processed when ctx has ended, and not when a batch was refused
	defer abort(nil)
	most := cmp.Or(s.Ahead, readAhead)
	ahead := flight{
		slots:   make(chan struct{}, most), // never closed
		pending: make(chan inFlight, most), // closed below
	}
	acked := make(chan ending, 1)
	halt := func(err error) {
		stop(err)
		abort(err)
	}
	go func() { acked <- s.ack(late, inst, ahead, halt) }()

	err = s.read(ctx, working, inst, through, pos.Move, ahead)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = nil // whatever has ended the reading says more
	}
	if err == nil && !s.Resumes && asked.Err() != nil && working.Err() == nil {
		err = s.leave(working, inst, through, pos.Move, ahead)
	}
	close(ahead.pending)
	end := <-acked
	stop(nil)
	if end.refused != nil && errors.Is(err, end.refused) {
		err = nil // it is said already
	}
	return end.moved, errors.Join(end.refused, err, inst.Close())
}

// read is the first loop: begin, read, put, submit. The move number stays what it was. It ends with nil when the source has no more.
// working is for what has been read.
func (s *Source) read(ctx, working context.Context, inst plugin.Source, through *chain, move uint32, ahead flight) error {
	retries, patience := 0, time.Duration(0)
	for {
		tx, err := s.turn(ctx, patience, ahead)
		if err != nil {
			return err
		}
		patience = s.Patience
		em, err := inst.Read(ctx)
		if err != nil {
			tx.Rollback()
			<-ahead.slots
			if errors.Is(err, io.EOF) {
				return nil
			}
			if !retry(ctx, err) {
				return err
			}
			retries++
			s.pause(ctx, err, retries)
			continue
		}
		if retries > 0 {
			s.Observer.State(Running, "")
			retries = 0
		}
		if err := s.put(working, tx, em, through, move, ahead); err != nil {
			return err
		}
	}
}

// leave reads what a source that ends has taken in already, and cannot read again.
func (s *Source) leave(working context.Context, inst plugin.Source, through *chain, move uint32, ahead flight) error {
	l, ok := inst.(plugin.Leaver)
	if !ok {
		return nil
	}
	l.Leave()
	for {
		em, err := inst.Read(working)
		if errors.Is(err, io.EOF) || working.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		tx, err := s.turn(working, 0, ahead)
		if err != nil {
			em.Batch.Release()
			s.Log.Warn("there was no room in time for what was read last, and it is lost unless it is sent again: its senders see their connections end", "error", err)
			return nil
		}
		if err := s.put(working, tx, em, through, move, ahead); err != nil {
			return err
		}
	}
}

// turn waits for a slot, and for room. Who has it puts a batch, or gives both back.
func (s *Source) turn(ctx context.Context, patience time.Duration, ahead flight) (channel.Tx, error) {
	select {
	case ahead.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	tx, err := s.begin(ctx, patience)
	if err != nil {
		<-ahead.slots
	}
	return tx, err
}

// put takes a batch through the processors, and puts and submits what becomes of it.
func (s *Source) put(ctx context.Context, tx channel.Tx, em plugin.Emission, through *chain, move uint32, ahead flight) error {
	events, bytes := em.Batch.Len(), em.Batch.Size()
	batch, err := s.refine(ctx, through, em.Batch)
	if err == nil {
		batch, err = through.stamp(s.Buffers, batch)
	}
	if err != nil {
		tx.Rollback()
		return err
	}
	err = tx.Put(channel.Put{Source: s.Address, Batch: batch, Changed: em.Changed, Version: s.Version, Move: move})
	if err != nil {
		tx.Rollback()
		return fmt.Errorf("put: %w: %w", err, errHold)
	}
	ahead.pending <- inFlight{em.Seq, events, tx.Submit()}
	s.Observer.Read(events, bytes)
	return nil
}

// refine takes a batch through the processors. What of it goes to the dead letters is durable there before the rest is put: a
// crash between the two brings it again, to both.
func (s *Source) refine(ctx context.Context, through *chain, b event.Batch) (event.Batch, error) {
	if len(through.uses) == 0 {
		return b, nil
	}
	b, err := through.process(ctx, b)
	if err != nil || through.letters.empty() {
		return b, err
	}
	if s.Patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.Patience, errNoRoom)
		defer cancel()
	}
	if err := s.Dead.keep(ctx, through.letters, s.Observer); err != nil {
		b.Release()
		return event.Batch{}, err
	}
	return b, nil
}

// errNoRoom ends an instance that others wait for.
var errNoRoom = errors.New("there is no room in the channel, and what waits for an answer is refused")

// begin waits for room, for as long as patience if that is not 0. It tells how long it has waited as it goes, since a dead destination may keep
// it for days.
func (s *Source) begin(ctx context.Context, patience time.Duration) (channel.Tx, error) {
	for n, began := 1, time.Now(); ; n++ {
		start := time.Now()
		turn, cancel := context.WithTimeout(ctx, blockedTurn)
		tx, err := s.Channel.Begin(turn)
		full := errors.Is(err, channel.ErrFull)
		if full {
			sleep(turn, s.Backoff.Delay(n)) // a source that cannot be refused waits, whatever the policy is
		}
		cancel()
		if waited := time.Since(start); waited > time.Millisecond {
			s.Observer.Blocked(waited)
		}
		switch {
		case err == nil:
			if n > 1 {
				s.Observer.State(Running, "")
			}
			return tx, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case !full && !errors.Is(err, context.DeadlineExceeded):
			return nil, fmt.Errorf("begin: %w", err)
		case patience > 0 && time.Since(began) >= patience:
			return nil, errNoRoom
		case n == 1:
			s.Observer.State(Running, "its channel is full: it waits for room")
		}
	}
}

func (s *Source) pause(ctx context.Context, err error, n int) {
	delay := max(s.Backoff.Delay(n), delayOf(err))
	s.Observer.State(Retrying, err.Error())
	s.Log.Warn("cannot read, will try again", "error", err, "in", delay.Round(time.Millisecond))
	sleep(ctx, delay)
}

// ack is the second loop: durable, ack, in the order of submit. After the first batch that was refused it
// tells the source so, ends the reading, and waits for the rest without acknowledging any. When it is the acknowledging that fails, what becomes
// durable nevertheless is still told: the host may have answers to send for an instance that is dead.
func (s *Source) ack(ctx context.Context, inst plugin.Source, ahead flight, stop context.CancelCauseFunc) (end ending) {
	deaf := false
	for p := range ahead.pending {
		err := p.wait()
		<-ahead.slots
		if end.refused != nil {
			if deaf && err == nil {
				_ = inst.Ack(ctx, p.seq, nil) // its first error has been said
			}
			continue
		}
		if ackErr := inst.Ack(ctx, p.seq, err); ackErr != nil && err == nil {
			err, deaf = fmt.Errorf("acknowledge: %w", ackErr), true
		} else if err == nil {
			s.Observer.Acked(p.events)
			end.moved = true
			continue
		}
		end.refused = err
		stop(err)
	}
	return end
}
