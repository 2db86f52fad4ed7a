// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// poisonBudget is how many events of one batch may break a processor, each on its own, before it is the processor that is
// taken for the cause: each costs some twenty instances, and one that is broken breaks on all.
const poisonBudget = 16

// OnError is what becomes of an event that a processor rejects, or breaks on.
type OnError uint8

// What may become of it.
const (
	Stop       OnError = iota // the component is held, and nothing is lost
	Drop                      // it is given up, and counted
	DeadLetter                // it goes to the dead letters
	Pass                      // it goes on as it was
)

// Processed says what became of the events of one batch. Taken = those of which something was given + Filtered + the rest; Skipped and Undecided
// come beside these.
type Processed struct {
	Taken      int // events that went in
	Given      int // events that came out, Passed included
	Filtered   int // of which nothing came out, as the processor wanted
	Dropped    int // by on_error
	DeadLetter int // by on_error
	Passed     int // by on_error
	Skipped    int // passed by the processor, which is not for them
	Undecided  int // passed by, because it cannot be said whether it is for them
}

// ProcessorObserver is told what a processor does. Calls must be short.
type ProcessorObserver interface {
	// Processed: a batch went through. It may come again, when it does not become durable.
	Processed(p Processed)
	Failed(class abi.Class)
}

// Processor is one processor on the way of a component's events.
type Processor struct {
	Address  string // "processor.parse"
	Plugin   string // and its version, for dead letters
	OnError  OnError
	When     When // nil: it is for all events
	Open     func(ctx context.Context) (plugin.Processor, error)
	Observer ProcessorObserver
}

// chain is the processors of one component, an instance of each. It belongs to one goroutine.
type chain struct {
	uses    []*use
	letters *letters       // of a source: what of the batch is for the dead letters
	origins *event.Origins // of a source: what each event is given then; nil: nothing
}

// use is a processor in a chain.
type use struct {
	Processor
	inst    plugin.Processor
	buffers event.Buffers
	backoff Backoff
	fate    Lifecycle
	log     *slog.Logger
	gaveUp  func(u *use, b event.Batch, rejected []plugin.Rejection) error // events of b go where on_error says: Drop or DeadLetter
	tracked bool                                                           // events have offsets, which they keep: each comes to one event at most
	chooser chooser                                                        // unless it is for all events

	// Of the batch that is being processed.
	done    Processed
	poison  int
	offsets []event.Offset // of its events, where they are tracked
}

// openChain opens an instance of each processor; none where there is none.
func openChain(ctx context.Context, through []Processor, made use) (*chain, error) {
	c := &chain{}
	for _, p := range through {
		u := made
		u.Processor = p
		if p.When != nil {
			u.chooser.ask = p.When()
		}
		if err := u.open(ctx); err != nil {
			return nil, errors.Join(err, c.close())
		}
		c.uses = append(c.uses, &u)
	}
	return c, nil
}

func (c *chain) close() (err error) {
	for _, u := range c.uses {
		err = errors.Join(err, u.close())
	}
	return err
}

// process takes over the hold on b, and answers what the processors made of it, numbered 0, 1, 2…. What they reject is
// given up then, as each of them says.
func (c *chain) process(ctx context.Context, b event.Batch) (event.Batch, error) {
	for _, u := range c.uses {
		if b.Len() == 0 { // only the cursor moves
			return b, nil
		}
		out, err := u.process(ctx, b)
		b.Release()
		if err != nil {
			return event.Batch{}, err
		}
		b = out
	}
	return b, nil
}

// process leaves b with the caller. Its events are numbered 0, 1, 2…, like those of what comes out.
func (u *use) process(ctx context.Context, b event.Batch) (event.Batch, error) {
	u.done, u.poison = Processed{}, 0
	mine, all, err := u.choose(b)
	if err != nil {
		return event.Batch{}, err
	}
	defer mine.Release()
	u.done.Taken = mine.Len()
	var made []event.Batch
	if mine.Len() > 0 {
		err = u.divide(ctx, mine, poisonAttempts, func(part event.Batch, fromEvents int) {
			u.done.Filtered += fromEvents
			u.done.Given += part.Len()
			if part.Len() > 0 {
				made = append(made, part)
			} else {
				part.Release()
			}
		})
	}
	if err == nil && u.tracked {
		u.trace(made)
	}
	var out event.Batch
	switch {
	case err != nil:
	case mine.Len() == 0 && !all: // as it is: no copy
		b.Retain()
		out = b
	case !all:
		out, err = u.joined(event.Weave(u.buffers, b, u.chooser.places, made...))
	case len(made) == 1: // as nearly always: no copy
		out, _ = event.Renumber(made[0])
		made = nil
	case len(made) > 1:
		out, err = u.joined(event.Join(u.buffers, made...))
	}
	for _, part := range made {
		part.Release()
	}
	if err != nil {
		return event.Batch{}, err
	}
	u.Observer.Processed(u.done)
	return out, nil
}

