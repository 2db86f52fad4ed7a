// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"io"
	"strings"

	"github.com/penstock-io/penstock/host/guarantee"
)

// Paint colours a piece of text: of a step that begins with that mark ('+', '~', '-'), or that is to be noticed ('!').
type Paint func(mark byte, text string) string

// Columns of the text.
const (
	addressColumn  = 30
	argumentColumn = 14
	digestRunes    = 6
)

// Write prints the plan for people. paint may be nil.
func (p *Plan) Write(w io.Writer, paint Paint) {
	if paint == nil {
		paint = func(_ byte, text string) string { return text }
	}
	out := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) } // a reader who went away need not be told
	for _, s := range p.Steps {
		mark := marks[s.Do]
		name := s.Address
		if s.Was != "" {
			name = s.Was + " → " + s.Address
		}
		out("  %s %s  %s\n", paint(mark, string(mark)), pad(paint(mark, name), name, addressColumn), p.says(s))
		s.details(out, paint)
		p.left(s, out, paint)
	}
	for _, why := range p.Refused {
		out("%s %s\n", paint('!', "refused:"), why)
	}
	if p.Status.Barred != "" {
		out("%s %s\n", paint('!', "refused as it stands now:"), p.Status.Barred)
	}
	if p.Deals() {
		out("Sinks change over each where it stands: an event that one is past and another is not may go to both, or to none.\n")
	}
	p.writeStatus(out)
	p.writePaths(w, out, paint)
}

// writePaths says what holds then, and marks what holds less than now.
func (p *Plan) writePaths(w io.Writer, out func(string, ...any), paint Paint) {
	if len(p.Paths) == 0 {
		return
	}
	out("Delivery:\n")
	reports := make([]guarantee.Report, len(p.Paths))
	for i := range p.Paths {
		reports[i] = p.Paths[i].Report
	}
	guarantee.Write(w, "  ", reports)
	for _, path := range p.Weaker() {
		out("%s %s\n", paint('!', "weaker:"), path)
	}
}

// Weaker says of each path on which less holds then than now what that is.
func (p *Plan) Weaker() (list []string) {
	for _, path := range p.Paths {
		if path.Weaker() {
			list = append(list, fmt.Sprintf("%s  %s → %s (%s)", path.Way(), path.Was.Delivery, path.Delivery, path.Why))
		}
	}
	return list
}

var marks = map[Action]byte{Create: '+', Update: '~', Restart: '~', Remove: '-'}

// says is what happens, in words.
func (p *Plan) says(s Step) string {
	kind, _, _ := strings.Cut(s.Address, ".")
	switch {
	case s.Do == Create && kind == "channel":
		return "new channel"
	case s.Do == Create && kind == "processor":
		return "new"
	case s.Do == Create && kind == "source":
		return "new; puts into " + s.Channel
	case s.Do == Create:
		return "new; takes from " + s.Channel
	case s.Do == Remove:
		if n, known := p.Status.Pending[s.Address]; known {
			return fmt.Sprintf("removed; %s events pending", number(n))
		}
		return "removed"
	case s.Do == Update && s.Address == "agent":
		return "in place; components take it up when they start"
	case s.Do == Update:
		return "in place; nothing stops"
	case kind == "source":
		return fmt.Sprintf("restart of this source only; %s is drained meanwhile%s", s.Channel, s.because())
	case kind == "processor":
		return "restart with what goes through it"
	}
	return fmt.Sprintf("restart of this sink only; %s keeps filling%s", s.Channel, s.because())
}

func (s Step) because() string {
	switch {
	case len(s.Because) > 0:
		return " (for " + strings.Join(s.Because, ", ") + ")"
	case s.Held:
		return " (it is held, and is tried again)"
	}
	return ""
}

// left says what becomes of the events that a sink leaves.
func (p *Plan) left(s Step, out func(string, ...any), paint Paint) {
	if s.Do == Remove && strings.HasPrefix(s.Address, "sink.") && p.Status.Pending[s.Address] > 0 {
		out("      %s they take room in %s until they are given up: penstock channel forget %s %s\n", paint('!', "kept:"), s.Channel, strings.TrimPrefix(s.Channel, "channel."), s.Address)
	}
}

func (s Step) details(out func(string, ...any), paint Paint) {
	for _, ch := range s.Changes {
		out("      %s  %s\n", pad(ch.Argument, ch.Argument, argumentColumn), ch.arrow())
	}
	if d := s.Plugin; d != nil {
		out("    plugin %s  sha256:%s → sha256:%s\n", pad(d.Name, d.Name, argumentColumn-5), short(d.Old), short(d.New))
	}
	for _, may := range s.Gains {
		out("      %s permission    %s      %s\n", paint('+', "+"), may, paint('!', "← NEW PERMISSION"))
	}
	for _, may := range s.Loses {
		if s.Do != Remove {
			out("      %s permission    %s\n", paint('-', "-"), may)
		}
	}
	if s.OneWay != "" {
		out("      %s %s\n", paint('!', "no way back:"), s.OneWay)
	}
}

// writeStatus says what is in flight.
func (p *Plan) writeStatus(out func(string, ...any)) {
	for _, f := range p.Status.Flying {
		what, fate := fmt.Sprintf("%d takes of %s events on %s", f.Takes, number(f.Events), f.Address), "They commit first"
		switch f.Takes {
		case 0:
			what = fmt.Sprintf("%s events that %s has read", number(f.Events), f.Address)
		case 1:
			what, fate = fmt.Sprintf("1 take of %s events on %s", number(f.Events), f.Address), "It commits first"
		}
		out("In flight now: %s. %s (limit %s), else rolled back; nothing is lost either way.\n", what, fate, p.Status.Limit)
	}
}

// Summary counts the steps in a line: "1 to create, 2 to restart".
func (p *Plan) Summary() string {
	return p.counted(map[Action]string{Create: "to create", Update: "to update in place", Restart: "to restart", Remove: "to remove"})
}

// Done is Summary once it is done: "1 created, 2 restarted".
func (p *Plan) Done() string {
	return p.counted(map[Action]string{Create: "created", Update: "updated in place", Restart: "restarted", Remove: "removed"})
}

func (p *Plan) counted(verbs map[Action]string) string {
	counts := map[Action]int{}
	for _, s := range p.Steps {
		counts[s.Do]++
	}
	var words []string
	for _, do := range []Action{Create, Update, Restart, Remove} {
		if n := counts[do]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, verbs[do]))
		}
	}
	if len(p.Refused) > 0 {
		words = append(words, fmt.Sprintf("%d refused", len(p.Refused)))
	}
	if len(words) == 0 {
		return "no changes"
	}
	return strings.Join(words, ", ")
}

// pad fills up painted text, whose width is that of plain.
func pad(painted, plain string, width int) string {
	return painted + strings.Repeat(" ", max(0, width-len([]rune(plain))))
}

func short(digest string) string {
	if len(digest) <= digestRunes {
		return digest
	}
	return digest[:digestRunes] + "…"
}

// number writes n in groups of three: 1 234 567.
func number(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}
