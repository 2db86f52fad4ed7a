// SPDX-License-Identifier: Apache-2.0

package guarantee

import (
	"fmt"
	"io"
	"strings"
)

// Report is what is told of a path.
type Report struct {
	Source   string   `json:"source"`
	Through  []string `json:"through"`         // processors
	Channel  string   `json:"channel"`         // the first
	Beyond   []string `json:"beyond"`          // relays and their channels, in order; mostly none
	Case     string   `json:"case,omitempty"`  // of a route, through which the sink gets them: "route.by_level.loud"
	Group    string   `json:"group,omitempty"` // that gives it to the sink, one of its members: "sink_group.web"
	Refined  []string `json:"refined"`         // processors on the way to the sink
	Sink     string   `json:"sink"`
	Delivery string   `json:"delivery"` // a Level
	Why      string   `json:"why"`
	Faults   []Fault  `json:"faults"` // all there are, in the order of the links
}

// Report tells of the path.
func (p Path) Report() Report {
	r := Report{
		Source: p.Source.Address, Through: []string{}, Beyond: []string{}, Refined: []string{}, Sink: p.last().Address, Group: p.last().Member,
		Delivery: p.Level().String(), Why: p.Why(), Faults: p.Faults(),
	}
	if r.Faults == nil {
		r.Faults = []Fault{}
	}
	r.Through = append(r.Through, addresses(p.Processors)...)
	for i, s := range p.Stages {
		r.Case = s.Case // of the last: a relay is named itself
		if i == 0 {
			r.Channel = s.Channel.Address
			continue
		}
		r.Beyond = append(append(r.Beyond, addresses(p.Stages[i-1].Processors)...), p.Stages[i-1].Sink.Address, s.Channel.Address)
	}
	if n := len(p.Stages); n > 0 {
		r.Refined = append(r.Refined, addresses(p.Stages[n-1].Processors)...)
	}
	return r
}

func addresses(list []Processor) (all []string) {
	for _, p := range list {
		all = append(all, p.Address)
	}
	return all
}

// Level reads it back.
func (r Report) Level() Level {
	l, _ := Parse(r.Delivery)
	return l
}

// Way is the path in a line.
func (r Report) Way() string {
	way := append([]string{r.Source}, r.Through...)
	way = append(append(way, r.Channel), r.Beyond...)
	if r.Case != "" {
		way = append(way, r.Case)
	}
	if r.Group != "" {
		way = append(way, r.Group)
	}
	way = append(append(way, r.Refined...), r.Sink)
	return strings.Join(way, " → ")
}

// maxLines is how many paths are written for people: a screen of them. JSON has all.
const maxLines = 40

// Write prints paths for people, each on a line that begins with indent, in columns. The weakest come first where there are too many to print all.
func Write(w io.Writer, indent string, reports []Report) {
	show, hidden := reports, 0
	if len(reports) > maxLines {
		show, hidden = weakest(reports, maxLines), len(reports)-maxLines
	}
	way, level := 0, 0
	for _, r := range show {
		way, level = max(way, len([]rune(r.Way()))), max(level, len(r.Delivery))
	}
	for _, r := range show {
		gap := strings.Repeat(" ", way-len([]rune(r.Way())))
		_, _ = fmt.Fprintf(w, "%s%s%s  %-*s  (%s)\n", indent, r.Way(), gap, level, r.Delivery, r.Why) // a reader who went away need not be told
	}
	if hidden > 0 {
		_, _ = fmt.Fprintf(w, "%s… and %d more; --json has all\n", indent, hidden)
	}
}

// weakest picks n reports, the weakest first, and those of equal strength in their order.
func weakest(reports []Report, n int) (list []Report) {
	for level := BestEffort; level <= ExactlyOnce; level++ {
		for _, r := range reports {
			if r.Level() == level && len(list) < n {
				list = append(list, r)
			}
		}
	}
	return list
}
