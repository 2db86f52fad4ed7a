// SPDX-License-Identifier: Apache-2.0

package config

import "testing"

func TestOneSinkOfTheLastCaseCountsWhatIsOfNone(t *testing.T) {
	sink := func(name, group, route, option string) Sink {
		return Sink{Component: Component{Kind: "sink", Name: name}, Group: group, Feed: Feed{From: "main", Route: route, Case: option}}
	}
	c := &Config{
		Routes: []Route{
			{Name: "r", Cases: []Case{{Name: "first"}, {Name: "last"}}},
			{Name: "group", Cases: []Case{{Name: "only"}}},
			{Name: "rest", Cases: []Case{{Name: "first"}, {Name: "rest", Default: true}}},
		},
		Sinks: []Sink{
			sink("a", "", "r", "first"), sink("b", "", "r", "last"), sink("c", "", "r", "last"), sink("d", "g", "r", "last"), sink("e", "", "", ""),
			sink("f", "h", "group", "only"), sink("g", "", "group", "only"), sink("h", "h", "group", "only"), sink("i", "", "rest", "rest"), sink("j", "", "rest", "first"),
		},
	}
	want := map[string]bool{"b": true, "f": true, "h": true}
	for _, s := range c.Sinks {
		if c.Tallies(s) != want[s.Name] {
			t.Errorf("%s counts: %v", s.Name, !want[s.Name])
		}
	}
}
