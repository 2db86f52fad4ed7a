// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// reader is one named reader. The channel's mutex guards it.
type reader struct {
	c    *Channel
	spec channel.ReaderSpec
	registration
	inUse   bool
	closed  bool // by Close: another stands for the registration now
	ledger  *channel.Ledger
	bound   event.Offset        // where it has handed over to others; 0: it has not
	leases  map[*lease]struct{} // that have not ended
	waiting int                 // takers that wait
	wake    *sync.Cond          // something came or went that a taker may wait for

	detached bool // by its policy
}

var _ channel.Reader = (*reader)(nil)

// registration is what makes a reader's stream.
type registration struct {
	id         int // never used again
	generation int // how often it was set elsewhere
}

// Reader registers a reader.
func (c *Channel) Reader(spec channel.ReaderSpec) (channel.Reader, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, known := c.readers[spec.Name]
	switch {
	case c.closed:
		return nil, fmt.Errorf("reader %s: %w", spec.Name, channel.ErrClosed)
	case known && r.inUse:
		return nil, fmt.Errorf("reader %s: the name is in use", spec.Name)
	case spec.Check() != nil:
		return nil, fmt.Errorf("reader %.32q: %w", spec.Name, spec.Check())
	case known && r.spec.Lane != spec.Lane:
		return nil, fmt.Errorf("reader %s: %w", spec.Name, channel.OtherLane(r.spec.Lane, spec.Lane))
	case known:
		r.spec, r.inUse = spec, true
		c.letIn() // should it be one that makes room
		c.watchAge()
		return r, nil
	}
	r = c.register(spec, c.start(spec))
	r.inUse = true
	c.reclaim()
	c.watchAge()
	return r, nil
}

// start is where a new reader begins.
func (c *Channel) start(spec channel.ReaderSpec) event.Offset {
	if spec.Start == channel.Now {
		return c.end
	}
	return c.low
}

// register adds a reader that nobody has open.
func (c *Channel) register(spec channel.ReaderSpec, low event.Offset) *reader {
	c.names++
	r := c.newReader(spec.Name, registration{c.names, 1}, channel.NewLedger(low))
	r.spec = spec
	r.begin()
	c.readers[spec.Name] = r
	return r
}

// begin offers a reader what is there for it, from where it begins.
func (r *reader) begin() {
	low := r.ledger.Low()
	r.ledger.Offer(uint64(r.end() - low))
	for _, rec := range r.c.queue[r.c.find(low):] {
		r.pass(rec)
	}
}

// newReader makes one that nobody has open.
func (c *Channel) newReader(name string, reg registration, ledger *channel.Ledger) *reader {
	return &reader{c: c, spec: channel.ReaderSpec{Name: name}, registration: reg, ledger: ledger, leases: map[*lease]struct{}{}, wake: sync.NewCond(&c.mu)}
}

// Close gives the name back. The registration goes on in a reader of its own, so that nothing which is still held of
// this one, such as a lease, can move it.
func (r *reader) Close() error {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if r.closed || r.c.closed {
		return nil
	}
	r.closed, r.inUse = true, false
	for l := range r.leases {
		r.rollback(l)
	}
	if !r.detached {
		next := r.c.newReader(r.spec.Name, r.registration, r.ledger)
		next.spec.Lane, next.bound = r.spec.Lane, r.bound
		r.c.readers[r.spec.Name] = next
	}
	r.wake.Broadcast()
	return nil
}

// rollback ends a lease without a commit.
func (r *reader) rollback(l *lease) {
	if n := r.ledger.Rollback(l.delivery.Range, l.delivery.Attempt); n > 0 {
		r.c.dropped(channel.Drop{Loss: r.ledger.Loss(), Reader: r.spec.Name, Range: l.delivery.Range, Events: n})
	}
}

// pass leaves out a record that is for another reader only.
func (r *reader) pass(rec record) {
	if r.passes(rec) {
		r.ledger.Pass(rec.span())
	}
}

func (r *reader) passes(rec record) bool { return rec.only != "" && rec.only != r.spec.Name }

// busy says whether nothing is handed out until a lease ends.
func (r *reader) busy() bool {
	return r.spec.Order == channel.InOrder && r.ledger.Leases() > 0 || r.ledger.Full()
}

func (r *reader) Info() channel.ReaderInfo {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	return r.info()
}

