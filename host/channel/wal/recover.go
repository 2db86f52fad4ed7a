// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// segment is one file of the log that begins with a STATE.
type segment struct {
	index   uint64       // of its first record
	first   event.Offset // of the next event when it began
	events  uint64       // put before it, ever
	bytes   uint64       // of the batches put before it, ever
	size    int64        // of its entries; of the tail: of those that are durable
	time    int64        // when it began
	before  seal
	state   int64  // bytes of its STATE's entry
	version uint32 // how often it was written anew since the channel was opened
}

func newSegment(r *record, s *state) *segment {
	return &segment{index: r.index, first: s.end, events: s.events, bytes: s.bytes, time: r.time, before: s.before, state: r.size}
}

// recovered is what the end of a log says: everything that appending to it needs.
type recovered struct {
	names []fileInfo // all segment files, by index
	coder *coder
	tail  *segment // with the last STATE; nil when there is none
	empty bool     // the last segment is the one after tail, and has no STATE yet
	state *state   // after the last record
	index uint64   // of the next record
	prev  uint32   // header CRC of the last
	sum   seal     // of the last segment, as far as it is good
	size  int64    // of the last segment's good entries
	time  int64    // of the last record that was read
	torn  *Damage  // what follows them, or nil
	drops drops    // that it read of; nil: it does not matter
}

// lastIndex is the first index of the last segment file.
func (r *recovered) lastIndex() uint64 { return segmentIndex(r.names[len(r.names)-1].name) }

// before returns the files of the segments before tail.
func (r *recovered) before() []fileInfo {
	if r.empty {
		return r.names[:len(r.names)-2]
	}
	return r.names[:len(r.names)-1]
}

