// SPDX-License-Identifier: Apache-2.0

package hop

import (
	"fmt"

	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/hoppb"
)

// Sequence is what a sender knows of its receiver, for one call. It has no lock.
type Sequence struct {
	lives lives
	have  Holding  // as the receiver said at the beginning
	parts bool     // it is sent parts of the stream, and others the rest
	prev  Position // else: where it stands when it has taken all that was sent
	done  uint64   // messages of this call that are answered
	way   []Span   // of those that are not
	last  Span     // that was answered
}

// Begin makes a sequence of a sender whose numbering had those lives, for a receiver that holds have.
func Begin(list []Life, have Holding, parts bool) (*Sequence, error) {
	s := &Sequence{lives: list, have: have, parts: parts, prev: have.Have, last: Span{have.Have.Incarnation, event.Range{Next: have.Have.Offset}}}
	if err := s.lives.check(); err != nil {
		return nil, err
	}
	for _, p := range append([]Position{have.Have}, nexts(have.Parts)...) {
		if _, known := s.lives.at(p.Incarnation); !known {
			return nil, &DivergedError{Have: p}
		}
	}
	return s, nil
}

// Last is what was answered last: at the beginning what the receiver holds.
func (s *Sequence) Last() Span { return s.last }

// Lacks says whether the receiver does not hold what it has answered before, or all up to there where it gets all of the stream.
func (s *Sequence) Lacks(answered Span) bool {
	_, known := s.lives.at(answered.Incarnation)
	return known && !s.lives.holds(s.have, answered)
}

func nexts(spans []Span) (list []Position) {
	for _, s := range spans {
		list = append(list, s.next())
	}
	return list
}

// Held is what the receiver holds: all that was ever sent below its position, and the parts above that.
func (s *Sequence) Held() []Span {
	var held []Span
	at, _ := s.lives.at(s.have.Have.Incarnation)
	for i, one := range s.lives[:at+1] {
		r := event.Range{First: one.First, Next: s.have.Have.Offset}
		if i < at {
			r.Next = s.lives[i+1].First
		}
		if !r.Empty() {
			held = append(held, Span{one.ID, r})
		}
	}
	return append(held, s.have.Parts...)
}

// of is the incarnation of an offset; 0: it was written under none.
func (l lives) of(o event.Offset) (id uint64) {
	for _, one := range l {
		if one.First <= o {
			id = one.ID
		}
	}
	return id
}

// split is ranges by incarnation, without the offsets between two of these: a receiver takes none for an older one's that lies beyond its end.
func (l lives) split(ranges []event.Range) (spans []Span) {
	for _, r := range ranges {
		for i, one := range l {
			part := r
			part.First = max(r.First, one.First)
			if i+1 < len(l) {
				part.Next = min(r.Next, one.Next)
			}
			if part.First < part.Next {
				spans = append(spans, Span{one.ID, part})
			}
		}
	}
	return spans
}

// Next is the message of a range, without its batch: what it follows, or what is settled, with a receiver that gets parts: all below low, and what is above.
func (s *Sequence) Next(r event.Range, low event.Offset, above []event.Range) (*hoppb.Message, error) {
	id := s.lives.of(r.First)
	m := &hoppb.Message{Incarnation: id, First: uint64(r.First), Next: uint64(r.Next)}
	switch {
	case id == 0 || !s.parts && s.lives.compare(Position{id, r.First}, s.prev) < 0:
		return nil, fmt.Errorf("BUG: %v is sent behind %v", r, s.prev)
	case s.parts:
		settled := s.lives.split(above)
		m.Settled = wireSpans(settled[:min(len(settled), hoppb.MaxParts/2)])
		if of := s.lives.of(low); of != 0 {
			m.Prev = Position{of, low}.Wire()
		}
	default:
		m.Prev, s.prev = s.prev.Wire(), Position{id, r.Next}
	}
	s.way = append(s.way, Span{id, r})
	return m, nil
}

// Unanswered is how many messages are on their way.
func (s *Sequence) Unanswered() int { return len(s.way) }

// Answered notes an answer, and returns how many more messages are done with.
func (s *Sequence) Answered(messages uint64) (int, error) {
	if sent := s.done + uint64(len(s.way)); messages < s.done || messages > sent {
		return 0, fmt.Errorf("the receiver answers %d messages, of %d that were sent and %d that it has answered", messages, sent, s.done)
	}
	n := int(messages - s.done)
	if n > 0 {
		s.last = s.way[n-1]
	}
	s.done, s.way = messages, s.way[n:]
	return n, nil
}
