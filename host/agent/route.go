// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/pipeline"
	"github.com/penstock-io/penstock/spec/event"
)

// routesOf makes the routes of a configuration, each once: so all that read one share what it asks of events.
func routesOf(c *config.Config) map[string]*pipeline.Route {
	routes := make(map[string]*pipeline.Route, len(c.Routes))
	for _, r := range c.Routes {
		cases := make([]pipeline.When, len(r.Cases))
		for i, option := range r.Cases {
			if cases[i] = when(option.When); cases[i] == nil && !option.Default {
				cases[i] = always
			}
		}
		routes[r.Name] = pipeline.NewRoute(r.All, cases)
	}
	return routes
}

// always is a case that holds for every event.
func always() func(*event.Event) (bool, error) {
	return func(*event.Event) (bool, error) { return true, nil }
}

// filter is which events a sink gets.
func (r *revision) filter(f config.Feed) pipeline.Filter {
	filter := pipeline.Filter{Where: when(f.Where)}
	if f.Route != "" {
		filter.Route, filter.Case = r.routes[f.Route], r.Config.Route(f.Route).Case(f.Case)
	}
	return filter
}

// unmatched counts events of no case, if it is the sink that does so for its route. Which one that is may change while the sink goes on.
func (p *part) unmatched(events int) {
	r := p.agent.current()
	if r == nil {
		return
	}
	for _, s := range r.Config.Sinks {
		if s.Address() == p.Address() && r.Config.Tallies(s) {
			p.agent.metrics.Unmatched(r.Config.Route(s.Route).Address(), events)
		}
	}
}
