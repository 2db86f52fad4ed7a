// SPDX-License-Identifier: Apache-2.0

package filesink

import (
	"cmp"
	"slices"

	"github.com/penstock-io/penstock/spec/event"
)

// held is a range of events that the output holds. Offsets are counted anew when a channel is
// restored from a backup, so a range means something only together with its incarnation.
type held struct {
	incarnation uint64
	event.Range
}

// ranges are in order, do not overlap, and do not touch within one incarnation.
type ranges []held

// contains says whether the offset is held.
func (rs ranges) contains(incarnation uint64, at event.Offset) bool {
	return slices.ContainsFunc(rs, func(h held) bool {
		return h.incarnation == incarnation && h.First <= at && at < h.Next
	})
}

// missing counts the offsets of r that are not held.
func (rs ranges) missing(incarnation uint64, r event.Range) uint64 {
	n := r.Len()
	for _, h := range rs {
		if h.incarnation == incarnation {
			n -= h.Intersect(r).Len()
		}
	}
	return n
}

// with returns the ranges and r, joined where they meet. The receiver stays as it is.
func (rs ranges) with(incarnation uint64, r event.Range) ranges {
	out := make(ranges, 0, len(rs)+1)
	for _, h := range rs {
		if h.incarnation == incarnation && h.First <= r.Next && r.First <= h.Next {
			r = event.Range{First: min(h.First, r.First), Next: max(h.Next, r.Next)}
			continue
		}
		out = append(out, h)
	}
	out = append(out, held{incarnation, r})
	slices.SortFunc(out, func(a, b held) int {
		return cmp.Or(a.Range.Compare(b.Range), cmp.Compare(a.incarnation, b.incarnation))
	})
	return out
}

// from returns the ranges that do not lie wholly below low.
func (rs ranges) from(low event.Offset) ranges {
	return slices.DeleteFunc(slices.Clone(rs), func(h held) bool { return h.Next <= low })
}
