// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/penstock-io/penstock/host/channel"
)

// sweepEvery is how often it is looked for cursor entries that were not set for long. The first time comes as late
// after opening, so that a source which could not run for long has set again by then what it still needs.
const sweepEvery = time.Hour

// sweepLater sets the timer, where entries are forgotten at all. c.mu is held.
func (c *Channel) sweepLater() {
	if c.o.ForgetAfter > 0 {
		c.later(&c.sweepTimer, sweepEvery, c.sweep)
	}
}

// sweep forgets the entries that were not set for long. It is a record like any other that says so, and what goes is decided
// when that is applied, here and at any later opening: what was set again in between stays.
func (c *Channel) sweep() {
	c.mu.Lock()
	var idle []channel.Idle
	if c.usable() == nil && c.opening == nil {
		idle = c.state.cursors.Idle(c.now(), c.o.ForgetAfter, c.used)
	}
	c.mu.Unlock()
	if len(idle) > 0 {
		t := &tx{c: c, internal: true, changes: changes{idle: idle}}
		if err := t.Submit()(); err != nil && !errors.Is(err, channel.ErrClosed) {
			c.log.Warn("cursor entries that were not set for long are not forgotten yet, will try again", "dir", c.dir, "error", err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweepLater()
}

// now is the time for what is forgotten. A clock that is set while the channel is open does not make anything old.
func (c *Channel) now() uint32 {
	return channel.Seconds(c.opened.Add(time.Since(c.opened)).UnixNano())
}

// forget applies what a sweep found, counts it and says it.
func (c *Channel) forget(idle []channel.Idle) {
	for _, i := range idle {
		n := c.state.cursors.Forget(i.Source, i.Before)
		if n == 0 {
			continue
		}
		c.stats.Forgotten += uint64(n)
		c.log.Info("cursor entries that were not set for long are forgotten", "dir", c.dir, "source", i.Source, "entries", n, "after", c.o.ForgetAfter)
	}
}

func appendIdle(dst []byte, i *channel.Idle) []byte {
	return appendTLV(dst, tlvIdle, func(dst []byte) []byte {
		return append(binary.LittleEndian.AppendUint32(dst, i.Before), i.Source...)
	})
}
