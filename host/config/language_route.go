// SPDX-License-Identifier: Apache-2.0

package config

// routeBlock is a route, as a pipeline file may hold it.
var routeBlock = block{
	name: "route", labels: []string{"name"},
	doc: "Deals the events of one channel to its sinks, case by case. A sink reads one case: `from = route.NAME.CASE`. Nothing is copied: the channel holds each event once.",
	args: arguments(
		arg{name: "from", typ: "channel", required: true, doc: "The channel whose events it deals."},
		arg{name: "match", typ: "string", def: defaultMatch, enum: []string{matchFirst, matchAll}, doc: "An event is of the `first` case that holds for it, in the order of the file, or of `all` that do."},
		arg{name: "unmatched", typ: "string", shown: "–", enum: []string{discard}, doc: "What becomes of events that are of no case, where there is no `default`: `discard` gives them up, counted. Without either, the route is refused."}),
	blocks: []block{
		{name: "case", labels: []string{"name"}, doc: "Events of one kind, for the sinks that read it.", args: arguments(
			arg{name: "when", typ: "expression", required: true, doc: "Which events are of the case, as an expression over `event`: see [Expressions over events](expressions.md). One of which it cannot be said is not of it."})},
		{name: "default", labels: []string{"name"}, once: true, doc: "The case of the events that are of no other."},
	},
}

const (
	matchFirst = "first"
	matchAll   = "all"
	discard    = "discard"
)
