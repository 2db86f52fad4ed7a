// SPDX-License-Identifier: Apache-2.0

package client

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/hoppb"
)

// put queues n lines.
func put(t interface{ Fatal(...any) }, o *outbox, from, n int) *message {
	m, held, err := o.number(lines(from, n))
	if err != nil || held {
		t.Fatal(held, err)
	}
	encoded, err := encode(lines(from, n))
	if err != nil {
		t.Fatal(err)
	}
	return o.add(m, encoded, event.MaxBatch)
}

// standing is what a receiver of one stream knows.
type standing struct {
	at   Position
	disk []event.Offset
	told uint64 // messages of the call
	over bool   // it was told that the stream is finished

	unheard int // messages of the call whose answer has not arrived
}

// hear takes what a sender says after its Hello.
func (s *standing) hear(up *hoppb.Up) error {
	if m := up.GetMessage(); m != nil {
		return s.take(m)
	}
	if s.told++; s.unheard > 0 {
		return fmt.Errorf("the stream is finished, and %d messages are not answered", s.unheard)
	}
	s.at, s.over = Position{}, true
	return nil
}

func (s *standing) take(m *hoppb.Message) error {
	s.told++
	if s.over {
		return fmt.Errorf("%v is sent of a stream that is finished", m)
	}
	switch next := (Position{m.Incarnation, event.Offset(m.Next)}); {
	case next.Incarnation == s.at.Incarnation && next.Offset <= s.at.Offset:
		return fmt.Errorf("%v is sent again, and the receiver has it", m)
	case fromWire(m.Prev) == s.at:
		for i := m.First; i < m.Next; i++ {
			s.disk = append(s.disk, event.Offset(i))
		}
		s.at = next
	default:
		return fmt.Errorf("%v follows %v, and the receiver stands at %v", m, m.Prev, s.at)
	}
	return nil
}

// check says whether what is on disk, and what is acknowledged, may be.
func (s *standing) check(t *rapid.T, messages []*message) {
	for i, one := range s.disk {
		if one != event.Offset(i) {
			t.Fatalf("on disk is %v", s.disk)
		}
	}
	for _, m := range messages {
		select {
		case <-m.done:
			if m.next > event.Offset(len(s.disk)) {
				t.Fatalf("[%d, %d) is acknowledged, and %d are on disk", m.first, m.next, len(s.disk))
			}
		default:
		}
	}
}

// between is an outbox, its receiver, and what is on its way.
type between struct {
	o        outbox
	r        standing
	wire     []*hoppb.Up
	answers  []*hoppb.Answer
	up       bool
	written  event.Offset
	messages []*message
}

func (b *between) hangUp() { b.wire, b.answers, b.up = nil, nil, false }

func (b *between) begin(t *rapid.T) {
	b.hangUp()
	if err := b.o.begin(b.r.at, event.MaxBatch); err != nil {
		t.Fatal(err)
	}
	b.up, b.r.told, b.r.unheard = true, 0, 0
}

func (b *between) add(t *rapid.T) {
	if b.o.finish != unfinished { // Queue refuses it
		return
	}
	n := rapid.IntRange(1, 3).Draw(t, "n")
	b.messages = append(b.messages, put(t, &b.o, int(b.written), n))
	b.written += event.Offset(n)
}

func (b *between) send(*rapid.T) {
	if !b.up {
		return
	}
	if _, m := b.o.take(3); m != nil {
		b.wire = append(b.wire, &hoppb.Up{Says: &hoppb.Up_Message{Message: m}})
	} else if b.o.last() {
		b.wire = append(b.wire, &hoppb.Up{Says: &hoppb.Up_Finish{Finish: &hoppb.Finish{}}})
	}
}

func (b *between) deliver(t *rapid.T) {
	if len(b.wire) == 0 {
		return
	}
	m := b.wire[0]
	b.wire = b.wire[1:]
	if err := b.r.hear(m); err != nil {
		t.Fatal(err)
	}
	b.r.unheard++
	b.answers = append(b.answers, &hoppb.Answer{Messages: b.r.told, Have: b.r.at.wire()})
}

func (b *between) hear(t *rapid.T) {
	if len(b.answers) == 0 {
		return
	}
	a := b.answers[0]
	b.answers = b.answers[1:]
	b.r.unheard--
	if _, err := b.o.answered(a); err != nil {
		t.Fatal(err)
	}
}

// TestTheOutboxKeepsToTheProtocol drives an outbox against the rules of spec/hop.md §4, with cuts at every place.
func TestTheOutboxKeepsToTheProtocol(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := &between{o: outbox{lives: always}}
		o, r := &b.o, &b.r
		t.Repeat(map[string]func(*rapid.T){
			"":      func(t *rapid.T) { r.check(t, b.messages) },
			"queue": b.add, "begin": b.begin, "send": b.send, "deliver": b.deliver, "hear": b.hear, "cut": func(*rapid.T) { b.hangUp() },
			"finish": func(t *rapid.T) {
				if o.finish == unfinished && rapid.IntRange(0, 3).Draw(t, "finish") == 0 {
					o.finish = wanted
				}
			},
		})
		b.begin(t)
		if o.finish == unfinished && rapid.Bool().Draw(t, "finish at last") {
			o.finish = wanted
		}
		for len(o.messages) > 0 || o.finish != unfinished && o.finish != forgotten {
			b.send(t)
			b.deliver(t)
			b.hear(t)
		}
		if r.over != (o.finish == forgotten) || r.over && r.at != (Position{}) {
			t.Fatalf("the receiver stands at %v, over %v, and the sender believes %v", r.at, r.over, o.finish)
		}
		if event.Offset(len(r.disk)) != b.written || o.acked != uint64(b.written) || o.size != 0 || o.events != 0 {
			t.Fatalf("%d are on disk of %d, %d are acknowledged, %d bytes and %d events are left", len(r.disk), b.written, o.acked, o.size, o.events)
		}
	})
}

