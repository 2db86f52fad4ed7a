// SPDX-License-Identifier: Apache-2.0

// Package graph draws a checked configuration: which way events go, from sources through processors and channels to sinks.
//
// Invariants:
//
//   - What is drawn is what would run: instances of for_each each by itself, nothing that is switched off but its name.
//   - The order is that of the files, so that two drawings of one configuration are the same.
//   - Nothing of a plugin's config is in it.
package graph

import (
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-io/penstock/host/config"
)

// Graph is a configuration as nodes and edges.
type Graph struct {
	Agent string   `json:"agent"`
	Nodes []Node   `json:"nodes"`
	Edges []Edge   `json:"edges"`
	Off   []string `json:"off"` // addresses of what is switched off
}

// Node is something that events go through.
type Node struct {
	ID      string `json:"id"`      // unique: the address, and of a processor also that of the source or sink whose events go through it
	Address string `json:"address"` // "source.shop"
	Kind    string `json:"kind"`    // "source", "processor", "channel", "route", "sink_group", "sink"
	Of      string `json:"of"`      // the plugin, the kind of channel, which cases of a route an event is of, or the policy of a group
	About   string `json:"about"`   // a word or two more: of a channel its capacity
}

// The kinds of edges.
const (
	Events      = "events"
	DeadLetters = "dead letters"
)

// Edge is a way that events go.
type Edge struct {
	From string `json:"from"` // ids
	To   string `json:"to"`
	Kind string `json:"kind"`
	Case string `json:"case,omitempty"` // of the route that it comes from
}

// Of makes the graph of a configuration.
func Of(c *config.Config) *Graph {
	g := &Graph{Agent: c.Agent.Name, Nodes: []Node{}, Edges: []Edge{}, Off: append([]string{}, c.Off...)}
	for _, s := range c.Sources {
		from := s.Address()
		g.Nodes = append(g.Nodes, Node{ID: from, Address: from, Kind: "source", Of: s.Plugin.Name})
		way := g.through(c, Edge{From: from, Kind: Events}, s.Address(), s.Through)
		way.To = "channel." + s.Into
		g.Edges = append(g.Edges, way)
	}
	for _, ch := range c.Channels {
		g.Nodes = append(g.Nodes, Node{ID: ch.Address(), Address: ch.Address(), Kind: "channel", Of: ch.Kind, About: config.SizeText(ch.CapacityBytes)})
		if ch.DeadLetter != "" {
			g.Edges = append(g.Edges, Edge{From: ch.Address(), To: "channel." + ch.DeadLetter, Kind: DeadLetters})
		}
	}
	for _, r := range c.Routes {
		g.Nodes = append(g.Nodes, Node{ID: r.Address(), Address: r.Address(), Kind: "route", Of: match(r)})
		g.Edges = append(g.Edges, Edge{From: "channel." + r.From, To: r.Address(), Kind: Events})
	}
	for _, sg := range c.Groups {
		g.Nodes = append(g.Nodes, Node{ID: sg.Address(), Address: sg.Address(), Kind: "sink_group", Of: sg.Policy, About: filtered(sg.Feed)})
		g.Edges = append(g.Edges, feed(c, sg.Feed, sg.Address()))
	}
	for _, s := range c.Sinks {
		g.Nodes = append(g.Nodes, Node{ID: s.Address(), Address: s.Address(), Kind: "sink", Of: s.Plugin.Name, About: about(s)})
		way := feed(c, s.Feed, s.Address())
		if sg, in := c.GroupOf(s); in {
			way = Edge{From: sg.Address(), To: s.Address(), Kind: Events}
		}
		way = g.through(c, way, s.Address(), s.Through)
		way.To = s.Address()
		g.Edges = append(g.Edges, way)
		if s.Relays() {
			g.Edges = append(g.Edges, Edge{From: s.Address(), To: "channel." + s.Into, Kind: Events})
		}
	}
	return g
}

// feed is the way from a channel, or a case of a route, to what reads it.
func feed(c *config.Config, f config.Feed, to string) Edge {
	way := Edge{From: "channel." + f.From, To: to, Kind: Events, Case: f.Case}
	if f.Route != "" {
		way.From = c.Route(f.Route).Address()
	}
	return way
}

// through draws the processors of a component, and answers the way that is left behind the last of them.
func (g *Graph) through(c *config.Config, way Edge, of string, names []string) Edge {
	for i, name := range names {
		p := c.Processors[slices.IndexFunc(c.Processors, func(p config.Processor) bool { return p.Name == name })]
		id := fmt.Sprintf("%s/%d/%s", of, i, p.Address()) // each use is an instance
		g.Nodes = append(g.Nodes, Node{ID: id, Address: p.Address(), Kind: "processor", Of: p.Plugin.Name})
		way.To = id
		g.Edges = append(g.Edges, way)
		way = Edge{From: id, Kind: Events}
	}
	return way
}

func filtered(f config.Feed) string {
	if f.Where != nil {
		return "filtered"
	}
	return ""
}

// match says of which cases of a route an event is.
func match(r config.Route) string {
	if r.All {
		return "all cases"
	}
	return "first case"
}

// about says what there is to know of a sink beside its plugin.
func about(s config.Sink) string {
	words := []string{}
	if n := parallel(s); n != "" {
		words = append(words, n)
	}
	if s.Group == "" && s.Where != nil {
		words = append(words, filtered(s.Feed))
	}
	return strings.Join(words, ", ")
}

// parallel says how many instances a sink has, where it has several.
func parallel(s config.Sink) string {
	switch {
	case s.Lanes > 1:
		return fmt.Sprintf("%d lanes", s.Lanes)
	case s.Connections > 1:
		return fmt.Sprintf("%d connections", s.Connections)
	}
	return ""
}
