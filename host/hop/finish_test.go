// SPDX-License-Identifier: Apache-2.0

package hop

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/penstock-io/penstock/spec/event"
)

// said is what a sender says: a message of one event, or a Finish.
type said struct {
	prev   Position
	at     event.Offset
	finish bool
}

// finisher is a sender that finishes its stream, the network, and a receiver with its disk.
type finisher struct {
	up      *Upstream
	flight  []said // taken, and not on disk
	disk    []event.Offset
	kept    Position // the entry of the cursor; zero: there is none
	wire    []said
	answers []uint64
	open    bool

	count, next, acked event.Offset // events that were made, that is sent next, and below which all is answered
	prev               Position
	sent, heard        uint64 // of this call
	finishing, done    bool   // it has said Finish, ever; and was answered
}

func (f *finisher) hangUp() { f.wire, f.answers, f.open = nil, nil, false }

// call begins a call; what was taken before has its outcome.
func (f *finisher) call(t *rapid.T) {
	f.hangUp()
	for !f.up.Quiet() {
		f.store(1)
	}
	if len(f.flight) > 0 {
		t.Fatalf("it is quiet, and %v on its way to disk", f.flight)
	}
	if _, err := f.up.Hello([]Life{{ID: 7, Next: 1000}}, true, false); err != nil {
		t.Fatal(err)
	}
	have := f.up.Have().Have
	if have == (Position{}) && f.finishing { // it was heard: only the answer is missing
		have.Offset = f.count
	}
	f.open, f.sent, f.heard = true, 0, 0
	f.acked, f.next, f.prev = max(f.acked, have.Offset), have.Offset, f.up.Have().Have
}

func (f *finisher) say(s said) {
	f.wire = append(f.wire, s)
	f.sent++
}

func (f *finisher) send(*rapid.T) {
	if f.open && f.next < f.count && !f.finishing {
		f.say(said{prev: f.prev, at: f.next})
		f.next++
		f.prev = Position{7, f.next}
	}
}

func (f *finisher) finish(*rapid.T) {
	if f.open && f.acked == f.count && f.sent == f.heard && !f.done {
		f.finishing = true
		f.say(said{finish: true})
	}
}

func (f *finisher) deliver(t *rapid.T) {
	if len(f.wire) == 0 {
		return
	}
	s := f.wire[0]
	f.wire = f.wire[1:]
	if s.finish {
		kept, err := f.up.Finish()
		if err != nil {
			t.Fatal(err)
		}
		if kept {
			f.flight = append(f.flight, s)
		}
		return
	}
	span := Span{7, event.Range{First: s.at, Next: s.at + 1}}
	v, after, err := f.up.Judge(s.prev, nil, span)
	if err != nil {
		t.Fatal(err)
	}
	if v == Put {
		f.up.Take(span, after)
		f.flight = append(f.flight, s)
	}
}

func (f *finisher) store(n int) {
	n = min(n, len(f.flight))
	for _, s := range f.flight[:n] {
		if s.finish {
			f.kept = Position{}
		} else {
			f.disk = append(f.disk, s.at)
			f.kept = Position{7, s.at + 1}
		}
		f.up.Stored(Holding{Have: f.kept})
	}
	f.flight = f.flight[n:]
}

// refuse has a put fail, and with it all that follow and the instance.
func (f *finisher) refuse(*rapid.T) {
	f.flight, f.up = nil, Stand(Holding{Have: f.kept})
	f.hangUp()
}

func (f *finisher) answer(t *rapid.T) {
	if n, again, ok := f.up.Answer(); ok && f.open {
		if again {
			t.Fatal("something is asked for again")
		}
		f.answers = append(f.answers, n)
	}
	if len(f.answers) == 0 {
		return
	}
	f.heard, f.answers = f.answers[0], f.answers[1:]
	if f.acked = max(f.acked, min(f.count, f.up.have.Have.Offset)); f.finishing && f.heard == f.sent {
		f.done = true
	}
}

func (f *finisher) check(t *rapid.T) {
	for i, o := range f.disk {
		if o != event.Offset(i) {
			t.Fatalf("on disk is %v", f.disk)
		}
	}
	if f.done && (f.kept != (Position{}) || event.Offset(len(f.disk)) != f.count) {
		t.Fatalf("the stream is finished, and %v is kept; %d of %d events are on disk", f.kept, len(f.disk), f.count)
	}
}

func TestAFinishedStreamIsForgottenAndNothingOfItLostOrRepeated(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := &finisher{up: Stand(Holding{})}
		t.Repeat(map[string]func(*rapid.T){
			"":      f.check,
			"event": func(*rapid.T) { f.count++ },
			"call":  f.call, "send": f.send, "deliver": f.deliver, "answer": f.answer,
			"store":   func(*rapid.T) { f.store(1) },
			"cut":     func(*rapid.T) { f.hangUp() },
			"refused": f.refuse,
		})
		f.count++ // so that it is not empty
		f.call(t)
		steps := []func(*rapid.T){f.send, f.send, f.finish, f.finish, f.deliver, f.deliver, f.answer, f.answer, func(*rapid.T) { f.store(1) }, f.call, f.refuse}
		for f.acked < f.count || !f.done {
			if !f.open {
				f.call(t)
			}
			steps[rapid.IntRange(0, len(steps)-1).Draw(t, "step")](t)
			f.check(t)
		}
	})
}

func TestNothingFollowsAFinish(t *testing.T) {
	lives, first, held := []Life{{ID: 7}}, Span{7, event.Range{First: 0, Next: 1}}, Holding{Have: Position{7, 1}}
	for name, do := range map[string]func(u *Upstream) error{
		"before all is answered": func(u *Upstream) error {
			if _, _, err := u.Judge(Position{}, nil, first); err != nil {
				return nil
			}
			u.Take(first, held)
			_, err := u.Finish()
			return err
		},
		"before an answer is given": func(u *Upstream) error {
			if _, _, err := u.Judge(Position{}, nil, first); err != nil {
				return nil
			}
			u.Take(first, held)
			u.Stored(held)
			_, err := u.Finish()
			return err
		},
		"twice": func(u *Upstream) error {
			if kept, err := u.Finish(); kept || err != nil {
				return nil
			}
			u.Answer()
			_, err := u.Finish()
			return err
		},
		"a message after it": func(u *Upstream) error {
			if _, err := u.Finish(); err != nil {
				return nil
			}
			_, _, err := u.Judge(Position{}, nil, first)
			return err
		},
	} {
		u := Stand(Holding{})
		if _, err := u.Hello(lives, true, false); err != nil {
			t.Fatal(err)
		}
		if err := do(u); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
