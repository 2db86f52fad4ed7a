// SPDX-License-Identifier: Apache-2.0

package flume

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// group is one of Flume's, and what stands for it.
type group struct {
	*component
	members []*sink // those that are left, the preferred ones first
	block   *block  // nil: they need none
}

func (g *group) blocks() []*block {
	if g.block == nil {
		return nil
	}
	return []*block{g.block}
}

// group reads a group of sinks. The sinks are there.
func (k *conversion) group(c *component) *group {
	g := &group{component: c}
	names := c.words("sinks")
	c.Type = shortType(c.take("processor.type", "default"))
	switch {
	case len(names) < 2:
		c.note(Converted, "", "not needed: a group of one sink")
		c.noteRest()
		return g
	case c.Type == "default":
		c.note(Differs, "", "Flume takes no group of several sinks without processor.type; here they take turns")
		c.noteRest()
		return g
	case c.Type != "failover" && c.Type != "load_balance":
		c.note(Missing, "processor.type", "there are the policies failover and load_balance of a sink_group; here its sinks take turns")
		c.noteRest()
		return g
	}
	k.joinMembers(g, names)
	if len(g.members) < 2 {
		c.note(Differs, "", "no group is needed for what is left of it")
		c.noteRest()
		g.members = nil
		return g
	}
	g.block = &block{kind: "sink_group", labels: []string{k.name("sink_group", c.Name)}}
	c.Became = []string{g.block.address()}
	g.block.refer("members", "") // the order is the policy's
	if c.Type == "failover" {
		g.failover()
	} else {
		g.balance()
	}
	g.block.args[0].value = list(g.members)
	c.rest()
	return g
}

// joinMembers finds those of the sinks that can be in one group.
func (k *conversion) joinMembers(g *group, names []string) {
	for _, name := range names {
		g.take("processor.priority."+name, "")
		i := slices.IndexFunc(k.sinks, func(s *sink) bool { return s.Name == name })
		switch {
		case i < 0:
			g.note(Missing, "", fmt.Sprintf("there is no sink %s among those of the agent", name))
		case len(k.sinks[i].blocks) == 0:
			g.note(Differs, "", fmt.Sprintf("without the sink %s, which has no equivalent", name))
		case len(g.members) > 0 && g.members[0].channel != k.sinks[i].channel:
			g.note(Missing, "", fmt.Sprintf("without the sink %s, which drains another channel than %s: a sink_group reads one", name, g.members[0].Name))
		default:
			g.members = append(g.members, k.sinks[i])
		}
	}
}

// failover is that policy. Flume's pause of a member is a second, doubled at each failure.
func (g *group) failover() {
	slices.SortStableFunc(g.members, func(a, b *sink) int { return cmp.Compare(g.priority(b), g.priority(a)) })
	g.block.set("policy", "failover")
	b := g.block.within("failover")
	g.coolDown(b, "processor.maxpenalty")
	b.set("fail_back", "0s")
	g.note(Converted, "", "as in Flume, a member is preferred again as soon as its pause is over; without fail_back it has to wait for ten seconds")
}

// balance is that policy.
func (g *group) balance() {
	g.block.set("policy", "load_balance")
	b := g.block.within("load_balance")
	switch kind := strings.ToLower(g.take("processor.selector", "round_robin")); kind {
	case "round_robin":
	case "random":
		b.set("select", kind)
	default:
		g.note(Missing, "processor.selector", "there is select = \"round_robin\", \"random\" and \"least_pending\"")
	}
	if !g.flag("processor.backoff", false) {
		g.note(Differs, "processor.backoff", "a member that failed is left alone for cool_down, and longer each time")
	}
	g.coolDown(b, "processor.selector.maxTimeOut")
	if len(b.args) == 0 {
		g.block.blocks = nil
	}
}

// coolDown sets the longest pause, where it is not what it is anyway.
func (g *group) coolDown(b *block, key string) {
	const usual, first = 30_000, 1_000
	ms, ok := g.number(key, 24*60*60*1000)
	if !ok || ms == usual {
		return
	}
	ms = max(ms, 1)
	pause := fmt.Sprintf("%dms", ms)
	if ms%1000 == 0 {
		pause = fmt.Sprintf("%ds", ms/1000)
	}
	if ms < first {
		b.set("cool_down", pause)
	}
	b.set("max_cool_down", pause)
}

// priority is that of a sink; 0 without.
func (g *group) priority(s *sink) int {
	n, err := strconv.Atoi(g.take("processor.priority."+s.Name, ""))
	if err != nil {
		return 0
	}
	return n
}

func list(sinks []*sink) string {
	var names []string
	for _, s := range sinks {
		names = append(names, s.blocks[0].address())
	}
	return "[" + strings.Join(names, ", ") + "]"
}

