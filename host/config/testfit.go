// SPDX-License-Identifier: Apache-2.0

package config

import (
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/penstock-io/penstock/spec/abi"
)

// expectable are the kinds of what may be expected of, each with the arguments that it has.
var expectable = map[string][]string{
	"sink":           {"bodies", "any_order", "events", "contains", "excludes", "attributes", "state"},
	groupReference:   {"bodies", "any_order", "events", "contains", "excludes", "attributes", "in_doubt"},
	channelReference: {"bodies", "any_order", "events", "contains", "excludes", "attributes"},
	routeReference:   {"bodies", "any_order", "events", "contains", "excludes", "attributes"},
	"source":         {"state"},
}

// Check says what of a test does not fit the pipeline.
func (t Test) Check(c *Config) hcl.Diagnostics {
	l := &loader{}
	kinds := c.names()
	for _, in := range t.Inputs {
		l.named(in.at, kinds, string(abi.Source), in.Source)
	}
	for _, s := range t.Sinks {
		l.named(s.at, kinds, string(abi.Sink), s.Sink)
	}
	for _, e := range t.Expects {
		kind, name, _ := strings.Cut(e.Address, ".")
		if expectable[kind] == nil {
			l.add("E2101", e.at.at, "What is expected is of \"sink.NAME\", \"channel.NAME\", \"source.NAME\", \"route.NAME\", \"route.NAME.CASE\" or \"sink_group.NAME\"; this is %s.", quote(e.Address))
			continue
		}
		option, ofCase := "", false
		if kind == routeReference {
			name, option, ofCase = strings.Cut(name, ".")
		}
		if !l.named(e.at.at, kinds, kind, name) {
			continue
		}
		switch kind {
		case routeReference:
			l.dealsTo(e, c.Route(name), option, ofCase)
		case groupReference:
			l.recorded(e, t, c.Groups[slices.IndexFunc(c.Groups, func(g Group) bool { return g.Name == name })])
		}
		l.fits(e, kind)
	}
	return l.sorted()
}

// names are the names of what a test may speak of, by kind.
func (c *Config) names() map[string][]string {
	kinds := map[string][]string{}
	for _, comp := range c.Components() {
		kinds[string(comp.Kind)] = append(kinds[string(comp.Kind)], comp.Name)
	}
	for _, ch := range c.Channels {
		kinds[channelReference] = append(kinds[channelReference], ch.Name)
	}
	for _, r := range c.Routes {
		kinds[routeReference] = append(kinds[routeReference], r.Name)
	}
	for _, g := range c.Groups {
		kinds[groupReference] = append(kinds[groupReference], g.Name)
	}
	return kinds
}

// named refuses a name that the pipeline has not.
func (l *loader) named(at hcl.Range, kinds map[string][]string, kind, name string) bool {
	if slices.Contains(kinds[kind], name) {
		return true
	}
	l.add("E2101", at, "The pipeline has no %s %q.%s", kind, name, thereIs(name, kinds[kind]))
	return false
}

// dealsTo refuses a case that a route has not, and those of no case where there are none.
func (l *loader) dealsTo(e Expect, r Route, option string, ofCase bool) {
	last := r.Cases[len(r.Cases)-1]
	switch {
	case ofCase && r.Case(option) < 0:
		l.add("E2101", e.at.at, "route.%s has no case %q.%s", r.Name, option, thereIs(option, r.caseNames()))
	case !ofCase && last.Default:
		l.add("E2101", e.at.at, "route.%s gives nothing up: it has the default %q. Expect the events of a case: %q.", r.Name, last.Name, caseReference(r.Name, last.Name))
	}
}

// recorded refuses to expect events of a group of which some are in the file of a member's own plugin.
func (l *loader) recorded(e Expect, t Test, g Group) {
	for _, s := range t.Sinks {
		if s.Stored != "" && slices.Contains(g.Members, s.Sink) {
			l.add("E2101", e.at.at, "sink.%s is a member of sink_group.%s, and its own plugin stores what it is given: expect the events of each sink.", s.Sink, g.Name)
		}
	}
}

// fits refuses arguments that a kind has not.
func (l *loader) fits(e Expect, kind string) {
	for _, name := range slices.Sorted(maps.Keys(e.at.args)) {
		if e.at.isSet(name) && !slices.Contains(expectable[kind], name) {
			l.add("E2101", e.at.args[name].name, "There is no %q to be expected of a %s.", name, kind)
		}
	}
}
