// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/penstock-io/penstock/host/channel"
)

// The scrub reads what nobody has read for long, so that damage is found while there is still something to be done about
// it: a copy of the disk, a source that still has the lines. A round reads each sealed segment once, slowly, in the function of one timer.

const (
	// scrubRate bounds what it reads, in bytes a second: a fraction of what a slow disk does. 5 GB take five minutes.
	scrubRate = 16 << 20
	// scrubPause is the shortest sleep: shorter ones would only cost timers.
	scrubPause = 50 * time.Millisecond
	// scrubDelay is how long after opening the first round begins: a start has the disk for itself.
	scrubDelay = 10 * time.Minute
	// scrubRest is the least time between two rounds.
	scrubRest = time.Second
)

// scrub is what the rounds have found. c.mu guards it.
type scrub struct {
	timer    *time.Timer
	segments uint64            // read, since the channel was opened
	last     time.Time         // when a round ended
	damage   map[uint64]string // by segment: where it is, and stays
}

// uncacher is a file that can be read from the disk itself.
type uncacher interface{ Uncache(size int64) }

// scrubLater sets the timer, where there is a scrub at all. c.mu is held.
func (c *Channel) scrubLater(d time.Duration) {
	if c.o.Scrub > 0 {
		c.later(&c.scrub.timer, d, c.scrubRound)
	}
}

// scrubRound reads each sealed segment that there is.
func (c *Channel) scrubRound() {
	begun, read := time.Now(), int64(0)
	for seg, ok := c.sealed(0); ok; seg, ok = c.sealed(seg.index + 1) {
		slow := func(at int64) error {
			return c.await(begun.Add(time.Duration(float64(read+at) / scrubRate * float64(time.Second))))
		}
		c.scrubbed(seg, c.scrubSegment(seg, slow))
		read += seg.size
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.usable() == nil {
		c.scrub.last = time.Now()
		c.scrubLater(max(scrubRest, c.o.Scrub-time.Since(begun)))
	}
}

// sealed returns a copy of the first segment from that record on that is not written any more.
func (c *Channel) sealed(from uint64) (s segment, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, _ := c.indexOf(from)
	if c.usable() != nil || i+1 >= len(c.segments) {
		return s, false
	}
	return *c.segments[i], true
}

// scrubSegment reads one segment as it is on the disk, and all its checksums. It holds no lock: the segment may be unlinked
// or mended meanwhile. slow is told how far it is, and waits.
func (c *Channel) scrubSegment(seg segment, slow func(at int64) error) error {
	f, err := c.sys.Open(segmentName(seg.index), readFile)
	if err != nil {
		return err
	}
	if u, ok := f.(uncacher); ok {
		u.Uncache(seg.size)
		defer u.Uncache(seg.size) // a backlog that nobody reads is not worth the memory
	}
	s := newScanner(f, seg.index, seg.size, c.pool, c.coder)
	defer s.release()
	s.blind = true
	return errors.Join(readSlowly(s, slow), f.Close())
}

func readSlowly(s *scanner, slow func(at int64) error) error {
	for {
		_, err := s.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = slow(s.at)
		}
		if err != nil {
			return err
		}
	}
}

// await waits until then, unless that is soon; it ends with the channel.
func (c *Channel) await(then time.Time) error {
	wait := time.Until(then)
	if wait < scrubPause {
		return nil
	}
	select {
	case <-time.After(wait):
		return nil
	case <-c.done:
		return channel.ErrClosed
	}
}

// scrubbed does what is to be done about what was found in a segment.
func (c *Channel) scrubbed(seg segment, err error) {
	d, damaged := errors.AsType[*Damage](err)
	now, there := c.extent(seg.index)
	switch {
	case errors.Is(err, channel.ErrClosed), !there, now.version != seg.version: // every reader is past it, or it is mended
	case err == nil:
		c.mu.Lock()
		c.scrub.segments++
		delete(c.scrub.damage, seg.index)
		c.mu.Unlock()
	case !damaged:
		if !errors.Is(err, fs.ErrNotExist) || c.stays(seg.index) {
			c.log.Warn("a segment cannot be read to check it, will try again", "dir", c.dir, "segment", segmentName(seg.index), "error", err)
		}
	case c.onCorrupt == Quarantine && !foreign(err):
		if err := c.mendSealed(d); err != nil {
			c.log.Error("the log is damaged, and that cannot be set aside yet: readers that get there wait", "dir", c.dir, "error", err)
		}
	default:
		c.foundDamage(seg.index, d)
	}
}

// stays says whether a segment that is not there should be: it is not about to be unlinked.
func (c *Channel) stays(index uint64) bool {
	c.flushing.Lock() // who unlinks has ended
	defer c.flushing.Unlock()
	_, there := c.extent(index)
	return there
}

// foundDamage counts and says damage that stays where it is.
func (c *Channel) foundDamage(index uint64, d *Damage) {
	c.mu.Lock()
	if _, known := c.scrub.damage[index]; !known {
		c.stats.CorruptRecords++
	}
	c.scrub.damage[index] = fmt.Sprintf("%s at byte %d: %v", d.File, d.Offset, d.Cause)
	c.mu.Unlock()
	c.log.Error("the log is damaged: a sink that gets there will stop; stop the agent and repair it, or set on_corrupt = \"quarantine\"",
		"dir", c.dir, "file", d.File, "offset", d.Offset, "error", d.Cause, "command", "penstock channel repair "+c.dir)
}

// firstDamage is the first place where damage is that some reader has yet to meet, "" when none is known. c.mu is held.
func (c *Channel) firstDamage() string {
	for _, s := range c.segments {
		if where, ok := c.scrub.damage[s.index]; ok {
			return where
		}
	}
	return ""
}
