// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

var (
	_ channel.Seeker = (*Channel)(nil)
	_ channel.Picker = (*Channel)(nil)
)

// seize takes a reader that nobody has open, so that nobody opens it meanwhile.
func (c *Channel) seize(name string) (*reader, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.readers[name]
	err := c.usable()
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, errors.New("there is none of that name")
	case r.inUse:
		return nil, errors.New("it is in use; remove it from the pipeline first")
	}
	r.inUse = true
	return r, nil
}

// Replay registers the reader once more, as the next generation. Positions of the one before do not count from then on.
func (c *Channel) Replay(name string, from event.Offset) error {
	c.flushing.Lock() // nothing that lies behind from is unlinked, until the reader that needs it is there
	defer c.flushing.Unlock()
	r, err := c.seize(name)
	if err == nil {
		err = c.replay(r, from)
		c.disclaim(r, false)
	}
	if err != nil {
		return fmt.Errorf("replay %s from offset %d: %w", name, from, err)
	}
	return nil
}

func (c *Channel) replay(r *reader, from event.Offset) error {
	c.mu.Lock()
	oldest, end, low, entry := c.oldest(), r.end(), r.ledger.Low(), r.entry
	c.mu.Unlock()
	switch {
	case from < oldest:
		return fmt.Errorf("%w: the oldest there is has offset %d", channel.ErrGone, oldest)
	case from > end:
		return fmt.Errorf("its next event would have offset %d", end)
	}
	entry.generation++
	entry.first, entry.floor = from, min(from, entry.floor)
	t := &tx{c: c, internal: true, changes: changes{readers: []readerEntry{entry}}}
	if err := t.Submit()(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if lost := (event.Range{First: r.ledger.Low(), Next: from}); !lost.Empty() {
		c.dropped(channel.Drop{Loss: channel.LostPurge, Reader: entry.name, Range: lost, Events: r.ledger.Uncommitted(lost)})
	}
	next := c.replace(r, entry, channel.NewLedger(from))
	next.begin()
	c.touched(next)
	c.freed()
	c.log.Warn("a reader was set to another offset, as a new stream: what lies behind that is delivered again", "dir", c.dir, "reader", entry.name,
		"from", uint64(from), "stood", uint64(low), "generation", entry.generation, "waiting", next.ledger.Waiting(next.end()))
	return nil
}

// replace puts another in the place of a reader that nobody has open any more. c.flushing and c.mu are held.
func (c *Channel) replace(r *reader, entry readerEntry, ledger *channel.Ledger) *reader {
	next := c.newReader(entry, ledger)
	next.file, next.sequence, next.unsynced, next.dirty, next.sharing = r.file, r.sequence, r.unsynced, r.dirty, r.sharing
	r.file = nil
	c.readers[entry.name] = next
	return next
}

// begin offers a reader what is there for it, from where it begins.
func (r *reader) begin() {
	r.coverGaps()
	r.ledger.Offer(r.ledger.Waiting(r.end()))
	for _, b := range r.c.ring.list {
		r.pass(b.span, b.only)
	}
}

// Purge moves the reader to the end. Its position says so first, which needs no room: the disk may be full. The record of
// what was given up follows, and is left out where it finds none.
func (c *Channel) Purge(name string) (uint64, error) {
	r, err := c.seize(name)
	n := uint64(0)
	if err == nil {
		n, err = c.purge(r)
		c.disclaim(r, false)
	}
	if err != nil {
		return 0, fmt.Errorf("purge what waits for %s: %w", name, err)
	}
	return n, nil
}

func (c *Channel) purge(r *reader) (uint64, error) {
	d, err := c.moveToEnd(r)
	if err != nil {
		return 0, err
	}
	return d.events, c.recordDrop(d)
}

// Drop has the position say first that the reader has these, like Purge.
func (c *Channel) Drop(name string, picked ...event.Range) (uint64, error) {
	r, err := c.seize(name)
	n := uint64(0)
	if err == nil {
		n, err = c.pick(r, picked)
		c.disclaim(r, false)
	}
	if err != nil {
		return 0, fmt.Errorf("give up events of %s: %w", name, err)
	}
	return n, nil
}

func (c *Channel) pick(r *reader, picked []event.Range) (uint64, error) {
	d, err := c.leaveOut(r, picked)
	if err != nil || d.events == 0 {
		return 0, err
	}
	return d.events, c.recordDrop(d)
}

// leaveOut has the position of a reader say that it has what is picked, and returns what that gives up.
func (c *Channel) leaveOut(r *reader, picked []event.Range) (drop, error) {
	c.flushing.Lock()
	defer c.flushing.Unlock()
	c.mu.Lock()
	d := drop{loss: channel.LostPicked, reader: r.entry.name, span: event.Range{First: math.MaxUint64}}
	for _, span := range picked {
		if span = r.mine(span); span.Empty() {
			continue
		}
		d.picked = append(d.picked, span)
		d.span = event.Range{First: min(d.span.First, span.First), Next: max(d.span.Next, span.Next)}
		d.events += r.ledger.Uncommitted(span)
	}
	p := c.positionOf(r)
	err := r.ledger.Admits(d.picked...)
	c.mu.Unlock()
	if err != nil || d.events == 0 {
		return d, err
	}
	after := channel.NewLedger(p.low, append(p.finished, d.picked...)...)
	p.low, p.finished = after.Low(), slices.Collect(after.Finished())
	if err := c.writePosition(r, &p); err != nil {
		return d, err
	}
	return d, c.syncPosition(r)
}

// recordDrop writes down what a position says already, and gives it up.
func (c *Channel) recordDrop(d drop) error {
	t := &tx{c: c, internal: true, changes: changes{drops: []drop{d}}}
	err := t.Submit()()
	if errors.Is(err, channel.ErrFull) {
		c.log.Warn("there is no room for a record of what was given up", "dir", c.dir, "reader", d.reader, "error", err)
		c.mu.Lock()
		c.giveUp(&tx{changes: changes{drops: []drop{d}}})
		c.mu.Unlock()
		err = c.flushPositions(true)
	}
	return err
}

// moveToEnd has the position of a reader say that it has all, and returns what that gives up.
func (c *Channel) moveToEnd(r *reader) (drop, error) {
	c.flushing.Lock()
	defer c.flushing.Unlock()
	c.mu.Lock()
	p := c.positionOf(r)
	d := drop{loss: channel.LostPurge, reader: r.entry.name, span: event.Range{First: p.low, Next: r.end()}}
	d.events = r.ledger.Uncommitted(d.span)
	c.mu.Unlock()
	p.low, p.finished = d.span.Next, nil
	if err := c.writePosition(r, &p); err != nil {
		return d, err
	}
	return d, c.syncPosition(r)
}

// Ahead counts events by offsets, of which those that openings skipped are none.
func (c *Channel) Ahead(from event.Offset) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.count(event.Range{First: from, Next: c.state.end})
}

