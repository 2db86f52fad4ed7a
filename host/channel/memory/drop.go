// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"iter"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// relieve has policies give up what makes room, and says whether that made any.
func (c *Channel) relieve() bool {
	to, alone, ok := c.relief()
	if !ok {
		return false
	}
	var most channel.Lost // what several readers lose counts once
	for _, r := range c.readers {
		if r.ledger.Low() >= to {
			continue
		}
		loss := channel.LostOldest
		if alone {
			loss = r.policy().Loss()
		}
		most[loss] = max(most[loss], c.drop(r, loss, to))
	}
	for loss, n := range most {
		c.lost[loss] += n
	}
	c.forgetDone()
	return true
}

// relief says what policies give up to make room, if they do.
func (c *Channel) relief() (to event.Offset, alone, ok bool) {
	var readers []channel.Laggard
	for _, r := range c.readers {
		readers = append(readers, channel.Laggard{Low: r.ledger.Low(), Lag: r.policy()})
	}
	room := func(low event.Offset) bool { return !c.capacity.Full(c.from(low)) }
	return c.o.OnFull.Relief(readers, c.places(), room)
}

// relievable says whether relieve would make room.
func (c *Channel) relievable() bool {
	_, _, ok := c.relief()
	return ok
}

// policy is what is done when the reader lags. One that nobody has open holds: it waits for its sink, or to be forgotten.
func (r *reader) policy() channel.Lag {
	if !r.inUse {
		return channel.Hold
	}
	return r.spec.Lag
}

// takes says whether an event with that offset is for this reader, or for those to whom it has handed over.
func (r *reader) takes(o event.Offset) bool { return r.bound == 0 || o < r.bound }

// places are the ends of batches, and all between them.
func (c *Channel) places() iter.Seq2[event.Offset, bool] {
	return func(yield func(event.Offset, bool) bool) {
		for i := range c.queue {
			if !yield(c.queue[i].next, true) {
				return
			}
		}
	}
}

// drop gives up what r has not committed before to, or all of it where it is detached, and returns how many events that were.
func (c *Channel) drop(r *reader, loss channel.Loss, to event.Offset) uint64 {
	if loss == channel.LostDetach {
		to = c.end
		r.detached = true
		delete(c.readers, r.spec.Name)
	}
	span := event.Range{First: r.ledger.Low(), Next: to}
	n := r.ledger.Drop(span.Intersect(event.Range{Next: r.end()}), loss)
	r.ledger.Cover(event.Range{First: r.ledger.Low(), Next: to}) // that were for those to whom it has handed over
	r.arrived()
	c.say(channel.Drop{Loss: loss, Reader: r.spec.Name, Range: span, Events: n})
	return n
}

// shed counts events that were acknowledged and not kept.
func (c *Channel) shed(events int, only string) {
	n := uint64(events)
	for name, r := range c.readers {
		if (only == "" || only == name) && r.takes(c.end) {
			r.ledger.Shed(n)
		}
	}
	c.dropped(channel.Drop{Loss: channel.LostNewest, Reader: only, Range: event.Range{First: c.end, Next: c.end + event.Offset(n)}, Events: n})
}

// dropped counts what was given up, and says it.
func (c *Channel) dropped(d channel.Drop) {
	c.lost[d.Loss] += d.Events
	c.say(d)
}

func (c *Channel) say(d channel.Drop) {
	if c.o.Observer.Dropped != nil {
		c.o.Observer.Dropped(d)
	}
}

// agePoll is how much later than its time an event may be given up for its age.
const agePoll = time.Second

// watchAge has what is too old given up in its time, where a policy may do that.
func (c *Channel) watchAge() {
	if c.capacity.Age <= 0 || c.closed || c.aging != nil || len(c.queue) == 0 || !c.drops() {
		return
	}
	c.aging = time.AfterFunc(max(agePoll, c.capacity.Age-c.held().Age), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.aging = nil
		if !c.closed && c.full() && c.relieve() {
			c.letIn()
		}
		c.watchAge()
	})
}

// drops says whether there is a policy that gives up events which are there.
func (c *Channel) drops() bool {
	for _, r := range c.readers {
		if r.policy() != channel.Hold {
			return true
		}
	}
	return c.o.OnFull == channel.DropOldest
}
