// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/spec/abi"
)

// part is a component on one side, with everything that it is opened with.
type part struct {
	config.Component
	arguments set
	channel   string   // address; of a processor ""
	through   []string // addresses
	digest    string
}

func (s Side) part(c config.Component, more set) part {
	p := part{Component: c, digest: s.Digests[c.Address()]}
	p.arguments = append(p.arguments, pluginOf(c)...)
	p.arguments = append(p.arguments, more...)
	p.arguments = append(p.arguments, configOf(c, s.Revealed)...)
	p.arguments = append(p.arguments, grantsOf(c)...)
	p.arguments = append(p.arguments, limitsOf(c.Limits)...)
	return p
}

// pluginOf says which plugin it is.
func pluginOf(c config.Component) (s set) {
	s.text("plugin", c.Plugin.Name)
	s.text("plugin.source", c.Ref.Source)
	s.text("plugin.sha256", c.Ref.SHA256)
	if c.Ref.Subprocess {
		s.text("plugin.runtime", "subprocess")
	}
	s.yes("plugin.trusted", c.Ref.Trusted)
	s.size("limits.module_size", c.Ref.ModuleBytes)
	s.count("limits.table", uint64(c.Ref.TableEntries))
	return s
}

// grantsOf are what it is granted beside what its config names.
func grantsOf(c config.Component) (s set) {
	for i, d := range c.Dirs {
		access := "read"
		if d.Write {
			access = "write"
		}
		s.text(fmt.Sprintf("grant.dir.%d", i), d.Path+" "+access)
	}
	for _, h := range c.Handles {
		within := ""
		for _, g := range h.Grants {
			within += " " + g.String()
		}
		s.text("grant."+h.Kind+"."+h.Name, h.Address.String()+within)
	}
	s.list("grant.env", c.Env)
	s.list("needs", c.Needs)
	s.tls("tls", c.TLS)
	return s
}

func (s *set) tls(name string, t *config.TLS) {
	if t == nil {
		return
	}
	s.text(name, "tls."+t.Name)
	s.text(name+".cert", t.Cert)
	s.text(name+".key", t.Key)
	s.text(name+".ca", t.CA)
	s.text(name+".min_version", t.MinVersion)
	s.yes(name+".verify", t.Verify)
}

func limitsOf(l config.Limits) (s set) {
	s.size("limits.memory", l.MemoryBytes)
	s.time("limits.cpu", l.Call)
	s.text("limits.cpu_share", fmt.Sprint(l.Share))
	s.count("limits.handles", uint64(l.Handles))
	s.count("limits.log_rate", uint64(l.LogRate))
	s.count("limits.metrics", uint64(l.Metrics))
	s.size("limits.output", uint64(l.OutputBytes))
	s.size("limits.batch", uint64(l.BatchBytes))
	listenLimits(&s, "limits.listen.", l.Listen)
	listenLimits(&s, "limits.serve.", l.Serve.ListenLimits)
	s.count("limits.serve.requests", uint64(l.Serve.Requests))
	s.size("limits.serve.body", uint64(l.Serve.BodyBytes))
	s.size("limits.serve.held", uint64(l.Serve.HeldBytes))
	s.size("limits.serve.header", uint64(l.Serve.HeaderBytes))
	s.time("limits.serve.header_timeout", l.Serve.Header)
	s.time("limits.serve.body_timeout", l.Serve.Body)
	s.time("limits.serve.queue_timeout", l.Serve.Queue)
	s.time("limits.serve.answer_timeout", l.Serve.Answer)
	return s
}

func listenLimits(s *set, prefix string, l config.ListenLimits) {
	s.count(prefix+"connections", uint64(l.Connections))
	s.count(prefix+"per_peer", uint64(l.PerPeer))
	s.time(prefix+"idle_timeout", l.Idle)
	s.time(prefix+"handshake_timeout", l.Handshake)
}

func (c *comparison) processors() {
	parts := func(s Side) (list []part) {
		for _, p := range s.Config.Processors {
			var more set
			more.text("on_error", p.OnError)
			more.condition("when", p.When)
			list = append(list, s.part(p.Component, more))
		}
		return list
	}
	c.components(parts(c.from), parts(c.to))
}

func (c *comparison) sources() {
	parts := func(s Side) (list []part) {
		for _, src := range s.Config.Sources {
			var more set
			more.text("into", "channel."+src.Into)
			more.list("through", addresses("processor.", src.Through))
			p := s.part(src.Component, more)
			p.channel, p.through = "channel."+src.Into, addresses("processor.", src.Through)
			list = append(list, p)
		}
		return list
	}
	c.components(parts(c.from), parts(c.to))
}

func (c *comparison) sinks() {
	parts := func(s Side) (list []part) {
		for _, sink := range s.Config.Sinks {
			p := s.part(sink.Component, append(feedArguments(s.Config, sink.Feed), append(sinkArguments(sink), groupArguments(s.Config, sink)...)...))
			p.channel, p.through = "channel."+sink.From, addresses("processor.", sink.Through)
			if sink.Relays() {
				p.arguments.text("into", "channel."+sink.Into)
			}
			list = append(list, p)
		}
		return list
	}
	c.components(parts(c.from), parts(c.to))
}

// groups says of which sink groups the members change, or which of them is preferred. Their sinks have steps of their own.
func (c *comparison) groups() {
	members := func(g config.Group) (s set) {
		s.list("members", addresses("sink.", g.Members))
		return s
	}
	for _, g := range c.to.Config.Groups {
		i := slices.IndexFunc(c.from.Config.Groups, func(old config.Group) bool { return old.Name == g.Name })
		if i < 0 {
			continue
		}
		if changes := diff(members(c.from.Config.Groups[i]), members(g)); len(changes) > 0 {
			c.add(Step{Address: g.Address(), Do: Update, Changes: changes})
		}
	}
}