// joined says what can be done about a batch that becomes too large.
func (u *use) joined(b event.Batch, err error) (event.Batch, error) {
	if err != nil {
		whose := "have its source read less at a time"
		if u.tracked {
			whose = "make the batch of its sink smaller"
		}
		err = fmt.Errorf("%s makes too much of one batch: %w; %s: %w", u.Address, err, whose, errHold)
	}
	return b, err
}

// divide processes b, in halves where it cannot be done as a whole and nobody says why: kills is how many instances may break on
// it before. What comes out is handed to made, in the order of the events, with how many events it has nothing of. An event's offset is its place in
// the batch of which b is the whole or a part, and what is made of it keeps that.
func (u *use) divide(ctx context.Context, b event.Batch, kills int, made func(part event.Batch, filtered int)) error {
	if b.Len() == 1 {
		kills = poisonAttempts // so that chance does not convict an event
	}
	out, rejected, err := u.attempt(ctx, b, kills)
	class := plugin.ClassOf(err)
	if many := u.multiplied(b, out); len(many) > 0 {
		out.Release() // what was made of the others comes again, without these
		return u.around(ctx, b, inOrder(append(rejected, many...)), made)
	}
	switch {
	case err == nil && len(rejected) == 0:
		made(out, b.Len()-out.Offsets())
		return nil
	case err != nil && (class != abi.Reject && class != abi.Fatal || errors.Is(err, errNoInstance)):
		return err
	case err == nil && u.OnError != Pass:
		made(out, b.Len()-out.Offsets()-len(rejected))
		return u.rejectAll(b, rejected)
	case err == nil:
		out.Release() // what passes has to go between: the others are processed again, run by run
	case len(rejected) == 0 && b.Len() == 1:
		return u.convict(b, err, made)
	case len(rejected) == 0:
		half := event.Offset(b.Len() / 2)
		return u.each(ctx, b, []event.Range{{First: 0, Next: half}, {First: half, Next: event.Offset(b.Len())}}, made)
	}
	return u.around(ctx, b, rejected, made)
}

