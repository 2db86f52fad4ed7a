// SPDX-License-Identifier: Apache-2.0

package wal

import "time"

// Durability says what an acknowledgement promises, and what readers see. Whatever it is, a process that is
// killed loses nothing; below Fsync, a machine that crashes may lose the newest transactions, together with the cursors in
// them, so that sources which can send again do.
type Durability uint8

// The levels.
const (
	Fsync    Durability = iota // it is on disk
	Interval                   // the system has it, and it is flushed at most Options.FlushEvery later
	OS                         // the system has it; it is flushed with its segment, and at Close
)

// DefaultFlushEvery is how long Interval goes without a flush when nothing else is said.
const DefaultFlushEvery = 100 * time.Millisecond

// positionFlags marks positions that a crash of the machine may leave behind the end of the log.
func (c *Channel) positionFlags() uint16 {
	if c.o.Durability == Fsync {
		return 0
	}
	return posRelaxed
}

// mustFlush says whether a group is flushed before it is acknowledged. The channel's own records always are, and so is the
// STATE of a segment: with the segments before it unlinked, it is all that is known of idle sources.
func (c *Channel) mustFlush(g *group) bool {
	return c.o.Durability == Fsync || g.firm || g.state != nil
}

// flushLater sees to it that what was acknowledged is flushed in time. c.mu is held.
func (c *Channel) flushLater() {
	if c.o.Durability == Interval && c.tail.dirty {
		c.later(&c.flushTimer, c.o.FlushEvery, c.flushNow)
	}
}

// flushNow is what the timer runs. Only who leads may flush; who leads already does it when its group is written.
func (c *Channel) flushNow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushDue = true
	if c.leading || c.usable() != nil {
		return
	}
	c.leading = true
	c.catchUp()
	c.stepAside()
}

// catchUp flushes what is due. The leader calls it; c.mu is held before and after.
func (c *Channel) catchUp() {
	if !c.flushDue {
		return
	}
	c.flushDue = false
	if !c.tail.dirty || c.usable() != nil {
		return
	}
	c.mu.Unlock()
	err := c.flush()
	c.mu.Lock()
	c.tail.dirty = err != nil // then the channel has stopped
}
