// SPDX-License-Identifier: Apache-2.0

package channel

import (
	"iter"
	"slices"
	"sort"

	"github.com/penstock-io/penstock/spec/event"
)

// Ranges is a set of offsets, kept as sorted ranges that neither overlap nor touch. The zero value is empty.
type Ranges struct {
	list []event.Range
	sum  uint64 // offsets in all of list
}

// Len is the number of separate ranges.
func (s *Ranges) Len() int { return len(s.list) }

// Count is the number of offsets.
func (s *Ranges) Count() uint64 { return s.sum }

// All yields the ranges in order. The set must not change meanwhile.
func (s *Ranges) All() iter.Seq[event.Range] { return slices.Values(s.list) }

// Add joins r to the set.
func (s *Ranges) Add(r event.Range) {
	if r.Empty() {
		return
	}
	from, to := s.touching(r)
	for _, o := range s.list[from:to] {
		r = event.Range{First: min(r.First, o.First), Next: max(r.Next, o.Next)}
		s.sum -= o.Len()
	}
	s.list = slices.Replace(s.list, from, to, r)
	s.sum += r.Len()
}

// Remove takes what lies in r out of the set.
func (s *Ranges) Remove(r event.Range) {
	if r.Empty() {
		return
	}
	from, to := s.touching(r)
	var keep [2]event.Range // what sticks out before r and after it
	n := 0
	for _, o := range s.list[from:to] {
		s.sum -= o.Len()
		for _, k := range [2]event.Range{{First: o.First, Next: min(o.Next, r.First)}, {First: max(o.First, r.Next), Next: o.Next}} {
			if !k.Empty() {
				keep[n], n = k, n+1
				s.sum += k.Len()
			}
		}
	}
	s.list = slices.Replace(s.list, from, to, keep[:n]...)
}

// touching returns which ranges overlap r or touch it.
func (s *Ranges) touching(r event.Range) (from, to int) {
	from = sort.Search(len(s.list), func(i int) bool { return s.list[i].Next >= r.First })
	for to = from; to < len(s.list) && s.list[to].First <= r.Next; to++ {
	}
	return from, to
}

// Touches says whether r overlaps a range of the set, or is next to one.
func (s *Ranges) Touches(r event.Range) bool {
	from, to := s.touching(r)
	return from < to
}

// After returns the first range that ends after o, or an empty one when there is none.
func (s *Ranges) After(o event.Offset) event.Range {
	i := sort.Search(len(s.list), func(i int) bool { return s.list[i].Next > o })
	if i == len(s.list) {
		return event.Range{}
	}
	return s.list[i]
}

// Has says whether o is in the set.
func (s *Ranges) Has(o event.Offset) bool {
	r := s.After(o)
	return !r.Empty() && r.First <= o
}

// Follow returns a Has for offsets that mostly ascend: it goes on from where the last one was. The set must not change meanwhile.
func (s *Ranges) Follow() func(event.Offset) bool {
	i := 0
	return func(o event.Offset) bool {
		if i > 0 && o < s.list[i-1].Next {
			i = 0
		}
		for i < len(s.list) && s.list[i].Next <= o {
			i++
		}
		return i < len(s.list) && s.list[i].First <= o
	}
}

// Gaps yields, in order, the parts of r that are not in the set. The set must not change meanwhile.
func (s *Ranges) Gaps(r event.Range) iter.Seq[event.Range] {
	return func(yield func(event.Range) bool) {
		for at := r.First; at < r.Next; {
			in := s.After(at)
			gap := event.Range{First: at, Next: r.Next}
			if !in.Empty() {
				gap.Next = max(at, min(in.First, r.Next))
			}
			if !gap.Empty() && !yield(gap) {
				return
			}
			if in.Empty() {
				return
			}
			at = in.Next
		}
	}
}
