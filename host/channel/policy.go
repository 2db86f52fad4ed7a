// SPDX-License-Identifier: Apache-2.0

package channel

import (
	"fmt"
	"iter"
	"math"
	"sort"
	"time"

	"github.com/penstock-io/penstock/spec/event"
)

// Capacity is how much a channel may hold that some reader has not committed. Zero means no bound.
type Capacity struct {
	Bytes  uint64
	Events uint64
	Age    time.Duration // since the oldest of it was committed by its source
}

// Held is how much that is. The age may be less than it is where nobody knows it to the event.
type Held struct {
	Bytes  uint64
	Events uint64
	Age    time.Duration
}

// String says it in the words of an error.
func (h Held) String() string {
	text := fmt.Sprintf("it holds %d events and %d bytes that not every reader has committed", h.Events, h.Bytes)
	if h.Age > 0 {
		text += fmt.Sprintf(", the oldest for %v", h.Age.Round(time.Millisecond))
	}
	return text
}

// Full says whether so much is no less than the capacity.
func (c Capacity) Full(h Held) bool {
	return c.Events > 0 && h.Events >= c.Events || c.Bytes > 0 && h.Bytes >= c.Bytes || c.Age > 0 && h.Events > 0 && h.Age >= c.Age
}

// FullPolicy says what is done when the channel is full.
type FullPolicy uint8

// The policies.
const (
	Block      FullPolicy = iota // Begin waits for room
	Refuse                       // Begin answers ErrFull
	DropOldest                   // the oldest events go, until there is room, whoever has not committed them
	DropNewest                   // what finds it full is acknowledged without its events; its cursor changes
)

// Lag says what is done about a reader because of which the channel is full: because others, without it, have left enough room.
type Lag uint8

// The policies for a reader that lags.
const (
	Hold   Lag = iota // nothing: it is for the FullPolicy to say
	Skip              // it goes on at the oldest place that makes room
	Detach            // it is unregistered; the last reader of a channel never is
)

// Loss is why events were given up. The numbers are for ever: they are in logs.
type Loss uint8

// The reasons.
const (
	LostCorrupt Loss = 1 + iota // the disk had damaged them
	LostOldest                  // DropOldest
	LostNewest                  // DropNewest
	LostSkip                    // Skip
	LostDetach                  // Detach
	LostPurge                   // someone asked for all that waits
	LostPicked                  // someone asked for these
)

// Losses lists all reasons there are.
func Losses() []Loss {
	return []Loss{LostCorrupt, LostOldest, LostNewest, LostSkip, LostDetach, LostPurge, LostPicked}
}

// String is the reason in a word.
func (l Loss) String() string {
	if l < LostCorrupt || l > LostPicked {
		return fmt.Sprintf("loss %d", uint8(l))
	}
	return [...]string{"corrupt", "oldest", "newest", "skip", "detach", "purge", "picked"}[l-LostCorrupt]
}

// Lost counts events by the reason why they were given up.
type Lost [LostPicked + 1]uint64

// All has an entry for each reason.
func (l *Lost) All() map[Loss]uint64 {
	all := map[Loss]uint64{}
	for _, loss := range Losses() {
		all[loss] = l[loss]
	}
	return all
}

// Drop is what a policy has given up.
type Drop struct {
	Loss   Loss
	Reader string      // that was to have them; "": all
	Range  event.Range // in which they were; of LostNewest that which they would have had, and others have now
	Events uint64      // what is leased of it counts when the lease is rolled back
}

// Loss is what is lost of a reader that lags.
func (l Lag) Loss() Loss {
	if l == Detach {
		return LostDetach
	}
	return LostSkip
}

// Laggard is a reader as Relief must know it.
type Laggard struct {
	Low event.Offset
	Lag Lag
}

// Relief says which events a full channel gives up: those before to that a reader has not committed, of the readers
// that lag alone, or of all. ok is false when it gives up none. places are the offsets, in order, before which it can, the
// last being the end, and whether it can before any offset from the place before on; room says whether there is room when nothing before an offset is held.
func (p FullPolicy) Relief(readers []Laggard, places iter.Seq2[event.Offset, bool], room func(event.Offset) bool) (to event.Offset, alone, ok bool) {
	hold, lagging := event.Offset(math.MaxUint64), false // where the readers stand that nobody moves
	stay := false                                        // one will be there afterwards
	last := event.Offset(math.MaxUint64)                 // the place before
	for _, r := range readers {
		last = min(last, r.Low)
		lagging = lagging || r.Lag != Hold
		stay = stay || r.Lag != Detach
		if r.Lag == Hold {
			hold = min(hold, r.Low)
		}
	}
	if len(readers) == 0 || p != DropOldest && !lagging {
		return 0, false, false
	}
	lagging = lagging && stay
	for to, split := range places {
		if lagging && hold <= to {
			if room(hold) {
				return smallest(last, hold, split, room), true, true
			}
			lagging = false
		}
		if !lagging && p != DropOldest {
			break
		}
		if room(to) {
			return smallest(last, to, split, room), lagging, true
		}
		last = to
	}
	return 0, false, false
}

// smallest is the first offset behind last that makes room, where to does, if it may be any.
func smallest(last, to event.Offset, any bool, room func(event.Offset) bool) event.Offset {
	if !any || last > to {
		return to
	}
	return last + event.Offset(sort.Search(int(to-last), func(n int) bool { return room(last + event.Offset(n)) }))
}
