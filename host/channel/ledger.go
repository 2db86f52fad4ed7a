// SPDX-License-Identifier: Apache-2.0

package channel

import (
	"fmt"
	"iter"
	"slices"
	"sort"

	"github.com/penstock-io/penstock/spec/event"
)

// MaxFinished bounds the separate ranges that a reader may have committed above its low mark, since
// they are kept in memory and in its position.
const MaxFinished = 4096

// Ledger is the position of one reader: every offset is committed, leased, rolled back, or has not
// been handed out yet. It is plain bookkeeping, with no lock, clock or disk, for kinds of channel to build on:
//
//	r, attempt := l.Next(end)     // what to hand out now; rolled-back ranges first
//	l.Lease(r′)                   // r′: as much of r, from its beginning, as fits the want
//	l.Commit(r′)                  // or Rollback(r′, attempt); exactly one of them
//
// end, wherever it is asked for, is the offset after the last event that a reader may see.
// Offsets that hold no event for the reader are said to Cover. The separate ranges that are committed, and
// those that leases may add to them, are never more than [MaxFinished]: while it is Full there is nothing to lease.
type Ledger struct {
	low    event.Offset // everything below is committed
	next   event.Offset // nothing from here on has been handed out
	done   Ranges       // committed, above low
	out    Ranges       // leased
	leases int          // that out consists of
	back   []returned   // rolled back: sorted, apart
}

// returned is a range that was rolled back, and which attempt the next one is.
type returned struct {
	event.Range
	attempt int
}

// NewLedger makes the ledger of a reader that has committed everything below low, and the ranges in done.
func NewLedger(low event.Offset, done ...event.Range) *Ledger {
	l := &Ledger{low: low, next: low}
	for _, r := range done {
		l.commit(r)
	}
	return l
}

// Low is the low mark: everything below is committed.
func (l *Ledger) Low() event.Offset { return l.low }

// Finished yields the ranges above the low mark that are committed, in order. The ledger must not change meanwhile.
func (l *Ledger) Finished() iter.Seq[event.Range] { return l.done.All() }

// Separate is how many ranges Finished yields.
func (l *Ledger) Separate() int { return l.done.Len() }

// Waiting is the number of offsets that are not committed, leased ones included.
func (l *Ledger) Waiting(end event.Offset) uint64 {
	if end <= l.low {
		return 0
	}
	return uint64(end-l.low) - l.done.Count()
}

// Leased is the number of offsets in leases.
func (l *Ledger) Leased() uint64 { return l.out.Count() }

// Leases is the number of leases that are out.
func (l *Ledger) Leases() int { return l.leases }

// Full says whether the next lease has to wait until another one ends: in the worst order of commits each adds a
// separate range. The only lease begins at the low mark, and adds none.
func (l *Ledger) Full() bool { return l.leases > 0 && l.atBound() }

func (l *Ledger) atBound() bool { return l.done.Len()+l.leases >= MaxFinished }

// Next returns the range to hand out next, which may be leased in part, and which attempt that is.
// The range is empty when there is nothing.
func (l *Ledger) Next(end event.Offset) (event.Range, int) {
	if len(l.back) > 0 {
		return l.back[0].Range, l.back[0].attempt
	}
	for gap := range l.done.Gaps(event.Range{First: l.next, Next: end}) {
		return gap, 1
	}
	return event.Range{}, 1
}

// Lease marks r, which is what Next returned or the beginning of it, as handed out.
func (l *Ledger) Lease(r event.Range) {
	if len(l.back) > 0 {
		if l.back[0].First != r.First || r.Next > l.back[0].Next {
			panic("BUG: leased something else than what is next")
		}
		if l.back[0].First = r.Next; l.back[0].Empty() {
			l.back = slices.Delete(l.back, 0, 1)
		}
	} else {
		l.next = r.Next
	}
	l.out.Add(r)
	l.leases++
}

// Commit ends a lease: r is done.
func (l *Ledger) Commit(r event.Range) {
	l.out.Remove(r)
	l.leases--
	l.commit(r)
}

// Rollback ends a lease that was given out as that attempt: r will be next, before anything newer.
func (l *Ledger) Rollback(r event.Range, attempt int) {
	l.out.Remove(r)
	l.leases--
	attempt++
	i := sort.Search(len(l.back), func(i int) bool { return l.back[i].First > r.First })
	// Neighbours that were tried equally often become one again, so that what was split by one want is whole for the next.
	if i > 0 && l.back[i-1].Next == r.First && l.back[i-1].attempt == attempt {
		i--
		r.First = l.back[i].First
		l.back = slices.Delete(l.back, i, i+1)
	}
	if i < len(l.back) && l.back[i].First == r.Next && l.back[i].attempt == attempt {
		r.Next = l.back[i].Next
		l.back = slices.Delete(l.back, i, i+1)
	}
	l.back = slices.Insert(l.back, i, returned{r, attempt})
}

// Finish commits what is not leased of the ranges in held, and lies before end. Above [MaxFinished]
// separate ranges it stops and answers [ErrLimit]; what it did not get to is handed out as if nothing had been said.
func (l *Ledger) Finish(end event.Offset, held ...event.Range) error {
	for _, r := range held {
		r = r.Intersect(event.Range{First: l.low, Next: end})
		// Committing does not touch out, so that it can be walked meanwhile.
		for free := range l.out.Gaps(r) {
			if l.atBound() {
				return fmt.Errorf("%w: %d separate ranges above the low mark of the reader", ErrLimit, MaxFinished)
			}
			l.commit(free)
			l.forget(free)
		}
	}
	return nil
}

// Cover says that r, of which nothing is leased, holds no event for this reader: it counts as committed. Where that would
// be one separate range too many it does nothing, and says so by false: the reader finds out when it gets there.
func (l *Ledger) Cover(r event.Range) bool {
	if r.Empty() {
		return true
	}
	if r.First > l.low && l.atBound() && !l.done.Touches(r) {
		return false
	}
	l.commit(r)
	l.forget(r)
	return true
}

// forget takes r out of what was rolled back.
func (l *Ledger) forget(r event.Range) {
	for i := 0; i < len(l.back); i++ {
		b := l.back[i]
		before := returned{event.Range{First: b.First, Next: min(b.Next, r.First)}, b.attempt}
		after := returned{event.Range{First: max(b.First, r.Next), Next: b.Next}, b.attempt}
		switch {
		case before.Empty() && after.Empty():
			l.back = slices.Delete(l.back, i, i+1)
			i--
		case before.Empty():
			l.back[i] = after
		case after.Empty():
			l.back[i] = before
		default:
			l.back[i] = before
			l.back = slices.Insert(l.back, i+1, after)
			i++
		}
	}
}

func (l *Ledger) commit(r event.Range) {
	if r.First <= l.low { // the common case: nothing is added to the set
		l.low = max(l.low, r.Next)
	} else {
		l.done.Add(r)
	}
	if first := l.done.After(l.low); !first.Empty() && first.First <= l.low {
		l.low = first.Next
	}
	l.done.Remove(event.Range{Next: l.low})
	l.next = max(l.next, l.low)
}
