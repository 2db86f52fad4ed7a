// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// Trail is what a channel's directory says of one offset. An offset with neither Put nor Damage is gone from the log if it is below Info.First, and is
// not given yet, or was skipped by an opening, if Opening is nil.
type Trail struct {
	Info
	Opening   *channel.Incarnation // that gave the offset to an event; nil: none has, as far as the channel remembers its openings
	Put       *Holding             // nil: the event is not there
	Damage    *Damage              // why the event cannot be read, or is lost; nil: nothing is in the way
	Standings []Standing           // of the readers that are registered, by name; nil without Put
	Drops     []channel.Drop       // that are on record behind the event, and whose range holds it
}

// Holding is a put that holds an event.
type Holding struct {
	Event     event.Event // a copy
	Range     event.Range // of all events of the put
	Committed time.Time
	Sources   []channel.CursorChange // as the put has them, mostly one
	Only      string                 // the one reader that gets these events, or ""
	File      string                 // within the channel's directory
	At        int64                  // of the record, in bytes
}

// Fate is what a position says of an event.
type Fate uint8

// The fates.
const (
	Waits    Fate = 1 + iota // not committed: it is still to come, or on its way
	Done                     // committed: delivered, or left out, or given up
	ForOther                 // it is for another reader or lane
	Earlier                  // the reader began behind it
)

// Standing is where an event stands for one reader, by its position on the disk, which a running agent writes within a fraction of a second.
type Standing struct {
	Reader  string
	Stream  string
	Fate    Fate
	Low     event.Offset // of the reader
	Before  uint64       // events that are before it and wait too, those of other lanes included
	Member  string       // of a group, that may have been given it; "" = none
	Damaged bool         // the position cannot be read: the next opening delivers again
}

// Follow finds the put that holds the event at that offset, and where that stands for each reader. It reads one segment of the log, and what lies behind only where
// a policy has given events up. It changes nothing, and may run while the channel is in use. What is sealed needs its keys.
func Follow(dir string, o event.Offset, keys ...Key) (Trail, error) {
	c, info, err := inspect(dir, keys)
	t := &tracer{c: c, o: o, Trail: Trail{Info: info}}
	if err == nil {
		err = t.run()
	}
	if err != nil {
		return t.Trail, fmt.Errorf("follow offset %d of channel %s: %w", o, dir, err)
	}
	return t.Trail, nil
}

// tracer looks for one event.
type tracer struct {
	Trail
	c *Channel
	o event.Offset
}

