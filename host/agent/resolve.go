// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/pipeline/group"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// status is how all groups stand, by address.
func (s *groups) status() []admin.Group {
	all := []admin.Group{}
	for _, open := range s.sorted() {
		g := admin.Group{
			Address: open.of.Address(), Channel: "channel." + open.of.Feed.From, Policy: open.of.Policy, Delivery: open.of.Delivery,
			Waiting: open.reader.Info().Waiting, Failovers: open.Failovers(), Members: []admin.Member{},
		}
		for _, m := range open.Members() {
			g.Members = append(g.Members, memberStatus(m))
		}
		all = append(all, g)
	}
	return all
}

// sorted are the groups that are open now, as they are configured now.
func (s *groups) sorted() (all []readGroup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, open := range s.open {
		all = append(all, open.readGroup)
	}
	slices.SortFunc(all, func(a, b readGroup) int { return strings.Compare(groupKey(a.of), groupKey(b.of)) })
	return all
}

func memberStatus(m group.Standing) admin.Member {
	s := admin.Member{Address: m.Name, State: string(m.State), Until: m.Until, Up: m.Up, Failures: m.Failures, Pending: m.Pending}
	if len(m.InDoubt) == 0 {
		return s
	}
	s.Doubt = &admin.Doubt{Since: m.Since}
	for _, r := range m.InDoubt {
		s.Doubt.Events += r.Len()
		s.Doubt.Ranges = append(s.Doubt.Ranges, admin.Span{First: r.First, Next: r.Next})
	}
	return s
}

// Resolve ends the doubt over what a member may hold. The member stands still meanwhile, so that it is not given that at the same time.
func (a *Agent) Resolve(ctx context.Context, r admin.Resolve) (admin.Resolved, error) {
	out := admin.Resolved{Group: r.Group, Member: r.Member, Held: r.Held}
	if err := take(ctx, a.turn); err != nil {
		return out, fmt.Errorf("wait for what else changes the agent: %w", err)
	}
	defer give(a.turn)
	groups := a.groups.sorted()
	i := slices.IndexFunc(groups, func(g readGroup) bool { return g.of.Address() == r.Group })
	if i < 0 {
		return out, noGroup(r.Group, groups)
	}
	g := groups[i]
	var ranges []event.Range
	for _, s := range r.Ranges {
		ranges = append(ranges, event.Range{First: s.First, Next: s.Next})
	}
	settle := func() (err error) {
		out.Events, err = g.Settle(r.Member, r.Held, ranges...)
		return err
	}
	err := a.whileStill(ctx, r, settle)
	a.opts.Log.Warn("somebody has said of what is in doubt whether it has arrived", "component", r.Group, "member", r.Member, "arrived", r.Held,
		"ranges", fmt.Sprint(ranges), "events", out.Events, "error", err, "uid", r.By.UID, "pid", r.By.PID)
	return out, err
}

// whileStill does something while a member stands still. One that is not in the pipeline does anyway.
func (a *Agent) whileStill(ctx context.Context, r admin.Resolve, do func() error) error {
	c := a.component(r.Member)
	if c == nil || c.layout == nil || c.layout.join == nil {
		return do()
	}
	ctx, cancel := context.WithTimeoutCause(ctx, a.current().Config.Agent.DrainTimeout+stopSlack, errBusy)
	defer cancel()
	return c.apart(ctx, do)
}

func noGroup(address string, groups []readGroup) error {
	r := &admin.Refusal{Code: admin.CodeUsage, Message: "the agent has no " + address}
	for i, g := range groups {
		if i == 0 {
			r.Hint = "There are: "
		} else {
			r.Hint += ", "
		}
		r.Hint += g.of.Address()
	}
	return r
}

// stranded refuses to go from one configuration to another in which something would be in doubt for a sink that is no member any more: it would wait for
// that sink for ever. Where address is not "", that sink alone is looked at.
func (s *groups) stranded(from, to *config.Config, address string) error {
	for _, open := range s.sorted() {
		here := func(g config.Group) bool { return groupKey(g) == groupKey(open.of) }
		old, next := slices.IndexFunc(from.Groups, here), slices.IndexFunc(to.Groups, here)
		if old < 0 || !from.Groups[old].Exact() || next >= 0 && !to.Groups[next].Exact() {
			continue // what is in doubt goes to whoever is next, as the plan says
		}
		was, are := groupMembers(from, from.Groups[old]), []string(nil)
		if next >= 0 { // else the whole group is gone, and nobody could say any more what became of it
			are = groupMembers(to, to.Groups[next])
		}
		for _, m := range open.Members() {
			if m.InDoubt != nil && slices.Contains(was, m.Name) && !slices.Contains(are, m.Name) && (address == "" || m.Name == address) {
				return leftInDoubt(open.of, memberStatus(m))
			}
		}
	}
	return nil
}

// undoubted refuses to move the reader of a group of which a member may hold something: it would be given up, or sent to another one too.
func (s *groups) undoubted(channel, address string) error {
	for _, open := range s.sorted() {
		if open.of.Address() != address || "channel."+open.of.Feed.From != channel || !open.of.Exact() {
			continue
		}
		for _, m := range open.Members() {
			if m.InDoubt != nil {
				return &admin.Refusal{
					Code:    admin.CodeRefused,
					Message: fmt.Sprintf("%s of %s was given %d events of which nobody knows whether they have arrived", m.Name, address, memberStatus(m).Doubt.Events),
					Hint:    "Wait until it has delivered them, or say what became of them: " + resolving(address, m.Name),
				}
			}
		}
	}
	return nil
}

func leftInDoubt(g config.Group, m admin.Member) error {
	return &admin.Refusal{
		Code: admin.CodeRefused,
		Message: fmt.Sprintf("%s cannot leave %s: it was given %d events of which nobody knows whether they have arrived, and which would wait for it for ever",
			m.Address, g.Address(), m.Doubt.Events),
		Hint: "Keep it until it has delivered them, or say what became of them: " + resolving(g.Address(), m.Address),
	}
}

// resolving is the command that says what became of what a member may hold, by the addresses of both.
func resolving(group, member string) string {
	return "penstock sink resolve " + strings.TrimPrefix(group, "sink_group.") + "." + strings.TrimPrefix(member, string(abi.Sink)+".")
}

// warnStranded names what waits for a sink that is no member any more: the files were changed while the agent did not run.
func (a *Agent) warnStranded() {
	for _, g := range a.groups.status() {
		for _, m := range g.Members {
			if m.Doubt != nil && a.component(m.Address) == nil {
				a.opts.Log.Warn("a sink that is no member of its group any more may hold events, which wait for it: put it back, or say what became of them",
					"component", g.Address, "member", m.Address, "events", m.Doubt.Events,
					"command", resolving(g.Address, m.Address))
			}
		}
	}
}
