// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"math"
	"time"

	"github.com/penstock-io/penstock/spec/event"
)

// expired says whether segment n, which every reader has committed, may go: when its newest event is old enough, or
// the disk lacks what it takes. c.mu is held.
func (c *Channel) expired(n int) bool {
	if c.o.Retain <= 0 {
		return true
	}
	left := c.o.Retain - time.Since(time.Unix(0, c.segments[n+1].time))
	switch {
	case left <= 0:
		return true
	case c.short.lacks > 0:
		c.short.lacks -= c.segments[n].size
		return true
	}
	c.later(&c.expiry, left, c.expire)
	return false
}

// expire has segments looked at that stayed for their age.
func (c *Channel) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushAfter(positionDelay)
}

// keepSince is the time after which segments stay whoever has committed them.
func (c *Channel) keepSince() int64 {
	if c.o.Retain <= 0 {
		return math.MaxInt64
	}
	return time.Now().Add(-c.o.Retain).UnixNano()
}

// below is how many bytes the segments take that lie wholly below an offset.
func (c *Channel) below(o event.Offset) (n int64) {
	for i := 0; i+1 < len(c.segments) && c.segments[i+1].first <= o; i++ {
		n += c.segments[i].size
	}
	return n
}

// spare frees so much of the disk, if segments take it that stay only for replays.
func (c *Channel) spare(bytes int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.yield(bytes)
}

// yield has segments go that stay only for replays, and says whether they are so many bytes. c.mu is held.
func (c *Channel) yield(bytes int64) bool {
	c.short.lacks = bytes
	c.flushAfter(positionDelay)
	return c.below(c.lowest()) >= bytes
}

// makeRoom frees so much of the disk: what stays for replays first, then what policies give up, if that is enough. c.mu
// is held before and after, not meanwhile.
func (c *Channel) makeRoom(bytes int64) {
	if c.yield(bytes) || c.opening != nil || c.relief.done != nil {
		return
	}
	if changes, ok := c.sacrifice(func(low event.Offset) bool { return c.below(low) >= bytes }); ok {
		c.record(changes)
	}
}
