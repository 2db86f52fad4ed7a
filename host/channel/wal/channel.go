// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sort"
	"sync"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// Limits and defaults.
const (
	// DefaultSegment is the size of a segment: the library keeps the tail segment in memory, and larger ones were slower.
	DefaultSegment = 8 << 20
	// maxSegment bounds what a large STATE makes of it, for the same reason.
	maxSegment = 32 << 20
	// statesPerSegment: a segment is at least so many times its STATE, so that at most an eighth of the log is STATE.
	statesPerSegment = 8
	// maxGroup is how much is written before a flush, so that whoever waits for the first transaction does not wait for all.
	maxGroup = 4 << 20
	// ringBytes bounds the memory that holds the newest batches for readers that keep up.
	ringBytes = 16 << 20
	// emptyDelay is how long a transaction without events waits for company: moving a cursor alone is not worth a flush.
	emptyDelay = time.Second
	// positionDelay is how long a position stays unwritten: what a crash may make be delivered again.
	positionDelay = 100 * time.Millisecond
	// positionRetry is the same after a position could not be written: the disk may need a moment, and the log of the agent too.
	positionRetry = 2 * time.Second
)

// Options says how a channel is opened.
type Options struct {
	Dir         string // made when it is not there
	Capacity    channel.Capacity
	Retain      time.Duration // how long segments stay, by their newest event, that all readers have committed
	OnFull      channel.FullPolicy
	OnCorrupt   CorruptPolicy
	Pool        event.Buffers // where memory comes from; nil: the Go heap
	Observer    channel.Observer
	Log         *slog.Logger // nil: nothing is said
	SegmentSize int          // bytes; 0 means DefaultSegment
	Durability  Durability
	FlushEvery  time.Duration // of Interval; 0 means DefaultFlushEvery
	// MinFree is how many bytes of the disk must be free, or puts wait: see [DefaultMinFree]. 0: puts wait only when a write has failed.
	MinFree uint64
	// ForgetAfter is after how long a cursor entry is forgotten that was not set again; 0: never.
	ForgetAfter time.Duration
	// Scrub is how often each segment that is not written any more is read again, to find damage; 0: never.
	Scrub time.Duration
	// Reserve is how many bytes of ballast lie on the disk, to be thrown off when it is full; on a small disk less. 0: none.
	Reserve uint64
	// Compression is how bodies are compressed; what is there already is read whatever it is.
	Compression Codec
	Key         *Key  // seals what is written; nil: nothing is sealed
	OldKeys     []Key // read only; Key reads too
}

// Channel is a durable channel. It implements [channel.Channel] and [channel.Operator].
type Channel struct {
	o         Options
	dir       string
	sys       system
	pool      event.Buffers
	coder     *coder
	decoded   decoded // what readers from disk share
	observer  channel.Observer
	log       *slog.Logger
	onFull    channel.FullPolicy
	onCorrupt CorruptPolicy
	lock      *os.File
	logDir    file // synced after a roll and an unlink
	meta      meta
	tail      tail          // of whoever set leading
	done      chan struct{} // closed by Close

	mu       sync.Mutex
	state    *state // the sum of all durable records
	segments []*segment
	gone     event.Offset // nothing below is in the log, not even after a crash
	written  int64        // commit time of the last record with events
	found    found        // the end of the log at the opening
	ring     ring
	readers  map[string]*reader // all that are registered
	flights  map[string]*flight // sources with something in flight, or refused
	queue    []*tx              // submitted, and in nobody's group
	writing  *group             // what the leader writes just now, or nil
	pending  amount             // of what is submitted and not settled
	leading  bool
	flushDue bool          // who leads should flush
	idle     chan struct{} // closed when the leader steps down; nil while nobody waits for that
	room     chan struct{} // closed when there is room; nil while nobody waits for that
	capacity channel.Capacity
	stats    channel.Stats
	lost     channel.Lost
	relief   relief
	stopped  error // why nothing is taken any more
	closed   bool
	short    shortage
	opening  *opening // what is left of it, for lack of room; nil when it is done

	flushing   sync.Mutex  // held while positions are written
	dead       []*segment  // off the list, and to be unlinked; flushing guards it
	ballast    sync.Mutex  // held while the reserve is made or released
	timer      *time.Timer // that will write positions; nil while none needs to be
	scrub      scrub
	opened     time.Time
	used       map[string]bool // sources whose cursor was asked for since then
	sweepTimer *time.Timer     // that will forget cursor entries
	flushTimer *time.Timer     // that will flush the log, at the level Interval
	expiry     *time.Timer     // that will look for segments which stayed for their age
	timers     sync.WaitGroup  // one for each timer that is set or whose function runs
}

