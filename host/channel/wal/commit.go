// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// Group commit has no goroutine of its own. Whoever waits for a transaction and finds nobody leading
// leads: takes all that is queued, up to a bound or to the end of the segment, writes it, flushes
// once, settles it, and wakes the next. Meanwhile others queue: the flush is what gathers a group.

// group is what is written with one flush.
type group struct {
	txs     []*tx
	entries [][]byte
	first   uint64 // index of the first entry
	bytes   int64
	events  int
	state   *event.Buffer // of the STATE that leads it, or nil
	segment *segment      // which that begins
	tail    tail          // what the tail is after it
	rolls   bool          // its last entry ends the segment
	firm    bool          // it is flushed whatever the level
}

// submit queues t, and returns its wait.
func (c *Channel) submit(t *tx) func() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	reason, err := c.admit(t)
	if err != nil {
		for i := range t.changes.sources {
			c.flight(t.changes.sources[i].Source).refused = true
		}
		t.release()
		c.refused(reason)
		return func() error { return fmt.Errorf("submit: %w", err) }
	}
	for i := range t.changes.sources {
		c.flight(t.changes.sources[i].Source).count++
		t.moves = t.moves || c.moves(&t.changes.sources[i])
	}
	c.queue = append(c.queue, t)
	c.pending.events += uint64(t.header.events)
	c.pending.bytes += uint64(t.header.raw)
	if !t.lazy() && !c.leading {
		c.pass() // one without events may be waiting for this
	}
	return t.wait
}

// admit says whether t may be queued, and in one word why not.
func (c *Channel) admit(t *tx) (reason string, err error) {
	if err := c.usable(); err != nil {
		return "error", err
	}
	if err := c.errOpening(); err != nil && t.header.kind != kindFence {
		return "full", err
	}
	for i := range t.changes.sources {
		if f, ok := c.flights[t.changes.sources[i].Source]; ok && (f.refused || f.broken) {
			return "prior", prior(t.changes.sources[i].Source)
		}
	}
	return "", nil
}

// moves says whether a source comes from another channel or goes to one. That is flushed at once, whatever the level: the
// other channel may be of another.
func (c *Channel) moves(ch *channel.CursorChange) bool {
	return ch.Removed || ch.Move != c.state.cursors.Info(ch.Source).Move
}

func prior(source string) error {
	return fmt.Errorf("%w: open %s again from its cursor", channel.ErrPrior, source)
}

func (c *Channel) flight(source string) *flight {
	f, ok := c.flights[source]
	if !ok {
		f = &flight{}
		c.flights[source] = f
	}
	return f
}

// wait blocks until t is settled, leading where nobody does.
func (t *tx) wait() error {
	c := t.c
	c.mu.Lock()
	defer c.mu.Unlock()
	t.waiting = true
	for !t.settled {
		if !c.leading && c.ready() {
			c.lead()
			continue
		}
		c.mu.Unlock()
		t.sleep()
		c.mu.Lock()
	}
	return t.err
}

// sleep waits for a signal; a transaction without events only as long as it is worth.
func (t *tx) sleep() {
	if !t.lazy() {
		<-t.signal
		return
	}
	timer := time.NewTimer(time.Until(t.begun.Add(emptyDelay)))
	defer timer.Stop()
	select {
	case <-t.signal:
	case <-timer.C:
	}
}

// ready says whether what is queued should be written now.
func (c *Channel) ready() bool {
	if len(c.queue) == 0 {
		return false
	}
	if time.Since(c.queue[0].begun) >= emptyDelay {
		return true
	}
	for _, t := range c.queue {
		if !t.lazy() {
			return true
		}
	}
	return false
}

// pass wakes somebody who can lead, if there is anything to be led.
func (c *Channel) pass() {
	if !c.ready() {
		return
	}
	for _, t := range c.queue {
		if t.waiting {
			t.wake()
			return
		}
	}
}

func (t *tx) wake() {
	select {
	case t.signal <- struct{}{}:
	default: // it has been told already
	}
}

// lead writes one group. c.mu is held before and after, and nobody leads.
func (c *Channel) lead() {
	c.leading = true
	var err error
	if !c.tail.entered {
		c.mu.Unlock()
		err = c.enter()
		c.mu.Lock()
	}
	if g := c.assemble(); len(g.txs) > 0 {
		if err == nil {
			c.writing = g
			c.mu.Unlock()
			err = c.write(g)
			c.mu.Lock()
			c.writing = nil
		}
		c.settle(g, err)
		if err == nil && c.lookDue(g.bytes) {
			c.mu.Unlock()
			c.look()
			c.mu.Lock()
		}
	}
	c.letIn() // what was refused uses no room any more
	c.catchUp()
	c.stepAside()
}

