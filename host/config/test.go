// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
)

// Test is one block of a *.test.hcl: what a pipeline is given, and what must come of it.
type Test struct {
	Name      string
	At        hcl.Range
	Timeout   time.Duration
	Variables map[string]string
	Inputs    []TestInput
	Sinks     []TestSink
	Expects   []Expect
}

// TestInput is what a source brings, in the place of what its plugin would read.
type TestInput struct {
	Source     string // its name
	Bodies     []string
	Attributes map[string]string
	Time       time.Time     // of the first
	Every      time.Duration // from one to the next
	Batch      int           // events in one batch
	at         hcl.Range
}

// TestSink is how a sink behaves in a test.
type TestSink struct {
	Sink   string // its name
	Stored string // the file in which its plugin stores bodies, in the directory of the test; "": a recorder stands for it
	Fail   int    // deliveries that it refuses first, for a while
	Down   bool   // it refuses all
	Reject *regexp.Regexp
	Delay  time.Duration // of each delivery
	at     hcl.Range
}

// Expect is what must be at one place. What is nil is not looked at.
type Expect struct {
	Address    string // "sink.a", "channel.a", "source.a", "route.a", "route.a.case", "sink_group.a"
	Events     *int
	Bodies     []string
	Contains   []string
	Excludes   []string
	Attributes []map[string]string // of the events, in their order: each has at least these
	AnyOrder   bool
	State      string
	InDoubt    *int // events, of a sink_group
	at         *values
}

// Where returns the place of an argument, or else of the block.
func (e Expect) Where(argument string) hcl.Range { return e.at.where(argument) }

// testBase is the time of the first event of a test: results do not depend on when it is run.
const testBase = "2026-01-01T00:00:00Z"

// Bounds of a test: it is run often, and within seconds.
const (
	maxTestEvents  = 100_000
	maxTestTimeout = 5 * time.Minute
)

// testLanguage is what a *.test.hcl may hold.
var testLanguage = block{blocks: []block{testBlock}}

var testBlock = block{name: "test", labels: []string{"name"}, doc: "A run of the pipeline on what is given here, in a directory of its own.",
	args: arguments(
		arg{name: "timeout", typ: "duration", def: "10s", min: float64(time.Millisecond), max: float64(maxTestTimeout), doc: "How long it may take until everything stands still."},
		arg{name: "variables", typ: "map(string)", doc: "Values of the pipeline's variables, before those of the command line."}),
	blocks: []block{
		{name: "input", labels: []string{"source"}, doc: "What a source brings. Several blocks of one source come one after the other. A source without one has nothing to bring.", args: arguments(
			arg{name: "bodies", typ: "list(string)", doc: "The bodies of the events."},
			arg{name: "file", typ: "string", doc: "A file with a body a line, relative to the file that says so."},
			arg{name: "attributes", typ: "map(string)", doc: "The attributes of all of them, such as those that the plugin would have given."},
			arg{name: "repeat", typ: "integer", def: "1", min: 1, max: maxTestEvents, doc: "How many times over."},
			arg{name: "time", typ: "string", def: testBase, doc: "The time of the first, as in RFC 3339."},
			arg{name: "every", typ: "duration", def: "1s", doc: "The time from one to the next."},
			arg{name: "batch", typ: "integer", def: "1000", min: 1, max: 4096, doc: "How many come at a time."})},
		{name: "sink", labels: []string{"sink"}, doc: "How a sink behaves. Without a block it takes everything at once.", args: arguments(
			arg{name: "stored", typ: "string", doc: "Run the sink's plugin, and look for the bodies in this file, a line each: a path in the directory of the test, where all relative paths of the pipeline are. Else a recorder stands for it."},
			arg{name: "fail", typ: "integer", def: "0", max: 1000, doc: "How many deliveries it refuses first, as a destination that is down for a while."},
			arg{name: "down", typ: "bool", def: "false", doc: "It refuses all deliveries."},
			arg{name: "reject", typ: "string", doc: "A regular expression (RE2): events whose body matches will never be taken."},
			arg{name: "delay", typ: "duration", def: "0s", max: float64(10 * time.Second), doc: "How long each delivery takes."})},
		{name: "expect", labels: []string{"address"}, doc: "What must have come to a sink, `\"sink.NAME\"`, or to the members of a group together, `\"sink_group.NAME\"`; been put into a channel, `\"channel.NAME\"`; been of a case of a route, `\"route.NAME.CASE\"`, or of none, so that it was given up, `\"route.NAME\"`; or become of a source, `\"source.NAME\"`.", args: arguments(
			arg{name: "bodies", typ: "list(string)", doc: "The bodies of all events, in their order."},
			arg{name: "any_order", typ: "bool", def: "false", doc: "`bodies` may come in any order."},
			arg{name: "events", typ: "integer", max: maxTestEvents, doc: "How many there are."},
			arg{name: "contains", typ: "list(string)", doc: "Bodies that are among them."},
			arg{name: "excludes", typ: "list(string)", doc: "Bodies that are not."},
			arg{name: "attributes", typ: "list(map(string))", doc: "Attributes of the events, in their order: each has at least these."},
			arg{name: "state", typ: "string", enum: []string{"running", "retrying", "held", "finished"}, doc: "The state of the source or sink in the end. One that is `held` without a word here is a failure."},
			arg{name: "in_doubt", typ: "integer", max: maxTestEvents, doc: "Of a sink_group: how many events some member may hold in the end, and nobody knows."})},
	}}

