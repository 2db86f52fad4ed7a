// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/spec/abi"
)

func component(kind abi.Kind, name, plugin string) config.Component {
	return config.Component{Kind: kind, Name: name, Plugin: abi.Plugin{Name: plugin}}
}

func source(name, plugin, into string, through ...string) config.Source {
	return config.Source{Component: component(abi.Source, name, plugin), Into: into, Through: through}
}

func sink(name, plugin, from string, lanes int) config.Sink {
	return config.Sink{Component: component(abi.Sink, name, plugin), Feed: config.Feed{From: from}, Lanes: lanes, Connections: 1}
}

// shop has a channel with more sources than sinks, one with more sinks than sources, one that has neither, and one without a sink.
var shop = &config.Config{
	Agent: config.Agent{Name: "web-01"},
	Sources: []config.Source{
		source(`shop["eu"]`, "file", "main", "parse", "mask"), source("load", "generate", "main", "parse"), source("web", "http", "main"), source("one", "tcp", "fast"),
	},
	Processors: []config.Processor{{Component: component(abi.Processor, "parse", "json")}, {Component: component(abi.Processor, "mask", "mask")}},
	Channels: []config.Channel{
		{Kind: "wal", Name: "main", CapacityBytes: 8 << 30, DeadLetter: "rejected"}, {Kind: "memory", Name: "fast", CapacityBytes: 64 << 20},
		{Kind: "wal", Name: "rejected", CapacityBytes: 1 << 30}, {Kind: "wal", Name: "left", CapacityBytes: 1 << 20},
	},
	Sinks: []config.Sink{
		sink("orders", "postgres", "main", 4), sink("archive", "file", "main", 1), sink("a", "tcp", "fast", 1), sink("b", "tcp", "fast", 1), sink("c", "discard", "fast", 1),
		{Component: component(abi.Sink, "d", "discard"), Feed: config.Feed{From: "fast"}, Through: []string{"parse", "mask"}, Lanes: 1, Connections: 1},
	},
	Off: []string{"sink.debug"},
}

func TestPeopleSeeAPictureOfEachChannel(t *testing.T) {
	var out strings.Builder
	Of(shop).WriteText(&out, Plain)
	golden(t, out.String(), text)
}

const text = `file      source.shop["eu"] ─ parse ─ mask ─┐
generate  source.load ─ parse ──────────────┼▶ channel.main ─────────────────────┬▶ sink.orders   postgres, 4 lanes
http      source.web ───────────────────────┘  wal, 8 GiB                        └▶ sink.archive  file
                                               dead letters to channel.rejected

                                    ┌▶ sink.a                 tcp
tcp  source.one ──▶ channel.fast ───┼▶ sink.b                 tcp
                    memory, 64 MiB  ├▶ sink.c                 discard
                                    └▶ parse ─ mask ─ sink.d  discard

dead letters of channel.main ──▶ channel.rejected
                                 wal, 1 GiB

    channel.left
    wal, 1 MiB

Switched off: sink.debug
`

func golden(t *testing.T, got, want string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("it is not what it was:\n%s\n%s", diff, got)
	}
}

func TestGraphvizAndMermaidGetEveryNodeAndEdge(t *testing.T) {
	g := Of(shop)
	var dot, mermaid strings.Builder
	g.WriteDot(&dot)
	g.WriteMermaid(&mermaid)
	if nodes, edges := len(g.Nodes), len(g.Edges); nodes != 19 || edges != 16 {
		t.Errorf("%d nodes, %d edges", nodes, edges)
	}
	for _, c := range []struct {
		out, what string
		want      int
	}{
		{dot.String(), " [shape = ", 19}, {dot.String(), " -> ", 16}, {dot.String(), "style = dashed", 1}, {dot.String(), `"source.shop[\"eu\"]" -> `, 1},
		{mermaid.String(), "\"\n", 0}, {mermaid.String(), " --> ", 15}, {mermaid.String(), " -. dead letters .-> ", 1}, {mermaid.String(), "source.shop[#quot;eu#quot;]<br>file", 1},
	} {
		if got := strings.Count(c.out, c.what); got != c.want {
			t.Errorf("%q is there %d times, not %d:\n%s", c.what, got, c.want, c.out)
		}
	}
	doc, err := json.Marshal(Of(&config.Config{}))
	if err != nil || string(doc) != `{"agent":"","nodes":[],"edges":[],"off":[]}` {
		t.Errorf("of nothing: %s, %v", doc, err)
	}
}