// feedArguments are all that decides which events a sink gets: of a route the cases that do.
func feedArguments(c *config.Config, f config.Feed) (s set) {
	s.text("from", f.Reads())
	if f.Route != "" {
		r := c.Route(f.Route)
		s.text(r.Address()+".from", "channel."+r.From)
		s.yes(r.Address()+".match = all", r.All)
		cases := r.Deciding(r.Case(f.Case))
		if r.Tallies(f.Case) {
			cases = r.Cases // it counts what is of none
		}
		for _, option := range cases {
			s.condition(r.Address()+"."+option.Name, option.When)
			s.yes(r.Address()+"."+option.Name+".default", option.Default)
		}
	}
	s.condition("where", f.Where)
	return s
}

func sinkArguments(k config.Sink) (s set) {
	if len(k.Through) > 0 {
		s.list("through", addresses("processor.", k.Through))
	}
	s.text("start", k.Start)
	s.text("on_lag", k.OnLag)
	s.text("delivery", k.Delivery)
	s.text("order_by", k.OrderBy)
	if k.Lanes > 1 {
		s.count("lanes", uint64(k.Lanes))
	}
	s.count("connections", uint64(k.Connections))
	s.time("timeout", k.Timeout)
	s.count("batch.events", uint64(k.Batch.Events))
	s.size("batch.bytes", uint64(k.Batch.Bytes))
	s.text("batch.wait", duration(k.Batch.Wait))
	s.time("retry.min", k.Retry.Min)
	s.time("retry.max", k.Retry.Max)
	s.text("group", k.Group)
	return s
}

// groupArguments are those of the group that a sink is a member of. Which others are is nothing to it.
func groupArguments(c *config.Config, k config.Sink) (s set) {
	g, in := c.GroupOf(k)
	if !in {
		return nil
	}
	s.text("group.policy", g.Policy)
	s.text("group.delivery", g.Delivery)
	s.time("group.cool_down", g.CoolDown.Min)
	s.time("group.max_cool_down", g.CoolDown.Max)
	s.time("group.fail_back", g.FailBack)
	s.time("group.return_in", g.ReturnIn)
	return s
}

func addresses(prefix string, names []string) (list []string) {
	for _, n := range names {
		list = append(list, prefix+n)
	}
	return list
}

// components makes a step of each that is not the same on both sides: in the order of the new ones, then of those that are gone.
func (c *comparison) components(from, to []part) {
	var found []string // of the old ones
	for _, p := range to {
		if i := slices.IndexFunc(from, func(old part) bool { return c.same(old.Address(), p.Address()) }); i >= 0 {
			found = append(found, from[i].Address())
			c.component(from[i], p)
			continue
		}
		step := Step{Address: p.Address(), Do: Create, Channel: p.channel, Gains: p.Permissions()}
		step.asks = risks(p)
		c.add(step)
	}
	for _, old := range from {
		if !slices.Contains(found, old.Address()) {
			c.add(Step{Address: old.Address(), Do: Remove, Channel: old.channel, Loses: old.Permissions()})
		}
	}
}

// same says whether a part is the one of that address before, perhaps under a name that it had then.
func (c *comparison) same(old, address string) bool {
	return old == address || slices.Contains(c.to.Config.Formerly(address), old)
}

func (c *comparison) component(old, p part) {
	step := Step{Address: p.Address(), Do: Restart, Channel: p.channel, Changes: diff(old.arguments, p.arguments)}
	if old.Address() != p.Address() {
		step.Was = old.Address()
	}
	if old.digest != p.digest && old.digest != "" && p.digest != "" {
		step.Plugin = &Digests{Name: p.Ref.Name, Old: old.digest, New: p.digest}
	}
	for _, name := range p.through {
		if s := c.plan.Step(name); s != nil {
			step.Because = append(step.Because, name)
		}
	}
	if s := c.plan.Step(p.channel); s != nil && slices.ContainsFunc(s.Changes, func(ch Change) bool { return ch.Argument == deadLetter }) {
		step.Because = append(step.Because, p.channel)
	}
	step.Held = c.from.Held[old.Address()]
	step.Gains, step.Loses = beyond(p.Permissions(), old.Permissions()), beyond(old.Permissions(), p.Permissions())
	if len(step.Changes)+len(step.Because)+len(step.Gains)+len(step.Loses)+len(step.Was) == 0 && step.Plugin == nil && !step.Held {
		return
	}
	for _, ch := range step.Changes {
		if why, ok := vouched[ch.Argument]; ok && (ch.Argument != "plugin.source" || p.Ref.Subprocess) {
			step.asks = append(step.asks, why)
		}
	}
	step.OneWay = oneWay(old, p)
	c.add(step)
}

// vouched are arguments with which somebody answers for what code runs, and says why nobody but them changes it.
var vouched = map[string]string{
	"plugin.source":  "another program runs, outside of the sandbox",
	"plugin.sha256":  "its sha256 is another",
	"plugin.runtime": "it runs in another way",
	"plugin.trusted": "what bounds its processor time changes",
}

// risks are those of what is new.
func risks(p part) (list []string) {
	if p.Ref.Subprocess {
		list = append(list, vouched["plugin.source"])
	}
	return list
}

// oneWay says why the old version of a source could not go on where the new one leaves off, or "".
func oneWay(old, p part) string {
	version := p.Plugin.CursorVersion
	if p.Kind != abi.Source || version == old.Plugin.CursorVersion || slices.Contains(old.Plugin.Reads, version) {
		return ""
	}
	return fmt.Sprintf("the new version writes its cursor in form %d, and the old one reads form %d: once it has read something, there is no way back, and a failure holds it",
		version, old.Plugin.CursorVersion)
}
