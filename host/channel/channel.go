// SPDX-License-Identifier: Apache-2.0

// Package channel defines the buffer between sources and sinks, and its transactions.
//
// A channel takes batches in transactions ([Tx]) and gives them out in leases ([Lease]), to any
// number of named readers, each of which sees every event. The laws, each a case in channeltest:
//
//  1. Transactions of one source become durable in the order of Submit. If one is refused, every
//     later one of that source is refused too ([ErrPrior]) until the source's cursor has been asked
//     for again. Without this, reading ahead loses: 6 durable, 5 failed, cursor past both.
//  2. Cursor is the sum of the durable changes, and of nothing else.
//  3. A reader sees only what has reached the channel's durability level.
//  4. (incarnation, offset) is never used again, whatever was lost or restored: each opening draws a
//     random incarnation and jumps to the next multiple of 2^32.
//  5. A transaction is wholly there or not at all, and what was rolled back leaves nothing behind.
//  6. A lease that is rolled back is given out again before anything newer, with its attempt count one higher.
//  7. The channel forgets an event only after every registered reader has committed it; with no reader it keeps all.
//  8. Conservation: for each reader, put = committed + for others + waiting + in doubt + dropped by policy, at any quiet moment.
//  9. The readers of the lanes of one layout together get every event once, and the events of one key go to one of them, in order.
//  10. Where readers hand over to others, the old ones get all events before that point, the new ones all behind it.
//  11. Nothing is dropped but by a policy that was asked for. It is on record before its space is free, counted once,
//     and never for a reader whose policy is to hold unless the channel's is to drop.
package channel

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/penstock-io/penstock/spec/event"
)

// What a caller may branch on. They come wrapped, with what can be done about it.
var (
	// ErrFull: the channel is full and its policy is to refuse.
	ErrFull = errors.New("channel is full")
	// ErrPrior: an earlier transaction of the same source was not committed, so this one is not.
	ErrPrior = errors.New("an earlier transaction of this source was refused")
	// ErrIndeterminate: it is unknown whether the transaction is on disk. Do not acknowledge; open the
	// source again from the durable cursor.
	ErrIndeterminate = errors.New("outcome unknown")
	// ErrStopped: the channel stopped for good after an error of the disk, and takes nothing more.
	ErrStopped = errors.New("channel has stopped")
	// ErrClosed: the channel was closed, or the reader was.
	ErrClosed = errors.New("channel is closed")
	// ErrDone: the transaction or lease has ended already; nothing was changed.
	ErrDone = errors.New("already ended")
	// ErrDrained: the reader has handed over to others, and everything before that is committed.
	ErrDrained = errors.New("drained")
	// ErrLocked: another process has the channel open.
	ErrLocked = errors.New("in use by another process")
	// ErrCorrupt: what is on disk cannot be trusted; nothing was thrown away.
	ErrCorrupt = errors.New("damaged")
	// ErrKey: something on disk is encrypted with a key that was not given. It is no damage.
	ErrKey = errors.New("its key was not given")
	// ErrDetached: the reader lagged so far that its policy has unregistered it.
	ErrDetached = errors.New("reader was detached")
	// ErrNoReader: the channel has no reader of that name, or none that would see the events.
	ErrNoReader = errors.New("there is no such reader")
	// ErrNotOwn: nothing waits that is the member's already.
	ErrNotOwn = errors.New("the member has nothing of its own")
	// ErrLimit: a batch, a cursor entry or a name is over a limit; it will never be taken.
	ErrLimit = errors.New("over a limit")
)

// Channel is the buffer. All methods may be called by many goroutines at once.
type Channel interface {
	// Begin waits until there is room, or answers ErrFull where the policy is to refuse. It reserves
	// nothing: each source may overdraw by what it submits before its next Begin.
	Begin(ctx context.Context) (Tx, error)
	// Reader registers the named reader, or finds it again where it stood. It is durable before it returns.
	// A name that is in use is an error.
	Reader(spec ReaderSpec) (Reader, error)
	// Cursor waits until nothing of that source is in flight, then returns its durable cursor. It ends
	// the state of ErrPrior: whoever asks starts anew from what it is told. An unknown source has the zero Position.
	Cursor(ctx context.Context, source string) (Position, error)
	// Close ends what waits (with ErrClosed), writes positions, and frees everything. Leases in flight count as rolled back.
	Close() error
}

// Position is where a source stands.
type Position struct {
	Cursor  event.Cursor // a copy, the caller's own
	Version uint32       // the form of the entries, by the plugin's cursor_version
	Move    uint32       // how often the source moved from channel to channel
}

