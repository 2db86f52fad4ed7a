// SPDX-License-Identifier: Apache-2.0

package group

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// doubts is what members of an exact group may hold, as far as the reader does not say it itself: since when, and what of it they are given again at
// this moment. The group's mutex guards it.
type doubts struct {
	since map[string]time.Time // by member, those of whom something is in doubt, or was a moment ago
	again map[string][]event.Range
}

// found notes what a reader had when it was opened. How old that is, nobody knows.
func (d *doubts) found(shares []channel.Share) {
	d.since, d.again = map[string]time.Time{}, map[string][]event.Range{}
	for _, s := range shares {
		d.begin(s.Member)
	}
}

func (d *doubts) of(member string) bool { return !d.since[member].IsZero() }

func (d *doubts) begin(member string) {
	if !d.of(member) {
		d.since[member] = time.Now()
	}
}

// end notes that a member may have nothing in doubt any more.
func (d *doubts) end(member string, left []channel.Share) {
	if len(d.again[member]) == 0 && !slices.ContainsFunc(left, func(s channel.Share) bool { return s.Member == member }) {
		delete(d.since, member)
	}
}

// out notes that a member is given a range again, and in that this is over.
func (d *doubts) out(member string, r event.Range) { d.again[member] = append(d.again[member], r) }

func (d *doubts) in(member string, r event.Range) {
	if d.again[member] = slices.DeleteFunc(d.again[member], func(o event.Range) bool { return o == r }); len(d.again[member]) == 0 {
		delete(d.again, member)
	}
}

// all are the ranges in doubt, by member.
func (d *doubts) all(shares []channel.Share) map[string][]event.Range {
	by := map[string]channel.Ranges{}
	add := func(member string, r event.Range) {
		set := by[member]
		set.Add(r)
		by[member] = set
	}
	for _, s := range shares {
		add(s.Member, s.Range)
	}
	for member, ranges := range d.again {
		for _, r := range ranges {
			add(member, r)
		}
	}
	all := map[string][]event.Range{}
	for member, set := range by {
		all[member] = slices.Collect(set.All())
	}
	return all
}

// Standing is how a member stands.
type Standing struct {
	Name     string
	State    State
	Until    time.Time // when the state ends by itself; zero: it does not
	Up       bool      // it works, as far as is known
	Failures int       // in a row
	Pending  uint64    // events on their way
	// InDoubt is what it may hold, of an exact group, and Since since when: where that was found when the reader was opened, the time of that.
	InDoubt []event.Range
	Since   time.Time
}

// Members says how all of them stand, those that are preferred first; and last those that are no members any more, and may hold something.
func (g *Group) Members() []Standing {
	shares := g.reader.Info().InDoubt
	g.mu.Lock()
	defer g.mu.Unlock()
	doubt := map[string][]event.Range{}
	if g.roster.Exact {
		doubt = g.doubts.all(shares)
	}
	now := time.Now()
	var all []Standing
	for _, m := range g.roster.members {
		all = append(all, Standing{
			Name: m.name, State: g.roster.state(m, now), Until: g.roster.change(m, now), Up: g.roster.up(m, now), Failures: m.failures, Pending: m.pending,
		})
	}
	for _, name := range slices.Sorted(maps.Keys(doubt)) {
		if g.roster.find(name) == nil {
			all = append(all, Standing{Name: name, State: Out})
		}
	}
	for i := range all {
		s := &all[i]
		if s.InDoubt = doubt[s.Name]; s.InDoubt != nil {
			s.Since = g.doubts.since[s.Name]
			if s.Since.IsZero() {
				s.Since = now
			}
		}
	}
	return all
}

// Failovers is how often a member went down, so that others took in its place.
func (g *Group) Failovers() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.roster.turns
}

// Settle ends the doubt over ranges that a member may hold: see [channel.Sharer]. What it is given at this moment is left out.
func (g *Group) Settle(member string, held bool, ranges ...event.Range) (uint64, error) {
	s, ok := g.reader.(channel.Sharer)
	if !ok {
		return 0, errors.New("its channel does not say what members have")
	}
	n, err := s.Settle(member, held, ranges...)
	left := g.reader.Info().InDoubt
	g.mu.Lock()
	defer g.mu.Unlock()
	g.doubts.end(member, left)
	g.next()
	return n, err
}
