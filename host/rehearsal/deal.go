// SPDX-License-Identifier: Apache-2.0

package rehearsal

import (
	"slices"
	"sync"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/agent"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/spec/event"
)

// deal is what a route made of the events of its channel. It asks the route of the agent itself.
type deal struct {
	config.Route
	of     func(*event.Event) []int
	events map[string][]record // by address of the case; of the route itself: those of none
}

// dealsOf are those of a channel.
func (r *run) dealsOf(a *agent.Agent, channel string) (deals []*deal) {
	for _, route := range r.Config.Routes {
		if route.From == channel {
			deals = append(deals, &deal{route, a.Dealer(route.Name), map[string][]record{}})
		}
	}
	return deals
}

func (d *deal) add(e *event.Event, of record) {
	cases := d.of(e)
	for _, i := range cases {
		at := d.Address() + "." + d.Cases[i].Name
		d.events[at] = append(d.events[at], of)
	}
	if len(cases) == 0 {
		d.events[d.Address()] = append(d.events[d.Address()], of)
	}
}

// dealt are the events of a case, or of no case of a route.
func (r *run) dealt(address string) []record {
	for _, t := range r.taken {
		for _, d := range t.deals {
			if of := d.events[address]; of != nil {
				return of
			}
		}
	}
	return nil
}

// tape is what several recorders took, in that order.
type tape struct {
	mu     sync.Mutex
	events []record
}

// add may be called on a nil tape, which keeps nothing.
func (t *tape) add(events []record) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events = append(t.events, events...)
}

// tapeOf is the one of a sink's group, or nil.
func (r *run) tapeOf(s *config.Sink) *tape {
	g, in := r.Config.GroupOf(*s)
	if in && r.shared[g.Address()] == nil {
		r.shared[g.Address()] = &tape{}
	}
	return r.shared[g.Address()]
}

// grouped says whether a sink is a member of a group.
func (r *run) grouped(address string) bool {
	return slices.ContainsFunc(r.Config.Sinks, func(s config.Sink) bool { return s.Address() == address && s.Group != "" })
}

// groupStill says whether no member will take more: what waits is what those may hold that never will, or none ever will.
func (r *run) groupStill(s admin.Status, g admin.Group) bool {
	lost, all := uint64(0), true
	for _, m := range g.Members {
		if !r.recorders[m.Address].hopeless() && !held(s, m.Address) {
			all = false
			continue
		}
		if g.Delivery == exactly {
			lost += mayHold(m) // else it goes to the next
		}
	}
	return all || g.Waiting == lost
}

// exactly is the delivery of a group in which what a member may hold waits for it.
const exactly = "exactly_once"

func held(s admin.Status, address string) bool {
	return slices.ContainsFunc(s.Components, func(c admin.Component) bool { return c.Address == address && c.State == admin.Held })
}

// mayHold is how much a member may hold that never takes anything: between two attempts that is in doubt, during one on its way.
func mayHold(m admin.Member) uint64 {
	n := m.Pending
	if m.Doubt != nil {
		n += m.Doubt.Events
	}
	return n
}

// inDoubt is how much that is of all members of a group.
func (r *run) inDoubt(s admin.Status, address string) int {
	n := uint64(0)
	for _, g := range s.Groups {
		for _, m := range g.Members {
			if g.Address == address && g.Delivery == exactly {
				n += mayHold(m)
			}
		}
	}
	return int(n)
}