// Tx is one transaction: begin, put…, then submit or roll back. It belongs to one goroutine.
type Tx interface {
	// Put adds to the transaction and takes over the caller's hold on the batch's memory, whatever it
	// answers. After Submit or Rollback it answers ErrDone.
	Put(p Put) error
	// Submit gives the transaction its place in the order. wait, which must be called, once, blocks
	// until it is on disk and then returns nil; or says that it is refused (nothing written), ErrPrior, or
	// ErrIndeterminate. It has no context: there is one outcome. A second Submit has a wait of ErrDone.
	Submit() (wait func() error)
	// Rollback forgets it. After Submit it does nothing, so that it can be deferred.
	Rollback()
}

// Put is what one source adds to a transaction.
type Put struct {
	Source  string       // the full address, e.g. "source.shop"
	Batch   event.Batch  // may be empty; its events get new offsets, in their order
	Changed event.Cursor // only entries that changed; an empty value deletes; not changed by anyone until wait returns
	Version uint32       // the form of the entries
	Move    uint32
	Removed bool // the source's whole cursor goes: it has moved elsewhere
	// Only, when set, is the one reader that sees the events: a replayed dead letter. It is the same for all events of a transaction. Where there is no such
	// reader when the transaction's turn comes, or it has handed over to others, it is refused with ErrNoReader: nobody would ever see them.
	Only string
}

// ReaderSpec names a reader.
type ReaderSpec struct {
	Name  string // the full address of the sink or group, e.g. "sink.orders"
	Start Start  // where it begins when it is new
	Order Order
	Lane  Lane // the events that it gets; what it leaves out counts as covered. The same each time
	Lag   Lag
}

// Start says where a new reader begins.
type Start uint8

// Where a new reader begins.
const (
	Oldest Start = iota // with the oldest event that is still there
	Now                 // with the next event
)

// Order says how a reader may hand out leases.
type Order uint8

// The orders.
const (
	InOrder  Order = iota // one lease at a time
	AnyOrder              // many at a time, committed and rolled back in any order
)

// Reader hands out what is in the channel. All methods may be called by many goroutines at once.
type Reader interface {
	// Take waits until there is something, then up to want.Wait longer until it amounts to what is
	// wanted, and leases it. It returns at once when that much is there. The order is that of the channel, ranges
	// that were rolled back first. A reader that has handed over answers ErrDrained when it has committed the last.
	Take(ctx context.Context, want Want) (Lease, error)
	// Finish marks ranges as committed: what the destination said that it holds already. Ranges that
	// are leased, or beyond what was put, are ignored in that part.
	Finish(held ...event.Range) error
	// Info says where the reader stands.
	Info() ReaderInfo
	// Close gives the name back, which can then be opened again, by anybody: who takes ends with ErrClosed, leases in flight count as
	// rolled back, and where the reader stands is durable before it returns. What it has not committed stays. On an
	// error, the name is given back all the same. After the first time it does nothing.
	io.Closer
}

// Want bounds a lease. An event larger than Bytes comes alone.
type Want struct {
	Events int           // at most; 0 means no bound
	Bytes  int           // at most, encoded; 0 means event.DefaultBatch
	Wait   time.Duration // how long to gather after the first event is there
	// Member is who takes, of a group whose members keep what they were given: it is that member's until it is committed or settled, also
	// when the lease is rolled back or the process is killed. With Own nothing else is taken, and not waited: ErrNotOwn.
	Member string
	Own    bool
}

// Lease is a range of events on its way to a destination. It ends once.
type Lease interface {
	// Delivery returns what was leased. The batch is valid until Commit or Rollback.
	Delivery() Delivery
	// Commit says that the destination has it. On a lease that has ended: ErrDone.
	Commit() error
	// Rollback puts the range back at the head. After Commit it does nothing, so that it can be deferred.
	Rollback()
}

// Delivery is what a lease holds.
type Delivery struct {
	Range   event.Range // covers the batch, and what a filter or a lane left out
	Batch   event.Batch // its base is set; may be empty
	Attempt int         // 1 at the first time
}

