// SPDX-License-Identifier: Apache-2.0

package hop

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/hoppb"
)

// Span is a range of one incarnation's numbering.
type Span struct {
	Incarnation uint64
	Range       event.Range
}

// first and next are where it begins and ends.
func (s Span) first() Position { return Position{s.Incarnation, s.Range.First} }
func (s Span) next() Position  { return Position{s.Incarnation, s.Range.Next} }

func incarnations(spans []Span) (ids []uint64) {
	for _, s := range spans {
		ids = append(ids, s.Incarnation)
	}
	return ids
}

// wireSpans is spans as they are sent.
func wireSpans(spans []Span) (list []*hoppb.Span) {
	for _, s := range spans {
		list = append(list, &hoppb.Span{Incarnation: s.Incarnation, First: uint64(s.Range.First), Next: uint64(s.Range.Next)})
	}
	return list
}

// SpansFromWire are spans that were sent.
func SpansFromWire(list []*hoppb.Span) (spans []Span) {
	for _, s := range list {
		spans = append(spans, Span{s.GetIncarnation(), event.Range{First: event.Offset(s.GetFirst()), Next: event.Offset(s.GetNext())}})
	}
	return spans
}

// Holding is what a receiver has of a stream: all before Have, and of one that it gets in parts those above it, in order, of which none touch. One that
// was made is never changed.
type Holding struct {
	Have  Position
	Parts []Span
}

// Welcome puts a holding into a Welcome.
func (h Holding) Welcome(w *hoppb.Welcome) { w.Have, w.Parts = h.Have.Wire(), wireSpans(h.Parts) }

// Welcomed is the holding that a Welcome tells.
func Welcomed(w *hoppb.Welcome) Holding { return Holding{FromWire(w.Have), SpansFromWire(w.Parts)} }

// Append encodes a holding as the cursor keeps it.
func (h Holding) Append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, h.Have.Incarnation)
	dst = le.AppendUint64(dst, uint64(h.Have.Offset))
	for _, s := range h.Parts {
		dst = le.AppendUint64(dst, s.Incarnation)
		dst = le.AppendUint64(dst, uint64(s.Range.First))
		dst = le.AppendUint64(dst, uint64(s.Range.Next))
	}
	return dst
}

// ReadHolding reads what Append has made.
func ReadHolding(b []byte) (h Holding, err error) {
	if len(b) < hoppb.PositionSize || (len(b)-hoppb.PositionSize)%hoppb.SpanSize != 0 {
		return h, fmt.Errorf("what is held of an upstream has %d bytes, and %d for each part, and this has %d", hoppb.PositionSize, hoppb.SpanSize, len(b))
	}
	le := binary.LittleEndian
	h.Have = Position{le.Uint64(b), event.Offset(le.Uint64(b[8:]))}
	for b = b[hoppb.PositionSize:]; len(b) > 0; b = b[hoppb.SpanSize:] {
		h.Parts = append(h.Parts, Span{le.Uint64(b), event.Range{First: event.Offset(le.Uint64(b[8:])), Next: event.Offset(le.Uint64(b[16:]))}})
	}
	return h, nil
}

// Empty says whether nothing is held.
func (h Holding) Empty() bool { return h.equal(Holding{}) }

func (h Holding) equal(o Holding) bool { return h.Have == o.Have && slices.Equal(h.Parts, o.Parts) }

// holds says whether all of a span is held.
func (l lives) holds(h Holding, s Span) bool {
	return l.compare(s.next(), h.Have) <= 0 || slices.ContainsFunc(h.Parts, func(p Span) bool {
		return l.compare(p.first(), s.first()) <= 0 && l.compare(s.next(), p.next()) <= 0
	})
}

// overlaps says whether some of a span is held.
func (l lives) overlaps(h Holding, s Span) bool {
	return l.compare(s.first(), h.Have) < 0 || slices.ContainsFunc(h.Parts, func(p Span) bool {
		return l.compare(p.first(), s.next()) < 0 && l.compare(s.first(), p.next()) < 0
	})
}

// join is a holding with a span.
func (l lives) join(h Holding, s Span) Holding {
	if s.Range.Empty() || l.holds(h, s) {
		return h
	}
	var parts []Span
	for _, p := range h.Parts {
		switch {
		case p.Incarnation == s.Incarnation && p.Range.First <= s.Range.Next && s.Range.First <= p.Range.Next:
			s.Range = event.Range{First: min(s.Range.First, p.Range.First), Next: max(s.Range.Next, p.Range.Next)}
		default:
			parts = append(parts, p)
		}
	}
	i := 0
	for i < len(parts) && l.compare(parts[i].first(), s.first()) < 0 {
		i++
	}
	return l.raise(Holding{h.Have, slices.Insert(parts, i, s)}, h.Have)
}

// raise is a holding with all before a position.
func (l lives) raise(h Holding, to Position) Holding {
	if l.compare(to, h.Have) < 0 {
		to = h.Have
	}
	out := Holding{Have: to}
	for _, p := range h.Parts {
		switch {
		case l.compare(p.next(), out.Have) <= 0:
		case p.Incarnation == out.Have.Incarnation && p.Range.First <= out.Have.Offset:
			out.Have = p.next()
		default:
			out.Parts = append(out.Parts, p)
		}
	}
	return out
}
