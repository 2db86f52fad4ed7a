// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// Visit is shown an event, whose memory is good until it returns. It returns false when it has seen enough.
type Visit func(o event.Offset, e event.Event) bool

// Browse shows the events that are in a channel's log, in order: those that wait for that reader, or with "" all
// that are still there. It changes nothing, and may run while the channel is in use. What is damaged is
// passed over and returned. progress, which may be nil, is told how many bytes of how many have been read.
// What is sealed needs its keys.
func Browse(dir, reader string, progress func(done, total int64), visit Visit, keys ...Key) ([]Damage, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("read channel: %w", err)
	}
	b := &browser{c: &Channel{dir: dir, sys: system{files: osFiles{dir}}, pool: event.Heap{}, coder: coderOf(keys)}, reader: reader, visit: visit}
	if err := b.run(progress); err != nil {
		return b.passed, fmt.Errorf("read channel %s: %w", dir, err)
	}
	return b.passed, nil
}

// browser goes through the log.
type browser struct {
	c       *Channel
	reader  string
	visit   Visit
	ledger  *channel.Ledger // of the reader; nil: all events are wanted
	done    channel.Ranges  // what it has committed above its low mark
	lane    channel.Lane    // of it
	end     event.Offset    // where it has handed over to others; 0: it has not
	enough  bool
	passed  []Damage
	decoder event.Decoder
}

func (b *browser) run(progress func(done, total int64)) error {
	if err := b.c.coder.learn(b.c.sys, b.c.pool); err != nil {
		return err
	}
	names, err := listSegments(b.c.sys)
	if err != nil {
		return err
	}
	if b.reader != "" && len(names) > 0 {
		if err := b.findReader(names); err != nil {
			return err
		}
	}
	total, done := int64(0), int64(0)
	for _, f := range names {
		total += f.size
	}
	for i, f := range names {
		if b.enough {
			break
		}
		if !b.behind(segmentIndex(f.name)) {
			err := b.segment(f, i == len(names)-1)
			if err != nil && !errors.Is(err, fs.ErrNotExist) { // every reader is past it, since it was listed
				return err
			}
		}
		if done += f.size; progress != nil {
			progress(done, total)
		}
	}
	return nil
}

// findReader finds out what the reader has committed.
func (b *browser) findReader(names []fileInfo) error {
	var info Info
	if err := b.c.describe(&info, names); err != nil {
		return fmt.Errorf("find out where %s stands: %w", b.reader, err)
	}
	entry, ok := b.c.state.readers[b.reader]
	if !ok {
		return fmt.Errorf("%w: %s; there are: %s", channel.ErrNoReader, b.reader, strings.Join(slices.Sorted(maps.Keys(b.c.state.readers)), ", "))
	}
	p, err := loadPosition(b.c.sys, entry)
	if err != nil {
		return err
	}
	b.lane, b.end = entry.lane, entry.end
	b.ledger = channel.NewLedger(p.low, p.finished...)
	for r := range b.ledger.Finished() {
		b.done.Add(r)
	}
	return nil
}

// behind says whether the reader has committed all of a segment.
func (b *browser) behind(index uint64) bool {
	i, ok := b.c.indexOf(index)
	return b.ledger != nil && ok && i+1 < len(b.c.segments) && b.c.segments[i+1].first <= b.ledger.Low()
}

func (b *browser) segment(info fileInfo, last bool) error {
	f, err := b.c.sys.Open(logDir+"/"+info.name, readFile)
	if err != nil {
		return fmt.Errorf("open segment: %w", err)
	}
	s := newScanner(f, segmentIndex(info.name), info.size, b.c.pool, b.c.coder)
	defer s.release()
	for !b.enough {
		rec, err := s.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = b.record(&rec, s)
		}
		damage, ok := errors.AsType[*Damage](err)
		if err != nil && (!ok || foreign(err)) {
			return errors.Join(err, f.Close())
		}
		if err != nil && !b.pass(s, damage, last) {
			break
		}
	}
	return f.Close()
}

// pass notes damage and moves behind it; false when there is nothing behind.
func (b *browser) pass(s *scanner, d *Damage, last bool) bool {
	if last && torn(s, d) { // it was never acknowledged, or is being written
		return false
	}
	found := errors.Is(d, errContent) || s.resync(func(*header) bool { return true })
	d.Length = s.end - d.Offset
	if found {
		d.Length = s.at - d.Offset
	}
	b.passed = append(b.passed, *d)
	return found
}

// record shows the events of one record that are wanted.
func (b *browser) record(rec *record, s *scanner) error {
	only := onlyOf(rec.tlvBytes())
	if rec.kind != kindPut || rec.events == 0 || b.ledger != nil && (rec.span().Next <= b.ledger.Low() || only != "" && only != b.reader) {
		return nil
	}
	batch, err := event.Parse(rec.bodyBytes())
	if err != nil || uint32(batch.Len()) != rec.events {
		return &Damage{File: s.name, Offset: rec.at, Cause: fmt.Errorf("%w: its batch cannot be read", errContent)}
	}
	o := rec.first
	for _, e := range b.decoder.All(batch) {
		if b.ledger == nil || o >= b.ledger.Low() && !b.done.Has(o) && b.lane.Has(&e) && (b.end == 0 || o < b.end) {
			if b.enough = !b.visit(o, e); b.enough {
				return nil
			}
		}
		o++
	}
	return nil
}