var (
	_ channel.Channel  = (*Channel)(nil)
	_ channel.Operator = (*Channel)(nil)
)

// found is where the log ended when it was opened, and when that was written.
type found struct {
	end  event.Offset
	time int64
}

// amount is how much of something there is.
type amount struct{ events, bytes uint64 }

func (a amount) minus(b amount) amount {
	return amount{a.events - min(a.events, b.events), a.bytes - min(a.bytes, b.bytes)}
}

// Begin waits for room, or makes some.
func (c *Channel) Begin(ctx context.Context) (channel.Tx, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		err := c.usable()
		switch {
		case err != nil:
			return nil, fmt.Errorf("begin: %w", err)
		case !c.full():
			return &tx{c: c}, nil
		case c.relieve():
			continue
		case c.onFull == channel.DropNewest && !c.short.blocks:
			return &tx{c: c, full: true}, nil
		case c.onFull != channel.Refuse:
			if err := c.awaitRoom(ctx); err != nil {
				return nil, fmt.Errorf("begin: wait for room: %w", err)
			}
			continue
		}
		c.refused("full")
		if c.short.why != "" {
			return nil, fmt.Errorf("begin: %w: %s", channel.ErrFull, c.short.why)
		}
		return nil, fmt.Errorf("begin: %w: %v", channel.ErrFull, c.load(c.lowest()))
	}
}

