// SPDX-License-Identifier: Apache-2.0

package channel

import (
	"errors"
	"time"

	"github.com/penstock-io/penstock/spec/event"
)

// ErrGone: the events from that offset on are not in the log any more.
var ErrGone = errors.New("not in the log any more")

// Seeker moves readers that nobody has open to another place, for those who run a channel. What it answered is
// durable: a reader stands there after any crash.
type Seeker interface {
	// Since returns the offset of the first event that was committed at t or later; that of the next event, where there is
	// none; and of the zero time the oldest that is still there.
	Since(t time.Time) (event.Offset, error)
	// Ahead is how many events there are at that offset and behind it, whatever readers have committed.
	Ahead(from event.Offset) uint64
	// Replay has the reader start anew at from, as a generation of its own: with another stream, so that a destination does
	// not take what comes again for what it holds. What lay before from and was not committed, is given up. Offsets
	// before the oldest there is are refused with [ErrGone].
	Replay(reader string, from event.Offset) error
	// Purge gives up all that the reader has not committed, before the space is free, and says how many events that were.
	Purge(reader string) (events uint64, err error)
}

// Picker gives up events that someone has picked, of a reader that nobody has open.
type Picker interface {
	// Drop gives up some of what the reader has not committed, before the space is free, says how many events that were, and counts them as
	// [LostPicked]. What it answered is durable. [ErrLimit]: the reader would have more than [MaxFinished] separate ranges; nothing was given up.
	Drop(reader string, picked ...event.Range) (events uint64, err error)
}
