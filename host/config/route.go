// SPDX-License-Identifier: Apache-2.0

package config

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Route deals the events of a channel to sinks, case by case.
type Route struct {
	Name      string
	From      string // name of a channel
	All       bool   // an event is of all cases that hold for it; else of the first
	Cases     []Case // in the order of the file, the default last
	DeclRange hcl.Range
}

// Case is one of the cases of a route. An event that is of none is given up, which the file says then.
type Case struct {
	Name      string
	Default   bool       // it has the events that are of no other
	When      *Condition // nil: of the default, or when it holds for all
	DeclRange hcl.Range
}

// Address is what metrics call it, e.g. "route.by_level".
func (r Route) Address() string { return routeReference + "." + r.Name }

// Case returns the place of the case with that name, or -1.
func (r Route) Case(name string) int {
	return slices.IndexFunc(r.Cases, func(c Case) bool { return c.Name == name })
}

// Deciding are the cases that decide whether an event is of the one at a place, that one included, in their order.
func (r Route) Deciding(place int) []Case {
	switch {
	case place < 0:
		return nil
	case r.All && !r.Cases[place].Default:
		return r.Cases[place : place+1]
	}
	return r.Cases[:place+1]
}

// Tallies says whether those who read a case count what is of none: those of the last case do, where there is no default.
func (r Route) Tallies(name string) bool {
	last := r.Cases[len(r.Cases)-1]
	return !last.Default && name == last.Name
}

// Tallies says whether a sink counts what is of no case of its route, so that each event is counted once: of those whose case tells, the first one
// does, with the members of its group.
func (c *Config) Tallies(s Sink) bool {
	if s.Route == "" || !c.Route(s.Route).Tallies(s.Case) {
		return false
	}
	first := slices.IndexFunc(c.Sinks, func(o Sink) bool { return o.Route == s.Route && o.Case == s.Case })
	return first >= 0 && (c.Sinks[first].Address() == s.Address() || s.Group != "" && c.Sinks[first].Group == s.Group)
}

// Feed is where a sink, or a group of them, gets its events from, and which of them.
type Feed struct {
	From  string     // name of a channel
	Route string     // name of the route that deals; "" = none does, and every event is meant
	Case  string     // of the route
	Where *Condition // what is asked besides; nil: nothing
}

// Reads is what it reads, as that is written: "channel.main", "route.by_level.loud".
func (f Feed) Reads() string {
	if f.Route == "" {
		return channelReference + "." + f.From
	}
	return caseReference(f.Route, f.Case)
}

// Route returns the one of that name; it must be there.
func (c *Config) Route(name string) Route {
	return c.Routes[slices.IndexFunc(c.Routes, func(r Route) bool { return r.Name == name })]
}

const routeReference = "route"

func caseReference(route, option string) string {
	return strings.Join([]string{routeReference, route, option}, ".")
}

// declareRoutes reads all route blocks.
func (l *loader) declareRoutes(c *Config) {
	for _, v := range l.blocks[routeReference] {
		if l.routes[v.name()] != nil {
			continue // reported as a name used twice
		}
		r := &Route{Name: v.name(), All: v.text("match") == matchAll, DeclRange: v.at}
		l.routes[r.Name] = r
		var linked bool
		if expr := v.args["from"].expr; expr != nil {
			r.From, linked = l.channelAt(v, expr)
		}
		if !linked {
			l.adrift = true
		}
		decided := l.cases(r, v)
		if linked && decided && !v.broken {
			c.Routes = append(c.Routes, *r)
		}
	}
}

// cases reads those of a route, and checks that no event gets lost between them unsaid.
func (l *loader) cases(r *Route, v *values) (ok bool) {
	before := len(l.diags)
	fallback := v.child("default")
	written := len(fallback.labels) > 0
	for _, b := range v.inner["case"] {
		if l.caseName(r, b) {
			when, _ := l.chooser(b, "when")
			r.Cases = append(r.Cases, Case{Name: b.name(), When: when, DeclRange: b.at})
		}
	}
	if written && l.caseName(r, fallback) {
		r.Cases = append(r.Cases, Case{Name: fallback.name(), Default: true, DeclRange: fallback.at})
	}
	switch all := v.text("unmatched") == discard; {
	case v.broken, l.diags[before:].HasErrors():
	case len(r.Cases) > maxCases:
		l.add("E1303", r.DeclRange, "There are %d cases; %d are the most of one route.", len(r.Cases), maxCases)
	case len(v.inner["case"]) == 0:
		l.add("E1204", r.DeclRange, "A route block needs a case block: case \"NAME\" { when = … }.")
	case written && all:
		l.add("E1307", v.where("unmatched"), "Every event that is of no other case is of the default %q: none is unmatched. Leave one of the two out.", fallback.name())
	case !written && !all:
		l.add("E2007", r.DeclRange, "What becomes of events for which none of the cases of route.%s holds is not said: they would vanish. Add default \"rest\" {} with a sink that reads route.%s.rest, or give them up with unmatched = \"discard\".",
			r.Name, r.Name)
	}
	return !l.diags[before:].HasErrors()
}

