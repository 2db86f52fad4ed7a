// SPDX-License-Identifier: Apache-2.0

package channel

import (
	"slices"

	"github.com/penstock-io/penstock/spec/event"
)

const (
	// MaxShares bounds the separate ranges that the members of a group may have, since they are kept in the position of its reader.
	MaxShares = 256
	// shareAhead is how many deliveries of the present size are written down at once: a flush for each of them would cost as
	// much as the deliveries themselves.
	shareAhead = 8
)

// Share is a range that one member of a group was given, or will be.
type Share struct {
	event.Range
	Member string
}

// NextOf is [Ledger.Next] for a member of a group whose members keep what they were given: what was rolled back by it, or with own unset
// what is nobody's yet.
func (l *Ledger) NextOf(end event.Offset, member string, own bool) (event.Range, int) {
	free := returned{attempt: 1}
	for _, b := range l.back {
		for rest := b.Range; !rest.Empty(); {
			part, owner := l.owner(rest)
			switch {
			case owner == member:
				return part, b.attempt
			case owner == "" && free.Empty():
				free = returned{part, b.attempt}
			}
			rest.First = part.Next
		}
	}
	if own || len(l.shares)+l.leases >= MaxShares {
		return event.Range{}, 1
	}
	if !free.Empty() {
		return free.Range, free.attempt
	}
	for gap := range l.done.Gaps(event.Range{First: l.next, Next: end}) {
		return gap, 1
	}
	return event.Range{}, 1
}

// owner returns the longest beginning of r that is of one member, or of none.
func (l *Ledger) owner(r event.Range) (event.Range, string) {
	for _, s := range l.shares {
		switch {
		case s.Next <= r.First:
		case s.First <= r.First:
			return event.Range{First: r.First, Next: min(r.Next, s.Next)}, s.Member
		default:
			return event.Range{First: r.First, Next: min(r.Next, s.First)}, ""
		}
	}
	return r, ""
}

// Assign says that r, which was just leased, is a member's until it is committed or settled. What [Ledger.Shares] says then must be durable
// before r is handed out, if the answer is true; else it is already.
func (l *Ledger) Assign(r event.Range, member string) (fresh bool) {
	if part, owner := l.owner(r); owner == member && part == r {
		return false
	}
	fresh = l.ahead.Member != member || r.First < l.ahead.First || r.Next > l.ahead.Next
	l.unshare(r)
	i := 0
	for i < len(l.shares) && l.shares[i].First < r.First {
		i++
	}
	l.shares = slices.Insert(l.shares, i, Share{r, member})
	l.joinShares()
	if fresh && r.Next == l.next {
		l.ahead = Share{event.Range{First: r.First, Next: r.First + shareAhead*event.Offset(r.Len())}, member}
	}
	return fresh
}

// joinShares makes one of neighbours of the same member.
func (l *Ledger) joinShares() {
	for i := 1; i < len(l.shares); i++ {
		if a, b := &l.shares[i-1], l.shares[i]; a.Next == b.First && a.Member == b.Member {
			a.Next = b.Next
			l.shares = slices.Delete(l.shares, i, i+1)
			i--
		}
	}
}

// unshare takes r away from whose it is.
func (l *Ledger) unshare(r event.Range) {
	var kept []Share
	for _, s := range l.shares {
		if s.Intersect(r).Empty() {
			kept = append(kept, s)
			continue
		}
		if s.First < r.First {
			kept = append(kept, Share{event.Range{First: s.First, Next: r.First}, s.Member})
		}
		if r.Next < s.Next {
			kept = append(kept, Share{event.Range{First: r.Next, Next: s.Next}, s.Member})
		}
	}
	l.shares = kept
}

// Shares are the ranges that belong to members, in order, with what may be handed out to one of them without another word. A position keeps them.
func (l *Ledger) Shares() []Share {
	all := slices.Clone(l.shares)
	if ahead := l.ahead; ahead.Next > l.next {
		ahead.First = l.next
		all = append(all, ahead)
	}
	return all
}

// InDoubt are those that were handed out and have come back, or were found in a position: their members may hold them.
func (l *Ledger) InDoubt() (doubt []Share) {
	for _, s := range l.shares {
		for free := range l.out.Gaps(s.Range) {
			doubt = append(doubt, Share{free, s.Member})
		}
	}
	return doubt
}

// Restore gives a new ledger the shares of a position. All of them were handed out, for all that is known.
func (l *Ledger) Restore(end event.Offset, shares []Share) {
	for _, s := range shares {
		s.Range = s.Intersect(event.Range{First: l.low, Next: end})
		for free := range l.done.Gaps(s.Range) {
			l.shares = append(l.shares, Share{free, s.Member})
		}
	}
	l.joinShares()
	if n := len(l.shares); n > 0 {
		from := event.Range{First: l.next, Next: l.shares[n-1].Next}
		for free := range l.done.Gaps(from) {
			l.back = append(l.back, returned{free, 1})
		}
		l.next = max(l.next, from.Next)
	}
}

// Settle ends the doubt over what a member has of ranges: its destination holds it, as somebody knows, or it is nobody's. It answers how many offsets
// that were. Above [MaxFinished] separate ranges it stops with [ErrLimit].
func (l *Ledger) Settle(end event.Offset, member string, held bool, ranges ...event.Range) (n uint64, err error) {
	for _, s := range l.InDoubt() {
		if s.Member != member {
			continue
		}
		for _, r := range ranges {
			r = s.Intersect(r)
			if held {
				err = l.Finish(end, r)
			} else {
				l.unshare(r)
			}
			if err != nil {
				return n, err
			}
			n += r.Len()
		}
	}
	if l.ahead.Member == member {
		l.ahead = Share{}
	}
	return n, nil
}

// Disown makes r nobody's again, which was leased, never handed out, and rolled back.
func (l *Ledger) Disown(r event.Range) {
	l.unshare(r)
	l.ahead = Share{}
}
