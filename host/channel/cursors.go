// SPDX-License-Identifier: Apache-2.0

package channel

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/penstock/spec/event"
)

// Cursors are where the sources of a channel stand. It is plain bookkeeping, with no lock, clock or disk, for
// kinds of channel to build on. A change costs what it changes, however many entries there are: 20 000 in one
// source is an ordinary directory of logs.
type Cursors struct {
	sources map[string]*cursor
	bytes   int // of all keys and values
}

// cursor is that of one source.
type cursor struct {
	version, move uint32
	entries       map[string]*CursorEntry
	sorted        []*CursorEntry // by key; nil when a key came or went since
	bytes         int
}

// CursorEntry is one entry of a cursor.
type CursorEntry struct {
	Key   string
	Value []byte
	Set   uint32 // when it was set last, to its value or to the same again: [Seconds]
}

// Seconds is a time in unix nanoseconds as entries keep it: in seconds, until the year 2106.
func Seconds(nanos int64) uint32 { return uint32(nanos / 1e9) }

// CursorChange is how the cursor of one source changes.
type CursorChange struct {
	Source  string
	Version uint32
	Move    uint32
	Removed bool
	Changed event.Cursor // an empty value deletes
}

// NewCursors has none.
func NewCursors() *Cursors { return &Cursors{sources: map[string]*cursor{}} }

// Fit says whether changes, which are made in that order, leave all cursors within the limits. A source that is
// over one can still shrink, and move elsewhere. The error wraps [ErrLimit] and says what can be done.
func (c *Cursors) Fit(changes []CursorChange) error {
	all := c.bytes
	for i := range changes {
		ch := &changes[i]
		p := c.sources[ch.Source]
		if slices.ContainsFunc(changes[:i], func(o CursorChange) bool { return o.Removed && o.Source == ch.Source }) {
			p = nil
		}
		own := 0
		if p != nil {
			own = p.bytes
		}
		if ch.Removed {
			all -= own
			continue
		}
		grow := 0
		for k, v := range ch.Changed {
			grow += p.growth(k, v)
		}
		own, all = own+grow, all+grow
		switch {
		case grow <= 0:
		case own > MaxCursor:
			return fmt.Errorf("%w: the cursor of %s would have %d bytes, the most of one source is %d: give it less to follow, as with narrower "+
				"paths, or share that among several sources; nothing is lost", ErrLimit, ch.Source, own, MaxCursor)
		case all > MaxCursors:
			return fmt.Errorf("%w: with %s all cursors of the channel would have %d bytes, the most is %d: let some of its sources fill another channel; "+
				"nothing is lost", ErrLimit, ch.Source, all, MaxCursors)
		}
	}
	return nil
}

// growth is by how many bytes a cursor grows when k is set to v. No cursor is an empty one.
func (p *cursor) growth(k string, v []byte) int {
	n := 0
	if len(v) > 0 {
		n = len(k) + len(v)
	}
	if p != nil {
		if e := p.entries[k]; e != nil {
			n -= len(k) + len(e.Value)
		}
	}
	return n
}

// Change makes a change that was committed at that time. It keeps nothing of ch.
func (c *Cursors) Change(ch *CursorChange, now uint32) {
	p := c.sources[ch.Source]
	if ch.Removed {
		c.remove(ch.Source)
		return
	}
	if p == nil {
		p = &cursor{entries: map[string]*CursorEntry{}}
		c.sources[ch.Source] = p
	}
	p.version, p.move = ch.Version, ch.Move
	before := p.bytes
	for k, v := range ch.Changed {
		p.bytes += p.growth(k, v)
		e := p.entries[k]
		switch {
		case len(v) == 0 && e != nil:
			p.drop(e)
			continue
		case len(v) == 0:
			continue
		case e == nil:
			e = &CursorEntry{Key: strings.Clone(k)}
			p.entries[e.Key], p.sorted = e, nil
		}
		e.Value, e.Set = append(e.Value[:0], v...), now
	}
	c.bytes += p.bytes - before
}

func (p *cursor) drop(e *CursorEntry) {
	delete(p.entries, e.Key)
	p.sorted = nil
}

func (c *Cursors) remove(source string) {
	if p := c.sources[source]; p != nil {
		c.bytes -= p.bytes
		delete(c.sources, source)
	}
}

