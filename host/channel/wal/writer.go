// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// tail is the end of the log, and what writes to it.
type tail struct {
	log         appender
	file        file   // a handle of our own on the last segment: to flush outside the library's lock, and to cut
	index       uint64 // of the next record
	prev        uint32 // header CRC of the last
	end         event.Offset
	size        int64 // of the last segment; 0 = it has no STATE yet
	sum         seal  // of the last segment
	sealed      seal  // of the segment before, after a roll
	written     int64 // size of the segment that the last record went to
	limit       int64 // the size with which a segment ends
	dirty       bool  // no flush has covered the last record
	entered     bool  // file is open, and the segment's name durable
	incarnation uint64
}

// add counts a record; rolls is true when it ends the segment.
func (t *tail) add(h *header, size int64) (rolls bool) {
	t.index++
	t.prev = h.crc
	t.end += event.Offset(h.events)
	if h.kind == kindFence {
		t.end = h.first
	}
	t.size += size
	t.written = t.size
	t.sum.add(h)
	if t.size < t.limit {
		return false
	}
	t.sealed = t.sum
	t.size, t.sum, t.entered = 0, seal{index: t.index}, false
	return true
}

// write makes a group durable. On an error nothing of the group is in the log, unless it wraps ErrIndeterminate.
func (c *Channel) write(g *group) error {
	if g.state != nil {
		c.step("state")
	}
	c.step("put")
	begun := time.Now()
	err := c.tail.log.Append(g.first, g.entries)
	switch {
	case errors.Is(err, errFlush):
		return c.inDoubt(err)
	case noRoom(err):
		return c.cut(c.ranOut(err))
	case err != nil:
		return c.cut(err)
	case g.rolls:
		c.tail.log.Trim() // and it has flushed the segment that is full
		c.synced(begun)
		return nil
	case !c.mustFlush(g):
		return nil
	}
	return c.flush()
}

// flush makes what was appended durable.
func (c *Channel) flush() error {
	c.step("fsync")
	begun := time.Now()
	if err := c.tail.file.Sync(); err != nil {
		return c.inDoubt(err)
	}
	c.synced(begun)
	return nil
}

func (c *Channel) synced(begun time.Time) {
	took := time.Since(begun)
	c.mu.Lock()
	c.stats.Syncs++
	c.mu.Unlock()
	if c.observer.Synced != nil {
		c.observer.Synced(took)
	}
}

// inDoubt stops the channel after a failed flush. A second flush would say that all is well, though what the
// first could not write is gone: so it is never tried again, and no handle is closed, since closing flushes.
func (c *Channel) inDoubt(err error) error {
	c.stop(err)
	return fmt.Errorf("%w: flush the log: %w", channel.ErrIndeterminate, err)
}

// enter prepares the last segment for its first record, after an opening or a roll.
func (c *Channel) enter() error {
	c.step("roll")
	if err := c.enlarge(); err != nil {
		return fmt.Errorf("make segments larger: %w", err)
	}
	f, err := c.sys.Open(segmentName(c.tail.sum.index), writeFile)
	if err != nil {
		return fmt.Errorf("open the next segment: %w", err)
	}
	if p, ok := f.(preallocater); ok {
		p.Preallocate(c.tail.limit)
	}
	if old := c.tail.file; old != nil {
		if err := old.Close(); err != nil {
			c.log.Warn("close a full segment", "error", err) // it was flushed before
		}
	}
	c.tail.file = f
	c.step("dirsync")
	if err := c.logDir.Sync(); err != nil {
		return c.inDoubt(err)
	}
	c.tail.entered = true
	return nil
}

// enlarge opens the log anew, at the beginning of a segment, when STATE has outgrown the size of segments.
func (c *Channel) enlarge() error {
	limit := segmentLimit(c.tail.limit, c.state)
	if c.tail.size > 0 || limit <= c.tail.limit {
		return nil
	}
	return c.reopen(limit)
}

// segmentLimit is the size of segments: at least size, and in proportion to STATE.
func segmentLimit(size int64, s *state) int64 {
	return max(size, min(maxSegment, statesPerSegment*int64(s.size())))
}

// reopen closes the library's log and opens it again behind what is durable.
func (c *Channel) reopen(limit int64) error {
	if c.tail.log != nil {
		err := c.tail.log.Close()
		c.tail.log = nil
		switch {
		case errors.Is(err, fs.ErrClosed), errors.Is(err, fs.ErrInvalid): // it failed between two segments, and has none open
		case errors.Is(err, errFlush):
			return c.inDoubt(err)
		case err != nil:
			c.log.Warn("close the log", "error", err)
		}
	}
	log, err := c.sys.openLog(int(limit))
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	last, err := log.Last()
	if err == nil && last != c.tail.index-1 {
		err = fmt.Errorf("%w: the log ends with record %d, it should be %d: run `penstock channel verify %s`",
			channel.ErrCorrupt, last, c.tail.index-1, c.dir)
	}
	if err != nil {
		return errors.Join(err, log.Close())
	}
	c.tail.log, c.tail.limit = log, limit
	return nil
}

// cut takes back a write that failed: the segment is cut to what is durable, and the log opened anew,
// since the library would go on behind the bytes that it believes to be there.
func (c *Channel) cut(cause error) error {
	if f, ok := c.tail.file.(truncater); ok {
		if err := f.Truncate(c.tail.size); err != nil {
			return c.inDoubt(fmt.Errorf("cut the log after %w: %w", cause, err))
		}
	}
	if err := c.tail.file.Sync(); err != nil {
		return c.inDoubt(fmt.Errorf("flush the log, cut after %w: %w", cause, err))
	}
	if err := c.reopen(c.tail.limit); err != nil {
		c.stop(err)
		return fmt.Errorf("%w: %w: %w", errCut, cause, err)
	}
	return fmt.Errorf("%w: %w", errCut, cause)
}