// awaitRoom waits until there was room once. All who wait are let in then, since room is not reserved.
func (c *Channel) awaitRoom(ctx context.Context) error {
	if c.room == nil {
		c.room = make(chan struct{})
	}
	room := c.room
	c.mu.Unlock()
	defer c.mu.Lock()
	select {
	case <-room:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// letIn wakes those who wait for room, when there is some, or can be made, or there never will be.
func (c *Channel) letIn() {
	if c.room != nil && (!c.full() || c.usable() != nil || c.relievable()) {
		close(c.room)
		c.room = nil
	}
}

// usable says whether the channel takes anything.
func (c *Channel) usable() error {
	switch {
	case c.closed:
		return channel.ErrClosed
	case c.stopped != nil:
		return fmt.Errorf("%w: %w", channel.ErrStopped, c.stopped)
	}
	return nil
}

func (c *Channel) full() bool {
	if c.short.why != "" {
		return true
	}
	if c.capacity == (channel.Capacity{}) {
		return false
	}
	return c.capacity.Full(c.load(c.lowest()))
}

// load is what weighs on the capacity when everything below low is committed: what is held, and what is on its way.
func (c *Channel) load(low event.Offset) channel.Held {
	held := c.held(low)
	h := channel.Held{Events: held.events + c.pending.events, Bytes: held.bytes + c.pending.bytes}
	if c.capacity.Age > 0 && held.events > 0 { // the clock is asked only where it matters
		h.Age = time.Since(time.Unix(0, c.until(low)))
	}
	return h
}

// held is what lies at and above low. With no reader at all, everything is held.
func (c *Channel) held(low event.Offset) amount {
	return amount{c.state.events, c.state.bytes}.minus(c.before(low))
}

// lowest is the offset below which nothing is needed any more.
func (c *Channel) lowest() event.Offset {
	if len(c.readers) == 0 {
		return c.oldest()
	}
	low := c.state.end
	for _, r := range c.readers {
		low = min(low, r.ledger.Low())
	}
	return low
}

// oldest is the offset with which the log begins.
func (c *Channel) oldest() event.Offset {
	if len(c.segments) == 0 {
		return 0
	}
	return c.segments[0].first
}

// before is how much was put before that offset, ever. Within a segment the bytes are shared out evenly.
func (c *Channel) before(o event.Offset) amount {
	if o >= c.state.end { // whatever the incarnations say, of which the oldest are forgotten
		return amount{c.state.events, c.state.bytes}
	}
	i := sort.Search(len(c.segments), func(i int) bool { return c.segments[i].first > o }) - 1
	if i < 0 {
		return amount{}
	}
	s, next := c.segments[i], amount{c.state.events, c.state.bytes}
	if i+1 < len(c.segments) {
		next = amount{c.segments[i+1].events, c.segments[i+1].bytes}
	}
	begin := amount{s.events, s.bytes}
	in := next.minus(begin)
	n := c.state.count(event.Range{First: s.first, Next: o})
	if n >= in.events {
		return next
	}
	return amount{begin.events + n, begin.bytes + uint64(float64(in.bytes)*float64(n)/float64(in.events))}
}

func (c *Channel) refused(reason string) {
	if c.observer.Refused != nil {
		c.observer.Refused(reason)
	}
}

// step tells the observer what is about to be done to the disk.
func (c *Channel) step(name string) {
	if c.observer.Step != nil {
		c.observer.Step(name)
	}
}

// Resize changes the capacity at once.
func (c *Channel) Resize(capacity channel.Capacity) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.capacity = capacity
	c.letIn()
	c.watchAge()
}

// Stats returns the figures of this moment.
func (c *Channel) Stats() channel.Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	low := c.lowest()
	held := c.held(low)
	s := c.stats
	s.Events, s.Bytes, s.Capacity = held.events, held.bytes, c.capacity
	s.Dropped, s.ReplayFrom = c.lost.All(), c.oldest()
	s.Segments, s.Stopped, s.ShortOfDisk = len(c.segments), c.stopped, c.short.why
	if held.events > 0 {
		s.Oldest = time.Unix(0, c.since(low))
	}
	s.Sources = make(map[string]channel.SourceInfo)
	for _, name := range c.state.cursors.Sources() {
		s.Sources[name] = c.state.cursors.Info(name)
	}
	s.Scrubbed, s.LastScrub, s.Damaged = c.scrub.segments, c.scrub.last, c.firstDamage()
	s.Readers = make(map[string]channel.ReaderInfo, len(c.readers))
	for name, r := range c.readers {
		s.Readers[name] = r.info()
	}
	return s
}

// since is the commit time of the event at that offset; of one that is on disk only, the time its segment began.
func (c *Channel) since(o event.Offset) int64 {
	if e := c.ring.find(o); e != nil {
		return e.time
	}
	for i := len(c.segments) - 1; i >= 0; i-- {
		if c.segments[i].first <= o {
			return c.segments[i].time
		}
	}
	return 0
}

// until is the time by which the event at that offset was committed. Of one that is on disk only, it is that of what
// is known behind it: so that nothing is thought to be older than it is.
func (c *Channel) until(o event.Offset) int64 {
	if e := c.ring.find(o); e != nil {
		return e.time
	}
	at := c.written
	if i := sort.Search(len(c.segments), func(i int) bool { return c.segments[i].first > o }); i < len(c.segments) {
		at = c.segments[i].time
	} else if len(c.ring.list) > 0 {
		at = c.ring.list[0].time
	}
	if o < c.found.end {
		at = min(at, c.found.time)
	}
	return at
}
