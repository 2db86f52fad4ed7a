// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"fmt"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

var _ channel.Sharer = (*reader)(nil)

// keepShare makes it durable whose a lease is, before it is handed out. When that cannot be, nobody has seen it.
func (l *lease) keepShare() error {
	if !l.fresh {
		return nil
	}
	if err := l.r.keepShares(); err != nil {
		l.Rollback()
		l.r.c.mu.Lock()
		defer l.r.c.mu.Unlock()
		l.r.ledger.Disown(l.delivery.Range)
		return fmt.Errorf("write down that %v is for %s: %w", l.delivery.Range, l.member, err)
	}
	return nil
}

// keepShares writes the position of r, and flushes it.
func (r *reader) keepShares() error {
	c := r.c
	c.flushing.Lock()
	defer c.flushing.Unlock()
	c.mu.Lock()
	if c.closed || r.closed {
		c.mu.Unlock()
		return channel.ErrClosed
	}
	p := c.positionOf(r)
	r.dirty = false
	c.mu.Unlock()
	r.sharing = true
	if err := c.writePosition(r, &p); err != nil {
		return err
	}
	return c.syncPosition(r)
}

// Settle ends the doubt over what a member has.
func (r *reader) Settle(member string, held bool, ranges ...event.Range) (uint64, error) {
	r.c.mu.Lock()
	if r.c.closed || r.closed {
		r.c.mu.Unlock()
		return 0, fmt.Errorf("settle what %s has of reader %s: %w", member, r.entry.name, channel.ErrClosed)
	}
	n, err := r.ledger.Settle(r.end(), member, held, ranges...)
	r.c.freed()
	r.arrived()
	r.c.mu.Unlock()
	if err = errors.Join(err, r.keepShares()); err != nil {
		return n, fmt.Errorf("settle what %s has of reader %s: %w", member, r.entry.name, err)
	}
	return n, nil
}