func TestAnswersThatCannotBeAreRefused(t *testing.T) {
	for says, a := range map[string]*hoppb.Answer{
		"more than was sent":        {Messages: 3, Have: &hoppb.Position{Incarnation: 1, Offset: 2}},
		"less than it says to have": {Messages: 2, Have: &hoppb.Position{Incarnation: 1, Offset: 1}},
		"an unknown incarnation":    {Messages: 1, Have: &hoppb.Position{Incarnation: 2, Offset: 9}},
		"nothing":                   {Messages: 1},
	} {
		o := outbox{lives: always}
		for i := range 2 {
			put(t, &o, i, 1)
			o.take(4)
		}
		if _, err := o.answered(a); err == nil {
			t.Errorf("%s: it is taken", says)
		}
	}
}

func TestNoMoreIsUnansweredThanTheWindow(t *testing.T) {
	o := outbox{lives: always}
	for i := range 5 {
		put(t, &o, i, 1)
		o.take(3)
	}
	if o.sent != 3 || len(o.messages) != 4 { // the last two wait together
		t.Errorf("%d of %d messages are on their way", o.sent, len(o.messages))
	}
}

func TestWhatIsAskedForAgainIsNotAcknowledged(t *testing.T) {
	var o outbox
	put(t, &o, 0, 1)
	o.take(4)
	if useful, err := o.answered(&hoppb.Answer{Messages: 1, Again: true}); useful || err == nil || o.acked != 0 || len(o.messages) != 1 {
		t.Errorf("useful %v, error %v, %d are acknowledged", useful, err, o.acked)
	}
}

func TestWhoFindsWhatItHasNotSentStops(t *testing.T) {
	for says, have := range map[string]Position{"beyond all": {1, 11}, "all of it": {1, 10}, "within a batch": {1, 5}, "another numbering": {9, 1}} {
		o := outbox{lives: always}
		put(t, &o, 0, 10)
		if err := o.begin(have, event.MaxBatch); !lasting(err, false) {
			t.Errorf("%s: %v", says, err)
		}
	}
	o := outbox{}
	put(t, &o, 0, 10)
	if err := o.begin(Position{}, 100); !lasting(err, false) {
		t.Errorf("a batch that is too big for the receiver: %v", err)
	}
}

func TestANumberLiesInOneIncarnation(t *testing.T) {
	n := numbering{{ID: 1, First: 0, Next: 50}, {ID: 2, First: 100, Next: 110}}
	for _, c := range []struct {
		first, next event.Offset
		id          uint64
	}{{0, 50, 1}, {49, 51, 0}, {60, 70, 0}, {100, 101, 2}, {100, math.MaxUint64, 2}} {
		if id, _ := n.of(c.first, c.next); id != c.id {
			t.Errorf("[%d, %d) is of %d, want %d", c.first, c.next, id, c.id)
		}
	}
}

func TestPausesGrowAndAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, random := range []float64{0, 0.5, 0.999} {
			p := pace{places: []*place{{}}, random: func() float64 { return random }}
			one := p.places[0]
			fail := func(err error, useful bool) time.Duration {
				p.ended(one, time.Now(), err, useful, false)
				_, wait := p.next(time.Now())
				time.Sleep(wait)
				return wait
			}
			longest := firstPause
			for i := range 20 {
				wait := fail(ErrFull, i == 0)
				want := longest
				if i == 0 {
					want = 0 // after a cut, at once
				} else if longest = min(2*longest, longestPause); true {
					want = longest
				}
				if got := time.Duration(random * float64(want)); wait != got {
					t.Errorf("pause %d is %v, want %v", i, wait, got)
				}
			}
			full := &RefusedError{Code: abi.EAGAIN, RetryAfter: time.Second}
			for range 20 {
				if wait := fail(full, false); wait < time.Second || wait > time.Second+longestRefused {
					t.Errorf("it waits %v", wait)
				}
			}
			if wait := fail(full, false); wait != time.Second+time.Duration(random*float64(longestRefused)) {
				t.Errorf("in the end it waits %v", wait)
			}
		}
	})
}

func TestTheNextAddressIsTriedAndWhoRefusesForGoodIsLeftOut(t *testing.T) {
	p := pace{places: []*place{{address: address{text: "a"}}, {address: address{text: "b"}}}, random: func() float64 { return 0.5 }}
	now := time.Unix(0, 0)
	step := func(want string, err error, useful bool) {
		t.Helper()
		one, wait := p.next(now)
		if one.text != want {
			t.Fatalf("next is %s, want %s", one.text, want)
		}
		now = now.Add(wait)
		p.ended(one, now, err, useful, false)
	}
	step("a", ErrFull, true) // it was cut: the same again
	step("a", ErrFull, false)
	step("b", ErrFull, false)
	step("b", misfit("no"), false) // a has to wait longer
	step("a", ErrFull, false)
	step("a", misfit("no"), false)
	if one, _ := p.next(now); one != nil || p.refusal() == nil {
		t.Errorf("next is %+v", one)
	}
	p = pace{places: []*place{{address: address{text: "a"}}, {address: address{text: "b"}}}, random: p.random}
	step("a", ErrFull, false) // it cannot be reached
	step("b", ErrFull, true)
}
