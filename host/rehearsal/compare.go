// SPDX-License-Identifier: Apache-2.0

package rehearsal

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/config"
)

// maxLines bounds a comparison: what differs further down follows from what differs above.
const maxLines = 60

// compare says which expectations are not met.
func (r *run) compare(s admin.Status) (why []Failure) {
	states := map[string]admin.Component{}
	for _, c := range s.Components {
		states[c.Address] = c
	}
	spoken := map[string]bool{}
	for _, e := range r.Test.Expects {
		spoken[e.Address] = spoken[e.Address] || e.State != ""
		c := expectation{Expect: e}
		if state := r.stateOf(states[e.Address]); e.State != "" && e.State != state {
			c.fail("state", "it is %s%s, and %s is expected", state, because(states[e.Address]), e.State)
		}
		if !strings.HasPrefix(e.Address, "source.") {
			got, err := r.events(e.Address)
			if err != nil {
				c.fail("", "%v", err)
			} else {
				c.compare(got)
			}
		}
		if n := r.inDoubt(s, e.Address); e.InDoubt != nil && n != *e.InDoubt {
			c.fail("in_doubt", "%d events are in doubt, and %d are expected", n, *e.InDoubt)
		}
		why = append(why, c.why...)
	}
	for _, c := range s.Components {
		if c.State == admin.Held && !spoken[c.Address] {
			why = append(why, Failure{At: r.Test.At, What: fmt.Sprintf("%s is held%s", c.Address, because(c))})
		}
	}
	return why
}

// stateOf is the word that a test has for how a component stands. One that refuses everything is now in a pause, now in a try.
func (r *run) stateOf(c admin.Component) string {
	switch {
	case r.recorders[c.Address].down():
		return string(admin.Retrying)
	case c.State == admin.Starting, c.State == admin.Stopped:
		return string(admin.Running)
	}
	return string(c.State)
}

func because(c admin.Component) string {
	if c.Reason == "" {
		return ""
	}
	return " (" + c.Reason + ")"
}

// events are what came to a sink or a group, was put into a channel, or dealt by a route.
func (r *run) events(address string) ([]record, error) {
	if t := r.taken[address]; t != nil {
		return t.events, nil
	}
	if t := r.shared[address]; t != nil {
		return t.events, nil
	}
	if strings.HasPrefix(address, "route.") {
		return r.dealt(address), nil
	}
	if of := r.recorders[address]; of != nil {
		return of.events, nil
	}
	stored := r.behaviour(strings.TrimPrefix(address, "sink.")).Stored
	if stored == "" {
		return nil, errors.New("it puts into a channel: expect the events there")
	}
	text, err := os.ReadFile(filepath.Join(r.Dir, stored))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a sink that got nothing has written none
	}
	var all []record
	for line := range strings.Lines(string(text)) {
		all = append(all, record{body: strings.TrimSuffix(line, "\n")})
	}
	return all, err
}

// expectation is one block while it is looked at.
type expectation struct {
	config.Expect
	why []Failure
}

func (e *expectation) fail(argument, format string, args ...any) {
	e.why = append(e.why, Failure{At: e.Where(argument), What: e.Address + ": " + fmt.Sprintf(format, args...)})
}

// compare looks at the events.
func (e *expectation) compare(got []record) {
	bodies := make([]string, len(got))
	for i, of := range got {
		bodies[i] = of.body
	}
	if e.Events != nil && *e.Events != len(got) {
		e.fail("events", "%d events have come, and %d are expected", len(got), *e.Events)
		if e.Bodies == nil {
			e.why[len(e.why)-1].Lines = shortened(diff(nil, bodies))
		}
	}
	if e.Bodies != nil {
		want, came := e.Bodies, bodies
		if e.AnyOrder {
			want, came = slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(came))
		}
		if !slices.Equal(want, came) {
			e.fail("bodies", "the bodies are not those expected (- expected, + came)")
			e.why[len(e.why)-1].Lines = shortened(diff(want, came))
		}
	}
	for _, body := range e.Contains {
		if !slices.Contains(bodies, body) {
			e.fail("contains", "%s has not come", shown(body))
		}
	}
	for _, body := range e.Excludes {
		if slices.Contains(bodies, body) {
			e.fail("excludes", "%s has come", shown(body))
		}
	}
	e.compareAttributes(got)
}

// compareAttributes looks whether each event has at least the attributes that are expected of it.
func (e *expectation) compareAttributes(got []record) {
	for i, want := range e.Attributes {
		if i >= len(got) {
			e.fail("attributes", "attributes of %d events are expected, and %d have come", len(e.Attributes), len(got))
			return
		}
		var lines []Line
		for _, name := range sortedKeys(want) {
			value, there := got[i].attributes[name]
			if there && value == want[name] {
				continue
			}
			lines = append(lines, Line{'-', name + " = " + strconv.Quote(want[name])})
			if there {
				lines = append(lines, Line{'+', name + " = " + strconv.Quote(value)})
			}
		}
		if lines != nil {
			e.fail("attributes", "attributes of event %d, %s, are not those expected (- expected, + came)", i+1, shown(got[i].body))
			e.why[len(e.why)-1].Lines = lines
		}
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// shown is a body as a person reads it, on one line.
func shown(body string) string {
	if strings.IndexFunc(body, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 || body == "" {
		return strconv.Quote(body)
	}
	return body
}

// maxCompared bounds what is compared line by line: the time grows with the square.
const maxCompared = 2000

// diff compares two lists: the fewest lines that differ.
func diff(want, got []string) (lines []Line) {
	same := 0
	for same < min(len(want), len(got)) && want[same] == got[same] {
		same++
	}
	for _, s := range want[:same] {
		lines = append(lines, Line{' ', shown(s)})
	}
	want, got = want[same:], got[same:]
	want, got = want[:min(len(want), maxCompared)], got[:min(len(got), maxCompared)]
	longest := make([][]int, len(want)+1) // common lines from there on
	for i := range longest {
		longest[i] = make([]int, len(got)+1)
	}
	for i := len(want) - 1; i >= 0; i-- {
		for j := len(got) - 1; j >= 0; j-- {
			if want[i] == got[j] {
				longest[i][j] = longest[i+1][j+1] + 1
			} else {
				longest[i][j] = max(longest[i+1][j], longest[i][j+1])
			}
		}
	}
	for i, j := 0, 0; i < len(want) || j < len(got); {
		switch {
		case i < len(want) && j < len(got) && want[i] == got[j]:
			lines = append(lines, Line{' ', shown(want[i])})
			i, j = i+1, j+1
		case i < len(want) && (j == len(got) || longest[i+1][j] >= longest[i][j+1]):
			lines = append(lines, Line{'-', shown(want[i])})
			i++
		default:
			lines = append(lines, Line{'+', shown(got[j])})
			j++
		}
	}
	return lines
}

// around is how many lines that are the same are shown beside those that are not.
const around = 2

// shortened leaves out what is the same far from what is not, and all beyond maxLines.
func shortened(lines []Line) (out []Line) {
	for i, l := range lines {
		near := false
		for j := max(0, i-around); j < min(len(lines), i+around+1); j++ {
			near = near || lines[j].Mark != ' '
		}
		switch {
		case len(out) >= maxLines:
			return append(out, Line{' ', fmt.Sprintf("… and %d more lines", len(lines)-i)})
		case l.Mark != ' ' || near:
			out = append(out, l)
		case len(out) == 0 || out[len(out)-1].Text != "…":
			out = append(out, Line{' ', "…"})
		}
	}
	return out
}
