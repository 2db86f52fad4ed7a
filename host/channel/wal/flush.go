// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// touched has the position of r written soon. c.mu is held.
func (c *Channel) touched(r *reader) {
	r.dirty = true
	c.flushAfter(positionDelay)
}

// flushAfter sets the timer, unless it is set. c.mu is held.
func (c *Channel) flushAfter(delay time.Duration) {
	if c.timer == nil && !c.closed {
		c.timers.Add(1)
		c.timer = time.AfterFunc(delay, c.flushSoon)
	}
}

// flushSoon is what the timer runs.
func (c *Channel) flushSoon() {
	defer c.timers.Done()
	err := c.flushPositions(false)
	if err != nil {
		c.log.Warn("positions were not written, will try again: a crash now would deliver events again", "dir", c.dir, "error", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = nil
	if err != nil {
		c.flushAfter(positionRetry)
		return
	}
	for _, r := range c.readers {
		if r.dirty { // it moved on meanwhile
			c.flushAfter(positionDelay)
		}
	}
}

// flushPositions writes the positions that changed, and unlinks the segments that nobody needs any
// more. Unless all is set, positions are made durable only where a segment goes.
func (c *Channel) flushPositions(all bool) error {
	c.flushing.Lock()
	defer c.flushing.Unlock()
	c.mu.Lock()
	moved, readers := c.changedPositions()
	c.mu.Unlock()
	var failed error
	for r, p := range moved { // all of them: none but these has them written again
		failed = errors.Join(failed, c.writePosition(r, &p))
	}
	if failed != nil {
		return failed
	}
	if len(c.dead) == 0 && !all {
		return nil
	}
	for _, r := range readers {
		if err := c.syncPosition(r); err != nil {
			return err
		}
	}
	if err := c.unlinkDead(); err != nil {
		return err
	}
	c.mu.Lock()
	c.gone = c.oldest()
	c.mu.Unlock()
	return nil
}

// changedPositions returns where the readers stand that moved, and takes the segments that are wholly committed off the list.
func (c *Channel) changedPositions() (moved map[*reader]position, readers []*reader) {
	moved = make(map[*reader]position)
	for _, r := range c.readers {
		readers = append(readers, r)
		if r.dirty {
			r.dirty = false
			moved[r] = c.positionOf(r)
		}
	}
	// The last one stays, whatever is committed: it holds the STATE that the next opening begins with.
	n, low := 0, c.lowest()
	for n+1 < len(c.segments) && c.segments[n+1].first <= low && c.expired(n) {
		n++
	}
	c.dead = append(c.dead, c.segments[:n]...)
	c.segments = c.segments[n:]
	return moved, readers
}

// positionOf is where a reader stands. Its end is the one that is durable: there may be nobody yet to go on from there. c.mu is held.
func (c *Channel) positionOf(r *reader) position {
	return position{id: r.entry.id, generation: r.entry.generation, end: c.state.readers[r.entry.name].end, lane: r.entry.lane,
		flags: c.positionFlags(), low: r.ledger.Low(), finished: slices.Collect(r.ledger.Finished()), shares: r.ledger.Shares()}
}

// keepPosition makes sure that the position of a reader can be written, also on a full disk.
func (c *Channel) keepPosition(r *reader) error {
	c.flushing.Lock()
	defer c.flushing.Unlock()
	c.mu.Lock()
	err := c.usable()
	p := c.positionOf(r)
	c.mu.Unlock()
	if err == nil {
		err = c.openPosition(r, p)
	}
	if noRoom(err) {
		c.log.Warn("there is no room for the position of a reader: a crash now would deliver its events again", "dir", c.dir, "reader", r.entry.name, "error", err)
		return nil
	}
	return err
}

// openPosition makes sure that the file of a reader that stands at p is open.
func (c *Channel) openPosition(r *reader, p position) (err error) {
	if r.file != nil {
		return nil
	}
	p.sequence = r.sequence
	if r.file, err = openPosition(c.sys, r.entry.name, p); err == nil {
		r.sequence = r.file.sequence
	}
	return err
}

func (c *Channel) writePosition(r *reader, p *position) error {
	err := c.openPosition(r, *p)
	if err == nil && r.sharing && r.unsynced {
		err = r.file.Sync() // else a torn slot would leave one that does not know what a member was given
	}
	if err == nil {
		c.step("position")
		err = r.file.write(p)
	}
	if err != nil {
		return c.lostPosition(r, err)
	}
	r.sequence, r.unsynced = p.sequence, true
	return nil
}

func (c *Channel) syncPosition(r *reader) error {
	if !r.unsynced {
		return nil
	}
	if err := r.file.Sync(); err != nil {
		return c.lostPosition(r, err)
	}
	r.unsynced = false
	return nil
}

// lostPosition has a position written again, into a file of its own: it is unknown what the old one holds.
func (c *Channel) lostPosition(r *reader, cause error) error {
	if r.file != nil {
		cause = errors.Join(cause, r.file.Close(), c.sys.Remove(r.file.name))
		r.file = nil
	}
	c.mu.Lock()
	r.dirty = true
	c.mu.Unlock()
	return fmt.Errorf("position of %s: %w", r.entry.name, cause)
}

// unlinkDead removes segments, oldest first, so that what is left is always the end of the log. Those that it
// could not remove stay dead.
func (c *Channel) unlinkDead() error {
	if len(c.dead) == 0 {
		return nil
	}
	for ; len(c.dead) > 0; c.dead = c.dead[1:] {
		c.step("unlink")
		if err := c.sys.Remove(segmentName(c.dead[0].index)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("unlink a segment that is not needed any more: %w", err)
		}
	}
	c.dead = nil
	c.step("dirsync")
	if err := c.logDir.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", logDir, err)
	}
	return nil
}