// each processes the parts of b, one after the other.
func (u *use) each(ctx context.Context, b event.Batch, parts []event.Range, made func(event.Batch, int)) error {
	for _, span := range parts {
		if span.Empty() {
			continue
		}
		part, err := u.slice(b, span)
		if err != nil {
			return err
		}
		err = u.divide(ctx, part, 1, made)
		part.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// slice copies the events of b at the places of span, and numbers them 0, 1, 2… from a base that keeps their offsets.
func (u *use) slice(b event.Batch, span event.Range) (event.Batch, error) {
	base := b.Base() + span.First
	part, err := event.Slice(u.buffers, b, event.Range{First: base, Next: b.Base() + span.Next})
	if err != nil {
		return part, fmt.Errorf("%s: take a batch apart: %w: %w", u.Address, err, errHold)
	}
	part, _ = event.Renumber(part)
	return part.WithBase(base), nil
}

// around processes what lies between the events that are rejected.
func (u *use) around(ctx context.Context, b event.Batch, rejected []plugin.Rejection, made func(event.Batch, int)) error {
	at := 0
	for i, r := range rejected {
		if err := u.each(ctx, b, []event.Range{{First: event.Offset(at), Next: event.Offset(r.Index)}}, made); err != nil {
			return err
		}
		at = r.Index + 1
		if u.OnError != Pass {
			if err := u.rejectAll(b, rejected[i:i+1]); err != nil {
				return err
			}
			continue
		}
		if err := u.pass(b, r.Index, made); err != nil {
			return err
		}
	}
	return u.each(ctx, b, []event.Range{{First: event.Offset(at), Next: event.Offset(b.Len())}}, made)
}

// pass hands on the event at that place as it is.
func (u *use) pass(b event.Batch, at int, made func(event.Batch, int)) error {
	part, err := u.slice(b, event.Range{First: event.Offset(at), Next: event.Offset(at) + 1})
	if err != nil {
		return err
	}
	u.done.Passed++
	made(part, 0)
	return nil
}

// attempt processes b with one instance after another, until one does it, or so many broke, or the answer is final. What is
// rejected is in order, each event once.
func (u *use) attempt(ctx context.Context, b event.Batch, kills int) (event.Batch, []plugin.Rejection, error) {
	for retries := 0; ; {
		out, outcome, err := u.inst.Process(ctx, b)
		class := plugin.ClassOf(err)
		if retries > 0 && (err == nil || class != abi.Retry) { // it has answered, whatever it says
			u.fate.State(Running, "")
			retries = 0
		}
		if err == nil {
			return out, inOrder(outcome.Rejected), nil
		}
		u.Observer.Failed(class)
		switch {
		case ctx.Err() != nil:
			return event.Batch{}, nil, context.Cause(ctx)
		case class == abi.Fatal:
			kills--
			u.log.Warn("a processor broke and is replaced", "processor", u.Address, "error", err)
			if opened := u.replace(ctx); opened != nil {
				return event.Batch{}, nil, opened
			}
			if kills <= 0 {
				return event.Batch{}, nil, err
			}
		case class != abi.Retry:
			return event.Batch{}, inOrder(outcome.Rejected), u.said(err)
		default:
			retries++
			delay := max(u.backoff.Delay(retries), delayOf(err))
			u.fate.State(Retrying, u.Address+": "+err.Error())
			u.log.Warn("cannot process, will try again", "processor", u.Address, "error", err, "in", delay.Round(time.Millisecond))
			sleep(ctx, delay)
		}
	}
}

// said says whose error it is.
func (u *use) said(err error) error { return fmt.Errorf("%s: %w", u.Address, err) }

// errNoInstance is wrapped when a processor cannot be opened: no event is to blame for that.
var errNoInstance = errors.New("no instance")

func (u *use) open(ctx context.Context) (err error) {
	if u.inst, err = u.Processor.Open(ctx); err != nil {
		u.inst = nil
		return fmt.Errorf("%s has %w: %w", u.Address, errNoInstance, err)
	}
	return nil
}

// replace opens another instance in the place of one that broke.
func (u *use) replace(ctx context.Context) error {
	if err := u.close(); err != nil {
		u.log.Warn("closing a processor that broke", "processor", u.Address, "error", err)
	}
	return u.open(ctx)
}

func (u *use) close() error {
	if u.inst == nil {
		return nil
	}
	err := u.inst.Close()
	u.inst = nil
	return err
}

// convict decides of the one event of b, which err is about.
func (u *use) convict(b event.Batch, err error, made func(event.Batch, int)) error {
	r := plugin.Rejection{Code: abi.EREJECT, Reason: err.Error()}
	if e, ok := errors.AsType[*plugin.Error](err); ok {
		r.Code, r.Reason = e.Code, e.Error()
	}
	if plugin.ClassOf(err) == abi.Fatal {
		if u.poison++; u.poison > poisonBudget {
			return fmt.Errorf("%s breaks on more than %d events of one batch, so that it is not they that are the cause: %w: %w", u.Address, poisonBudget, err, errHold)
		}
		r.Code = 0
	}
	if u.OnError == Pass {
		return u.pass(b, 0, made)
	}
	return u.rejectAll(b, []plugin.Rejection{r})
}

// rejectAll does with the events of b that are rejected what the processor's on_error says, but for Pass.
func (u *use) rejectAll(b event.Batch, rejected []plugin.Rejection) error {
	switch u.OnError {
	case Drop:
		u.done.Dropped += len(rejected)
	case DeadLetter:
		u.done.DeadLetter += len(rejected)
	default:
		return u.stop(b, rejected)
	}
	return u.gaveUp(u, b, rejected)
}

// stop says which event it is that nothing can be done with. On the way into a channel it has no offset yet: nothing was put.
func (u *use) stop(b event.Batch, rejected []plugin.Rejection) error {
	first, more := rejected[0], ""
	if n := len(rejected) - 1; n > 0 {
		more = fmt.Sprintf(" and %d more of its batch", n)
	}
	what := "rejects"
	if first.Code == 0 {
		what = "breaks on"
	}
	e, place := at(b, first.Index)
	if u.tracked {
		return fmt.Errorf("%s %s event %d, with a body of %d bytes%s: %s; it stays in the channel, and so does what comes behind it; "+
			"mend the processor, or say on_error = \"dead_letter\", \"drop\" or \"pass\": %w: %w",
			u.Address, what, u.offset(place), len(e.Body), more, first.Reason, plugin.ErrRejected, errHold)
	}
	return fmt.Errorf("%s %s the event of %s with a body of %d bytes%s: %s; its source has not lost it and brings it again; "+
		"mend the processor, or say on_error = \"dead_letter\", \"drop\" or \"pass\": %w: %w",
		u.Address, what, time.Unix(0, e.Time).UTC().Format(time.RFC3339Nano), len(e.Body), more, first.Reason, plugin.ErrRejected, errHold)
}

// at returns the event at that place in b, and its offset.
func at(b event.Batch, index int) (e event.Event, o event.Offset) {
	for o, e = range b.All() {
		if index == 0 {
			break
		}
		index--
	}
	return e, o
}

// inOrder sorts rejections by place, and keeps the first of each.
func inOrder(rejected []plugin.Rejection) []plugin.Rejection {
	slices.SortStableFunc(rejected, func(a, b plugin.Rejection) int { return cmp.Compare(a.Index, b.Index) })
	return slices.CompactFunc(rejected, func(a, b plugin.Rejection) bool { return a.Index == b.Index })
}
