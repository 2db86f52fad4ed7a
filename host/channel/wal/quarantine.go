// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"fmt"

	"github.com/penstock-io/penstock/host/channel"
)

// CorruptPolicy says what is done about damage to what was acknowledged.
type CorruptPolicy uint8

// The policies.
const (
	Stop       CorruptPolicy = iota // the reader that gets there stops, and says where
	Quarantine                      // what cannot be read is set aside, counted and said; the rest is delivered
)

// damaged is what becomes of a reader that met damage: nil when it may look again.
func (r *reader) damaged(err error) error {
	c := r.c
	d, ok := errors.AsType[*Damage](err)
	if ok && c.onCorrupt == Quarantine && !foreign(err) {
		return c.mendSealed(d)
	}
	if errors.Is(err, channel.ErrCorrupt) {
		c.mu.Lock()
		c.stats.CorruptRecords++
		c.mu.Unlock()
		err = fmt.Errorf("%w: stop the agent and run `penstock channel repair %s`, or set on_corrupt = \"quarantine\"", err, c.dir)
	}
	return fmt.Errorf("read the log: %w", withKeyHint(err))
}

// mendSealed sets aside what is damaged in a segment that is not written any more. Readers find a GAP there.
func (c *Channel) mendSealed(d *Damage) error {
	c.flushing.Lock() // nothing is unlinked meanwhile
	defer c.flushing.Unlock()
	index := segmentIndex(d.File[len(logDir)+1:])
	c.mu.Lock()
	i, ok := c.indexOf(index)
	if !ok { // every reader is past it
		c.mu.Unlock()
		return nil
	}
	if i == len(c.segments)-1 {
		c.stats.CorruptRecords++
		c.mu.Unlock()
		return fmt.Errorf("read the log: %w: it is in the segment that is being written: start the agent again, which sets it aside", d)
	}
	prev := uint64(0)
	if i > 0 {
		prev = c.segments[i-1].index
	}
	next := &neighbour{index: c.segments[i+1].index, first: c.segments[i+1].first, known: true}
	c.mu.Unlock()
	m := &mender{files: c.sys, pool: c.pool, coder: c.coder}
	c.step("mend")
	size, err := m.segment(index, prev, next)
	if err != nil { // not ErrCorrupt: with room on the disk it may succeed
		return fmt.Errorf("set aside the damage in %s at byte %d: %w", d.File, d.Offset, err)
	}
	c.mu.Lock()
	if i, ok := c.indexOf(index); ok {
		c.segments[i].size = size
		c.segments[i].version++
	}
	c.mu.Unlock()
	if len(m.done) == 0 {
		return fmt.Errorf("read the log: %w, which a second look did not find: %w", errFickle, d.Cause)
	}
	c.tell(m.done)
	return nil
}

// errFickle: the disk or the memory gives other bytes each time.
var errFickle = errors.New("damage comes and goes")

// tell says and counts what was set aside.
func (c *Channel) tell(done []Mended) {
	for _, d := range done {
		c.log.Error("the log is damaged: what cannot be read is set aside, and passed over", "dir", c.dir, "file", d.File,
			"offset", d.Offset, "bytes", d.Length, "records", d.Records, "first", uint64(d.Lost.First), "next", uint64(d.Lost.Next),
			"events", d.Events, "what", d.What, "kept", d.Kept)
		c.mu.Lock()
		c.stats.CorruptRecords += max(1, d.Records)
		c.stats.QuarantineSize += uint64(d.Length)
		c.lost[channel.LostCorrupt] += d.Events
		c.mu.Unlock()
	}
}

// mendLog sets aside what makes an opening impossible. Segments that are missing are not made up for.
func (c *Channel) mendLog() error {
	m := &mender{files: c.sys, pool: c.pool, coder: c.coder}
	if err := c.coder.missing(c.sys, c.pool); err != nil {
		return withKeyHint(err)
	}
	c.step("mend")
	err := m.log(false)
	c.tell(m.done)
	if err != nil {
		return fmt.Errorf("set aside what is damaged: %w", err)
	}
	return nil
}
