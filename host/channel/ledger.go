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
//	l.Commit(r′, events)          // or Rollback(r′, attempt); exactly one of them
//
// end, wherever it is asked for, is the offset after the last event that a reader may see.
// Offsets that hold no event are said to Cover, events that are not for the reader to Pass, and those that a policy
// gives up to Drop. What is dropped while it is leased is in doubt until the lease ends: committed, it came out. The
// separate ranges that are committed, and those that leases may add to them, are never more than [MaxFinished]: while it
// is Full there is nothing to lease.
type Ledger struct {
	low    event.Offset // everything below is committed
	next   event.Offset // nothing from here on has been handed out
	done   Ranges       // committed, above low
	out    Ranges       // leased
	leases int          // that out consists of
	doomed Ranges       // of out, what was dropped meanwhile: it counts as committed, and is waiting
	back   []returned   // rolled back: sorted, apart
	tally  Tally
	loss   Loss // why something was dropped last

	shares []Share // of members, in order, not committed, below next
	ahead  Share   // where it reaches beyond next, that is this member's as soon as it is handed out
}

// Tally is what became of the events of a reader: those that were offered are committed, passed, dropped, or wait.
type Tally struct {
	Offered   uint64 // waited for it when the channel was opened, or came since
	Committed uint64 // by its leases, or held by its destination already
	Held      uint64 // of those, what its destination held already
	Passed    uint64 // for another reader only
	Dropped   uint64 // given up
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
	return l.Uncommitted(event.Range{First: l.low, Next: end}) + l.doomed.Count() // what is committed may lie behind end: openings skip offsets there
}

// Tally is what was counted since the ledger was made.
func (l *Ledger) Tally() Tally { return l.tally }

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
	if r.First >= l.next && (len(l.back) == 0 || len(l.shares) > 0) {
		l.next = r.Next
	} else if !l.takeBack(r) {
		panic("BUG: leased something else than what is next")
	}
	l.out.Add(r)
	l.leases++
}

// takeBack takes r out of the one range it lies in, of those that were rolled back.
func (l *Ledger) takeBack(r event.Range) bool {
	in := slices.IndexFunc(l.back, func(b returned) bool { return b.First <= r.First && r.Next <= b.Next })
	if in < 0 || len(l.shares) == 0 && (in > 0 || l.back[in].First != r.First) {
		return false
	}
	l.forget(r)
	return true
}

// Commit ends a lease: r is done. So many events of it were for this reader, the others in other lanes.
func (l *Ledger) Commit(r event.Range, events uint64) {
	l.out.Remove(r)
	l.leases--
	l.doomed.Remove(r)
	l.tally.Committed += events
	l.tally.Passed += r.Len() - events
	l.commit(r)
}

// Rollback ends a lease that was given out as that attempt: r will be next, before anything newer. What was dropped
// of it meanwhile is gone now, and returned as a number of events.
func (l *Ledger) Rollback(r event.Range, attempt int) (dropped uint64) {
	l.out.Remove(r)
	l.leases--
	all := l.doomed.Count()
	for kept := range l.doomed.Gaps(r) {
		l.putBack(kept, attempt+1)
	}
	l.doomed.Remove(r)
	dropped = all - l.doomed.Count()
	l.tally.Dropped += dropped
	return dropped
}

// putBack has r handed out again as that attempt.
func (l *Ledger) putBack(r event.Range, attempt int) {
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
			n := l.Uncommitted(free)
			l.tally.Committed, l.tally.Held = l.tally.Committed+n, l.tally.Held+n
			l.commit(free)
			l.forget(free)
		}
	}
	return nil
}

// Cover says that r, of which nothing is leased, holds no event: it counts as committed. Where that would be one separate
// range too many it does nothing, and says so by false: the reader finds out when it gets there.
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

// Pass says that the events of r, of which nothing is leased, are not for this reader. Its answer is that of Cover.
func (l *Ledger) Pass(r event.Range) bool {
	n := l.Uncommitted(r)
	if !l.Cover(r) {
		return false
	}
	l.tally.Passed += n
	return true
}

// Drop gives up what is not committed of r, and returns how many events those were that are not leased.
func (l *Ledger) Drop(r event.Range, why Loss) (dropped uint64) {
	if r.Empty() {
		return 0
	}
	l.loss = why
	dropped = l.Uncommitted(r)
	for leased := range l.out.All() {
		in := leased.Intersect(r)
		dropped -= l.Uncommitted(in)
		l.doomed.Add(in)
	}
	l.commit(r)
	l.forget(r)
	l.tally.Dropped += dropped
	return dropped
}

// Admits says whether ranges can be given up one by one: [ErrLimit] when that would leave more than [MaxFinished] separate ranges.
func (l *Ledger) Admits(picked ...event.Range) error {
	all := Ranges{list: slices.Clone(l.done.list), sum: l.done.sum}
	for _, r := range picked {
		all.Add(r)
	}
	if all.Len()+l.leases > MaxFinished {
		return fmt.Errorf("%w: %d separate ranges above the low mark of the reader", ErrLimit, all.Len())
	}
	return nil
}

// Offer counts events that came.
func (l *Ledger) Offer(events uint64) { l.tally.Offered += events }

// Shed counts events that came, and were given up before they got an offset.
func (l *Ledger) Shed(events uint64) {
	l.tally.Offered += events
	l.tally.Dropped += events
}

// Loss is why something was dropped last.
func (l *Ledger) Loss() Loss { return l.loss }

// Uncommitted is how many offsets of r are not committed.
func (l *Ledger) Uncommitted(r event.Range) (n uint64) {
	for gap := range l.done.Gaps(event.Range{First: max(r.First, l.low), Next: r.Next}) {
		n += gap.Len()
	}
	return n
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
	if len(l.shares) > 0 {
		l.unshare(r)
	}
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
