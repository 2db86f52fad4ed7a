// SPDX-License-Identifier: Apache-2.0

package config

import (
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/penstock-io/penstock/spec/abi"
)

// Processor changes events on their way. Each use of it, in a through, is an instance of its own.
type Processor struct {
	Component
	OnError string     // "stop", "drop", "dead_letter", "pass"
	When    *Condition // nil: it is for all events
}

const processorReference = "processor"

// declareProcessors reads all processor blocks, also of those that nothing uses.
func (l *loader) declareProcessors(c *Config) {
	for _, v := range l.blocks["processor"] {
		if l.processors[v.name()] != nil {
			continue // reported as a name used twice
		}
		p := &processorBlock{values: v}
		l.processors[v.name()] = p
		l.declare(v, func() (ok bool, add func()) {
			component, ok := l.component(abi.Processor, v)
			p.multiplies = component.Plugin.Multiplies
			when, decides := l.condition(v, "when")
			return ok && decides && !v.broken, func() {
				c.Processors = append(c.Processors, Processor{Component: component, OnError: v.text("on_error"), When: when})
			}
		})
	}
}

// processorBlock is a processor that a file declares.
type processorBlock struct {
	*values
	used       bool
	multiplies bool // its plugin claims so
}

// through reads the processors that the events of a source go through on their way into a channel, or those of a sink on their way out of one.
func (l *loader) through(v *values, of abi.Kind, channel string) (names []string, ok bool) {
	expr := v.args["through"].expr
	if expr == nil {
		return nil, true
	}
	before := l.unsure
	l.unsure = true
	items, diags := hcl.ExprList(expr)
	switch {
	case diags.HasErrors():
		l.add("E1301", expr.Range(), "The argument \"through\" must be a list of processors: [processor.NAME].")
		return nil, false
	case len(items) > maxThrough:
		l.add("E1303", expr.Range(), "There are %d processors; %d are the most that events go through.", len(items), maxThrough)
		return nil, false
	}
	ok, l.unsure = true, before
	for _, item := range items {
		name, found := l.reference(item, processorReference, slices.Collect(maps.Keys(l.processors)))
		if !found {
			ok, l.unsure = false, true
			continue
		}
		p := l.processors[name]
		if p.used = true; p.off() {
			continue // events pass it by
		}
		names = append(names, name)
		ok = l.wayFor(p, name, v, of, channel, item.Range()) && ok
	}
	return names, ok
}

// wayFor checks that a processor may stand where it is named.
func (l *loader) wayFor(p *processorBlock, name string, v *values, of abi.Kind, channel string, at hcl.Range) bool {
	ok := true
	if ch := l.channels[channel]; p.text("on_error") == "dead_letter" && ch != nil && !ch.isSet("dead_letter") {
		does := "into which source." + v.name() + " puts"
		if of == abi.Sink {
			does = "which sink." + v.name() + " drains"
		}
		l.add("E2005", at, "processor.%s gives events to the dead letters, and channel.%s, %s, names no channel for them. Add dead_letter = channel.NAME to it, or give the processor another on_error.",
			name, channel, does)
		ok = false
	}
	if of == abi.Sink && p.multiplies {
		l.add("E2014", at, "processor.%s may make several events of one, and on the way to a sink each event has one offset, by which its destination, its dead letter and a replay know it. Name it in the source: through = [processor.%s].", name, name)
		ok = false
	}
	return ok
}

// unusedProcessors warns of what nothing goes through. Of a block with for_each, one instance that is used will do.
func (l *loader) unusedProcessors() {
	used := make(map[hcl.Range]bool)
	for _, p := range l.processors {
		used[p.at] = used[p.at] || p.used || p.broken || p.off()
	}
	for _, name := range slices.Sorted(maps.Keys(l.processors)) {
		if p := l.processors[name]; !used[p.at] && !l.unsure {
			used[p.at] = true
			l.add("W4003", p.at, "Nothing goes through processor.%s. Name it in a source or a sink: through = [processor.%s].", name, name)
		}
	}
}