// ParseTests reads a *.test.hcl. There are no tests if there is an error among the diagnostics.
func ParseTests(src []byte, filename string) ([]Test, *Sources, hcl.Diagnostics) {
	l := &loader{}
	file := l.parse(src, filename)
	files := &Sources{files: map[string]*hcl.File{filename: file}}
	if l.failed() {
		return nil, files, l.sorted()
	}
	var tests []Test
	for _, found := range l.content(testLanguage, "A *.test.hcl", file.Body).Blocks {
		tests = append(tests, l.test(l.decode(testBlock, found), filename))
	}
	if l.failed() {
		return nil, files, l.sorted()
	}
	return tests, files, l.sorted()
}

func (l *loader) test(v *values, filename string) Test {
	t := Test{Name: v.name(), At: v.at, Timeout: time.Duration(v.number("timeout")), Variables: v.pairs("variables")}
	for _, b := range v.inner["input"] {
		t.Inputs = append(t.Inputs, l.testInput(b, filename))
	}
	for _, b := range v.inner["sink"] {
		s := TestSink{Sink: strings.TrimPrefix(b.name(), "sink."), Stored: b.text("stored"), Fail: int(b.number("fail")), Down: b.yes("down"), Delay: time.Duration(b.number("delay")), at: b.at}
		if re, err := regexp.Compile(b.text("reject")); err != nil {
			l.add("E2101", b.where("reject"), "This is no regular expression of RE2: %v.", err)
		} else if b.text("reject") != "" {
			s.Reject = re
		}
		if s.Stored != "" && (s.Fail > 0 || s.Down || s.Reject != nil || s.Delay > 0) {
			l.add("E2101", b.where("stored"), "With \"stored\" the plugin itself is run, which cannot be made to fail: leave it out, or \"fail\", \"down\", \"reject\" and \"delay\".")
		}
		if s.Stored != "" && !filepath.IsLocal(s.Stored) {
			l.add("E2101", b.where("stored"), "The path is relative, and stays in the directory of the test; this is %s.", quote(s.Stored))
		}
		t.Sinks = append(t.Sinks, s)
	}
	for _, b := range v.inner["expect"] {
		t.Expects = append(t.Expects, l.expect(b))
	}
	if len(t.Expects) == 0 && !v.broken {
		l.add("E2101", v.at, "The test expects nothing: it needs an expect block.")
	}
	return t
}

func (l *loader) testInput(b *values, filename string) TestInput {
	in := TestInput{
		Source: strings.TrimPrefix(b.name(), "source."), Bodies: b.texts("bodies"), Attributes: b.pairs("attributes"),
		Every: time.Duration(b.number("every")), Batch: int(b.number("batch")), at: b.at,
	}
	var err error
	if in.Time, err = time.Parse(time.RFC3339, b.text("time")); err != nil && b.text("time") != "" {
		l.add("E2101", b.where("time"), "A time is written as %q.", testBase)
	}
	switch name := b.text("file"); {
	case name != "" && b.isSet("bodies"):
		l.add("E2101", b.where("file"), "An input has \"bodies\" or \"file\".")
	case name != "":
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(filename), name)
		}
		if in.Bodies, err = linesOf(name); err != nil {
			l.add("E2101", b.where("file"), "The file cannot be read: %s", stop(err.Error()))
		}
	case !b.isSet("bodies") && !b.broken:
		l.add("E1204", b.at, "An input block needs the argument \"bodies\" or \"file\".")
	}
	if n := len(in.Bodies) * int(b.number("repeat")); n > maxTestEvents {
		l.add("E2101", b.at, "These are %d events, and %d at most.", n, maxTestEvents)
		return in
	}
	in.Bodies = slices.Repeat(in.Bodies, int(b.number("repeat")))
	return in
}

// linesOf reads the lines of a file, within the limit of a pipeline file.
func linesOf(name string) ([]string, error) {
	info, err := os.Stat(name)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > MaxFileBytes) {
		err = errors.New(name + " is no regular file of 1 MiB at most")
	}
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(name)
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"), err
}

func (l *loader) expect(b *values) Expect {
	e := Expect{
		Address: b.name(), Bodies: b.texts("bodies"), Contains: b.texts("contains"), Excludes: b.texts("excludes"), AnyOrder: b.yes("any_order"), State: b.text("state"), at: b,
	}
	count := func(name string) *int {
		if !b.isSet(name) {
			return nil
		}
		return new(int(b.number(name)))
	}
	e.Events, e.InDoubt = count("events"), count("in_doubt")
	if list, ok := b.args["attributes"].value.([]any); ok {
		for _, of := range list {
			e.Attributes = append(e.Attributes, pairsOf(of))
		}
	}
	return e
}

// pairs returns a map of strings.
func (v *values) pairs(name string) map[string]string { return pairsOf(v.args[name].value) }

func pairsOf(value any) map[string]string {
	m, _ := value.(map[string]any)
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k], _ = v.(string)
	}
	return out
}
