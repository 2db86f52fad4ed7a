// SPDX-License-Identifier: Apache-2.0

// Package reliability gathers what was done to the durable channel to make it lose something, and what came of it.
//
// Tests in many packages kill agents, cut the power, fail system calls and damage files. Each of them adds a [Row] for what it
// did, and writes its rows with [Write] to the directory that [Directory] names, if it is set. The test of this package reads them all,
// prints one table, and fails where anything was lost, a control was not caught, or less was done than a form of the run
// promises: `make crash` is the short form, `make soak` the long one, which also writes spec/reliability.md.
package reliability

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Directory is the environment variable that says where figures are written to. Without it they are only printed.
const Directory = "PENSTOCK_FIGURES"

// Part is a way to make a channel lose something.
type Part string

// The parts, in the order of the table.
const (
	Kill      Part = "kill -9"
	Terminate Part = "SIGTERM"
	PowerCut  Part = "power cut"
	Simulated Part = "simulated crash"
	Failure   Part = "failing call"
	FullDisk  Part = "full disk"
	Flip      Part = "damaged byte"
	Harm      Part = "damaged file"
	Large     Part = "large backlog"
	Control   Part = "control"
)

var parts = []Part{Kill, Terminate, PowerCut, Simulated, Failure, FullDisk, Flip, Harm, Large, Control}

// Row is one thing that was done, some number of times.
type Row struct {
	Part    Part   `json:"part"`
	What    string `json:"what"`
	Tried   int    `json:"tried"`           // kills, distinct images of a disk, runs with a failure, damaged bytes
	Of      int    `json:"of,omitempty"`    // how many of them there could have been; 0 = without end
	Checked int    `json:"checked"`         // acknowledged transactions, or lines, that were looked for afterwards, summed over all tries
	Fired   int    `json:"fired,omitempty"` // failures that were seen to be injected
	Lost    int    `json:"lost"`            // tries after which something acknowledged was not there
	Twice   int    `json:"twice"`           // after which something was there twice
	Wrong   int    `json:"wrong"`           // after which something else was there
	Stuck   int    `json:"stuck"`           // after which the channel did not open, or could not be read
	Unfit   int    `json:"unfit,omitempty"` // images that the kernel itself did not mount
	// Caught says whether a control was: it takes a protection away, and what is lost then has to be found.
	Caught  bool    `json:"caught,omitempty"`
	Excuse  string  `json:"excuse,omitempty"` // why a control need not be caught
	Note    string  `json:"note,omitempty"`
	Seconds float64 `json:"seconds"`
	Seed    uint64  `json:"seed,omitempty"` // of its random choices
}

// Bar is a figure with a bound.
type Bar struct {
	Part     Part    `json:"part"`
	What     string  `json:"what"`
	Measured float64 `json:"measured"`
	Most     float64 `json:"most"`
	Unit     string  `json:"unit"`
}

// Mutations are how many places of one kind in the code were taken out, and by how many of them a test failed then.
type Mutations struct {
	Kind         string `json:"kind"`
	Sites        int    `json:"sites"`
	Caught       int    `json:"caught"`
	Uncaught     int    `json:"uncaught"`
	CannotMatter int    `json:"cannot_matter"`
	Open         int    `json:"open"` // of which it is known that no test notices them yet
}

// Figures are what some tests found.
type Figures struct {
	Rows []Row `json:"rows"`
	Bars []Bar `json:"bars,omitempty"`
	// Mutations are not written by tests: `make mutations ARGS=--json` prints them, beside rows of its own, which are passed over.
	Mutations []Mutations `json:"counts,omitempty"`
}

// found is how many tries went wrong.
func (r Row) found() int { return r.Lost + r.Twice + r.Wrong + r.Stuck }

// test is a test that has something to report.
type test interface {
	Helper()
	Name() string
	Failed() bool
	Error(args ...any)
}

// Report writes the rows that a test has counted; it is called at its end. Of a test that failed without a row that says why, nothing is
// written: then too little was done.
func Report(t test, rows ...Row) {
	t.Helper()
	if t.Failed() && !slices.ContainsFunc(rows, func(r Row) bool { return r.found() > 0 }) {
		return
	}
	if err := Write(strings.ReplaceAll(t.Name(), "/", "-"), Figures{Rows: rows}); err != nil {
		t.Error(err)
	}
}

// Write writes the figures to [Directory], a file for each part, in the name of those who found them. What the
// same ones wrote of that part before is replaced.
func Write(from string, f Figures) error {
	dir := os.Getenv(Directory)
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("keep figures: %w", err)
	}
	var errs []error
	for _, p := range parts {
		of := Figures{
			Rows: slices.DeleteFunc(slices.Clone(f.Rows), func(r Row) bool { return r.Part != p }),
			Bars: slices.DeleteFunc(slices.Clone(f.Bars), func(b Bar) bool { return b.Part != p }),
		}
		if len(of.Rows)+len(of.Bars) == 0 {
			continue
		}
		text, err := json.MarshalIndent(of, "", "  ")
		if err == nil {
			name := from + "-" + strings.ReplaceAll(string(p), " ", "-") + ".json"
			err = os.WriteFile(filepath.Join(dir, name), text, 0o644)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Read returns all figures that were written to a directory, in the order of the parts.
func Read(dir string) (all Figures, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return all, err
	}
	for _, name := range files {
		var f Figures
		text, err := os.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(text, &f)
		}
		if err != nil {
			return all, fmt.Errorf("figures in %s: %w", name, err)
		}
		f.Rows = slices.DeleteFunc(f.Rows, func(r Row) bool { return r.Part == "" })
		all.Rows, all.Bars, all.Mutations = append(all.Rows, f.Rows...), append(all.Bars, f.Bars...), append(all.Mutations, f.Mutations...)
	}
	slices.SortStableFunc(all.Rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(slices.Index(parts, a.Part), slices.Index(parts, b.Part)), strings.Compare(a.What, b.What))
	})
	all.Rows = joined(all.Rows)
	return all, nil
}

// joined makes one row of those that say the same, beside one another: a part may have been run in several processes.
func joined(rows []Row) (list []Row) {
	for _, r := range rows {
		last := len(list) - 1
		if last < 0 || list[last].Part != r.Part || list[last].What != r.What || list[last].Note != r.Note || r.Part == Control {
			list = append(list, r)
			continue
		}
		l := &list[last]
		l.Tried, l.Checked, l.Fired = l.Tried+r.Tried, l.Checked+r.Checked, l.Fired+r.Fired
		l.Lost, l.Twice, l.Wrong, l.Stuck, l.Unfit = l.Lost+r.Lost, l.Twice+r.Twice, l.Wrong+r.Wrong, l.Stuck+r.Stuck, l.Unfit+r.Unfit
		l.Of, l.Seconds = max(l.Of, r.Of), l.Seconds+r.Seconds
	}
	return list
}
