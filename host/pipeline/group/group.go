// SPDX-License-Identifier: Apache-2.0

// Package group has several sinks compete for the events of one reader.
//
// A [Group] stands around a [channel.Reader] and gives each member a reader of its own, which asks the policy before
// it takes. A sink does not know that it is in a group: it takes, writes and commits as always, and what it does tells the policy how it
// fares. So a group adds no step between a take and its commit.
//
//	sink.a ─ Take ─┐
//	sink.b ─ Take ─┤ one at a time, whose turn it is ── reader of the channel
//	sink.c ─ Take ─┘
//
// Invariants:
//
//   - One member at a time waits for events, so that the policy, and not chance, says who gets the next.
//   - A member that failed takes nothing before its pause is over, and opens nothing.
//   - In an exact group, what a member was given stays with it until it is committed or somebody has decided, see [channel.Want]: a member
//     that works gets that before all else, whoever's turn it is.
package group

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// errMoved ends the take of a member whose turn it is no longer.
var errMoved = errors.New("it is another member's turn")

// Group is the members of one reader. All methods may be called by many goroutines at once.
type Group struct {
	reader channel.Reader

	mu     sync.Mutex
	roster *roster
	queue  []*taker // in the order in which they came
	holder *taker   // who waits for events, or nil
	timer  *time.Timer
	doubts doubts
}

// taker is one loop of a member that wants to take.
type taker struct {
	m     *member
	turn  chan struct{} // closed by the group when it is its turn, or it is to look again
	look  bool          // the latter
	own   bool          // it takes what was its member's before
	moved context.CancelCauseFunc
}

// New makes a group of a reader, which stays the caller's.
func New(r channel.Reader, s Settings) *Group {
	g := &Group{reader: r, roster: newRoster(s)}
	g.doubts.found(r.Info().InDoubt)
	return g
}

// Arrange sets the members, those that are preferred first, and how they are chosen.
func (g *Group) Arrange(s Settings, names []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.roster.Settings = s
	g.roster.arrange(names)
	g.next()
}

// Join returns the reader of a member, which is one that was arranged. Its Close ends the membership.
func (g *Group) Join(name string) *Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.roster.find(name)
	if m == nil {
		panic("BUG: no member was arranged that is called " + name)
	}
	m.here, m.held = true, false
	if !m.failed {
		m.until = time.Now()
	}
	g.next()
	return &Member{Reader: g.reader, g: g, m: m}
}

func (g *Group) exact() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.roster.Exact
}

// next gives the turn to whom the policy picks. g.mu is held.
func (g *Group) next() {
	now := time.Now()
	g.ring(now)
	if g.holder != nil {
		if m := g.holder.m; !m.usable(now) || g.roster.Policy == Failover && g.roster.active(now) != m {
			g.holder.moved(errMoved)
		}
		return
	}
	m := g.roster.pick(now)
	if m == nil {
		return
	}
	i := slices.IndexFunc(g.queue, func(t *taker) bool { return t.m == m })
	g.holder, m.taking = g.queue[i], true
	g.dequeue(i)
	close(g.holder.turn)
}

// ring has the group look again when time alone changes who takes. g.mu is held.
func (g *Group) ring(now time.Time) {
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
	at, ok := g.roster.next(now)
	if !ok || len(g.queue) == 0 && g.holder == nil {
		return
	}
	g.timer = time.AfterFunc(at.Sub(now), func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.next()
	})
}

func (g *Group) dequeue(i int) {
	g.queue[i].m.waiting--
	g.queue = slices.Delete(g.queue, i, i+1)
}

// enter waits until it is the turn of t; again: it is to look first whether something of its own has come.
func (g *Group) enter(ctx context.Context, t *taker) (again bool, err error) {
	g.mu.Lock()
	g.queue = append(g.queue, t)
	t.m.waiting++
	g.next()
	g.mu.Unlock()
	select {
	case <-t.turn:
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.queue, t); i >= 0 {
		g.dequeue(i)
		g.next()
		return false, context.Cause(ctx)
	}
	return t.look, nil
}

// took ends a turn.
func (g *Group) took(t *taker, l channel.Lease) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l != nil {
		t.m.leases++
		t.m.pending += uint64(l.Delivery().Batch.Len())
		if t.own {
			g.doubts.out(t.m.name, l.Delivery().Range)
		}
	}
	if g.holder == t {
		g.holder, t.m.taking = nil, false
	}
	g.next()
}