// caseName checks the name of a case: one that a reference can be written with, and used once.
func (l *loader) caseName(r *Route, b *values) bool {
	at := b.label[0]
	switch first := r.Case(b.name()); {
	case !identifier.MatchString(b.name()) || len(b.name()) > maxName:
		l.add("E1207", at, "%s cannot be a name: up to %d letters, digits, _ and - make one, and it begins with a letter, because references write it bare: route.%s.NAME.",
			quote(b.name()), maxName, r.Name)
	case first >= 0:
		l.add("E1208", at, "The case %q of route.%s is already at %s. A name is used once.", b.name(), r.Name, place(r.Cases[first].DeclRange))
	default:
		return true
	}
	l.adrift = true // who reads it may have meant either
	return false
}

// chooser is a condition that chooses between events, and so speaks of them.
func (l *loader) chooser(v *values, name string) (*Condition, bool) {
	c, ok := l.condition(v, name)
	x := v.args[name].expr
	if x == nil || !ok {
		return c, ok
	}
	for _, t := range x.Variables() {
		if t.RootName() == "event" {
			return c, true
		}
	}
	l.add("E1414", x.Range(), "This is the same for all events: it does not name event. Write event.attributes.NAME, event.json.FIELD or event.body into %s.", name)
	return nil, false
}

// feed reads which events a sink gets.
func (l *loader) feed(v *values) (f Feed, ok bool) {
	expr := v.args["from"].expr
	if t, deals := l.dealt(expr); deals {
		f, ok = l.caseAt(expr, t)
	} else if text, quoted := l.quotedCase(expr); quoted {
		l.add("E1502", expr.Range(), "A case is written bare: %s.", text)
		l.adrift = true
	} else {
		f.From, ok = l.channelOf(v, "from", l.drained)
	}
	where, decides := l.chooser(v, "where")
	f.Where = where
	return f, ok && decides
}

// dealt says whether a reference means a route rather than a channel.
func (l *loader) dealt(expr hcl.Expression) (t hcl.Traversal, is bool) {
	if expr == nil {
		return nil, false
	}
	t, _, isName := l.split(expr)
	return t, isName && (t.RootName() == routeReference || len(t) > 2)
}

// quotedCase finds the case in "route.NAME.CASE".
func (l *loader) quotedCase(expr hcl.Expression) (text string, is bool) {
	if expr == nil || len(expr.Variables()) > 0 {
		return "", false
	}
	v, diags := expr.Value(l.scope.context())
	if diags.HasErrors() || v.ContainsMarked() {
		return "", false
	}
	text = stringOf(v)
	return text, strings.HasPrefix(text, routeReference+".")
}

// caseAt reads route.NAME.CASE as it stands.
func (l *loader) caseAt(expr hcl.Expression, t hcl.Traversal) (f Feed, ok bool) {
	names := make([]string, 0, len(l.routes))
	for name := range l.routes {
		names = append(names, name)
	}
	slices.Sort(names)
	defer func() { l.adrift = l.adrift || !ok }()
	route, option, ok := routeAndCase(t)
	if !ok {
		l.add("E1502", expr.Range(), "A sink reads a channel, channel.NAME, or a case of a route: route.NAME.CASE.%s", l.casesThere(t))
		return f, false
	}
	r := l.routes[route]
	if r == nil {
		l.add("E1501", expr.Range(), "There is no route %q.%s", route, thereIs(route, names))
		return f, false
	}
	if r.Case(option) < 0 {
		l.add("E1501", expr.Range(), "route.%s has no case %q.%s", route, option, thereIs(option, r.caseNames()))
		return f, false
	}
	l.chosen[caseReference(route, option)] = true
	if r.From == "" {
		return f, false // reported there
	}
	l.drained[r.From] = true
	return Feed{From: r.From, Route: route, Case: option}, true
}

// routeAndCase takes route.NAME.CASE apart.
func routeAndCase(t hcl.Traversal) (route, option string, ok bool) {
	if len(t) != 3 || t.RootName() != routeReference {
		return "", "", false
	}
	name, isName := t[1].(hcl.TraverseAttr)
	of, isCase := t[2].(hcl.TraverseAttr)
	return name.Name, of.Name, isName && isCase
}

// casesThere tells who wrote route.NAME which cases it has.
func (l *loader) casesThere(t hcl.Traversal) string {
	if len(t) != 2 {
		return ""
	}
	attr, _ := t[1].(hcl.TraverseAttr)
	r := l.routes[attr.Name]
	if r == nil || len(r.Cases) == 0 {
		return ""
	}
	return " " + r.Address() + " has " + list(r.caseNames(), "and") + "."
}

func (r *Route) caseNames() (names []string) {
	for _, c := range r.Cases {
		names = append(names, c.Name)
	}
	return names
}

// unreadCases reports cases that no sink reads: events of them would vanish.
func (l *loader) unreadCases(c *Config) {
	for _, r := range c.Routes {
		for _, option := range r.Cases {
			name := caseReference(r.Name, option.Name)
			if l.chosen[name] || l.adrift {
				continue
			}
			off := ""
			if sink, idle := l.idle[name]; idle {
				off = " sink." + sink + " would, and is switched off."
			}
			l.add("E2008", option.DeclRange, "No sink reads %s: the events of this case would vanish.%s Add a sink with from = %s, or remove the case. To throw them away on purpose, give them to the sink discard.",
				name, off, name)
		}
	}
}
