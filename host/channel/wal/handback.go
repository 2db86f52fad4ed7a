// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"fmt"
)

// Close gives the name back. The registration goes on in a reader of its own, so that nothing which is still held of
// this one, such as a lease, can move it.
func (r *reader) Close() error {
	c := r.c
	c.mu.Lock()
	if r.closed || c.closed { // the channel's Close sees to it
		c.mu.Unlock()
		return nil
	}
	r.closed = true
	for l := range r.leases {
		r.rollback(l)
	}
	r.arrived()
	c.mu.Unlock()
	err := errors.Join(r.endReading(), c.flushPositions(true))
	c.succeed(r)
	if err != nil {
		return fmt.Errorf("close reader %s: %w", r.entry.name, err)
	}
	return nil
}

// endReading waits for who reads the log for r, and frees what that needs.
func (r *reader) endReading() error {
	select {
	case r.tape.gate <- struct{}{}:
	case <-r.c.done:
		return nil
	}
	defer func() { <-r.tape.gate }()
	return r.tape.close()
}

// succeed puts another in the place of a reader that was closed, for whoever opens the name next.
func (c *Channel) succeed(r *reader) {
	c.flushing.Lock()
	defer c.flushing.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || r.detached {
		return
	}
	r.inUse = false
	if c.replace(r, r.entry, r.ledger).dirty {
		c.flushAfter(positionDelay)
	}
}
