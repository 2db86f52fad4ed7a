// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/config"
)

// TestAllSinksOfARouteShareIt: what one of them has asked of an event, the others know.
func TestAllSinksOfARouteShareIt(t *testing.T) {
	c := &config.Config{Routes: []config.Route{{Name: "by_level", From: "main", Cases: []config.Case{{Name: "loud"}, {Name: "rest", Default: true}}}}}
	r := &revision{Setup: Setup{Config: c}, routes: routesOf(c)}
	loud := r.filter(config.Feed{From: "main", Route: "by_level", Case: "loud"})
	rest := r.filter(config.Feed{From: "main", Route: "by_level", Case: "rest"})
	all := r.filter(config.Feed{From: "main"})
	if loud.Route == nil || loud.Route != rest.Route || loud.Case != 0 || rest.Case != 1 || all.Route != nil || all.Where != nil {
		t.Errorf("%+v, %+v, %+v", loud, rest, all)
	}
}

// dealt is a pipeline of 1000 events, numbered in the end of their bodies, which a route deals to two sinks.
func dealt(route, a, b string) string {
	return fmt.Sprintf(`
source "generate" "in" {
  into = channel.main
  config { count = 1000 }
}
channel "wal" "main" {}
route "by_end" {
  from = channel.main
%s
}
sink "file" "a" {
  from = route.by_end.%s
  config { path = "DIR/a.log" }
}
sink "file" "b" {
  from = route.by_end.%s
  config { path = "DIR/b.log" }
}
`, route, a, b)
}

// TestARouteDealsEventsAsItSays: of 1000 events 100 end in 0, and 100 in 1.
func TestARouteDealsEventsAsItSays(t *testing.T) {
	const (
		tenth = "  case \"tenth\" {\n    when = matches(\"0$\", event.body)\n  }\n"
		every = "  case \"every\" {\n    when = event.size > 0\n  }\n"
		not1  = "every\n  where = !matches(\"1$\", event.body)"
	)
	for name, c := range map[string]struct {
		route, b  string
		first, of string // last digits of what comes to a, and to b
	}{
		"first":        {route: tenth + every + "  unmatched = \"discard\"", b: "every", first: "0", of: "123456789"},
		"first, where": {route: tenth + every + "  unmatched = \"discard\"", b: not1, first: "0", of: "23456789"},
		"all":          {route: "  match = \"all\"\n" + tenth + every + "  unmatched = \"discard\"", b: "every", first: "0", of: "0123456789"},
		"all, where":   {route: "  match = \"all\"\n" + tenth + every + "  unmatched = \"discard\"", b: not1, first: "0", of: "023456789"},
		"default":      {route: tenth + "  default \"every\" {}", b: not1, first: "0", of: "23456789"},
		"all, default": {route: "  match = \"all\"\n" + tenth + "  default \"every\" {}", b: "every", first: "0", of: "123456789"},
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, t.TempDir(), dealt(c.route, "tenth", c.b))
			for sink, digits := range map[string]string{"a": c.first, "b": c.of} {
				want := 100 * len(digits)
				of := func() admin.Component { return r.component("sink." + sink) }
				eventually(t, "all is dealt", func() bool { return of().Events+of().Filtered == 1000 })
				if got := of(); got.Events != uint64(want) {
					t.Errorf("%s was given %d events, and %d are not for it; wanted %d", sink, got.Events, got.Filtered, want)
				}
				r.ends(t, sink, digits, want)
			}
		})
	}
}

// TestWhatIsOfNoCaseIsCountedOnce however many sinks the route has, and whichever of them come and go.
func TestWhatIsOfNoCaseIsCountedOnce(t *testing.T) {
	const discard = "  case \"first\" {\n    when = matches(\"0$\", event.body)\n  }\n  case \"second\" {\n    when = matches(\"[01]$\", event.body)\n  }\n  unmatched = \"discard\""
	for match, changed := range map[string][]string{"": nil, "  match = \"all\"\n": {"sink.b", "sink.c"}} {
		text := dealt(match+discard, "first", "second") + "sink \"discard\" \"c\" {\n  from = route.by_end.second\n}\n"
		r := run(t, t.TempDir(), text)
		done := func(sinks ...string) {
			for _, s := range sinks {
				eventually(t, s+" is done", func() bool { c := r.component(s); return c.Events+c.Filtered >= 1000 && c.Waiting == 0 })
			}
		}
		done("sink.a", "sink.b", "sink.c")
		if n := r.unmatched(t); n != 800 {
			t.Errorf("match %q: %v of 800 events are counted", match, n)
		}
		// Another last case: those of the one before count no more.
		more := strings.Replace(text, "  unmatched", "  case \"third\" {\n    when = matches(\"2$\", event.body)\n  }\n  unmatched", 1) +
			"sink \"discard\" \"d\" {\n  from = route.by_end.third\n}\n"
		before := r.started()
		if err := r.reload(t, more); err != nil {
			t.Fatal(err)
		}
		r.onlyChanged(t, before, changed...)
		if err := r.reload(t, strings.Replace(more, "count = 1000", "count = 2000", 1)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the other thousand is dealt", func() bool { c := r.component("sink.d"); return c.Events+c.Filtered == 1000 })
		if n := r.unmatched(t); n != 800+700 {
			t.Errorf("match %q: %v of 1500 events are counted", match, n)
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// unmatched is how many events are counted that are of no case.
func (r rig) unmatched(t *testing.T) (n float64) {
	t.Helper()
	figures, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range figures {
		if f.GetName() == "penstock_route_unmatched_events_total" {
			for _, m := range f.GetMetric() {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// ends checks that an output has so many lines, and that they end in those digits.
func (r rig) ends(t *testing.T, name, digits string, want int) {
	t.Helper()
	n := 0
	for _, line := range r.out(t, name) {
		if n++; !strings.Contains(digits, line[len(line)-1:]) {
			t.Fatalf("%s: %q was not for it", name, line)
		}
	}
	if n != want {
		t.Errorf("%s has %d lines, not %d", name, n, want)
	}
}