// Position returns a copy of where a source stands. An unknown one has the zero Position.
func (c *Cursors) Position(source string) Position {
	p := c.sources[source]
	if p == nil {
		return Position{}
	}
	at := Position{Version: p.version, Move: p.move, Cursor: make(event.Cursor, len(p.entries))}
	values := make([]byte, 0, p.bytes) // one piece of memory for all: no more than that
	for k, e := range p.entries {
		n := len(values)
		values = append(values, e.Value...)
		at.Cursor[k] = values[n:len(values):len(values)]
	}
	return at
}

// Bytes is how much all keys and values have.
func (c *Cursors) Bytes() int { return c.bytes }

// Len is how many entries all sources have.
func (c *Cursors) Len() (n int) {
	for _, p := range c.sources {
		n += len(p.entries)
	}
	return n
}

// Sources are the names of those that have a cursor, in order.
func (c *Cursors) Sources() []string { return slices.Sorted(maps.Keys(c.sources)) }

// Info says how much there is of a source.
func (c *Cursors) Info(source string) SourceInfo {
	p := c.sources[source]
	if p == nil {
		return SourceInfo{}
	}
	return SourceInfo{Entries: len(p.entries), Bytes: p.bytes, Version: p.version, Move: p.move}
}

// Entries are those of a source, by key. They are good until the next change, and must not be changed.
func (c *Cursors) Entries(source string) []*CursorEntry {
	p := c.sources[source]
	if p == nil {
		return nil
	}
	if p.sorted == nil {
		p.sorted = slices.SortedFunc(maps.Values(p.entries), func(a, b *CursorEntry) int { return strings.Compare(a.Key, b.Key) })
	}
	return p.sorted
}

// Restore puts a source where Info and Entries said that it was, and keeps entries.
func (c *Cursors) Restore(source string, version, move uint32, entries []*CursorEntry) error {
	p := &cursor{version: version, move: move, entries: make(map[string]*CursorEntry, len(entries))}
	if len(entries) > 0 {
		p.sorted = entries
	}
	for i, e := range entries {
		if i > 0 && e.Key <= entries[i-1].Key {
			return errors.New("the keys of a cursor are not in order")
		}
		p.entries[e.Key] = e
		p.bytes += len(e.Key) + len(e.Value)
	}
	c.remove(source)
	c.sources[source] = p
	c.bytes += p.bytes
	return nil
}

// Idle is what of a source's cursor is to be forgotten: the entries that were set before that time.
type Idle struct {
	Source  string
	Before  uint32
	Entries int // how many there were when it was found
}

// Idle finds what was not set for so long. Of a source in use, what counts is how long before its newest entry:
// one that is held, has finished, or waits for room cannot set anything, and loses nothing by it.
func (c *Cursors) Idle(now uint32, after time.Duration, used map[string]bool) (list []Idle) {
	for _, source := range c.Sources() {
		p, last := c.sources[source], now
		if used[source] {
			last = min(now, p.newest())
		}
		if last <= uint32(after/time.Second) {
			continue
		}
		idle := Idle{Source: source, Before: last - uint32(after/time.Second)}
		idle.Entries = p.older(idle.Before)
		if idle.Entries > 0 || p.needless() && !used[source] {
			list = append(list, idle)
		}
	}
	return list
}

// newest is when an entry was set last.
func (p *cursor) newest() (at uint32) {
	for _, e := range p.entries {
		at = max(at, e.Set)
	}
	return at
}

// older is how many entries were set before that time.
func (p *cursor) older(before uint32) (n int) {
	for _, e := range p.entries {
		if e.Set < before {
			n++
		}
	}
	return n
}

// needless says whether nothing is kept in the cursor. One that has moved keeps its move number, which tells it from
// what another channel may still hold.
func (p *cursor) needless() bool { return len(p.entries) == 0 && p.move == 0 }

// Forget drops the entries of a source that were set before that time, and the source when nothing is left of it.
// It returns how many entries there were.
func (c *Cursors) Forget(source string, before uint32) (n int) {
	p := c.sources[source]
	if p == nil {
		return 0
	}
	for _, e := range p.entries {
		if e.Set < before {
			c.bytes += p.growth(e.Key, nil)
			p.bytes += p.growth(e.Key, nil)
			p.drop(e)
			n++
		}
	}
	if p.needless() {
		c.remove(source)
	}
	return n
}
