// SPDX-License-Identifier: Apache-2.0

package dead

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

const (
	// maxRound is how many events are decided between two looks at all letters: so much is remembered of each.
	maxRound = 1 << 18
	// maxPut is how many letters are taken out at a time, so that the note of them fits a cursor entry; maxPutBytes what a put has of them: what a
	// sink takes.
	maxPut, maxPutBytes = 400, 1 << 20
	// maxScattered is into how many ranges what is taken out may fall, with those of a put in any order.
	maxScattered = channel.MaxFinished - 2*maxPut
	// putPatience is how long a full channel is waited for. All that is put is put.
	putPatience = 10 * time.Second
)

// ErrScattered: what is meant lies between too many letters that are not.
var ErrScattered = fmt.Errorf("what is meant lies in more than %d places between letters that are to stay: do it in several turns, with --limit %[1]d", maxScattered)

// destination is where an event goes.
type destination struct {
	target *Target
	only   string
}

// picked is an event that is meant.
type picked struct {
	to     destination
	copies []event.Offset // where it is kept
	put    bool
}

// round is what is decided between two looks at all letters.
type round struct {
	events map[Identity]*picked
	more   bool // there are others
}

// Replay puts events back that are meant.
func (d *Desk) Replay(ctx context.Context, order Order) (Outcome, error) {
	return d.decide(ctx, order, func(l *Letter, e *event.Event) (destination, string, error) {
		return d.resolve(ctx, order.To, l, e)
	}, d.replay)
}

// Drop gives up letters that are meant, on record.
func (d *Desk) Drop(ctx context.Context, order Order) (Outcome, error) {
	nowhere := func(*Letter, *event.Event) (destination, string, error) { return destination{}, "", nil }
	return d.decide(ctx, order, nowhere, d.drop)
}

type resolve func(*Letter, *event.Event) (to destination, why string, err error)

// decide does it in rounds. What was done before an error is in the outcome.
func (d *Desk) decide(ctx context.Context, order Order, where resolve, do func(context.Context, *round) error) (Outcome, error) {
	all := Outcome{Refused: []Refusal{}}
	if err := d.Recover(ctx); err != nil {
		return all, err
	}
	left := order.Filter.Limit
	for {
		out := Outcome{Refused: []Refusal{}, Before: all.Before}
		r, err := d.pick(order, left, where, &out)
		if err == nil {
			err = d.copies(r, &out)
		}
		if err == nil && !order.DryRun && len(r.events) > 0 {
			err = do(ctx, r)
		}
		if err != nil {
			return all, err
		}
		all.Events, all.Letters, all.Refused, all.Before = all.Events+out.Events, all.Letters+out.Letters, out.Refused, out.Before
		left -= len(r.events)
		if !r.more || order.DryRun || len(r.events) == 0 || order.Filter.Limit > 0 && left <= 0 {
			return all, nil
		}
	}
}

// pick looks for events that are meant and can be had, limit at most; 0: all.
func (d *Desk) pick(order Order, limit int, where resolve, out *Outcome) (r *round, err error) {
	r = &round{events: map[Identity]*picked{}}
	f, refused := order.Filter, map[Identity]bool{}
	berr := d.Browse(func(o event.Offset, e event.Event) bool {
		out.Before = max(out.Before, uint64(o)+1)
		l := Read(&e)
		id := l.Identity()
		if !f.Wants(o, &l) || r.events[id] != nil || refused[id] {
			return true
		}
		var p picked
		var why string
		if p.to, why, err = where(&l, &e); err != nil {
			return false
		}
		switch {
		case why != "":
			if len(refused) < maxRound {
				refused[id] = true
			}
			out.refuse(l.Component, why)
		case limit > 0 && len(r.events) >= limit:
			return false
		case len(r.events) >= maxRound:
			r.more = true
			return false
		default:
			r.events[id] = &p
		}
		return true
	})
	return r, errors.Join(err, berr)
}

// copies finds all letters of the events that were picked, and looks whether they can be taken out.
func (d *Desk) copies(r *round, out *Outcome) error {
	scattered, stays := 0, true
	err := d.Browse(func(o event.Offset, e event.Event) bool {
		l := Read(&e)
		p := r.events[l.Identity()]
		if p != nil {
			p.copies = append(p.copies, o)
			out.Letters++
			if stays {
				scattered++
			}
		}
		stays = p == nil
		return true
	})
	if out.Events = uint64(len(r.events)); err == nil && scattered > maxScattered {
		err = ErrScattered
	}
	return err
}

