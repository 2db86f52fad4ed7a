// SPDX-License-Identifier: Apache-2.0

// Command mutate shows that each sync, check, latch and ordering of the durable channel is needed: it takes them
// out, one after the other, and a test must fail each time. `make mutations` runs it.
//
// # Sites
//
// What is a site is found in the code, with its types, not in a list:
//
//   - sync: a call that makes something durable, or has it made so. It is left out, and says nil.
//   - check: a condition under which an error is made, or false answered; each part of an || and of what a
//     predicate returns for itself. It never refuses, or always holds.
//   - latch: where a field that keeps a flag or an error is set, or a condition looks at it. It stays as it is, or is not looked at.
//   - order: two effects that follow one another, of which the second uses nothing that the first declares. They are
//     swapped. Where that does not compile, the compiler keeps the order, and it is counted as such.
//   - law: an ordering that none of these shows. Only its row knows it, with the code before and after.
//
// A site has a name that does not depend on where it stands in its file: kind, function, text, and a number where that is there twice.
//
// # The table
//
// table.txt says for each site which test fails without it, or in a sentence why it cannot matter:
//
//	file wal/flush.go
//
//	sync Channel.syncPosition: r.file.Sync()
//		TestWhatCouldNotBeWrittenDownIsTriedAgain
//	check …
//		cannot matter: the next line finds the same
//	law Channel.register: a new reader …
//		- code that stands in the function once, whole lines
//		+ what is there instead
//		crash.TestAPowerCutLosesNothingAcknowledged
//
// A row may say "open: …" instead: no test notices it yet. Such rows are counted, shown with the result, and fail the command.
//
// A test of another package is named with it: wal, channel, pipeline, crash. It may be one part of a test: TestX/name_of_the_part.
// A site without a row fails the command, and so does a row without a site, and a field of type bool or error of which the head
// of the table does not say whether it is a latch.
//
// # How to add rows
//
//	go run ./host/channel/wal/mutate --unlisted          what has no row, and rows without a site
//	go run ./host/channel/wal/mutate --propose --write   looks for the quickest test that catches each, and puts rows into the table
//	go run ./host/channel/wal/mutate --only 'flush.go'   tries some rows
//
// Where nothing catches it, propose says how many tests come there and notice nothing: write the one that is missing, or show why the
// site is not needed, and delete it. A test that does other things each time is no answer.
//
// # How it works
//
// All mutations are compiled into one program, by way of go test -overlay, so that the tree is never touched. Each is off until the
// environment names it: a row takes as long as its test, and not as long as a compiler. The tests that the table names run without any mutation
// first, and must pass.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const tablePath = "host/channel/wal/mutate/table.txt"

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	list, unlisted, propose, write, json bool
	only                                 string
	patience                             time.Duration
}

func run(args []string, to io.Writer) error {
	var o options
	flags := flag.NewFlagSet("mutate", flag.ExitOnError)
	flags.BoolVar(&o.list, "list", false, "print the sites of the code, and nothing else")
	flags.BoolVar(&o.unlisted, "unlisted", false, "say what the table lacks and what it has too much, and do nothing else")
	flags.BoolVar(&o.propose, "propose", false, "look for a test for each site that has none, and print rows for the table")
	flags.BoolVar(&o.write, "write", false, "write the table anew: its rows in the order of the code, with those that propose found")
	flags.BoolVar(&o.json, "json", false, "print the result as JSON")
	flags.DurationVar(&o.patience, "patience", time.Minute, "for how long to look for the test of one site")
	flags.StringVar(&o.only, "only", "", "only the sites whose file or id contains this `text`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(root, tablePath)); err != nil {
		return fmt.Errorf("run it in the root of the tree: %w", err)
	}
	s, err := takeSurvey(root, filepath.Join(root, tablePath), packages())
	if err != nil {
		return err
	}
	return o.do(s, to)
}

func (o *options) wants(m *mutation) bool { return strings.Contains(m.where(), o.only) }

// do does what was asked for.
func (o *options) do(s *survey, to io.Writer) error {
	switch {
	case o.unlisted && o.only == "":
		return s.complete()
	case o.list || o.unlisted:
		for _, m := range s.all {
			if o.wants(m) && (o.list || m.row == nil) {
				fmt.Fprintln(to, m.where())
			}
		}
		return nil
	case o.propose:
		return o.proposals(s, to)
	}
	if o.write {
		return s.table.write(s.path, s.all)
	}
	if err := s.complete(); err != nil && o.only == "" { // some rows can be tried while others are missing
		return err
	}
	return o.prove(s, to)
}

// survey is the code and the table side by side.
type survey struct {
	root  string
	path  string
	table *table
	pkgs  []*pkg
	all   []*mutation
	left  []*row   // without a site
	gone  []error  // laws without a place
	new   []string // fields of which the table does not say whether they are latches
	swaps int      // orders that the compiler keeps
}

