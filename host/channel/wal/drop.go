// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"iter"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// agePoll is how much later than its time an event may be given up for its age.
const agePoll = time.Second

// relief is what is being given up to make room. c.mu guards it.
type relief struct {
	done  chan struct{} // closed when the record of it is written; nil while nothing is given up
	after time.Time     // it failed, and is not tried again before
	aging *time.Timer   // that will look for what is too old
}

// relieve has policies give up what makes room, and says whether to look again. c.mu is held before and after, not meanwhile.
func (c *Channel) relieve() bool {
	if done := c.relief.done; done != nil {
		c.mu.Unlock()
		<-done
		c.mu.Lock()
		return true
	}
	changes, ok := c.sacrifice(c.hasRoom)
	return ok && c.record(changes)
}

// relievable says whether relieve would make room.
func (c *Channel) relievable() bool {
	_, ok := c.sacrifice(c.hasRoom)
	return ok && c.relief.done == nil
}

// hasRoom says whether there is room when nothing before low is held. A disk that is full is no matter of capacity.
func (c *Channel) hasRoom(low event.Offset) bool {
	return c.short.why == "" && !c.capacity.Full(c.load(low))
}

// sacrifice says what policies give up to make room, if they do.
func (c *Channel) sacrifice(room func(event.Offset) bool) (changes changes, ok bool) {
	if time.Now().Before(c.relief.after) {
		return changes, false
	}
	var readers []channel.Laggard
	for _, r := range c.readers {
		readers = append(readers, channel.Laggard{Low: r.ledger.Low(), Lag: r.policy()})
	}
	to, alone, ok := c.onFull.Relief(readers, c.places(), room)
	if !ok {
		return changes, false
	}
	for name, r := range c.readers {
		if r.ledger.Low() >= to {
			continue
		}
		d := drop{loss: channel.LostOldest, span: event.Range{First: r.ledger.Low(), Next: to}, reader: name}
		if alone {
			d.loss = r.policy().Loss()
		}
		if d.loss == channel.LostDetach {
			d.span.Next = c.state.end
			changes.forget = append(changes.forget, name)
		}
		d.events = r.ledger.Uncommitted(r.mine(d.span))
		changes.drops = append(changes.drops, d)
	}
	return changes, true
}

// policy is what is done when the reader lags. One that nobody has open holds: it waits for its sink, or to be forgotten.
func (r *reader) policy() channel.Lag {
	if !r.inUse {
		return channel.Hold
	}
	return r.lag
}

// places are the beginnings of segments, so that few records say that many events go; and in the last segment, which
// cannot go as a whole, the ends of the batches that are in memory, and all between them.
func (c *Channel) places() iter.Seq2[event.Offset, bool] {
	return func(yield func(event.Offset, bool) bool) {
		if len(c.segments) == 0 {
			return
		}
		low := c.lowest()
		for _, s := range c.segments {
			if s.first > low && !yield(s.first, false) {
				return
			}
		}
		low = max(low, c.segments[len(c.segments)-1].first)
		for i := range c.ring.list {
			if next := c.ring.list[i].span.Next; next > low && !yield(next, true) {
				return
			}
		}
		if len(c.ring.list) == 0 || c.ring.list[len(c.ring.list)-1].span.Next < c.state.end {
			yield(c.state.end, true)
		}
	}
}

// record makes it durable that events are given up, which then makes room for others. c.mu is held before and after, not meanwhile.
func (c *Channel) record(changes changes) bool {
	c.relief.done = make(chan struct{})
	var detached []*reader
	for _, name := range changes.forget {
		detached = append(detached, c.readers[name])
	}
	c.mu.Unlock()
	t := &tx{c: c, internal: true, changes: changes}
	err := t.Submit()()
	for _, r := range detached {
		if err != nil {
			break
		}
		if derr := errors.Join(c.drop(r), r.endReading()); derr != nil { // what is left says nothing any more
			c.log.Warn("remove the position of a reader that was detached", "dir", c.dir, "reader", r.entry.name, "error", derr)
		}
	}
	c.mu.Lock()
	close(c.relief.done)
	c.relief.done = nil
	if err != nil && c.usable() == nil {
		c.relief.after = time.Now().Add(roomPoll)
		c.log.Warn("what a policy gives up could not be recorded, so that it is kept: will try again", "dir", c.dir, "error", err)
	}
	c.letIn()
	return err == nil
}

