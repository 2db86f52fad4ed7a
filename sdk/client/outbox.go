// SPDX-License-Identifier: Apache-2.0

package client

import (
	"fmt"

	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/hoppb"
)

// message is one or several batches that are sent as one.
type message struct {
	incarnation uint64
	first, next event.Offset
	parts       []event.Batch // one when it was sent
	events      int
	size        int           // bytes of the parts
	sealed      bool          // it was sent, in this call or one before: it stays as it is
	done        chan struct{} // closed when it is on the receiver's disk
}

func (m *message) end() Position { return Position{m.incarnation, m.next} }

// outbox is what was queued and is not acknowledged, and where the receiver stands. It has no lock.
type outbox struct {
	lives    numbering // nil: nothing is numbered
	opened   Position  // where the receiver stood at first
	have     Position  // where it stands, on disk
	tail     Position  // behind the last that was queued
	messages []*message
	sent     int      // of messages, in this call
	told     uint64   // messages that this call was answered
	prev     Position // behind the last that was sent in this call
	size     int      // bytes
	events   int
	acked    uint64 // events
	finish   finishing
}

// finishing is how far the end of a stream is.
type finishing uint8

const (
	unfinished finishing = iota // something may come still
	wanted                      // nothing comes any more
	said                        // and the receiver was told, in this call
	saidOnce                    // or in one before: it may stand nowhere by now
	forgotten                   // it has answered that
)

// number finds the place of a batch in the stream. held: the receiver had it before.
func (o *outbox) number(b Batch) (m *message, held bool, err error) {
	m = &message{first: b.First, next: b.Next, events: len(b.Events), done: make(chan struct{})}
	if o.lives == nil {
		return m, false, nil
	}
	if m.next == 0 {
		m.first = max(o.tail.Offset, o.lives[len(o.lives)-1].First)
		m.next = m.first + event.Offset(len(b.Events))
	}
	if m.next < m.first || uint64(m.next-m.first) < uint64(len(b.Events)) {
		return nil, false, fmt.Errorf("%d events cannot be numbered in [%d, %d)", len(b.Events), m.first, m.next)
	}
	if m.incarnation, err = o.lives.of(m.first, m.next); err != nil {
		return nil, false, err
	}
	switch first := (Position{m.incarnation, m.first}); {
	case o.lives.compare(m.end(), o.opened) <= 0:
		return m, true, nil
	case o.lives.compare(first, o.opened) < 0:
		return nil, false, fmt.Errorf("%w: [%d, %d) begins below %v, up to where the receiver has the stream: begin at Have", ErrOrder, m.first, m.next, o.opened)
	case o.lives.compare(first, o.tail) < 0:
		return nil, false, fmt.Errorf("%w: [%d, %d) begins below %v, up to where events were queued", ErrOrder, m.first, m.next, o.tail)
	}
	return m, false, nil
}

// add queues a batch, and returns the message that it is part of, which has most bytes at most.
func (o *outbox) add(m *message, b event.Batch, most int) *message {
	o.size += b.Size()
	o.events += m.events
	o.tail = m.end()
	if n := len(o.messages); n > o.sent {
		last := o.messages[n-1]
		if !last.sealed && last.incarnation == m.incarnation && last.size+b.Size() <= min(joined, most) {
			last.parts, last.size, last.events, last.next = append(last.parts, b), last.size+b.Size(), last.events+m.events, m.next
			return last
		}
	}
	m.parts, m.size = []event.Batch{b}, b.Size()
	o.messages = append(o.messages, m)
	return m
}

// begin starts a call in which the receiver stands at have.
func (o *outbox) begin(have Position, maxBatch int) error {
	o.sent, o.told = 0, 0
	if o.finish == said {
		o.finish = saidOnce
	}
	for _, m := range o.messages {
		if m.size > maxBatch {
			return misfit("it takes batches of %d bytes at most, and one of %d waits", maxBatch, m.size)
		}
	}
	if o.lives == nil {
		return nil
	}
	switch _, known := o.lives.place(have.Incarnation); {
	case !known:
		return misfit("diverged: it stands at %v, which is not of this numbering", have)
	case (o.finish == saidOnce || o.finish == forgotten) && have == (Position{}): // there is nothing to send
	case o.lives.compare(have, o.have) < 0:
		return misfit("it stands at %v, and %v was acknowledged: it is another receiver, or has lost data; a stream has one receiver", have, o.have)
	}
	for len(o.messages) > 0 && o.messages[0].sealed && o.lives.compare(o.messages[0].end(), have) <= 0 {
		o.settle()
	}
	if len(o.messages) > 0 && o.lives.compare(Position{o.messages[0].incarnation, o.messages[0].first}, have) < 0 || o.lives.compare(have, o.tail) > 0 {
		return misfit("it stands at %v, where this client has sent nothing: somebody else sends the same stream", have)
	}
	o.have, o.prev = have, have
	return nil
}

// take is the next message to send, or nil. It is the outbox's still.
func (o *outbox) take(window int) (*message, *hoppb.Message) {
	if o.sent >= len(o.messages) || o.sent >= window {
		return nil, nil
	}
	m := o.messages[o.sent]
	o.sent++
	m.sealed = true
	up := &hoppb.Message{Incarnation: m.incarnation, First: uint64(m.first), Next: uint64(m.next)}
	if o.lives != nil {
		up.Prev, o.prev = o.prev.wire(), m.end()
	}
	return m, up
}

// last says whether the receiver is to be told now that nothing follows.
func (o *outbox) last() bool {
	if len(o.messages) > 0 || o.finish != wanted && o.finish != saidOnce {
		return false
	}
	o.finish = said
	return true
}

// answered notes an answer, and whether it acknowledged anything.
func (o *outbox) answered(a *hoppb.Answer) (useful bool, err error) {
	done := a.Messages
	if a.Again && done > 0 {
		done-- // the last one was not taken
	}
	ahead := uint64(o.sent)
	if o.finish == said {
		ahead++
	}
	if done < o.told || done-o.told > ahead {
		return false, fmt.Errorf("it answers %d messages, of which it had answered %d and %d more were sent", done, o.told, o.sent)
	}
	have := fromWire(a.Have)
	if o.finish == said && done > o.told && !a.Again {
		o.told, o.finish = done, forgotten
		return true, nil
	}
	for ; o.told < done; o.told++ {
		if m := o.messages[0]; o.lives != nil {
			if _, known := o.lives.place(have.Incarnation); !known || o.lives.compare(have, m.end()) < 0 {
				return useful, fmt.Errorf("it answers [%d, %d), and stands at %v", m.first, m.next, have)
			}
			o.have = m.end()
		}
		o.settle()
		o.sent--
		useful = true
	}
	if a.Again {
		return useful, fmt.Errorf("it asks for what follows %v again", have)
	}
	return useful, nil
}

// settle acknowledges the oldest message.
func (o *outbox) settle() {
	m := o.messages[0]
	o.messages[0] = nil
	o.messages = o.messages[1:]
	o.size -= m.size
	o.events -= m.events
	o.acked += uint64(m.events)
	close(m.done)
}