func takeSurvey(root, path string, pkgs []*pkg) (*survey, error) {
	s := &survey{root: root, path: path, pkgs: pkgs}
	var err error
	if s.table, err = readTable(path); err != nil {
		return nil, err
	}
	var sites []*site
	for _, p := range s.pkgs {
		if err := p.load(root); err != nil {
			return nil, err
		}
		w := learn(p)
		w.latches = s.table.latch
		for _, f := range p.files {
			if p.counts(f) {
				laws, gone := s.table.laws(f)
				s.gone = append(s.gone, gone...)
				sites = append(append(sites, enumerate(f, w)...), laws...)
			}
		}
		for _, name := range flagFields(p.info) {
			if !s.table.latch[name] && !s.table.plain[name] {
				s.new = append(s.new, p.name+": "+name)
			}
		}
	}
	s.all, s.left = s.table.match(sites)
	for _, p := range s.pkgs {
		n := 0
		if s.all, n, err = sift(p, s.all); err != nil {
			return nil, err
		}
		s.swaps += n
	}
	return s, nil
}

// complete says what the table lacks, and what it has too much.
func (s *survey) complete() error {
	errs := s.gone
	for _, name := range s.new {
		errs = append(errs, fmt.Errorf("%s is a field that could be a latch: name it in a line \"latch\" or \"no latch\" at the top of the table", name))
	}
	for _, m := range s.all {
		switch {
		case m.row == nil:
			errs = append(errs, fmt.Errorf("%s:%d: no row for %q: --propose looks for a test that catches it", m.file.name, m.line(), m.id()))
		case m.row.test == "" && m.row.why == "" && m.row.open == "":
			errs = append(errs, fmt.Errorf("line %d of the table: %q has neither a test that catches it nor why it cannot matter", m.row.line, m.id()))
		}
	}
	for _, r := range s.left {
		errs = append(errs, fmt.Errorf("line %d of the table: %s has no site %q any more: take the row out, or give it to what stands there now", r.line, r.file, r.id))
	}
	if len(errs) > 0 {
		return fmt.Errorf("the table and the code differ (%s):\n%w", s.path, errors.Join(errs...))
	}
	return nil
}

// start builds the tests of the named packages with all mutations in them.
func (s *survey) start(names []string) (b *bench, stop func(), err error) {
	folder, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return nil, nil, err
	}
	stop = func() { _ = os.RemoveAll(folder) }
	b = &bench{root: s.root, folder: folder, dirs: map[string]string{}, took: map[string]map[string]time.Duration{}}
	for _, p := range s.pkgs {
		b.dirs[p.name] = p.dir
		if _, err := os.Stat(filepath.Join(s.root, p.dir, "crash")); err == nil {
			b.dirs["crash"] = p.dir + "/crash"
		}
	}
	if b.overlay, err = overlay(folder, s.pkgs, s.all); err == nil {
		err = b.build(names)
	}
	if err != nil {
		stop()
		return nil, nil, err
	}
	return b, stop, nil
}

// proposals prints rows for what has none.
func (o *options) proposals(s *survey, to io.Writer) error {
	var names []string
	for _, p := range s.pkgs {
		names = append(names, p.name)
	}
	b, stop, err := s.start(names)
	if err != nil {
		return err
	}
	defer stop()
	v, err := b.visit(names)
	if err != nil {
		return err
	}
	var open []*mutation
	for _, m := range s.all {
		if o.wants(m) && (m.row == nil || m.row.test == "" && m.row.why == "") {
			open = append(open, m)
		}
	}
	var failed error
	f := &finder{bench: b, visits: v, patience: o.patience, caught: map[string]int{}}
	each(open, f.find, func(i int, test string) {
		m := open[i]
		switch {
		case test != "" && m.row == nil:
			m.row = &row{file: m.file.name, id: m.id(), test: test}
		case test != "":
			m.row.test, m.row.open = test, ""
		case len(v[m.n]) == 0:
			fmt.Fprintf(to, "# no test comes to %s:%d: %s\n", m.file.name, m.line(), m.id())
			return
		default:
			fmt.Fprintf(to, "# %d tests come to %s:%d, and notice nothing: %s\n", len(v[m.n]), m.file.name, m.line(), m.id())
			return
		}
		fmt.Fprintf(to, "# %d of %d, %s\n%s", i+1, len(open), m.file.name, m.row)
		if o.write { // at once: it takes long
			failed = errors.Join(failed, s.table.write(s.path, s.all))
		}
	})
	return failed
}

// chances is how often a mutation is tried again, alone, that its test has not noticed: on a busy machine one of two things that happen
// at once may be late.
const chances = 2

// prove tries every row, and says what came of it.
func (o *options) prove(s *survey, to io.Writer) error {
	tests := map[string]map[string]bool{}
	var rows []*mutation
	for _, m := range s.all {
		if m.row == nil || m.row.test == "" || !o.wants(m) {
			continue
		}
		rows = append(rows, m)
		name, test := m.test()
		if tests[name] == nil {
			tests[name] = map[string]bool{}
		}
		tests[name][test] = true
	}
	b, stop, err := s.start(slices.Sorted(maps.Keys(tests)))
	if err != nil {
		return err
	}
	defer stop()
	for name, list := range tests {
		if err := b.control(name, slices.Sorted(maps.Keys(list))); err != nil {
			return err
		}
	}
	show := func(_ int, r outcome) {
		if !o.json {
			r.print(to)
		}
	}
	results := each(rows, b.try, show)
	for i := range results {
		for n := 0; n < chances && !results[i].caught; n++ {
			results[i] = b.try(results[i].mutation)
			show(i, results[i])
		}
	}
	return o.report(s, results, to)
}
