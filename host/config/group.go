// SPDX-License-Identifier: Apache-2.0

package config

import (
	"slices"
	"time"

	"github.com/hashicorp/hcl/v2"
)

// Group is sinks that compete for the events of one reader.
type Group struct {
	Name      string
	Feed      Feed
	Members   []string // names of sinks, those that are preferred first
	Policy    string   // "failover", "round_robin", "random", "least_pending"
	Start     string   // "oldest", "now": where it begins when it is new
	Delivery  string   // "exactly_once": what a member may hold waits for it; "at_least_once"
	CoolDown  Retry    // how long a member is left alone that failed
	FailBack  time.Duration
	ReturnIn  time.Duration
	DeclRange hcl.Range
}

const (
	groupReference = "sink_group"
	groupFailover  = "failover"
	groupBalance   = "load_balance"
	groupExact     = "exactly_once"
	// maxMembers bounds a group: what each of its connections was given is kept in one position.
	maxMembers = 16
)

// Address is what references and metrics call it, e.g. "sink_group.orders".
func (g Group) Address() string { return groupReference + "." + g.Name }

// Exact says whether what a member may hold waits for it.
func (g Group) Exact() bool { return g.Delivery == groupExact }

// GroupOf returns the group that a sink is a member of.
func (c *Config) GroupOf(s Sink) (Group, bool) {
	i := slices.IndexFunc(c.Groups, func(g Group) bool { return g.Name == s.Group })
	if s.Group == "" || i < 0 {
		return Group{}, false
	}
	return c.Groups[i], true
}

var (
	coolDownArgument    = arg{name: "cool_down", typ: "duration", def: defaultCoolDown, min: 1e6, max: hour, doc: "For how long a member that failed is left alone, the first time; each further time twice as long, with jitter."}
	maxCoolDownArgument = arg{name: "max_cool_down", typ: "duration", def: defaultMaxCoolDown, min: 1e6, max: 24 * hour, doc: "The longest that it is left alone."}
)

var groupBlock = block{
	name: groupReference, labels: []string{"name"},
	doc: "Sinks that compete: each event goes to one of them. The group is one reader of its channel, and its sinks have no `from` of their own.",
	args: arguments(
		arg{name: "from", typ: "channel", required: true, doc: "What it reads, as of a `sink`: `channel.NAME`, or a case of a route, `route.NAME.CASE`."},
		arg{name: "where", typ: "expression", shown: "–", doc: "Which events it gets, as of a `sink`."},
		arg{name: "members", typ: "list(sink)", required: true, doc: "Its sinks: `[sink.NAME, …]`. With `failover`, those that are preferred come first."},
		arg{name: "policy", typ: "string", def: defaultGroupPolicy, enum: []string{groupFailover, groupBalance}, doc: "`failover` gives everything to the first member that works; `load_balance` shares it out among all that do."},
		arg{name: "start", typ: "string", def: defaultStart, enum: []string{"oldest", "now"}, doc: "Where it begins when it is new, as of a `sink`."},
		arg{name: "delivery", typ: "string", def: defaultGroupDelivery, enum: []string{"at_least_once", groupExact}, doc: "What becomes of a delivery of which nobody knows whether it arrived. `at_least_once` gives it to the next member, which may repeat it; `exactly_once` has it wait for the member that was given it, and only what was never sent moves on. That needs members whose plugins say what they hold, or key what they write."},
	),
	blocks: []block{
		{name: groupFailover, once: true, doc: "Of that policy.", args: arguments(coolDownArgument, maxCoolDownArgument,
			arg{name: "fail_back", typ: "duration", def: defaultFailBack, max: 24 * hour, doc: "For how long a member that may take again is not preferred to the one that does."})},
		{name: groupBalance, once: true, doc: "Of that policy.", args: arguments(
			arg{name: "select", typ: "string", def: defaultSelect, enum: []string{"round_robin", "random", "least_pending"}, doc: "Who of the members that have nothing to do is next: one after the other, any, or the one with the fewest events on their way."},
			coolDownArgument, maxCoolDownArgument,
			arg{name: "return_in", typ: "duration", def: defaultReturnIn, max: 24 * hour, doc: "In which time a member that may take again gets its full part, beginning with one delivery."})},
	},
}

// ofTheGroup are the arguments and blocks of a sink that its group has.
var ofTheGroup = []string{"from", "where", "start", "on_lag", "delivery", "order_by", "lanes"}

// ofTheMembers are arguments of a sink that each member has for itself.
var ofTheMembers = []string{"through", "connections", "timeout"}

