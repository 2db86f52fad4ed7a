// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// survey is what one segment holds, whole records and damaged stretches in turn.
type survey struct {
	*scanner
	state     bool // it begins with a good STATE
	last      bool // no segment follows: what cannot be used at its end is cut off, and not accounted for
	limit     uint64
	pieces    []piece
	next      event.Offset // after the last whole record
	nextKnown bool
}

// piece is a run of whole records, or a damaged stretch.
type piece struct {
	at, end int64
	index   uint64       // of its first record
	next    uint64       // of the first record behind
	first   event.Offset // of the first event, where it is known
	behind  event.Offset // of the first event behind, where it is known
	known   [2]bool      // whether first and behind are
	parent  uint64       // of the first FENCE in a run, which is the incarnation before it; 0 = none
	cause   error        // nil of a run
	torn    bool         // a stretch that was never acknowledged
	crc     uint32       // of the last header of a run
	mended  bool         // the run ends with a record that the next need not follow
}

// foreign says whether what cannot be read was written by another version: that is no damage.
func foreign(err error) bool { return errors.Is(err, errVersion) }

// unreadable says whether something could not be read for another reason than damage.
func unreadable(err error) bool {
	return err != nil && !errors.Is(err, channel.ErrCorrupt) && !errors.Is(err, io.EOF)
}

// explore walks a segment up to the record with the index limit, with which the next begins; 0: there is no next.
func explore(s *scanner, limit uint64) (*survey, error) {
	v := &survey{scanner: s, limit: limit, last: limit == 0}
	for {
		at, index := s.at, s.index
		rec, err := s.next()
		if errors.Is(err, io.EOF) {
			return v, v.finish()
		}
		if err == nil {
			if err = v.keep(&rec); err == nil {
				continue
			}
			s.chained = false // it is passed over as it is
		}
		if foreign(err) {
			return nil, fmt.Errorf("%s at byte %d: %w: it needs a newer version of penstock", s.name, at, err)
		}
		damage, ok := errors.AsType[*Damage](err)
		if !ok {
			return nil, err
		}
		if !v.pass(at, index, damage) {
			return v, nil
		}
	}
}

// keep adds a whole record to the last run, if its content is right.
func (v *survey) keep(rec *record) error {
	s := v.scanner
	if err := v.right(rec); err != nil {
		return &Damage{File: s.name, Offset: rec.at, Cause: fmt.Errorf("%w: %w", errContent, err)}
	}
	start, parent := rec.first, uint64(0)
	if rec.kind == kindFence {
		d := decoder{b: rec.bodyBytes()}
		_, parent, start = d.u64(), d.u64(), event.Offset(d.u64())
	}
	if rec.kind == kindState {
		v.state = true
	}
	n := len(v.pieces)
	if n == 0 || v.pieces[n-1].cause != nil {
		if n > 0 && !v.pieces[n-1].known[1] {
			v.pieces[n-1].behind, v.pieces[n-1].known[1] = start, true
		}
		v.pieces = append(v.pieces, piece{at: rec.at, index: rec.index, first: start, known: [2]bool{true, true}})
		n++
	}
	p := &v.pieces[n-1]
	p.end, p.next, p.crc, p.mended = s.at, s.index, rec.crc, rec.flags&flagMended != 0
	if p.parent == 0 {
		p.parent = parent
	}
	v.next, v.nextKnown = rec.span().Next, true
	if rec.kind == kindGap {
		if g, err := parseGap(rec.bodyBytes()); err == nil {
			v.next = g.lost.Next
		}
	}
	p.behind = v.next
	return nil
}

// right says whether the content of a record is what may stand there.
func (v *survey) right(rec *record) error {
	if (rec.kind == kindState) != (rec.index == v.sum.index) {
		return errContent
	}
	switch rec.kind {
	case kindState:
		_, err := parseState(&rec.header, rec.bodyBytes())
		return err
	case kindFence:
		if len(rec.bodyBytes()) != fenceBody {
			return errLength
		}
		return nil
	case kindGap:
		_, err := parseGap(rec.bodyBytes())
		return err
	}
	if rec.body > 0 {
		b, err := event.Parse(rec.bodyBytes())
		if err != nil {
			return err
		}
		if uint32(b.Len()) != rec.events {
			return errLength
		}
	}
	_, err := parseChanges(rec.tlvBytes())
	return err
}

// pass notes a damaged stretch, and moves to the next whole record behind it; false when there is none.
func (v *survey) pass(at int64, index uint64, d *Damage) bool {
	s := v.scanner
	p := piece{at: at, index: index, cause: d.Cause, first: v.next, known: [2]bool{v.nextKnown, false}}
	found := false
	switch {
	case errors.Is(d, errContent):
		found = true // the scanner stands behind it
	case v.last && torn(s, d):
		p.torn = true
	case errors.Is(d, errBody), errors.Is(d, errTLV), errors.Is(d, errDecode): // its header says where it ends, and its events
		_, err := s.skip()
		found, s.chained = err == nil, false
	default:
		found = s.resync(func(h *header) bool {
			return h.index > index && (v.limit == 0 || h.index < v.limit) && (!v.nextKnown || h.first >= v.next)
		})
	}
	if found {
		p.end, p.next = s.at, s.index
	} else {
		p.end, p.next = s.end, v.limit
	}
	if n := len(v.pieces); n > 0 && v.pieces[n-1].cause != nil { // one stretch follows another
		last := &v.pieces[n-1]
		last.end, last.next, last.torn = p.end, p.next, last.torn || p.torn
	} else {
		v.pieces = append(v.pieces, p)
	}
	return found
}

// finish compares where the segment ends with where the next begins.
func (v *survey) finish() error {
	s := v.scanner
	if n := len(v.pieces); n > 0 && v.pieces[n-1].cause != nil && !v.last {
		v.pieces[n-1].next = v.limit
		return nil
	}
	switch {
	case v.last || s.index == v.limit:
		return nil
	case s.index > v.limit:
		return fmt.Errorf("%s holds records up to %d, and another segment begins with %d: two logs are mixed here", s.name, s.index-1, v.limit)
	}
	v.pieces = append(v.pieces, piece{at: s.end, end: s.end, index: s.index, next: v.limit, cause: errShort, first: v.next, known: [2]bool{v.nextKnown, false}})
	return nil
}

// damaged says whether there is anything to mend. A segment without a STATE is, but for an empty one at the end of the log: what begins
// without one is a damaged stretch.
func (v *survey) damaged() bool {
	return slices.ContainsFunc(v.pieces, func(p piece) bool { return p.cause != nil })
}
