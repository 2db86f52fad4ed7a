// SPDX-License-Identifier: Apache-2.0

package plugintest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"

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
// are wanted, it looks that none come. All that was read is acknowledged, a batch at a time.
func (s subject) read(ctx context.Context, r plugin.Request, cursor event.Cursor, want int) (got reading, err error) {
	r.Cursor = cursor
	r.Limits.BatchEvents = fewEvents
	in, err := s.open(ctx, r)
	if err != nil {
		return got, err
	}
	defer func() { err = errors.Join(err, in.Source.Close()) }()
	at := maps.Clone(cursor)
	if at == nil {
		at = event.Cursor{}
	}
	for seq := uint64(1); len(got.bodies) < want; seq++ {
		e, err := next(ctx, in.Source)
		if errors.Is(err, io.EOF) {
			return got, nil
		}
		if err != nil {
			return got, fmt.Errorf("read after %d of %d events: %w", len(got.bodies), want, err)
		}
		if e.Seq != seq {
			return got, fmt.Errorf("batch %d has number %d", seq, e.Seq)
		}
		for _, ev := range e.Batch.All() {
			got.bodies = append(got.bodies, string(ev.Body))
		}
		e.Batch.Release()
		apply(at, e.Changed)
		got.after = append(got.after, mark{len(got.bodies), maps.Clone(at)})
		if err := in.Source.Ack(ctx, seq, nil); err != nil {
			return got, fmt.Errorf("ack %d: %w", seq, err)
		}
	}
	if want == 0 {
		return got, quiet(ctx, in.Source)
	}
	return got, nil
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
	ctx, cancel := context.WithTimeout(ctx, patience)
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
	return err
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
