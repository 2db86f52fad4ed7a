// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"fmt"

	"github.com/penstock-io/penstock/host/channel"
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

// Release makes nobody's what a member has.
func (r *reader) Release(member string) (uint64, error) {
	r.c.mu.Lock()
	n := r.ledger.Release(member)
	r.arrived()
	r.c.mu.Unlock()
	if err := r.keepShares(); err != nil {
		return n, fmt.Errorf("release what %s has of reader %s: %w", member, r.entry.name, err)
	}
	return n, nil
}