// resolve says where an event goes.
func (d *Desk) resolve(ctx context.Context, to string, l *Letter, e *event.Event) (destination, string, error) {
	if _, ok := l.offset(); !ok {
		return destination{}, fmt.Sprintf("%s gave it up before it was in a channel: mend it, then send it from a file (penstock channel export)", l.Component), nil
	}
	t, err := d.target(ctx, l.UUID)
	switch {
	case errors.Is(err, errDesk):
		return destination{}, "", err
	case err != nil:
		return destination{}, err.Error(), nil
	}
	if to == "" {
		to = l.reader()
	}
	stripped := Strip(*e)
	only, why := readerFor(t, to, l, &stripped)
	return destination{t, only}, why, nil
}

// parcel is what is put next, of one destination.
type parcel struct {
	events *event.Builder
	ranges channel.Ranges // of letters, of which those are
}

// parcels are open ones, in the order in which they were begun.
type parcels struct {
	order   []destination
	of      map[destination]*parcel
	letters int
	bytes   int
}

// replay puts the events of a round, in their order.
func (d *Desk) replay(ctx context.Context, r *round) error {
	open := parcels{of: map[destination]*parcel{}}
	var failed error
	err := d.Browse(func(_ event.Offset, e event.Event) bool {
		l := Read(&e)
		p := r.events[l.Identity()]
		if p == nil || p.put {
			return true
		}
		p.put = true
		stripped := Strip(e)
		if open.letters+len(p.copies) > maxPut || open.bytes+len(stripped.Body) > maxPutBytes {
			if failed = d.send(ctx, &open); failed != nil {
				return false
			}
		}
		failed = open.add(p, stripped)
		return failed == nil
	})
	if err = errors.Join(failed, err); err != nil {
		return err
	}
	return d.send(ctx, &open)
}

// add encodes an event.
func (o *parcels) add(p *picked, e event.Event) error {
	to := o.of[p.to]
	if to == nil {
		to = &parcel{events: &event.Builder{Host: true, Limit: event.MaxBatch}}
		o.of[p.to] = to
		o.order = append(o.order, p.to)
	}
	before := to.events.Size()
	if err := to.events.Append(e); err != nil {
		return fmt.Errorf("replay an event for %s: %w", p.to.only, err)
	}
	for _, c := range p.copies {
		to.ranges.Add(event.Range{First: c, Next: c + 1})
	}
	o.letters += len(p.copies)
	o.bytes += to.events.Size() - before
	return nil
}

// send puts what is open, and takes it out of the letters.
func (d *Desk) send(ctx context.Context, open *parcels) error {
	for _, to := range open.order {
		p := open.of[to]
		ranges := slices.Collect(p.ranges.All())
		if err := d.put(ctx, to, p.events.Batch(), note(ranges)); err != nil {
			return err
		}
		if err := d.finish(ranges); err != nil {
			return err
		}
	}
	*open = parcels{of: map[destination]*parcel{}}
	return nil
}

// put commits events for one reader, together with which letters they are of.
func (d *Desk) put(ctx context.Context, to destination, b event.Batch, of []byte) error {
	patient, cancel := context.WithTimeout(ctx, putPatience)
	defer cancel()
	_, err := to.target.Channel.Cursor(patient, Source) // it ends what an earlier put was refused for
	var tx channel.Tx
	if err == nil {
		tx, err = to.target.Channel.Begin(patient)
	}
	switch {
	case errors.Is(err, channel.ErrFull), ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s is full: what is replayed so far is replayed, and the rest is kept: try again when there is room: %w", to.target.Address, err)
	case err != nil:
		return fmt.Errorf("replay into %s: %w", to.target.Address, err)
	}
	defer tx.Rollback()
	d.step("dead-put")
	if err := tx.Put(channel.Put{Source: Source, Batch: b, Changed: event.Cursor{d.stream: of}, Only: to.only}); err != nil {
		return fmt.Errorf("replay into %s: %w", to.target.Address, err)
	}
	if err := tx.Submit()(); err != nil {
		return fmt.Errorf("replay into %s: %w", to.target.Address, err)
	}
	return nil
}

// drop gives up a round.
func (d *Desk) drop(_ context.Context, r *round) error {
	var all channel.Ranges
	for _, p := range r.events {
		for _, c := range p.copies {
			all.Add(event.Range{First: c, Next: c + 1})
		}
	}
	if _, err := d.Keeper.Drop(Reader, slices.Collect(all.All())...); err != nil {
		return fmt.Errorf("give up dead letters of %s: %w", d.Address, err)
	}
	return nil
}
