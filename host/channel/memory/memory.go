// SPDX-License-Identifier: Apache-2.0

// Package memory is a channel that is fast and forgets: what is in it is gone when the process ends.
// It is also the model that the durable channel is tested against, so it is kept as plain as it can
// be: one mutex, a queue of batches, a [channel.Ledger] for each reader.
//
// A transaction is committed within Submit, under the mutex, which gives the order and leaves
// nothing in flight. A batch is never copied on its way in; on its way out only where a lease needs
// a part of it, or several as one.
package memory

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// Options says how a channel is to be.
type Options struct {
	Capacity channel.Capacity
	OnFull   channel.FullPolicy
	Pool     event.Buffers // for the batches of leases that need a copy; nil: ordinary memory
	Observer channel.Observer
	// Fault, where it is set, is asked before each transaction is committed; its error refuses the transaction: for tests.
	Fault func(step string) error
	// ForgetAfter is after how long a cursor entry is forgotten that was not set again; 0: never.
	ForgetAfter time.Duration
}

// Channel is a channel in memory. It implements [channel.Channel] and [channel.Operator].
type Channel struct {
	o           Options
	uuid        string
	incarnation channel.Incarnation

	mu       sync.Mutex
	queue    []record // held batches, oldest first, none empty
	end      event.Offset
	low      event.Offset // everything below is committed by every reader
	put      uint64       // bytes of all batches, ever
	capacity channel.Capacity
	room     chan struct{}      // closed by whoever makes room or closes the channel; nil while nobody waits
	readers  map[string]*reader // all that are registered
	names    int                // that were registered, ever
	cursors  *channel.Cursors
	refusing map[string]bool // sources of which a transaction was not committed, and the cursor not asked for since
	used     map[string]bool // sources whose cursor was asked for
	swept    time.Time       // when it was last looked for entries that were not set for long
	stats    channel.Stats
	lost     channel.Lost
	aging    *time.Timer // that will look for what is too old; nil while none needs to
	closed   bool
}

var (
	_ channel.Channel  = (*Channel)(nil)
	_ channel.Operator = (*Channel)(nil)
)

// record is one committed batch.
type record struct {
	batch  event.Batch
	before uint64       // bytes of all batches before it
	next   event.Offset // after its last event
	only   string       // the one reader that sees it, or ""
	at     time.Time
}

func (r record) span() event.Range { return event.Range{First: r.batch.Base(), Next: r.next} }

// New makes an empty channel.
func New(o Options) *Channel {
	if o.Pool == nil {
		o.Pool = event.Heap{}
	}
	var id [24]byte
	rand.Read(id[:]) // never fails
	return &Channel{
		o:           o,
		uuid:        hex.EncodeToString(id[:16]),
		incarnation: channel.Incarnation{ID: binary.LittleEndian.Uint64(id[16:])},
		capacity:    o.Capacity,
		readers:     map[string]*reader{},
		cursors:     channel.NewCursors(),
		refusing:    map[string]bool{},
		used:        map[string]bool{},
		swept:       time.Now(),
	}
}

// Begin waits for room, or makes some.
func (c *Channel) Begin(ctx context.Context) (channel.Tx, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.full() && !c.closed && c.relieve() {
	}
	full := c.full() && !c.closed
	switch {
	case full && c.o.OnFull == channel.Refuse:
		c.refused("full")
		return nil, fmt.Errorf("begin: %w: %v", channel.ErrFull, c.held())
	case full && c.o.OnFull != channel.DropNewest:
		if err := c.awaitRoom(ctx); err != nil {
			return nil, fmt.Errorf("begin: wait for room: %w", err)
		}
		for c.full() && !c.closed && c.relieve() {
		}
	}
	if c.closed {
		return nil, fmt.Errorf("begin: %w", channel.ErrClosed)
	}
	return &tx{c: c, full: full && c.o.OnFull == channel.DropNewest}, nil
}

// awaitRoom waits until there was room once. All who wait are let in then: none is passed over, and
// each overdraws by no more than one transaction.
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

func (c *Channel) full() bool { return c.capacity.Full(c.held()) }

// held is what some reader has not committed.
func (c *Channel) held() channel.Held { return c.from(c.low) }

// from is what there is at and above low, by whole batches.
func (c *Channel) from(low event.Offset) channel.Held {
	i := c.find(low)
	if i == len(c.queue) {
		return channel.Held{}
	}
	r := &c.queue[i]
	h := channel.Held{Events: uint64(c.end - low), Bytes: c.put - r.before}
	if c.capacity.Age > 0 { // the clock is asked only where it matters
		h.Age = time.Since(r.at)
	}
	return h
}

// letIn wakes those who wait for room, when there is some, or can be made. It makes none: they may have left.
func (c *Channel) letIn() {
	if c.room == nil || !c.closed && c.full() && !c.relievable() {
		return
	}
	close(c.room)
	c.room = nil
}

func (c *Channel) refused(reason string) {
	if c.o.Observer.Refused != nil {
		c.o.Observer.Refused(reason)
	}
}

// reclaim forgets what every reader has committed, and lets in who waits for that.
func (c *Channel) reclaim() {
	c.forgetDone()
	c.letIn()
}

// forgetDone forgets what every reader has committed. Without a reader nothing is forgotten.
func (c *Channel) forgetDone() {
	if len(c.readers) == 0 {
		return
	}
	c.low = c.end
	for _, r := range c.readers {
		c.low = min(c.low, r.ledger.Low())
	}
	n := 0
	for n < len(c.queue) && c.queue[n].next <= c.low {
		c.queue[n].batch.Release()
		c.queue[n] = record{}
		n++
	}
	c.queue = c.queue[n:]
}

// find returns the index of the record that holds o, or of the first after it.
func (c *Channel) find(o event.Offset) int {
	i, _ := slices.BinarySearchFunc(c.queue, o, func(r record, o event.Offset) int {
		if r.next <= o {
			return -1
		}
		return 1
	})
	return i
}

// Close ends what waits, and forgets everything.
func (c *Channel) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	for _, r := range c.queue {
		r.batch.Release()
	}
	c.queue, c.low = nil, c.end
	if c.aging != nil {
		c.aging.Stop()
	}
	c.letIn()
	for _, r := range c.readers {
		r.wake.Broadcast()
	}
	return nil
}

// Stats returns the figures of this moment.
func (c *Channel) Stats() channel.Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	held := c.held()
	s.Events, s.Bytes, s.Capacity = held.Events, held.Bytes, c.capacity
	s.Dropped, s.ReplayFrom = c.lost.All(), c.low
	if len(c.queue) > 0 {
		s.Oldest = c.queue[0].at
	}
	s.Sources = make(map[string]channel.SourceInfo)
	for _, name := range c.cursors.Sources() {
		s.Sources[name] = c.cursors.Info(name)
	}
	s.Readers = make(map[string]channel.ReaderInfo, len(c.readers))
	for name, r := range c.readers {
		s.Readers[name] = r.info()
	}
	return s
}

// Resize changes the capacity.
func (c *Channel) Resize(capacity channel.Capacity) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.capacity = capacity
	c.letIn()
	c.watchAge()
}
