// SPDX-License-Identifier: Apache-2.0

package hop

import (
	"errors"
	"fmt"

	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/hoppb"
)

// Upstream is what a receiver knows of one upstream: what it holds. It has no lock.
type Upstream struct {
	lives   lives
	parts   bool     // it gets parts of the stream, and others the rest
	have    Holding  // on disk
	at      Holding  // have, counting what was taken and is not on disk yet
	answers []answer // of messages that are not answered, in their order
	done    uint64   // messages of this call that are answered
	over    bool     // this call has finished the stream
}

// answer is what a message will be answered with.
type answer struct {
	span  Span // when that is on disk
	again bool // it was not taken
	end   bool // of a Finish: when nothing is there
}

// Verdict is what becomes of a message.
type Verdict uint8

// The verdicts.
const (
	Put  Verdict = iota // its events are put, with the position behind them
	Held                // they are held already
	Again
)

// ErrProtocol is wrapped where a sender does what no sender may.
var ErrProtocol = errors.New("the sender breaks the protocol")

// ErrParts is wrapped where a receiver would have to keep more parts than it may: some are to be settled first.
var ErrParts = errors.New("too much is held in parts")

// DivergedError says that the receiver holds what the sender does not know.
type DivergedError struct {
	Have Position
	End  event.Offset // of what the sender has written under that incarnation; 0: it does not know it
}

// Error implements error.
func (e *DivergedError) Error() string {
	if e.End == 0 {
		return fmt.Sprintf("diverged: the receiver stands at %v, which the sender does not know: it was restored from a backup, or is another one under the same name", e.Have)
	}
	return fmt.Sprintf("diverged: the receiver stands at %v, of which the sender has written no more than %d: it was restored from a backup", e.Have, e.End)
}

// Stand makes an upstream of which that is held which the cursor says.
func Stand(have Holding) *Upstream { return &Upstream{have: have, at: have} }

// Have is what it holds on disk.
func (u *Upstream) Have() Holding { return u.have }

// Fresh says whether nothing was ever taken of it.
func (u *Upstream) Fresh() bool { return u.have.Empty() && u.Quiet() }

// Quiet says whether all that was taken is on disk.
func (u *Upstream) Quiet() bool { return u.at.equal(u.have) }

// Unanswered is how many messages of this call wait for their answer.
func (u *Upstream) Unanswered() int { return len(u.answers) }

// Hello begins a call. All that was taken before must have its outcome. lost is how many events the receiver holds that a sender has lost whose
// log is not durable. The error is a *[DivergedError], or wraps [ErrProtocol].
func (u *Upstream) Hello(list []Life, durable, parts bool) (lost uint64, err error) {
	l := lives(list)
	if err := l.check(); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if len(u.have.Parts) > 0 && !parts {
		return 0, fmt.Errorf("%w: a stream that was sent in parts goes on in parts", ErrProtocol)
	}
	known := Span{u.have.Have.Incarnation, event.Range{Next: u.have.Have.Offset}}
	for _, s := range append([]Span{known}, u.have.Parts...) {
		n, err := l.beyond(s, durable)
		if err != nil {
			return 0, err
		}
		lost += n
	}
	u.lives, u.parts, u.answers, u.done, u.over = l, parts, nil, 0, false
	return lost, nil
}

// beyond is how much of a span that is held lies beyond what its sender has written.
func (l lives) beyond(s Span, durable bool) (lost uint64, err error) {
	i, known := l.at(s.Incarnation)
	switch {
	case !known:
		return 0, &DivergedError{Have: s.next()}
	case i < 0 || s.Range.Next <= l[i].Next:
		return 0, nil
	case durable || i == len(l)-1: // what it numbers next would be taken for what is here already
		return 0, &DivergedError{Have: s.next(), End: l[i].Next}
	}
	return uint64(s.Range.Next - max(s.Range.First, l[i].Next)), nil
}

// Judge says what becomes of a message, and what is held when it is on disk. One that is put has to be taken, with Take, or the call has to end. prev is what
// it follows; of a stream that is sent in parts all before that is settled, and settled is what is so above it. They are the caller's.
func (u *Upstream) Judge(prev Position, settled []Span, s Span) (v Verdict, after Holding, err error) {
	if u.over {
		return 0, after, errOver
	}
	if err := u.lists(s); err != nil {
		return 0, after, err
	}
	switch {
	case u.lives.holds(u.at, s):
		u.answers = append(u.answers, answer{span: s})
		return Held, after, nil
	case u.lives.overlaps(u.at, s) || !u.parts && prev != u.at.Have:
		u.answers = append(u.answers, answer{again: true})
		return Again, after, nil
	case !u.parts:
		return Put, Holding{Have: s.next()}, nil
	}
	after, err = u.settle(prev, settled)
	if after = u.lives.join(after, s); err == nil && len(after.Parts) > hoppb.MaxParts {
		err = fmt.Errorf("%w: %d, of which there may be %d", ErrParts, len(after.Parts), hoppb.MaxParts)
	}
	return Put, after, err
}

// settle is what is held with what the sender says is settled.
func (u *Upstream) settle(below Position, above []Span) (after Holding, err error) {
	if len(above) > hoppb.MaxParts {
		return after, fmt.Errorf("%w: it says of %d ranges that they are settled, and may of %d", ErrProtocol, len(above), hoppb.MaxParts)
	}
	for _, id := range append(incarnations(above), below.Incarnation) {
		if _, known := u.lives.at(id); !known {
			return after, fmt.Errorf("%w: it says that events of incarnation %016x are settled, which its Hello does not list", ErrProtocol, id)
		}
	}
	after = u.lives.raise(u.at, below)
	for _, one := range above {
		after = u.lives.join(after, one)
	}
	return after, nil
}

// lists refuses a span that is not of what Hello lists.
func (u *Upstream) lists(s Span) error {
	i, known := u.lives.at(s.Incarnation)
	if !known || i < 0 || s.Range.Next < s.Range.First || u.parts && s.Range.Empty() || s.Range.First < u.lives[i].First || i+1 < len(u.lives) && s.Range.Next > u.lives[i].Next {
		return fmt.Errorf("%w: [%d, %d) of incarnation %016x is not of what its Hello lists", ErrProtocol, s.Range.First, s.Range.Next, s.Incarnation)
	}
	return nil
}

// Take notes that what Judge said is to be put is on its way to disk.
func (u *Upstream) Take(s Span, after Holding) {
	u.at = after
	u.answers = append(u.answers, answer{span: s})
}

// Drop takes back the last Take, of what was not handed on after all: before is what At was. The call ends with it.
func (u *Upstream) Drop(before Holding) {
	u.at = before
	u.answers = u.answers[:len(u.answers)-1]
}

// At is what it holds, counting what is not on disk yet.
func (u *Upstream) At() Holding { return u.at }

// Stored notes what is on disk now.
func (u *Upstream) Stored(have Holding) { u.have = have }

// Refused notes that nothing of what was taken after that will be on disk.
func (u *Upstream) Refused() { u.at = u.have }

// Answer is what can be answered now: how many messages of the call are done with, and whether the last of them is to be sent again. ok: there is something.
func (u *Upstream) Answer() (messages uint64, again, ok bool) {
	for len(u.answers) > 0 && !again {
		a := u.answers[0]
		if a.end && !u.have.Empty() || !a.again && !a.end && !u.lives.holds(u.have, a.span) {
			break
		}
		u.answers = u.answers[1:]
		u.done++
		again, ok = a.again, true
	}
	return u.done, again, ok
}