// ended notes that a lease is over.
func (g *Group) ended(l *lease, delivered bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := l.m
	m.leases--
	m.pending -= uint64(l.events)
	g.doubts.in(m.name, l.span)
	if delivered {
		m.succeed()
		if g.doubts.of(m.name) {
			g.doubts.end(m.name, g.reader.Info().InDoubt)
		}
	} else if g.roster.Exact {
		g.doubts.begin(m.name) // it is its own still: whichever of its loops is there takes it
		for i := len(g.queue) - 1; i >= 0; i-- {
			if t := g.queue[i]; t.m == m {
				g.dequeue(i)
				t.look = true
				close(t.turn)
			}
		}
	}
	g.next()
}

// Member is the reader of one member.
type Member struct {
	channel.Reader
	g *Group
	m *member
}

var _ channel.Reader = (*Member)(nil)

// Take waits until it is this member's turn, then takes.
func (r *Member) Take(ctx context.Context, want channel.Want) (channel.Lease, error) {
	for {
		if err := r.Await(ctx); err != nil {
			return nil, err
		}
		l, err := r.own(ctx, want)
		if l != nil || err != nil {
			return l, err
		}
		l, err = r.any(ctx, want)
		if l != nil || err != nil {
			return l, err
		}
	}
}

// own takes what is this member's already. Both nil: nothing is.
func (r *Member) own(ctx context.Context, want channel.Want) (channel.Lease, error) {
	if !r.g.exact() {
		return nil, nil
	}
	want.Member, want.Own, want.Wait = r.m.name, true, 0
	l, err := r.Reader.Take(ctx, want)
	switch {
	case errors.Is(err, channel.ErrNotOwn):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return r.lease(&taker{m: r.m, own: true}, l), nil
}

// any takes when it is this member's turn. Both nil: look again.
func (r *Member) any(ctx context.Context, want channel.Want) (channel.Lease, error) {
	turn, moved := context.WithCancelCause(ctx)
	defer moved(nil)
	t := &taker{m: r.m, turn: make(chan struct{}), moved: moved}
	if again, err := r.g.enter(turn, t); again || err != nil {
		return nil, err
	}
	if r.g.exact() {
		want.Member = r.m.name
	}
	l, err := r.Reader.Take(turn, want)
	if err != nil {
		r.g.took(t, nil)
		if ctx.Err() == nil && context.Cause(turn) == errMoved {
			err = nil
		}
		return nil, err
	}
	return r.lease(t, l), nil
}

func (r *Member) lease(t *taker, l channel.Lease) channel.Lease {
	d := l.Delivery()
	r.g.took(t, l)
	return &lease{Lease: l, g: r.g, m: r.m, span: d.Range, events: d.Batch.Len()}
}

// Await waits until the member is not left alone any more. It is for who opens its destination.
func (r *Member) Await(ctx context.Context) error {
	for {
		r.g.mu.Lock()
		pause := time.Duration(0)
		if r.m.failed {
			pause = time.Until(r.m.until)
		}
		r.g.mu.Unlock()
		if pause <= 0 {
			return nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// Failed notes that the member did not deliver, or could not be opened. It answers for how long it is left alone.
func (r *Member) Failed() time.Duration {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	delay := r.g.roster.fail(r.m, time.Now())
	r.g.next()
	return delay
}

// Hold notes that the member does not go on by itself, or that it does again.
func (r *Member) Hold(held bool) {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	switch r.m.held = held; {
	case held:
		r.g.roster.goDown(r.m)
	case r.m.failures == 0:
		r.m.down = false
	}
	r.g.next()
}

// Close ends the membership. The reader of the group stays open.
func (r *Member) Close() error {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	r.g.roster.leave(r.m)
	r.g.next()
	return nil
}

// lease tells the group how it ended. It belongs to one goroutine.
type lease struct {
	channel.Lease
	g      *Group
	m      *member
	span   event.Range
	events int
	over   bool
}

func (l *lease) Commit() error {
	err := l.Lease.Commit()
	l.end(err == nil)
	return err
}

func (l *lease) Rollback() {
	l.Lease.Rollback()
	l.end(false)
}

func (l *lease) end(delivered bool) {
	if l.over {
		return
	}
	l.over = true
	l.g.ended(l, delivered)
}