// giveUp does what the record of a transaction says is given up. It is durable.
func (c *Channel) giveUp(t *tx) {
	if len(t.changes.drops) == 0 {
		return
	}
	var most channel.Lost // of what several readers lose, each event counts once
	for i := range t.changes.drops {
		d := &t.changes.drops[i]
		if d.loss == channel.LostNewest {
			c.missed(d, t.header.first)
			most[d.loss] += d.events
			continue
		}
		if r := c.readers[d.reader]; r != nil {
			most[d.loss] = max(most[d.loss], r.giveUp(d))
		}
	}
	for loss, n := range most {
		c.lost[loss] += n
	}
	c.freed()
}

// giveUp has the reader go on behind what is given up, and returns how many events that were.
func (r *reader) giveUp(d *drop) uint64 {
	if d.loss == channel.LostPicked {
		return r.giveUpPicked(d)
	}
	c := r.c
	span := event.Range{First: r.ledger.Low(), Next: d.span.Next}
	if d.loss == channel.LostDetach {
		span.Next = c.state.end
		r.detached = true
		delete(c.readers, d.reader)
	}
	n := r.ledger.Drop(r.mine(span), d.loss)
	r.ledger.Cover(event.Range{First: r.ledger.Low(), Next: span.Next}) // that were for those to whom it has handed over
	r.entry.floor = max(r.entry.floor, span.Next)
	c.touched(r)
	r.arrived()
	if !span.Empty() {
		c.say(channel.Drop{Loss: d.loss, Reader: d.reader, Range: span, Events: n})
	}
	return n
}

// giveUpPicked has the reader pass over what someone has picked. Where it stands says so already.
func (r *reader) giveUpPicked(d *drop) (n uint64) {
	for _, span := range d.picked {
		n += r.ledger.Drop(span, d.loss)
	}
	r.c.touched(r)
	r.c.say(channel.Drop{Loss: d.loss, Reader: d.reader, Range: d.span, Events: n})
	return n
}

// mine is the part of span that is not behind the end of the reader.
func (r *reader) mine(span event.Range) event.Range {
	return span.Intersect(event.Range{Next: r.end()})
}

// moved says whether a reader is elsewhere than it was when it began to read, such as behind what is unlinked by now.
func (r *reader) moved(got *cut) bool {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	return r.detached || r.next(got.want).next.First != got.next.First
}

// missed counts events that were acknowledged and not kept, and would have begun at that offset.
func (c *Channel) missed(d *drop, first event.Offset) {
	for name, r := range c.readers {
		if (d.reader == "" || d.reader == name) && r.takes(first) {
			r.ledger.Shed(d.events)
		}
	}
	c.say(channel.Drop{Loss: d.loss, Reader: d.reader, Range: event.Range{First: first, Next: first + event.Offset(d.events)}, Events: d.events})
}

// dropped counts what was in doubt when it was given up, and says it.
func (c *Channel) dropped(d channel.Drop) {
	c.lost[d.Loss] += d.Events
	c.say(d)
}

func (c *Channel) say(d channel.Drop) {
	if c.observer.Dropped != nil {
		c.observer.Dropped(d)
	}
}

// stillFull says whether a transaction that began when the channel was full finds it so.
func (c *Channel) stillFull() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.full()
}

// shed gives up the events of a transaction: its record will say so, and change the cursors.
func (t *tx) shed() {
	d := drop{loss: channel.LostNewest}
	for i := range t.puts {
		p := &t.puts[i]
		n := p.Batch.Len()
		if n == 0 {
			continue
		}
		d.events += uint64(n)
		d.reader = p.Only
		p.Batch.Release()
		p.Batch = event.Batch{}
	}
	if d.span.Next = event.Offset(d.events); d.events > 0 {
		t.changes.drops = append(t.changes.drops, d)
	}
}

// watchAge has what is too old given up in its time, where a policy may do that. c.mu is held.
func (c *Channel) watchAge() {
	if c.capacity.Age <= 0 || c.relief.aging != nil || !c.drops() {
		return
	}
	if h := c.load(c.lowest()); h.Events > 0 {
		c.later(&c.relief.aging, max(agePoll, c.capacity.Age-h.Age), c.lookAtAge)
	}
}

func (c *Channel) lookAtAge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.usable() == nil && c.full() && c.relieve() {
	}
	c.watchAge()
}

// drops says whether there is a policy that gives up events which are there.
func (c *Channel) drops() bool {
	for _, r := range c.readers {
		if r.policy() != channel.Hold {
			return true
		}
	}
	return c.onFull == channel.DropOldest
}