// segmentIndex returns the index that a file name says, 0 when it is not that of a segment.
func segmentIndex(name string) uint64 {
	const digits = 20
	if len(name) != digits {
		return 0
	}
	n, err := strconv.ParseUint(name, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// listSegments returns the segment files by index.
func listSegments(f files) ([]fileInfo, error) {
	list, err := f.List(logDir)
	if err != nil {
		return nil, fmt.Errorf("list segments: %w", err)
	}
	var names []fileInfo
	for _, info := range list {
		if segmentIndex(info.name) > 0 {
			names = append(names, info)
		}
	}
	return names, nil
}

// recoverTail reads the last segment, and the one before it where the last has no STATE yet. It
// changes nothing. Damage that cannot be a torn tail is an error.
func recoverTail(f files, names []fileInfo, pool event.Buffers, c *coder) (*recovered, error) {
	r := &recovered{names: names, coder: c, drops: drops{}}
	last := names[len(names)-1]
	if err := r.replay(f, last, pool); err != nil || r.tail != nil {
		return r, err
	}
	if len(names) == 1 {
		if r.lastIndex() != 1 {
			return nil, fmt.Errorf("%s/%s: %w: it has no STATE, and the segment before it is missing", logDir, last.name, channel.ErrCorrupt)
		}
		r.index, r.sum, r.empty = 1, seal{index: 1}, true
		return r, nil
	}
	torn := r.torn
	r.torn = nil
	if err := r.replay(f, names[len(names)-2], pool); err != nil {
		return nil, err
	}
	switch {
	case r.torn != nil:
		r.torn.Torn = false
		return nil, r.torn
	case r.index != r.lastIndex():
		return nil, fmt.Errorf("%s/%s: %w: the segment before it ends with record %d", logDir, last.name, channel.ErrCorrupt, r.index-1)
	}
	r.state.before = r.sum
	r.empty, r.torn, r.size, r.sum = true, torn, 0, seal{index: r.index}
	return r, nil
}

// replay walks one segment from its STATE to its end.
func (r *recovered) replay(f files, info fileInfo, pool event.Buffers) error {
	name := logDir + "/" + info.name
	file, err := f.Open(name, readFile)
	if err != nil {
		return fmt.Errorf("open segment: %w", err)
	}
	s := newScanner(file, segmentIndex(info.name), info.size, pool, r.coder)
	defer s.release()
	err = r.walk(s)
	if damage, ok := errors.AsType[*Damage](err); ok {
		damage.Length = info.size - damage.Offset
		err = nil
		if r.torn = damage; !torn(s, damage) {
			err = damage
		}
		damage.Torn = err == nil
	}
	r.index, r.prev, r.sum, r.size = s.index, s.prev, s.sum, s.at
	if r.tail != nil {
		r.tail.size = s.at
	}
	return errors.Join(err, file.Close())
}

// walk adds up all records of a segment. Its error is that of the first bad one. The scanner stands before one that is not whole, and
// behind one that is, and has no right to be there.
func (r *recovered) walk(s *scanner) error {
	for {
		rec, err := s.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = r.add(&rec, s)
		}
		if err != nil {
			return err
		}
	}
}

// add applies one record.
func (r *recovered) add(rec *record, s *scanner) error {
	if (rec.kind == kindState) != (rec.index == s.sum.index) {
		return &Damage{File: s.name, Offset: rec.at, Cause: fmt.Errorf("%w: a STATE stands first in each segment, and only there", errContent)}
	}
	err := r.interpret(rec)
	if err != nil {
		return &Damage{File: s.name, Offset: rec.at, Cause: err}
	}
	r.time = rec.time
	if rec.kind == kindState {
		r.tail = newSegment(rec, r.state)
	}
	return nil
}

func (r *recovered) interpret(rec *record) (err error) {
	switch rec.kind {
	case kindState:
		if r.state, err = parseState(&rec.header, rec.bodyBytes()); err != nil {
			return fmt.Errorf("%w: %w", errContent, err)
		}
		return nil
	case kindFence:
		return r.state.applyFence(&rec.header, rec.bodyBytes())
	case kindGap:
		return r.state.applyGap(&rec.header, rec.bodyBytes())
	case kindPut:
		changes, err := parseChanges(rec.tlvBytes())
		if err != nil {
			return fmt.Errorf("%w: %w", errContent, err)
		}
		if len(changes.drops) > 0 && r.drops != nil {
			r.drops.add(rec.first, changes.drops)
		}
		return r.state.apply(&rec.header, &changes)
	default:
		return fmt.Errorf("%w: kind %d", errVersion, rec.kind)
	}
}

// torn says whether the bad place where the scanner stands may be the rest of a group that was never
// flushed: no whole record behind it was written after a later flush. A record whose checksums are right is no torn tail either.
func torn(s *scanner, d *Damage) bool {
	if errors.Is(d, errVersion) || errors.Is(d, errDecode) || errors.Is(d, errContent) {
		return false
	}
	bad := *s // resync moves, and the memory it reads into is the copy's
	bad.buf, bad.decoded = nil, nil
	defer bad.release()
	return !bad.resync(func(h *header) bool { return h.flags&flagDurable != 0 && h.index > s.index })
}

// heads reads the STATE of each segment before the tail that holds something at or above low, or of since or later, from
// the newest to the oldest, and checks that none is missing. The files that it did not need to read are returned as dead.
func heads(f files, names []fileInfo, next *segment, low event.Offset, since int64, pool event.Buffers, c *coder) (segments []*segment, dead []fileInfo, err error) {
	for i := len(names) - 1; i >= 0; i-- {
		if next.first <= low && next.time < since {
			return segments, names[:i+1], nil
		}
		seg, err := head(f, names[i], pool, c)
		if err != nil {
			return nil, nil, err
		}
		if err := contiguous(seg, next); err != nil {
			return nil, nil, err
		}
		segments = append([]*segment{seg}, segments...)
		next = seg
	}
	return segments, nil, nil
}

func contiguous(seg, next *segment) error {
	if next.before.index == seg.index && seg.index+next.before.count == next.index {
		return nil
	}
	return fmt.Errorf("%s: %w: it follows a segment of %d records that begins with record %d, but %s is what is there",
		segmentName(next.index), channel.ErrCorrupt, next.before.count, next.before.index, segmentName(seg.index))
}

// head reads the STATE of one segment.
func head(f files, info fileInfo, pool event.Buffers, c *coder) (*segment, error) {
	file, err := f.Open(logDir+"/"+info.name, readFile)
	if err != nil {
		return nil, fmt.Errorf("open segment: %w", err)
	}
	s := newScanner(file, segmentIndex(info.name), info.size, pool, c)
	s.step = headStep
	defer s.release()
	seg, err := readHead(s)
	if err == nil {
		seg.size = info.size
	}
	return seg, errors.Join(err, file.Close())
}

func readHead(s *scanner) (*segment, error) {
	rec, err := s.next()
	if errors.Is(err, io.EOF) {
		return nil, s.damage(errShort)
	}
	if err != nil {
		return nil, err
	}
	var r recovered
	if err := r.add(&rec, s); err != nil {
		return nil, err
	}
	return r.tail, nil
}