// declareGroups reads all sink_group blocks, before the sinks.
func (l *loader) declareGroups(c *Config) {
	seen := map[string]bool{}
	for _, v := range l.blocks[groupReference] {
		if seen[v.name()] {
			continue // reported as a name used twice
		}
		seen[v.name()] = true
		if g, ok := l.group(v); ok && !v.broken {
			c.Groups = append(c.Groups, g)
		}
	}
}

func (l *loader) group(v *values) (g Group, ok bool) {
	feed, linked := l.feed(v)
	g = Group{Name: v.name(), Feed: feed, Policy: v.text("policy"), Start: v.text("start"), Delivery: v.text("delivery"), DeclRange: v.at}
	for _, other := range []string{groupFailover, groupBalance} {
		if b := v.child(other); b.at != v.at && other != g.Policy && g.Policy != "" {
			l.add("E1307", b.at, "The policy is %q: a block %s says nothing about it. Remove it, or set policy = %q.", g.Policy, other, other)
			linked = false
		}
	}
	b := v.child(g.Policy)
	g.CoolDown = Retry{Min: time.Duration(b.number("cool_down")), Max: time.Duration(b.number("max_cool_down"))}
	g.FailBack, g.ReturnIn = time.Duration(b.number("fail_back")), time.Duration(b.number("return_in"))
	if !b.broken && g.CoolDown.Min > g.CoolDown.Max {
		l.add("E1303", b.where("cool_down"), "The first pause, %v, is longer than the longest, %v.", g.CoolDown.Min, g.CoolDown.Max)
	}
	if g.Policy == groupBalance {
		g.Policy = b.text("select")
	}
	return g, l.members(v, &g) && linked
}

// members reads the sinks of a group.
func (l *loader) members(v *values, g *Group) bool {
	expr := v.args["members"].expr
	if expr == nil {
		return false // reported as missing
	}
	before := len(l.diags)
	items, diags := hcl.ExprList(expr)
	switch {
	case diags.HasErrors():
		l.add("E1301", expr.Range(), "The argument \"members\" must be a list of sinks: [sink.NAME].")
	case len(items) == 0:
		l.add("E2009", expr.Range(), "sink_group.%s has no members: its events would go nowhere. Name its sinks: members = [sink.NAME].", g.Name)
	case len(items) > maxMembers:
		l.add("E1303", expr.Range(), "There are %d members; %d are the most of one group.", len(items), maxMembers)
	}
	var names []string
	for _, b := range l.blocks["sink"] {
		names = append(names, b.name())
	}
	for _, item := range items {
		name, ok := l.reference(item, "sink", names)
		switch of := l.grouped[name]; {
		case !ok:
			l.adrift = true
		case of != nil:
			l.add("E2009", item.Range(), "sink.%s is a member of sink_group.%s already. A sink is a member once.", name, of.Name)
		default:
			l.grouped[name] = g
			g.Members = append(g.Members, name)
		}
	}
	return !l.diags[before:].HasErrors()
}

// member makes a sink one of its group, if it has one; else it must say itself what it reads.
func (l *loader) member(v *values, s *Sink) bool {
	g := l.grouped[v.name()]
	if g == nil {
		if v.args["from"].expr == nil {
			l.add("E1204", v.at, "A sink block needs the argument \"from\": write from = channel.NAME. A sink without it is a member of a sink_group.")
			l.adrift = true
			return false
		}
		return true
	}
	before := len(l.diags)
	for _, name := range ofTheGroup {
		if v.isSet(name) {
			l.add("E2010", v.where(name), "sink.%s is a member of sink_group.%s, which has no %s of each member. Say it there, or remove it.", s.Name, g.Name, name)
		}
	}
	if retry := v.child("retry"); retry.at != v.at { // else it is not written
		l.add("E2010", retry.at, "sink.%s is a member of sink_group.%s, whose cool_down says how long it pauses. Remove the retry block.", s.Name, g.Name)
	}
	if g.Exact() && s.Plugin.Name != "" && s.Plugin.Effects != "transactional" && s.Plugin.Effects != "idempotent" {
		l.add("E2011", v.label[0], "sink_group.%s says delivery = \"exactly_once\", and the plugin %s does not say that it knows what it holds: what is sent to it again would be there twice. Take another plugin, or set delivery = \"at_least_once\".",
			g.Name, s.Plugin.Name)
	}
	s.Group, s.Feed, s.Start, s.Delivery = g.Name, g.Feed, g.Start, ""
	return !l.diags[before:].HasErrors()
}
