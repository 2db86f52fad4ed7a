// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// print shows one row of the result.
func (r outcome) print(to io.Writer) {
	verdict := "caught"
	if !r.caught {
		verdict = "NOT CAUGHT"
	}
	fmt.Fprintf(to, "%-11s %5.1fs  %s\n%20s%s: %s\n", verdict, r.took.Seconds(), r.where(), "", r.how, r.row.test)
}

// tally counts the sites of one kind.
type tally struct {
	Kind         string `json:"kind"`
	Sites        int    `json:"sites"`
	Caught       int    `json:"caught"`
	Uncaught     int    `json:"uncaught"`
	CannotMatter int    `json:"cannot_matter"`
	Open         int    `json:"open"` // no test notices it yet
}

// rowResult is one row for machines.
type rowResult struct {
	Kind     string  `json:"kind"`
	File     string  `json:"file"`
	Site     string  `json:"site"`
	Mutation string  `json:"mutation"`
	CaughtBy string  `json:"caught_by,omitempty"`
	Says     string  `json:"says,omitempty"` // the failure
	Seconds  float64 `json:"seconds,omitempty"`
	Why      string  `json:"cannot_matter,omitempty"`
	Open     string  `json:"open,omitempty"`
}

func (o *options) report(s *survey, results []outcome, to io.Writer) error {
	tallies := map[string]*tally{}
	total := &tally{Kind: "all"}
	for _, k := range kinds {
		tallies[k] = &tally{Kind: k}
	}
	var rows []rowResult
	count := func(m *mutation, add func(*tally)) {
		for _, t := range []*tally{tallies[m.kind], total} {
			t.Sites++
			add(t)
		}
	}
	for _, r := range results {
		row := rowResult{Kind: r.kind, File: r.file.name, Site: r.id(), Mutation: r.how, Seconds: r.took.Seconds(), Says: r.says}
		if r.caught {
			row.CaughtBy = r.row.test
			count(r.mutation, func(t *tally) { t.Caught++ })
		} else {
			count(r.mutation, func(t *tally) { t.Uncaught++ })
		}
		rows = append(rows, row)
	}
	for _, m := range s.all {
		switch {
		case m.row == nil || m.row.test != "" || !o.wants(m):
			continue
		case m.row.why != "":
			count(m, func(t *tally) { t.CannotMatter++ })
		default:
			count(m, func(t *tally) { t.Open++ })
		}
		rows = append(rows, rowResult{Kind: m.kind, File: m.file.name, Site: m.id(), Mutation: m.how, Why: m.row.why, Open: m.row.open})
	}
	var counts []*tally
	for _, k := range append(kinds, total.Kind) {
		if t := tallies[k]; t != nil && t.Sites > 0 {
			counts = append(counts, t)
		}
	}
	counts = append(counts, total)
	if o.json {
		e := json.NewEncoder(to)
		e.SetIndent("", "  ")
		if err := e.Encode(map[string]any{"counts": counts, "kept_by_the_compiler": s.swaps, "rows": rows}); err != nil {
			return err
		}
	} else {
		printCounts(to, counts, s.swaps)
	}
	if total.Uncaught+total.Open > 0 {
		return errUncaught
	}
	return nil
}

func printCounts(to io.Writer, counts []*tally, swaps int) {
	fmt.Fprintf(to, "\n%-8s %8s %8s %8s %14s %8s\n", "kind", "sites", "caught", "uncaught", "cannot matter", "open")
	for _, t := range counts {
		fmt.Fprintf(to, "%-8s %8d %8d %8d %14d %8d\n", t.Kind, t.Sites, t.Caught, t.Uncaught, t.CannotMatter, t.Open)
	}
	fmt.Fprintf(to, "\nThe compiler keeps %d more orders: swapped, they do not compile.\n", swaps)
}

var errUncaught = errors.New("not every mutation was caught: write the test that is missing, or say in the table why it cannot matter")
