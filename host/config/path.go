// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/penstock-io/penstock/host/guarantee"
)

// Paths are the ways from each source to each sink that gets what it brings, also through relays, in the order of the sources, then of the sinks.
func (c *Config) Paths() (list []guarantee.Path) {
	for _, s := range c.Sources {
		p := guarantee.Path{Source: guarantee.Source{Address: s.Address(), Replay: s.Plugin.Replay}}
		for _, name := range s.Through {
			p.Processors = append(p.Processors, c.processorLink(name))
		}
		list = append(list, c.onward(p, s.Into)...)
	}
	return list
}

// Guarantees are what holds on each of the paths.
func (c *Config) Guarantees() []guarantee.Report {
	list := []guarantee.Report{}
	for _, p := range c.Paths() {
		list = append(list, p.Report())
	}
	return list
}

// stage is the channel that a sink drains, and the sink.
func (c *Config) stage(k Sink) guarantee.Stage {
	s := guarantee.Stage{Sink: guarantee.Sink{Address: k.Address(), Effects: k.Plugin.Effects, OnLag: k.OnLag}}
	if k.Route != "" {
		s.Case = k.Reads()
	}
	for _, name := range k.Through {
		s.Processors = append(s.Processors, c.processorLink(name))
	}
	if g, in := c.GroupOf(k); in {
		s.Sink.Member = g.Address()
		if !g.Exact() {
			s.Sink.Group = g.Address()
		}
	}
	for _, ch := range c.Channels {
		if ch.Name != k.From {
			continue
		}
		s.Channel = ch.link()
		if i := slices.IndexFunc(c.Channels, func(dead Channel) bool { return dead.Name == ch.DeadLetter }); i >= 0 {
			dead := c.Channels[i].link()
			s.Dead = &dead
		}
	}
	return s
}

func (c *Config) processorLink(name string) guarantee.Processor {
	p := guarantee.Processor{Address: processorReference + "." + name}
	if i := slices.IndexFunc(c.Processors, func(p Processor) bool { return p.Name == name }); i >= 0 {
		p.OnError = c.Processors[i].OnError
	}
	return p
}

func (c Channel) link() guarantee.Channel {
	return guarantee.Channel{Address: c.Address(), Memory: c.Kind != kindDurable, Durability: c.Durability, OnFull: c.OnFull}
}

// promises holds each sink to the delivery that it asks for. Where something else is wrong, what its paths are is not known.
func (l *loader) promises(c *Config) {
	if l.failed() || l.adrift {
		return
	}
	type weak struct{ sink, link, argument string }
	said := make(map[weak]bool)
	for _, p := range c.Paths() {
		r := p.Report()
		sink := l.blockAt(r.Sink)
		if g := l.grouped[sink.name()]; g != nil {
			sink = l.blockAt(g.Address())
		}
		level, asked := guarantee.Parse(sink.text("delivery"))
		if !asked || !sink.isSet("delivery") {
			continue
		}
		for _, f := range r.Faults {
			w := weak{r.Sink, f.Address, f.Argument}
			if !f.Breaks(level) || said[w] {
				continue
			}
			said[w] = true
			l.add("E2201", l.linkRange(f), "%s (%s) asks for delivery = %q, and %s holds no more than %s: %s. For what is asked, %s%s.",
				r.Sink, place(sink.where("delivery")), sink.text("delivery"), r.Way(), r.Delivery, f.Why, f.Remedy, orLess(r.Level()))
		}
	}
}

// orLess says what could be asked for instead.
func orLess(l guarantee.Level) string {
	if l == guarantee.AtLeastOnce {
		return "; or ask for delivery = \"at_least_once\""
	}
	return ""
}

// blockAt finds the block of an address; of a name that nothing has, one without arguments.
func (l *loader) blockAt(address string) *values {
	for _, kind := range []string{"source", "processor", "channel", "sink", groupReference} {
		for _, v := range l.blocks[kind] {
			if fmt.Sprintf("%s.%s", kind, v.name()) == address {
				return v
			}
		}
	}
	return &values{}
}

// linkRange is where it is written what makes a link weak: an argument, or the label that names its plugin or its kind.
func (l *loader) linkRange(f guarantee.Fault) hcl.Range {
	v := l.blockAt(f.Address)
	if (f.Argument == "" || f.Argument == "kind") && len(v.label) > 0 {
		return v.label[0]
	}
	return v.where(f.Argument)
}