func (r *reader) info() channel.ReaderInfo {
	return channel.ReaderInfo{
		Stream:       fmt.Sprintf("%s/%d/%d", r.c.uuid, r.id, r.generation),
		Low:          r.ledger.Low(),
		Finished:     slices.Collect(r.ledger.Finished()),
		Oldest:       r.ledger.Low(), // what is lost with the process cannot come again
		Incarnations: []channel.Incarnation{r.c.incarnation},
		Waiting:      r.ledger.Waiting(r.end()),
		Lane:         r.spec.Lane,
		End:          r.bound,
		Leased:       r.ledger.Leased(),
		Tally:        r.ledger.Tally(),
		InUse:        r.inUse,
		Detached:     r.detached,
		InDoubt:      r.ledger.InDoubt(),
	}
}

func (r *reader) Finish(held ...event.Range) error {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if r.c.closed || r.closed {
		return fmt.Errorf("finish of reader %s: %w", r.spec.Name, channel.ErrClosed)
	}
	err := r.ledger.Finish(r.end(), held...)
	r.c.reclaim()
	r.arrived() // what a taker saw may be gone
	if err != nil {
		return fmt.Errorf("finish of reader %s: %w", r.spec.Name, err)
	}
	return nil
}

var _ channel.Sharer = (*reader)(nil)

// Settle ends the doubt over what a member has.
func (r *reader) Settle(member string, held bool, ranges ...event.Range) (uint64, error) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if r.c.closed || r.closed {
		return 0, fmt.Errorf("settle what %s has of reader %s: %w", member, r.spec.Name, channel.ErrClosed)
	}
	n, err := r.ledger.Settle(r.end(), member, held, ranges...)
	r.c.reclaim()
	r.arrived()
	if err != nil {
		return n, fmt.Errorf("settle what %s has of reader %s: %w", member, r.spec.Name, err)
	}
	return n, nil
}

// arrived wakes the takers.
func (r *reader) arrived() {
	if r.waiting > 0 {
		r.wake.Broadcast()
	}
}

func (r *reader) Take(ctx context.Context, want channel.Want) (channel.Lease, error) {
	if want.Bytes <= 0 {
		want.Bytes = event.DefaultBatch
	}
	want.Bytes = min(want.Bytes, event.MaxBatch)
	if err := want.Check(); err != nil {
		return nil, fmt.Errorf("take of reader %s: %w", r.spec.Name, err)
	}
	r.c.mu.Lock()
	l, parts, err := r.lease(ctx, want)
	r.c.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("take of reader %s: %w", r.spec.Name, err)
	}
	if err := l.fill(parts); err != nil {
		l.Rollback()
		return nil, fmt.Errorf("take of reader %s: gather %v: %w", r.spec.Name, l.delivery.Range, err)
	}
	return l, nil
}

// lease waits until there is enough, and leases it. The parts are held for the caller, to be copied without the mutex.
func (r *reader) lease(ctx context.Context, want channel.Want) (*lease, []event.Batch, error) {
	var alarm alarm
	defer alarm.stop()
	for {
		if r.c.closed || r.closed {
			return nil, nil, channel.ErrClosed
		}
		if r.detached {
			return nil, nil, channel.ErrDetached
		}
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		if !r.busy() {
			cut, ok := r.cut(want)
			if r.drained() {
				return nil, nil, channel.ErrDrained
			}
			if ok && (cut.enough || alarm.due(want.Wait, r.wake)) {
				l := r.hand(cut)
				if want.Member != "" {
					r.ledger.Assign(cut.span, want.Member) // which lasts as long as the channel
				}
				return l, cut.parts, nil
			}
			if !ok && want.Own {
				return nil, nil, channel.ErrNotOwn
			}
		} else if want.Own {
			return nil, nil, channel.ErrNotOwn
		}
		alarm.onCancel(ctx, r.wake)
		r.waiting++
		r.wake.Wait()
		r.waiting--
	}
}

// alarm wakes a taker at the end of its context and of its gathering. It is made when it is first needed.
type alarm struct {
	cancel func() bool
	timer  *time.Timer
	end    time.Time
}

func (a *alarm) onCancel(ctx context.Context, wake *sync.Cond) {
	if a.cancel == nil {
		a.cancel = context.AfterFunc(ctx, func() { locked(wake) })
	}
}

// due says whether a taker has gathered for long enough; the time counts from the first call.
func (a *alarm) due(wait time.Duration, wake *sync.Cond) bool {
	if wait <= 0 {
		return true
	}
	if a.timer == nil {
		a.end = time.Now().Add(wait)
		a.timer = time.AfterFunc(wait, func() { locked(wake) })
		return false
	}
	return !time.Now().Before(a.end)
}

func (a *alarm) stop() {
	if a.cancel != nil {
		a.cancel()
	}
	if a.timer != nil {
		a.timer.Stop()
	}
}

// locked wakes under the mutex: without it the signal could come between a taker's look and its wait.
func locked(wake *sync.Cond) {
	wake.L.Lock()
	defer wake.L.Unlock()
	wake.Broadcast()
}