// TestARouteStandsBeforeItsSinks: which case a sink reads is seen in every form.
func TestARouteStandsBeforeItsSinks(t *testing.T) {
	loud := sink("alerts", "http", "main", 1)
	loud.Route, loud.Case, loud.Where = "by_level", "loud", &config.Condition{}
	rest := sink("archive", "file", "main", 4)
	rest.Route, rest.Case, rest.Where = "by_level", "rest", &config.Condition{}
	g := Of(&config.Config{
		Sources:  []config.Source{source("load", "generate", "main")},
		Channels: []config.Channel{{Kind: "wal", Name: "main", CapacityBytes: 1 << 30}},
		Routes:   []config.Route{{Name: "by_level", From: "main", Cases: []config.Case{{Name: "loud"}, {Name: "rest", Default: true}}}},
		Sinks:    []config.Sink{loud, sink("all", "discard", "main", 1), rest},
	})
	var out, dot, mermaid strings.Builder
	g.WriteText(&out, Plain)
	golden(t, out.String(), `                                        ┌▶ by_level.loud ─ sink.alerts   http, filtered
generate  source.load ──▶ channel.main ─┼▶ sink.all                      discard
                          wal, 1 GiB    └▶ by_level.rest ─ sink.archive  file, 4 lanes, filtered
`)
	g.WriteDot(&dot)
	g.WriteMermaid(&mermaid)
	for _, c := range []struct{ out, what string }{
		{dot.String(), `"channel.main" -> "route.by_level"`}, {dot.String(), `"route.by_level" -> "sink.alerts" [label = "loud"]`},
		{dot.String(), `"route.by_level" [shape = diamond, label = "route.by_level\nfirst case"]`},
		{mermaid.String(), `{"route.by_level<br>first case"}`}, {mermaid.String(), "-- rest -->"},
	} {
		if !strings.Contains(c.out, c.what) {
			t.Errorf("%s is not in:\n%s", c.what, c.out)
		}
	}
}

// TestAGroupStandsBeforeItsMembers: also behind a case of a route.
func TestAGroupStandsBeforeItsMembers(t *testing.T) {
	loud := config.Feed{From: "main", Route: "by_level", Case: "loud", Where: &config.Condition{}}
	member := func(name, group string, feed config.Feed) config.Sink {
		s := sink(name, "http", "main", 1)
		s.Group, s.Feed = group, feed
		return s
	}
	g := Of(&config.Config{
		Sources:  []config.Source{source("load", "generate", "main")},
		Channels: []config.Channel{{Kind: "wal", Name: "main", CapacityBytes: 1 << 30}},
		Routes:   []config.Route{{Name: "by_level", From: "main", Cases: []config.Case{{Name: "loud"}}}},
		Groups:   []config.Group{{Name: "all", Policy: "failover", Feed: config.Feed{From: "main"}}, {Name: "alerts", Policy: "round_robin", Feed: loud}},
		Sinks: []config.Sink{
			member("a", "all", config.Feed{From: "main"}), member("b", "all", config.Feed{From: "main"}), member("c", "alerts", loud),
		},
	})
	var out, dot, mermaid strings.Builder
	g.WriteText(&out, Plain)
	golden(t, out.String(), `                                        ┌▶ sink_group.all ─ sink.a                     http
generate  source.load ──▶ channel.main ─┼▶ sink_group.all ─ sink.b                     http
                          wal, 1 GiB    └▶ by_level.loud ─ sink_group.alerts ─ sink.c  http
`)
	g.WriteDot(&dot)
	g.WriteMermaid(&mermaid)
	for _, c := range []struct{ out, what string }{
		{dot.String(), `"channel.main" -> "sink_group.all"`}, {dot.String(), `"sink_group.all" -> "sink.b"`},
		{dot.String(), `"route.by_level" -> "sink_group.alerts" [label = "loud"]`},
		{dot.String(), `"sink_group.alerts" [shape = trapezium, label = "sink_group.alerts\nround_robin, filtered"]`},
		{mermaid.String(), `[/"sink_group.all<br>failover"\]`},
	} {
		if !strings.Contains(c.out, c.what) {
			t.Errorf("%s is not in:\n%s", c.what, c.out)
		}
	}
	if n := strings.Count(dot.String(), `"channel.main" ->`); n != 2 {
		t.Errorf("%d ways lead out of the channel", n)
	}
}