func (t *tracer) run() error {
	for i, in := range t.Incarnations {
		if i+1 == len(t.Incarnations) {
			in.Next = t.Next
		}
		if holds(event.Range{First: in.First, Next: in.Next}, t.o) {
			t.Opening = &in
		}
	}
	if t.Opening == nil || t.o < t.First {
		return nil
	}
	at := sort.Search(len(t.c.segments), func(i int) bool { return t.c.segments[i].first > t.o }) - 1
	err := t.find(t.c.segments[at])
	if errors.Is(err, fs.ErrNotExist) { // every reader is past it, since it was listed
		t.First = t.o + 1
		return nil
	}
	if err != nil || t.Put == nil {
		return err
	}
	gaveUp := false
	for _, name := range slices.Sorted(maps.Keys(t.c.state.readers)) {
		entry := t.c.state.readers[name]
		s, err := t.standing(entry)
		if err != nil {
			return err
		}
		t.Standings = append(t.Standings, s)
		gaveUp = gaveUp || t.o < entry.floor
	}
	if !gaveUp {
		return nil
	}
	for _, s := range t.c.segments[at:] {
		if err := t.dropsIn(s); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// records calls visit with each record of a segment of which wanted says so by its header, until that returns false. What is damaged is passed over, and
// the first of it returned.
func (t *tracer) records(s *segment, wanted func(*record) bool, visit func(*scanner, *record) (bool, error)) (passed *Damage, err error) {
	f, err := t.c.sys.Open(segmentName(s.index), readFile)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	scan := newScanner(f, s.index, s.size, t.c.pool, t.c.coder)
	defer scan.release()
	for more := true; more; {
		rec, err := scan.head()
		if err == nil && !wanted(&rec) {
			scan.advance(&rec)
			continue
		}
		if err == nil {
			if rec, err = scan.next(); err == nil {
				more, err = visit(scan, &rec)
			}
		}
		damage, ok := errors.AsType[*Damage](err)
		switch {
		case err == nil:
			continue
		case errors.Is(err, io.EOF):
			return passed, nil
		case !ok || foreign(err):
			return passed, err
		case passed == nil:
			passed = damage
		}
		if !errors.Is(damage, errContent) && !scan.resync(func(*header) bool { return true }) {
			return passed, nil
		}
	}
	return passed, nil
}

// errMended is why there is a gap in the log.
var errMended = errors.New("it was lost to damage that is mended")

func holds(r event.Range, o event.Offset) bool { return r.First <= o && o < r.Next }

// find reads the put that holds the event, or finds out that it is damaged.
func (t *tracer) find(s *segment) error {
	passed, err := t.records(s, func(r *record) bool {
		return r.kind == kindGap || r.kind == kindPut && holds(r.span(), t.o)
	}, func(scan *scanner, r *record) (bool, error) {
		if r.kind == kindPut {
			return false, t.hold(scan.name, r)
		}
		g, err := parseGap(r.bodyBytes())
		if err != nil {
			return true, err
		}
		if holds(g.lost, t.o) {
			t.Damage = &Damage{File: scan.name, Offset: r.at, Cause: errMended}
		}
		return t.Damage == nil, nil
	})
	if t.Put == nil && t.Damage == nil {
		t.Damage = passed
	}
	return err
}

// hold keeps the put, and the event of it.
func (t *tracer) hold(file string, r *record) error {
	batch, err := event.Parse(r.bodyBytes())
	changed, cerr := parseChanges(r.tlvBytes())
	if err = errors.Join(err, cerr); err != nil {
		return &Damage{File: file, Offset: r.at, Cause: fmt.Errorf("%w: %w", errContent, err)}
	}
	if uint32(batch.Len()) != r.events {
		return &Damage{File: file, Offset: r.at, Cause: fmt.Errorf("%w: it counts %d events, and has %d", errContent, r.events, batch.Len())}
	}
	p := &Holding{Range: r.span(), Committed: time.Unix(0, r.time), Sources: changed.sources, Only: changed.only, File: file, At: r.at}
	for o, e := range batch.WithBase(r.first).All() {
		if o != t.o {
			continue
		}
		p.Event = event.Event{Time: e.Time, Body: bytes.Clone(e.Body)}
		for _, a := range e.Attributes {
			p.Event.Attributes = append(p.Event.Attributes, event.Attribute{Key: strings.Clone(a.Key), Value: bytes.Clone(a.Value)})
		}
	}
	t.Put = p
	return nil
}

// standing says where the event stands for one reader.
func (t *tracer) standing(entry readerEntry) (Standing, error) {
	p, err := loadPosition(t.c.sys, entry)
	if err != nil {
		return Standing{}, err
	}
	r := t.c.newReader(entry, channel.NewLedger(max(p.low, t.First), p.finished...))
	r.coverGaps()
	s := Standing{Reader: entry.name, Stream: r.info().Stream, Low: p.low, Damaged: p.damaged}
	switch waits := r.ledger.Uncommitted(event.Range{First: t.o, Next: t.o + 1}) > 0; {
	case r.passes(t.Put.Only), !entry.lane.Has(&t.Put.Event), entry.end != 0 && t.o >= entry.end:
		s.Fate = ForOther
	case t.o < entry.first:
		s.Fate = Earlier
	case !waits:
		s.Fate = Done
	default:
		s.Fate, s.Before = Waits, r.ledger.Uncommitted(event.Range{First: r.ledger.Low(), Next: t.o})
		for _, share := range p.shares {
			if holds(share.Range, t.o) {
				s.Member = share.Member
			}
		}
	}
	return s, nil
}

// dropsIn finds what is on record in one segment that was given up, and may be the event. Of those at the newest end no event was ever in the log, and
// where the reader of those that were picked stands says so.
func (t *tracer) dropsIn(s *segment) error {
	_, err := t.records(s, func(r *record) bool { return r.kind == kindPut && r.tlv > 0 }, func(_ *scanner, r *record) (bool, error) {
		changed, err := parseChanges(r.tlvBytes())
		for _, d := range changed.drops {
			if d.loss != channel.LostNewest && d.loss != channel.LostPicked && holds(d.span, t.o) {
				t.Drops = append(t.Drops, channel.Drop{Loss: d.loss, Reader: d.reader, Range: d.span, Events: d.events})
			}
		}
		return true, err
	})
	return err
}
