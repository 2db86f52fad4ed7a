// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/penstock-io/penstock/host/channel"
)

// Close ends what waits, writes positions, and frees everything. What is queued and not being written is refused.
func (c *Channel) Close() error {
	if !c.shut() {
		return nil
	}
	c.timers.Wait()
	c.mu.Lock()
	readers := slices.Collect(maps.Values(c.readers))
	c.mu.Unlock()
	for _, r := range readers {
		r.tape.gate <- struct{}{} // and stays there: who reads has ended, and nobody reads again
		if err := r.tape.close(); err != nil {
			c.log.Warn("close a segment that was read", "error", err)
		}
	}
	err := c.flushPositions(true)
	if c.stopped == nil && err == nil && c.opening == nil {
		err = c.finish()
	}
	if err = errors.Join(err, c.letGo()); err != nil {
		return fmt.Errorf("close channel %s: %w", c.dir, err)
	}
	return nil
}

// shut turns everybody away and waits for who leads. It is false when the channel was closed before.
func (c *Channel) shut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.closed = true
	close(c.done)
	c.stopTimers()
	c.abandon(channel.ErrClosed)
	c.letIn()
	for c.leading {
		idle := c.stepDown()
		c.mu.Unlock()
		<-idle
		c.mu.Lock()
	}
	for _, f := range c.flights {
		if f.drained != nil {
			close(f.drained)
			f.drained = nil
		}
	}
	return true
}

// finish makes the end of the log durable, and says so, so that the next opening need not doubt it.
func (c *Channel) finish() error {
	log := c.tail.log
	if log == nil { // it could not be opened again for larger segments; all that was appended before is flushed
		return nil
	}
	c.tail.log = nil
	if err := log.Close(); err != nil {
		return fmt.Errorf("flush the log: %w", err)
	}
	mark := cleanMark(c.tail.index, c.tail.prev)
	err := c.sys.Publish(cleanFile, mark)
	if noRoom(err) {
		if err = c.releaseReserve(); err == nil {
			err = c.sys.Publish(cleanFile, mark)
		}
	}
	if noRoom(err) { // it only saves work at the next opening
		c.log.Warn("there is no room to say that the channel was closed in order", "dir", c.dir, "error", err)
		return nil
	}
	return err
}

// letGo frees what is held. After a failed flush the log's own handles stay open: closing them would flush again.
func (c *Channel) letGo() error {
	var errs []error
	if c.tail.file != nil && c.stopped == nil {
		errs = append(errs, c.tail.file.Close())
	}
	if c.tail.log != nil && c.stopped == nil {
		errs = append(errs, c.tail.log.Close())
	}
	errs = append(errs, c.closePositions())
	for len(c.ring.list) > 0 {
		c.ring.drop()
	}
	c.decoded.clear()
	if c.logDir != nil {
		errs = append(errs, c.logDir.Close())
	}
	if c.lock != nil {
		errs = append(errs, c.lock.Close())
	}
	return errors.Join(errs...)
}

func (c *Channel) closePositions() error {
	c.flushing.Lock()
	defer c.flushing.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, r := range c.readers {
		if r.file != nil {
			errs = append(errs, r.file.Close())
			r.file = nil
		}
	}
	return errors.Join(errs...)
}
