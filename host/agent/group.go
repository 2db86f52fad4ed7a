// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"slices"
	"sync"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/pipeline"
	"github.com/penstock-io/penstock/host/pipeline/group"
	"github.com/penstock-io/penstock/spec/abi"
)

// groups are the sink groups of which some member is there. A group outlives a reload that replaces some of its members: its reader is closed when
// the last one has left.
type groups struct {
	mu   sync.Mutex
	open map[string]*openGroup // by the address of the group, and of its channel
}

// readGroup is a group with its reader.
type readGroup struct {
	*group.Group
	of     config.Group // as it is configured now
	reader channel.Reader
}

// openGroup is one that sinks have joined.
type openGroup struct {
	readGroup
	suspects pipeline.Suspects // of all members
	users    int
}

// policies are what a group may be told.
var policies = map[string]group.Policy{
	"failover": group.Failover, "round_robin": group.RoundRobin, "random": group.Random, "least_pending": group.LeastPending,
}

func groupSettings(g config.Group) group.Settings {
	return group.Settings{
		Policy: policies[g.Policy], CoolDown: pipeline.Backoff{Min: g.CoolDown.Min, Max: g.CoolDown.Max},
		FailBack: g.FailBack, ReturnIn: g.ReturnIn, Exact: g.Exact(),
	}
}

// groupMembers are the sinks of a group that are switched on.
func groupMembers(c *config.Config, g config.Group) (addresses []string) {
	for _, name := range g.Members {
		if slices.ContainsFunc(c.Sinks, func(s config.Sink) bool { return s.Name == name }) {
			addresses = append(addresses, string(abi.Sink)+"."+name)
		}
	}
	return addresses
}

func groupKey(g config.Group) string { return g.Address() + " " + g.Feed.From }

// arrange makes all groups that are open what a revision says.
func (s *groups) arrange(c *config.Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range c.Groups {
		if open := s.open[groupKey(g)]; open != nil {
			open.arrange(c, g)
		}
	}
}

func (o *openGroup) arrange(c *config.Config, g config.Group) {
	o.of = g
	o.Arrange(groupSettings(g), groupMembers(c, g))
}

// join makes a sink a member of its group, whose reader is opened by the first one.
func (s *groups) join(ch channel.Channel, c *config.Config, g config.Group, address string) (*laneReader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	open := s.open[groupKey(g)]
	if open == nil {
		spec := channel.ReaderSpec{Name: g.Address(), Start: channel.Now, Order: channel.AnyOrder}
		if g.Start == "oldest" {
			spec.Start = channel.Oldest
		}
		r, err := ch.Reader(spec)
		if err != nil {
			return nil, err
		}
		open = &openGroup{readGroup: readGroup{Group: group.New(r, groupSettings(g)), reader: r}}
		if s.open == nil {
			s.open = map[string]*openGroup{}
		}
		s.open[groupKey(g)] = open
	}
	open.arrange(c, g)
	open.users++
	m := &membership{Member: open.Join(address), of: s, key: groupKey(g)}
	return &laneReader{Reader: m, name: g.Address(), suspects: &open.suspects, member: m}, nil
}

// membership is the reader of a member. Its Close leaves the group.
type membership struct {
	*group.Member
	of   *groups
	key  string
	once sync.Once
}

// Close implements [channel.Reader].
func (m *membership) Close() (err error) {
	m.once.Do(func() {
		m.of.mu.Lock()
		defer m.of.mu.Unlock()
		err = m.Member.Close()
		open := m.of.open[m.key]
		if open.users--; open.users == 0 {
			delete(m.of.open, m.key)
			err = open.reader.Close()
		}
	})
	return err
}

// memberObserver tells the group how a member fares.
type memberObserver struct {
	*part
	member *membership
}

var _ pipeline.SinkObserver = memberObserver{}

// Failed implements [pipeline.Lifecycle].
func (o memberObserver) Failed(class abi.Class, event bool) {
	o.part.Failed(class, event)
	if event {
		return // it would break the others as well, and each pause would make the search for it longer
	}
	pause := o.member.Failed()
	o.log.Warn("the member has failed: the others of its group take over", "group", o.reader.name, "class", class.String(), "pause", pause)
}

// State implements [pipeline.Lifecycle].
func (o memberObserver) State(s pipeline.State, reason string) {
	switch s {
	case pipeline.Held:
		o.member.Hold(true)
	case pipeline.Starting, pipeline.Running:
		o.member.Hold(false)
	}
	o.part.State(s, reason)
}

// inGroup makes a loop one of a member: how long it pauses is the group's, and a member that pauses opens nothing.
func inGroup(loop *pipeline.Sink, p *part) {
	m := p.reader.member
	if m == nil {
		return
	}
	loop.Group, loop.Await, loop.Observer = p.reader.name, m.Await, memberObserver{p, m}
}
