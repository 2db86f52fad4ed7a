// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"fmt"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// Cursor returns a copy of the source's cursor. Nothing is ever in flight.
func (c *Channel) Cursor(_ context.Context, name string) (channel.Position, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return channel.Position{}, fmt.Errorf("cursor of %s: %w", name, channel.ErrClosed)
	}
	delete(c.refusing, name)
	c.used[name] = true
	c.sweep(time.Now())
	return c.cursors.Position(name), nil
}

// sweepEvery is how often it is looked for cursor entries that were not set for long.
const sweepEvery = time.Hour

// sweep forgets those entries, when it is time.
func (c *Channel) sweep(now time.Time) {
	if c.o.ForgetAfter <= 0 || now.Sub(c.swept) < sweepEvery {
		return
	}
	c.swept = now
	for _, i := range c.cursors.Idle(channel.Seconds(now.UnixNano()), c.o.ForgetAfter, c.used) {
		c.stats.Forgotten += uint64(c.cursors.Forget(i.Source, i.Before))
	}
}

type tx struct {
	c    *Channel
	one  [1]channel.Put // room for the common case
	puts []channel.Put
	full bool // the channel was, at Begin, and acknowledges what it has no room for
	done bool
}

func (t *tx) Put(p channel.Put) error {
	if t.done {
		p.Batch.Release()
		return fmt.Errorf("put of %s: transaction %w", p.Source, channel.ErrDone)
	}
	if err := p.Check(); err != nil {
		p.Batch.Release()
		t.c.refused("limit")
		return fmt.Errorf("put: %w", err)
	}
	if t.mixes(p) {
		p.Batch.Release()
		t.c.refused("limit")
		return fmt.Errorf("put of %s: a transaction whose events are for one reader only has no others", p.Source)
	}
	if !p.Batch.Numbered() { // what a filter or a slice left: offsets have no gaps here
		b, err := event.Join(t.c.o.Pool, p.Batch)
		p.Batch.Release()
		if err != nil {
			return fmt.Errorf("put of %s: number its events: %w", p.Source, err)
		}
		p.Batch = b
	}
	if t.puts == nil {
		t.puts = t.one[:0]
	}
	t.puts = append(t.puts, p)
	return nil
}

// mixes says whether p has events for other readers than those before it.
func (t *tx) mixes(p channel.Put) bool {
	for i := range t.puts {
		if t.puts[i].Batch.Len() > 0 && p.Batch.Len() > 0 && t.puts[i].Only != p.Only {
			return true
		}
	}
	return false
}

func (t *tx) Rollback() {
	if t.done {
		return
	}
	t.done = true
	t.release()
}

func (t *tx) release() {
	for _, p := range t.puts {
		p.Batch.Release()
	}
	t.puts = nil
}

func committed() error { return nil }

func (t *tx) Submit() (wait func() error) {
	if t.done {
		return func() error { return fmt.Errorf("submit: transaction %w", channel.ErrDone) }
	}
	t.done = true
	begun := time.Now()
	events, size, err := t.c.commit(t, begun)
	if err != nil {
		t.release()
		return func() error { return fmt.Errorf("submit: %w", err) }
	}
	if t.c.o.Observer.Committed != nil {
		t.c.o.Observer.Committed(1, events, size, time.Since(begun))
	}
	return committed
}

// commit makes all of t visible, or nothing.
func (c *Channel) commit(t *tx, now time.Time) (events int, size int64, err error) {
	puts := t.puts
	changes := make([]channel.CursorChange, len(puts))
	for i, p := range puts {
		changes[i] = channel.CursorChange{Source: p.Source, Version: p.Version, Move: p.Move, Removed: p.Removed, Changed: p.Changed}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, 0, channel.ErrClosed
	}
	if reason, err := c.admit(puts, changes); err != nil {
		c.refused(reason)
		for _, p := range puts {
			c.refusing[p.Source] = true
		}
		return 0, 0, err
	}
	c.sweep(now)
	shed := t.full && c.full()
	for i, p := range puts {
		c.cursors.Change(&changes[i], channel.Seconds(now.UnixNano()))
		n := p.Batch.Len()
		events += n
		if shed && n > 0 {
			p.Batch.Release()
			c.shed(n, p.Only)
			continue
		}
		size += int64(p.Batch.Size())
		c.add(p, now)
	}
	c.watchAge()
	c.stats.Put += uint64(events)
	c.stats.Transactions++
	for _, r := range c.readers {
		r.arrived()
	}
	return events, size, nil
}

// admit says whether changes may be committed, and in one word why not. It changes nothing.
func (c *Channel) admit(puts []channel.Put, changes []channel.CursorChange) (reason string, err error) {
	for _, ch := range changes {
		if c.refusing[ch.Source] {
			return "prior", fmt.Errorf("%w: open %s again from its cursor", channel.ErrPrior, ch.Source)
		}
	}
	if err := c.cursors.Fit(changes); err != nil {
		return "limit", err
	}
	for _, p := range puts {
		if r := c.readers[p.Only]; p.Only != "" && p.Batch.Len() > 0 && (r == nil || !r.takes(c.end)) {
			return "reader", channel.NoReaderFor(p.Only)
		}
	}
	if c.o.Fault != nil {
		if err := c.o.Fault("put"); err != nil {
			return "error", err
		}
	}
	return "", nil
}

// add appends p's batch, of which it has taken over the hold.
func (c *Channel) add(p channel.Put, now time.Time) {
	n := p.Batch.Len()
	if n == 0 {
		p.Batch.Release()
		return
	}
	r := record{batch: p.Batch.WithBase(c.end), before: c.put, next: c.end + event.Offset(n), only: p.Only, at: now}
	c.queue = append(c.queue, r)
	c.put += uint64(p.Batch.Size())
	c.end = r.next
	for _, reader := range c.readers {
		if reader.takes(r.batch.Base()) {
			reader.ledger.Offer(uint64(n))
		}
		reader.pass(r)
	}
	if p.Only == "" {
		return
	}
	c.reclaim() // where nobody has that name, or everybody had passed over all before
}