// stepAside lets somebody else lead.
func (c *Channel) stepAside() {
	c.leading = false
	if c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
	c.pass()
}

// assemble takes a group off the queue and gives each record its place.
func (c *Channel) assemble() *group {
	g := &group{tail: c.tail, first: c.tail.index}
	now := time.Now().UnixNano()
	for len(c.queue) > 0 && !g.rolls {
		t := c.queue[0]
		if len(g.txs) > 0 && g.bytes+t.size() > maxGroup {
			break
		}
		c.queue[0] = nil
		c.queue = c.queue[1:]
		if reason, err := c.accept(t, g); err != nil {
			c.refuse(t, reason, err)
			continue
		}
		if g.tail.size == 0 {
			c.begin(g, now)
		}
		t.header.time = now
		if t.header.kind == kindPut {
			t.header.first = g.tail.end
		}
		g.firm = g.firm || t.internal || t.moves
		g.txs = append(g.txs, t)
		g.add(&t.header, t.entry)
		t.batch = t.batch.WithBase(t.header.first)
		g.events += t.events()
	}
	return g
}

// accept says whether t, whose turn it is, may be written at the end of g.
func (c *Channel) accept(t *tx, g *group) (reason string, err error) {
	for i := range t.changes.sources {
		if source := t.changes.sources[i].Source; c.flight(source).broken {
			return "prior", prior(source)
		}
	}
	if err := c.state.cursors.Fit(t.changes.sources); err != nil {
		return "limit", err
	}
	if only := t.only(); only != "" && !c.reaches(only, g) {
		return "reader", channel.NoReaderFor(only)
	}
	return "", nil
}

// reaches says whether a reader of that name would see what is written at the end of g.
func (c *Channel) reaches(name string, g *group) bool {
	_, kept := c.state.readers[name]
	r, ok := c.readers[name]
	return kept && ok && r.takes(g.tail.end) && !g.ends(name)
}

// ends says whether a record of the group takes that reader away.
func (g *group) ends(name string) bool {
	return slices.ContainsFunc(g.txs, func(t *tx) bool {
		return slices.Contains(t.changes.forget, name) ||
			slices.ContainsFunc(t.changes.drops, func(d drop) bool { return d.loss == channel.LostDetach && d.reader == name })
	})
}

// begin leads the group with the STATE of a new segment.
func (c *Channel) begin(g *group, now int64) {
	size := c.state.size()
	g.state = c.pool.Get(size)
	n := len(c.state.append(g.state.Bytes()[:0]))
	g.state.Reset(n)
	h := header{kind: kindState, first: g.tail.end, time: now}
	g.state = c.coder.own(c.pool, &h, g.state)
	entry := g.state.Frame(headerSize, 0)
	g.add(&h, entry)
	rec := record{header: h, size: entrySize(int64(len(entry)))}
	g.segment = newSegment(&rec, c.state)
}

// add gives a record the next place.
func (g *group) add(h *header, entry []byte) {
	if len(g.entries) == 0 && !g.tail.dirty {
		h.flags |= flagDurable // the flush of what was before is over
	}
	h.index, h.prev = g.tail.index, g.tail.prev
	h.put(entry)
	g.entries = append(g.entries, entry)
	size := entrySize(int64(len(entry)))
	g.bytes += size
	g.rolls = g.tail.add(h, size)
}

// settle ends the transactions of a group, and publishes it if it is durable.
func (c *Channel) settle(g *group, err error) {
	if g.state != nil {
		g.state.Release()
	}
	if err != nil {
		reason := "error"
		if errors.Is(err, channel.ErrFull) {
			reason = "full"
		}
		for _, t := range g.txs {
			c.refuse(t, reason, err)
		}
		return
	}
	if g.segment != nil {
		c.segments = append(c.segments, g.segment)
	}
	c.tail = g.tail
	c.tail.dirty = !g.rolls && !c.mustFlush(g)
	transactions, longest := 0, time.Duration(0)
	for _, t := range g.txs {
		if !t.internal {
			transactions++
		}
		c.publish(t)
		if !t.lazy() { // what waits for company does so on purpose
			longest = max(longest, time.Since(t.begun))
		}
		c.end(t, nil)
	}
	c.segments[len(c.segments)-1].size = c.tail.written
	if g.rolls {
		c.state.before = c.tail.sealed
	}
	c.stats.Put += uint64(g.events)
	c.stats.Transactions += uint64(transactions)
	if c.observer.Committed != nil && transactions > 0 {
		c.observer.Committed(transactions, g.events, g.bytes, longest)
	}
	for _, r := range c.readers {
		r.arrived()
	}
	c.watchAge()
	c.flushLater()
}

