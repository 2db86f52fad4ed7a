// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// Info is what a channel's directory holds.
type Info struct {
	UUID         string
	Version      int // of the format
	Created      time.Time
	UsedBy       string // pid of the process that has the channel open, or ""
	Segments     int
	Bytes        int64 // of all segments
	First, Next  event.Offset
	Events       uint64 // in the log, committed ones in segments that are still there included
	Readers      []ReaderInfo
	Sources      []SourceInfo
	Incarnations []channel.Incarnation
	Dropped      []Dropped // that the end of the log has on record: not what is in earlier segments
	Quarantine   int64     // bytes that repair put aside
	Torn         *Damage   // what the next opening will repair, or nil
}

// ReaderInfo is where a registered reader stands.
type ReaderInfo struct {
	Name string
	channel.ReaderInfo
	Damaged bool // its position cannot be read: the next opening delivers again
}

// SourceInfo is where a source stands.
type SourceInfo struct {
	Name string
	channel.Position
}

// Inspect says what a channel holds. It changes nothing, and may run while the channel is in use; then
// the figures are those of some moment. What is sealed needs its keys.
func Inspect(dir string, keys ...Key) (Info, error) {
	_, info, err := inspect(dir, keys)
	if errors.Is(err, channel.ErrCorrupt) {
		err = fmt.Errorf("%w: run `penstock channel verify %s`", err, dir)
	}
	if err != nil {
		return info, fmt.Errorf("inspect channel %s: %w", dir, err)
	}
	return info, nil
}

// inspect also returns what it knows the log by, which is only to be read with.
func inspect(dir string, keys []Key) (*Channel, Info, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, Info{}, err
	}
	c := &Channel{dir: dir, sys: system{files: osFiles{dir}}, pool: event.Heap{}, coder: coderOf(keys)}
	info := Info{Version: formatVersion}
	var found bool
	if c.meta, found, err = loadMeta(c.sys); err != nil || !found {
		return nil, info, errors.Join(err, missing(found))
	}
	c.state = newState(c.meta.uuid)
	info.UUID, info.Created = fmt.Sprintf("%x", c.meta.uuid), c.meta.created
	if info.UsedBy, err = inUse(dir); err != nil {
		return nil, info, err
	}
	kept, err := c.sys.List(quarantineDir)
	for _, f := range kept {
		info.Quarantine += f.size
	}
	if err != nil {
		return nil, info, err
	}
	names, err := listSegments(c.sys)
	if err != nil || len(names) == 0 {
		return c, info, err
	}
	for _, f := range names {
		info.Segments++
		info.Bytes += f.size
	}
	err = c.describe(&info, names)
	return c, info, err
}

func missing(found bool) error {
	if found {
		return nil
	}
	return errors.New("there is no channel: META is missing")
}

// describe fills in what the log says.
func (c *Channel) describe(info *Info, names []fileInfo) error {
	rec, err := recoverTail(c.sys, names, c.pool, c.coder)
	if err != nil || rec.state == nil {
		return err
	}
	info.Torn, info.Dropped = rec.torn, rec.drops.list()
	c.state = rec.state
	earlier, _, err := heads(c.sys, rec.before(), rec.tail, 0, 0, c.pool, c.coder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // the channel is in use, and unlinked it
		return err
	}
	c.segments = append(earlier, rec.tail)
	info.First, info.Next = c.oldest(), c.state.end
	info.Events = c.state.events - c.segments[0].events
	info.Incarnations = c.state.openings()
	for _, name := range c.state.cursors.Sources() {
		info.Sources = append(info.Sources, SourceInfo{Name: name, Position: c.state.cursors.Position(name)})
	}
	for _, name := range slices.Sorted(maps.Keys(c.state.readers)) {
		entry := c.state.readers[name]
		p, err := loadPosition(c.sys, entry)
		if err != nil {
			return err
		}
		r := c.newReader(entry, channel.NewLedger(max(p.low, info.First), p.finished...))
		r.ledger.Restore(info.Next, p.shares)
		r.coverGaps()
		info.Readers = append(info.Readers, ReaderInfo{Name: name, ReaderInfo: r.info(), Damaged: p.damaged})
	}
	return nil
}
