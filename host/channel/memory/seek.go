// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"errors"
	"fmt"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

var _ channel.Seeker = (*Channel)(nil)

// unused finds a reader that nobody has open.
func (c *Channel) unused(name string) (*reader, error) {
	r, ok := c.readers[name]
	switch {
	case c.closed:
		return nil, channel.ErrClosed
	case !ok:
		return nil, errors.New("there is none of that name")
	case r.inUse:
		return nil, errors.New("it is in use; remove it from the pipeline first")
	}
	return r, nil
}

// Forget drops a reader that nobody has open.
func (c *Channel) Forget(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.unused(name); err != nil {
		return fmt.Errorf("forget reader %s: %w", name, err)
	}
	delete(c.readers, name)
	c.reclaim()
	return nil
}

// Since finds the first batch that was committed at t or later.
func (c *Channel) Since(t time.Time) (event.Offset, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rec := range c.queue {
		if !rec.at.Before(t) {
			return rec.batch.Base(), nil
		}
	}
	return c.end, nil
}

// Ahead counts offsets: there is one incarnation, in which none was skipped.
func (c *Channel) Ahead(from event.Offset) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return event.Range{First: from, Next: c.end}.Len()
}

// Replay has the reader start anew, within what is still there.
func (c *Channel) Replay(name string, from event.Offset) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.unused(name)
	oldest := c.oldest()
	switch {
	case err != nil:
	case from < oldest:
		err = fmt.Errorf("%w: the oldest there is has offset %d", channel.ErrGone, oldest)
	case from > r.end():
		err = fmt.Errorf("its next event would have offset %d", r.end())
	}
	if err != nil {
		return fmt.Errorf("replay %s from offset %d: %w", name, from, err)
	}
	if lost := (event.Range{First: r.ledger.Low(), Next: from}); !lost.Empty() {
		c.dropped(channel.Drop{Loss: channel.LostPurge, Reader: name, Range: lost, Events: r.ledger.Uncommitted(lost)})
	}
	r.generation++
	r.ledger = channel.NewLedger(from)
	r.begin()
	c.reclaim()
	return nil
}

// Purge moves the reader to the end.
func (c *Channel) Purge(name string) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.unused(name)
	if err != nil {
		return 0, fmt.Errorf("purge what waits for %s: %w", name, err)
	}
	n := c.drop(r, channel.LostPurge, r.end())
	c.lost[channel.LostPurge] += n
	c.reclaim()
	return n, nil
}

// Drop gives up some of what waits.
func (c *Channel) Drop(name string, picked ...event.Range) (n uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.unused(name)
	if err == nil {
		err = r.ledger.Admits(picked...)
	}
	if err != nil {
		return 0, fmt.Errorf("give up events of %s: %w", name, err)
	}
	for _, span := range picked {
		d := channel.Drop{Loss: channel.LostPicked, Reader: name, Range: span.Intersect(event.Range{Next: r.end()})}
		if d.Events = r.ledger.Drop(d.Range, d.Loss); d.Events > 0 {
			c.dropped(d)
		}
		n += d.Events
	}
	c.reclaim()
	return n, nil
}

// oldest is the offset of the first event that is held.
func (c *Channel) oldest() event.Offset {
	if len(c.queue) > 0 {
		return c.queue[0].batch.Base()
	}
	return c.end
}