// publish makes one durable record visible.
func (c *Channel) publish(t *tx) {
	if t.header.kind == kindFence {
		c.state.fence(c.tail.incarnation, t.header.first)
		for _, r := range c.readers {
			r.coverGaps()
			c.touched(r) // so that no position lies before more openings than the log remembers, for want of events
		}
		return
	}
	c.forget(t.changes.idle)
	if err := c.state.apply(&t.header, &t.changes); err != nil {
		panic("BUG: a record that was just written does not fit: " + err.Error())
	}
	c.giveUp(t)
	if t.header.events == 0 {
		return
	}
	c.written = t.header.time
	b := tailBatch{span: t.header.span(), batch: t.batch, only: t.changes.only, time: t.header.time}
	for _, r := range c.readers {
		if r.takes(b.span.First) {
			r.ledger.Offer(b.span.Len())
		}
		r.pass(b.span, b.only)
	}
	t.buf = nil // the ring has the hold now
	c.ring.add(b)
}

// refuse ends a transaction that was not written, and all later ones of its sources with it.
func (c *Channel) refuse(t *tx, reason string, err error) {
	for i := range t.changes.sources {
		c.flight(t.changes.sources[i].Source).broken = true
	}
	c.refused(reason)
	c.end(t, fmt.Errorf("commit: %w", err))
}

// end settles t.
func (c *Channel) end(t *tx, err error) {
	c.pending.events -= uint64(t.header.events)
	c.pending.bytes -= uint64(t.header.raw)
	for i := range t.changes.sources {
		c.land(t.changes.sources[i].Source)
	}
	t.release()
	t.err, t.settled = err, true
	t.wake()
}

// land counts one transaction of a source as no longer in flight.
func (c *Channel) land(source string) {
	f := c.flights[source]
	f.count--
	if f.count > 0 {
		return
	}
	if f.drained != nil {
		close(f.drained)
		f.drained = nil
	}
	if !f.refused && !f.broken {
		delete(c.flights, source)
	}
}

// abandon ends all that is queued.
func (c *Channel) abandon(err error) {
	for _, t := range c.queue {
		c.refuse(t, "error", err)
	}
	c.queue = nil
}

// Cursor waits until nothing of the source is in flight, and ends the state in which it is refused.
func (c *Channel) Cursor(ctx context.Context, source string) (channel.Position, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if err := c.usable(); err != nil {
			return channel.Position{}, fmt.Errorf("cursor of %s: %w", source, err)
		}
		f, ok := c.flights[source]
		if !ok || f.count == 0 {
			delete(c.flights, source)
			c.used[source] = true
			return c.state.cursors.Position(source), nil
		}
		if err := c.awaitLanding(ctx, f); err != nil {
			return channel.Position{}, fmt.Errorf("cursor of %s: wait for what is in flight: %w", source, err)
		}
	}
}

// awaitLanding waits until nothing of a source is in flight, leading where nobody does.
func (c *Channel) awaitLanding(ctx context.Context, f *flight) error {
	if !c.leading {
		c.lead()
		return nil
	}
	if f.drained == nil {
		f.drained = make(chan struct{})
	}
	drained, idle := f.drained, c.stepDown()
	c.mu.Unlock()
	defer c.mu.Lock()
	select {
	case <-drained:
		return nil
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stepDown returns what is closed when the leader has finished its group.
func (c *Channel) stepDown() <-chan struct{} {
	if c.idle == nil {
		c.idle = make(chan struct{})
	}
	return c.idle
}

// stop ends the channel for good: it is unknown what of the last group is on disk.
func (c *Channel) stop(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped != nil {
		return
	}
	c.stopped = cause
	c.log.Error("channel has stopped: check the disk, then start again; nothing acknowledged is lost", "dir", c.dir, "error", cause)
	c.abandon(fmt.Errorf("%w: %w", channel.ErrStopped, cause))
	c.letIn()
	for _, r := range c.readers {
		r.arrived()
	}
}

// errCut is what a group gets that was cut off again: nothing of it was written.
var errCut = errors.New("write to the log: nothing of it was kept")