// Since reads the headers of the first segment that may have such an event, and of those behind it.
func (c *Channel) Since(t time.Time) (event.Offset, error) {
	c.mu.Lock()
	end := c.state.end
	var list []segment
	for i, s := range c.segments {
		if t.IsZero() {
			end = s.first
			break
		}
		if i+1 == len(c.segments) || c.segments[i+1].time >= t.UnixNano() {
			list = append(list, *s)
		}
	}
	c.mu.Unlock()
	for _, s := range list {
		o, found, err := c.sinceIn(s, t.UnixNano())
		if errors.Is(err, fs.ErrNotExist) { // every reader is past it, since it was listed
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("look for the events since %v: %w", t.Format(time.RFC3339), err)
		}
		if found {
			return o, nil
		}
	}
	return end, nil
}

// sinceIn looks into one segment.
func (c *Channel) sinceIn(s segment, at int64) (o event.Offset, found bool, err error) {
	f, err := c.sys.Open(segmentName(s.index), readFile)
	if err != nil {
		return 0, false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	scan := newScanner(f, s.index, s.size, c.pool, c.coder)
	defer scan.release()
	for {
		rec, err := scan.skip()
		switch {
		case errors.Is(err, io.EOF):
			return 0, false, nil
		case err != nil:
			return 0, false, err
		case rec.events > 0 && rec.time >= at:
			return rec.first, true, nil
		}
	}
}
