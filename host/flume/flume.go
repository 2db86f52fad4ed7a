// SPDX-License-Identifier: Apache-2.0

// Package flume turns the configuration of an agent of Apache Flume NG, a file of Java properties, into a pipeline file.
//
// What must hold of the result:
//
//   - Nothing is passed over. A property is translated, or needs nothing here, or stands in a comment with what to do about it.
//   - It delivers no event twice, and none to another place than Flume did: where that has no equivalent (a group beside other sinks of its
//     channel, selectors of which nobody knows how they choose), what would is left in a comment, and `penstock validate` refuses the file until somebody has decided.
//   - A file of which all parts have an equivalent is valid as it stands, and laid out as `penstock fmt` does it.
package flume

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/magiconair/properties"

	"github.com/penstock-io/penstock/host/config"
)

// ErrAgent says that a file has no such agent, or several, none of which was named.
var ErrAgent = errors.New("which agent")

// Status says how far a part of an agent was converted.
type Status string

// What may become of a part.
const (
	Converted Status = "converted" // it does what it did
	Differs   Status = "differs"   // it has an equivalent, which its notes tell from what it was
	Missing   Status = "missing"   // something of it has no equivalent, and is to be done by hand
)

// Note is a remark on a part: the comment in the file.
type Note struct {
	Property string `json:"property,omitempty"` // with its value, as it stood there
	Text     string `json:"text"`
	Status   Status `json:"status"` // Converted: for information
}

// Part is a source, interceptor, channel, sink or group of sinks of the agent.
type Part struct {
	Kind   string   `json:"kind"` // as in the file: "sources", "interceptors", "channels", "sinks", "sinkgroups"
	Name   string   `json:"name"`
	Type   string   `json:"type"`
	Became []string `json:"became"` // addresses: "source.r1"
	Status Status   `json:"status"`
	Notes  []Note   `json:"notes"`
}

// Result is a converted agent.
type Result struct {
	Agent string  `json:"agent"`
	HCL   string  `json:"hcl"`
	Parts []*Part `json:"parts"`
}

// Count returns how many parts have the status.
func (r *Result) Count(s Status) int {
	n := 0
	for _, p := range r.Parts {
		if p.Status == s {
			n++
		}
	}
	return n
}

// Convert converts one agent of the file in text; agent names it where there are several. file is what the comments call the file.
// Errors are of the file (no properties, no agent) or ErrAgent.
func Convert(text []byte, file, agent string) (*Result, error) {
	p, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	agents := agentsOf(p)
	switch {
	case len(agents) == 0:
		return nil, fmt.Errorf("%s configures no agent of Flume: it has no property NAME.sources, NAME.channels or NAME.sinks", file)
	case agent == "" && len(agents) > 1:
		return nil, fmt.Errorf("%w: %s configures %s", ErrAgent, file, strings.Join(agents, ", "))
	case agent == "":
		agent = agents[0]
	case !slices.Contains(agents, agent):
		return nil, fmt.Errorf("%w: %s has no %q, but %s", ErrAgent, file, agent, strings.Join(agents, ", "))
	}
	c := newConversion(p, agent)
	c.convert()
	return &Result{agent, string(config.Format([]byte(c.text(file)))), c.parts}, nil
}

// Agents lists the names of the agents in the file, sorted.
func Agents(text []byte) []string {
	p, err := parse(text)
	if err != nil {
		return nil
	}
	return agentsOf(p)
}

// parse reads properties as Java does, which took them for Latin-1 until they were UTF-8. ${key} stays as it is: Flume has none of its own.
// Where the text is broken the library leaves a goroutine behind, which ends with the command.
func parse(text []byte) (*properties.Properties, error) {
	loader := properties.Loader{Encoding: properties.UTF8, DisableExpansion: true}
	if !utf8.Valid(text) {
		loader.Encoding = properties.ISO_8859_1
	}
	return loader.LoadBytes(text)
}

func agentsOf(p *properties.Properties) []string {
	var names []string
	for _, key := range p.Keys() {
		agent, rest, _ := strings.Cut(key, ".")
		if slices.Contains([]string{"sources", "channels", "sinks"}, rest) && !slices.Contains(names, agent) {
			names = append(names, agent)
		}
	}
	slices.Sort(names)
	return names
}