// drain connects sinks with channels.
func (k *conversion) drain() {
	for _, ch := range k.channels {
		var sinks []*sink
		for _, s := range k.sinks {
			if s.channel == ch.Name && len(s.blocks) > 0 {
				sinks = append(sinks, s)
			}
		}
		if ch.reads != "" && !slices.ContainsFunc(k.sinks, func(s *sink) bool { return s.channel == ch.Name }) {
			ch.note(Missing, "", fmt.Sprintf("no sink drains it. Give %s one: sink \"discard\" throws its events away", ch.reads))
		}
		k.share(ch, sinks)
		for _, s := range sinks {
			if b := s.blocks[0]; !b.off && s.Became == nil {
				s.Became = []string{b.address()}
			}
		}
	}
	for _, s := range k.sinks {
		if k.channelNamed(s.channel) == nil && len(s.blocks) > 0 {
			s.note(Missing, "channel", "there is no such channel among those of the agent; write from = channel.NAME")
		}
	}
}

// share says how several sinks of one channel of Flume's share its events: there each event went to one of them.
func (k *conversion) share(ch *channel, sinks []*sink) {
	grouped := map[*sink]*group{}
	for _, g := range k.groups {
		for _, s := range g.members {
			grouped[s] = g
		}
	}
	var groups []*group
	for _, s := range sinks {
		if g := grouped[s]; g != nil && !slices.Contains(groups, g) {
			groups = append(groups, g)
		}
	}
	lone := slices.DeleteFunc(slices.Clone(sinks), func(s *sink) bool { return grouped[s] != nil })
	switch {
	case len(groups) > 0:
		g := groups[0]
		g.block.reads(ch)
		if ch.skips {
			g.note(Missing, "", "the channel was optional; a group holds it up when it is behind. Give it a channel of its own, with a sink \"channel\" that has on_lag = \"skip\" before it")
		}
		for _, other := range groups[1:] {
			other.block.reads(ch)
			other.block.off, other.Became = true, nil
			leaveOut(ch, g.block.address(), other.members)
			other.note(Missing, "", fmt.Sprintf("it took turns at the channel with %s, each event going to one of them", g.Name))
		}
		leaveOut(ch, g.block.address(), lone)
	case len(lone) == 1:
		lone[0].connect(ch)
	case len(lone) > 1 && !k.alike(ch, lone):
		ch.shared = &block{kind: "sink_group", labels: []string{k.name("sink_group", ch.Name)}}
		ch.shared.refer("from", ch.from())
		ch.shared.refer("members", list(lone))
		ch.shared.set("policy", "load_balance")
		for _, s := range lone {
			s.note(Converted, "", fmt.Sprintf("it takes turns at the channel with others, each event going to one of them: %s", ch.shared.address()))
		}
		if ch.skips {
			ch.note(Missing, "", "it was optional; a group holds the channel up when it is behind. Give the group a channel of its own, with a sink \"channel\" that has on_lag = \"skip\" before it")
		}
	}
}

// leaveOut puts sinks into comments that took turns with others, where that has no equivalent.
func leaveOut(ch *channel, with string, sinks []*sink) {
	for _, s := range sinks {
		s.blocks[0].reads(ch)
		s.blocks[0].off = true
		s.note(Missing, "", fmt.Sprintf("it took turns at the channel with %s, each event going to one of them; as a sink beside it, it would get every event as well. "+
			"Make it a member, or take it out of the comment if that is wanted", with))
	}
}

// connect has a sink read what its channel has.
func (s *sink) connect(ch *channel) {
	b := s.blocks[0]
	if ch.skips && (ch.leader != nil || ch.reads != "") {
		b.args = slices.Insert(b.args, 0, arg{"on_lag", `"skip"`})
		s.note(Differs, "", "its channel was optional: when it alone is behind and the channel is full, it goes on further ahead, and what it skipped is counted and logged")
	}
	b.reads(ch)
}

// reads puts first what a block reads.
func (b *block) reads(ch *channel) { b.args = slices.Insert(b.args, 0, arg{"from", ch.from()}) }

// concurrent are the plugins that may deliver over several connections.
var concurrent = []string{"http", "stdout", "discard", "kafka_plain"}

// alike makes one sink with several connections of those that do the same, if they can.
func (k *conversion) alike(ch *channel, sinks []*sink) bool {
	first := sinks[0]
	same := !slices.ContainsFunc(sinks[1:], func(s *sink) bool { return !maps.Equal(s.values, first.values) })
	b := first.blocks[0]
	if !same || !slices.Contains(concurrent, b.labels[0]) {
		return false
	}
	first.connect(ch)
	b.set("order", "none")
	b.set("connections", int64(len(sinks)))
	first.note(Converted, "", "it stands for all that took turns at the channel in the same way")
	for _, s := range sinks[1:] {
		s.blocks[0].reads(ch)
		s.blocks[0].off = true
		s.note(Converted, "", fmt.Sprintf("%s delivers over so many connections", b.address()))
		s.Became = []string{b.address()}
	}
	return true
}
