// SPDX-License-Identifier: Apache-2.0

package plugintest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/event"
)

// fewEvents is what sources are asked for at a time, so that a short run has many batches.
const fewEvents = 7

// reading is what was read of a source.
type reading struct {
	bodies []string
	// after holds, for each batch, how many events there were with it, and the cursor.
	after []mark
}

type mark struct {
	events int
	cursor event.Cursor
}

// read opens the source at cursor and reads until it has want events, or the source ends; where none
// are wanted, it looks that none come. All that was read is acknowledged, a batch at a time. Meanwhile whoever is at the
// other ends of its handles does what the case says.
func (s subject) read(ctx context.Context, r plugin.Request, cursor event.Cursor, want int) (got reading, err error) {
	r.Cursor = cursor
	r.Limits.BatchEvents = fewEvents
	in, err := s.open(ctx, r)
	if err != nil {
		return got, err
	}
	defer func() { err = errors.Join(err, in.Source.Close()) }()
	rd := reader{src: in.Source, at: maps.Clone(cursor)}
	if rd.at == nil {
		rd.at = event.Cursor{}
	}
	out := s.send(ctx)
	err = rd.until(ctx, out, func() bool { return len(rd.bodies) >= want })
	if failed := out.stop(); failed != nil {
		err = failed
	}
	switch {
	case errors.Is(err, io.EOF):
		return rd.reading, nil
	case err == nil && (want == 0 || s.others()):
		err = quiet(ctx, in.Source)
	}
	return rd.reading, err
}

// reader reads a source, and acknowledges all of it.
type reader struct {
	reading
	src plugin.Source
	seq uint64
	at  event.Cursor
}

// until reads until it is enough and those who send have finished. io.EOF: the source has ended before that.
func (r *reader) until(ctx context.Context, out *senders, enough func() bool) error {
	for !enough() || !out.finished() {
		if err := context.Cause(out.going); err != nil {
			return err
		}
		reading, within := out.sending, patience
		if out.finished() {
			reading = out.going
		}
		if out.some && out.finished() {
			within = hangUp // all that will come is there
		}
		e, err := nextWithin(reading, r.src, within)
		if errors.Is(err, context.Canceled) && ctx.Err() == nil {
			continue // somebody has finished, or failed
		}
		if err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				err = fmt.Errorf("nothing more comes in %v", within)
			}
			return fmt.Errorf("read after %d events: %w", len(r.bodies), err)
		}
		if err := r.take(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// take notes what a batch brings, and acknowledges it.
func (r *reader) take(ctx context.Context, e plugin.Emission) error {
	if r.seq++; e.Seq != r.seq {
		return fmt.Errorf("batch %d has number %d", r.seq, e.Seq)
	}
	for _, ev := range e.Batch.All() {
		r.bodies = append(r.bodies, string(ev.Body))
	}
	e.Batch.Release()
	apply(r.at, e.Changed)
	r.after = append(r.after, mark{len(r.bodies), maps.Clone(r.at)})
	if err := r.src.Ack(ctx, e.Seq, nil); err != nil {
		return fmt.Errorf("ack %d: %w", e.Seq, err)
	}
	return nil
}

// quiet looks that a source at its end brings nothing more.
func quiet(ctx context.Context, src plugin.Source) error {
	ctx, cancel := context.WithTimeout(ctx, moment)
	defer cancel()
	for {
		e, err := src.Read(ctx)
		switch n := e.Batch.Len(); {
		case errors.Is(err, io.EOF), errors.Is(err, context.DeadlineExceeded):
			return nil
		case err != nil:
			return fmt.Errorf("read at the end: %w", err)
		case n > 0:
			return fmt.Errorf("at its end it brings %d events more", n)
		}
		e.Batch.Release()
	}
}

func next(ctx context.Context, src plugin.Source) (plugin.Emission, error) {
	return nextWithin(ctx, src, patience)
}

func nextWithin(ctx context.Context, src plugin.Source, d time.Duration) (plugin.Emission, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return src.Read(ctx)
}

func apply(cursor, changed event.Cursor) {
	for k, v := range changed {
		if len(v) == 0 {
			delete(cursor, k)
		} else {
			cursor[k] = v
		}
	}
}

func (s subject) brings(ctx context.Context, dir string) error {
	r, err := s.world(dir)
	if err != nil {
		return err
	}
	got, err := s.read(ctx, r, nil, s.Events)
	if err == nil && len(got.bodies) != s.Events {
		return fmt.Errorf("it brought %d events, the case says %d", len(got.bodies), s.Events)
	}
	if err != nil || s.Output == nil {
		return err
	}
	if len(s.Clients) > 1 { // they send at the same time
		return same(slices.Sorted(slices.Values(got.bodies)), slices.Sorted(slices.Values(s.Output)))
	}
	return same(got.bodies, s.Output)
}

// resumes opens the source again at each cursor that it gave, and compares what it brings with the first run.
func (s subject) resumes(ctx context.Context, dir string) error {
	r, err := s.world(dir)
	if err != nil {
		return err
	}
	whole, err := s.read(ctx, r, nil, s.Events)
	if err != nil {
		return err
	}
	for _, m := range whole.after {
		rest := whole.bodies[m.events:]
		got, err := s.read(ctx, r, m.cursor, len(rest))
		if err != nil {
			return fmt.Errorf("resumed after %d events: %w", m.events, err)
		}
		if err := same(got.bodies, rest); err != nil {
			return fmt.Errorf("resumed after %d events: %w", m.events, err)
		}
	}
	return nil
}

// same compares two lists of bodies and tells the first difference.
func same(got, want []string) error {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Errorf("event %d is %.60q, want %.60q", i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("there are %d events, want %d", len(got), len(want))
	}
	return nil
}
