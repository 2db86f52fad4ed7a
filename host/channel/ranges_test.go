// SPDX-License-Identifier: Apache-2.0

package channel

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/penstock-io/penstock/spec/event"
)

func span(first, next event.Offset) event.Range { return event.Range{First: first, Next: next} }

func TestRangesAreJoinedAndCut(t *testing.T) {
	for _, c := range []struct {
		says string
		do   func(*Ranges)
		want []event.Range
	}{
		{"an empty range adds nothing", func(s *Ranges) { s.Add(span(5, 5)); s.Add(span(7, 3)) }, nil},
		{"ranges that touch become one", func(s *Ranges) { s.Add(span(0, 5)); s.Add(span(5, 9)) }, []event.Range{span(0, 9)}},
		{"ranges apart stay apart, in order", func(s *Ranges) { s.Add(span(6, 9)); s.Add(span(0, 5)) }, []event.Range{span(0, 5), span(6, 9)}},
		{"one range may join many", func(s *Ranges) { s.Add(span(0, 2)); s.Add(span(4, 6)); s.Add(span(8, 9)); s.Add(span(1, 8)) }, []event.Range{span(0, 9)}},
		{"cutting the middle leaves two", func(s *Ranges) { s.Add(span(0, 9)); s.Remove(span(3, 5)) }, []event.Range{span(0, 3), span(5, 9)}},
		{"cutting over many leaves the ends", func(s *Ranges) { s.Add(span(0, 4)); s.Add(span(6, 9)); s.Remove(span(3, 7)) }, []event.Range{span(0, 3), span(7, 9)}},
		{"cutting beside changes nothing", func(s *Ranges) { s.Add(span(3, 5)); s.Remove(span(0, 3)); s.Remove(span(5, 9)) }, []event.Range{span(3, 5)}},
	} {
		t.Run(c.says, func(t *testing.T) {
			var s Ranges
			c.do(&s)
			if !slices.Equal(s.list, c.want) {
				t.Errorf("got %v, want %v", s.list, c.want)
			}
		})
	}
}

const universe = 40

func drawRange(t *rapid.T) event.Range {
	first := rapid.IntRange(0, universe).Draw(t, "first")
	return span(event.Offset(first), event.Offset(rapid.IntRange(first, universe).Draw(t, "next")))
}

// The model of a set of offsets is a bit for each.
func TestRangesAreASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Ranges
		var model [universe]bool
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				r := drawRange(t)
				s.Add(r)
				fill(model[:], r, true)
			},
			"remove": func(t *rapid.T) {
				r := drawRange(t)
				s.Remove(r)
				fill(model[:], r, false)
			},
			"": func(t *rapid.T) { sameSet(t, &s, model[:], drawRange(t)) },
		})
	})
}

func fill(model []bool, r event.Range, in bool) {
	for o := r.First; o < r.Next; o++ {
		model[o] = in
	}
}

func sameSet(t *rapid.T, s *Ranges, model []bool, within event.Range) {
	count, last := uint64(0), event.Offset(0)
	for i, r := range s.list {
		if r.Empty() || i > 0 && r.First <= last {
			t.Fatalf("not sorted and apart: %v", s.list)
		}
		last = r.Next
	}
	gaps := slices.Repeat([]bool{false}, len(model))
	for g := range s.Gaps(within) {
		fill(gaps, g, true)
	}
	follow := s.Follow()
	for _, o := range []event.Offset{7, 3, 30} { // it may be asked in any order
		if follow(o) != model[o] {
			t.Fatalf("Follow says %v of %d in %v", !model[o], o, s.list)
		}
	}
	for i, in := range model {
		o := event.Offset(i)
		if s.Has(o) != in || follow(o) != in {
			t.Fatalf("Has(%d) is %v in %v", o, !in, s.list)
		}
		if want := !in && within.First <= o && o < within.Next; gaps[i] != want {
			t.Fatalf("gaps of %v in %v are wrong at %d", s.list, within, o)
		}
		if in {
			count++
		}
	}
	if s.Count() != count {
		t.Fatalf("Count is %d of %v", s.Count(), s.list)
	}
}