// ReaderInfo says where a reader stands.
type ReaderInfo struct {
	Stream       string        // channel uuid "/" reader id "/" generation: the key of what a destination stores
	Low          event.Offset  // everything below is committed
	Finished     []event.Range // what is committed above
	Oldest       event.Offset  // nothing below will be handed out again, whatever happens: the log no longer has it
	Incarnations []Incarnation
	Waiting      uint64       // events not committed, leased ones included; those of other lanes too
	Leased       uint64       // events in leases
	Tally                     // since the channel was opened
	Lane         Lane         // which of the events it gets
	End          event.Offset // it has handed over: nothing from here on is given to it; 0: there is no end
	InUse        bool         // somebody has it open; else its sink is gone, and it holds what it has not committed
	Detached     bool         // its policy has unregistered it: Take answers ErrDetached
	InDoubt      []Share      // what members were given and is not leased: whether their destinations hold it is unknown
}

// Unaccounted is how many events were offered to the reader of which it is not known what became, by law 8: 0, at any quiet moment. Below 0,
// more is accounted for than was offered. Anything else is a defect of the channel.
func (r ReaderInfo) Unaccounted() int64 {
	return int64(r.Offered - r.Committed - r.Passed - r.Dropped - r.Waiting)
}

// Incarnation is one opening of the channel.
type Incarnation struct {
	ID    uint64       // random
	First event.Offset // a multiple of 2^32
	Next  event.Offset // behind its last event that is known; of the newest one, which goes on, 0
}

// Sharer is a reader whose members may keep what they were given: see [Want].
type Sharer interface {
	// Settle ends the doubt over what a member has of ranges and is not leased, since somebody knows: its destination holds that, and it counts
	// as delivered; or it does not, and whoever takes next gets it. It answers how many offsets that were, and is durable before it returns.
	Settle(member string, held bool, ranges ...event.Range) (uint64, error)
}

// Operator is the side of a channel for those who run it.
type Operator interface {
	// Stats returns figures of this moment. It never waits for the disk.
	Stats() Stats
	// Forget drops a reader that nobody has open, so that it holds no space any more.
	Forget(reader string) error
	// Resize changes the capacity at once, without touching the log.
	Resize(c Capacity)
	// Handover registers the readers of to, and bounds those of from: they end at the present end of the channel, with
	// ErrDrained, and the new ones begin there. With no from, the new ones begin all where Start says. It is one
	// durable step: after a crash all of it is done, or nothing. The new ones are not opened by it.
	Handover(from []string, to []ReaderSpec) error
}

// Stats are a channel's figures. Counters count since it was opened.
type Stats struct {
	Events, Bytes  uint64 // held: not yet committed by every reader (bytes by whole segments, where there are)
	Capacity       Capacity
	Oldest         time.Time    // commit time of the oldest held event; zero when empty
	ReplayFrom     event.Offset // the oldest that is still there, whoever has committed it
	Put            uint64       // events committed by sources, dropped newest ones included
	Transactions   uint64
	Syncs          uint64
	Segments       int
	Readers        map[string]ReaderInfo
	Sources        map[string]SourceInfo // all that have a cursor, whoever uses it
	Stopped        error                 // why the channel stopped, or nil
	ShortOfDisk    string                // why sources wait for room on the disk as if the channel were full; "" when they do not
	RecoverySecs   float64
	CorruptRecords uint64
	Gaps           uint64          // readers that stood behind the end of the log at opening: so much, and nobody knows how much, was lost
	QuarantineSize uint64          // bytes that repair moved aside, ever
	Scrubbed       uint64          // segments that were read again to check them
	LastScrub      time.Time       // when all were; zero: not yet
	Damaged        string          // the first place with damage that is known, and stays; "" = none
	Forgotten      uint64          // cursor entries that were not set for long
	Dropped        map[Loss]uint64 // events that were given up, once each; all reasons are there
}

// SourceInfo says how much a channel keeps of where a source stands.
type SourceInfo struct {
	Entries int
	Bytes   int // of keys and values
	Version uint32
	Move    uint32
}

// Observer is told what a channel does, as it happens. Calls come from the commit path and must be short. A nil func is not called.
type Observer struct {
	// Committed: a group of transactions became durable; took is the longest that one with events waited, 0 when none had any.
	Committed func(transactions, events int, bytes int64, took time.Duration)
	// Synced: one flush to disk ended.
	Synced func(took time.Duration)
	// Refused: a transaction was not taken, and why, in one word ("full", "prior", "error", "limit", "reader").
	Refused func(reason string)
	// Dropped: a policy gave events up. It is on record.
	Dropped func(d Drop)
	// Step names each durable step just before it is made ("put", "fsync", "roll", "state", "position",
	// "unlink", "dirsync", "mend"): for tests that kill the process there.
	Step func(name string)
}
