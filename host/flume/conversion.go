// SPDX-License-Identifier: Apache-2.0

package flume

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/magiconair/properties"
)

// conversion is one agent on its way.
type conversion struct {
	agent  string
	keys   []string // of the agent, without its name, in the order of the file
	values map[string]string
	parts  []*Part
	used   map[string]bool   // names that are taken, by kind of block, in lower case
	known  map[string]string // ours by kind and Flume's
	shared []*block          // secrets and certificates
	whole  *Part             // what is said of the agent as such
	stray  map[string]string // properties of no agent in the file

	sources  []*source
	channels []*channel
	sinks    []*sink
	groups   []*group
}

func newConversion(p *properties.Properties, agent string) *conversion {
	k := &conversion{agent: agent, values: map[string]string{}, used: map[string]bool{}, known: map[string]string{}, stray: map[string]string{}}
	agents := agentsOf(p)
	for _, key := range p.Keys() {
		if rest, ok := strings.CutPrefix(key, agent+"."); ok {
			k.keys = append(k.keys, rest)
			k.values[rest] = strings.TrimSpace(p.GetString(key, ""))
		} else if of, _, _ := strings.Cut(key, "."); !slices.Contains(agents, of) {
			k.stray[key] = p.GetString(key, "")
		}
	}
	return k
}

// kinds are the lists of an agent.
var kinds = []string{"sources", "channels", "sinks", "sinkgroups"}

func (k *conversion) convert() {
	for _, c := range k.components("channels") {
		k.channels = append(k.channels, k.channel(c))
	}
	for _, c := range k.components("sources") {
		k.sources = append(k.sources, k.source(c))
	}
	for _, c := range k.components("sinks") {
		k.sinks = append(k.sinks, k.sink(c))
	}
	for _, c := range k.components("sinkgroups") {
		k.groups = append(k.groups, k.group(c))
	}
	k.mergeChannels()
	k.dealChannels()
	for _, s := range k.sources {
		k.feed(s)
	}
	k.drain()
	k.rest()
	for _, p := range k.parts {
		if p.Became == nil {
			p.Became = []string{}
		}
		if p.Notes == nil {
			p.Notes = []Note{}
		}
	}
}

// rest notes what belongs to no component: a part of its own, if there is something to say.
func (k *conversion) rest() {
	c := &component{Part: &Part{Kind: "agent", Name: k.agent, Status: Converted}, values: k.values, taken: map[string]bool{}}
	for _, key := range k.keys {
		if kind, rest, named := strings.Cut(key, "."); !slices.Contains(kinds, kind) {
			c.note(Missing, key, "there is no equivalent")
		} else if name, _, _ := strings.Cut(rest, "."); named && !slices.Contains(strings.Fields(k.values[kind]), name) {
			c.note(Converted, key, fmt.Sprintf("%s is not among the %s of the agent, so that Flume passed it over", name, kind))
		}
	}
	stray := &component{Part: c.Part, values: k.stray, taken: map[string]bool{}}
	for _, key := range slices.Sorted(maps.Keys(k.stray)) {
		stray.note(Converted, key, "it is of no agent in the file, so that Flume passed it over")
	}
	if len(c.Notes) > 0 {
		k.parts = slices.Insert(k.parts, 0, c.Part)
	}
	k.whole = c.Part
}

// components makes the parts of one kind that the agent lists, in that order.
func (k *conversion) components(kind string) []*component {
	var list []*component
	var names []string
	for _, name := range strings.Fields(k.values[kind]) {
		if slices.Contains(names, name) {
			continue
		}
		names = append(names, name)
		c := k.component(kind, name, kind+"."+name+".")
		list = append(list, c)
	}
	return list
}

// component gathers the properties below the prefix. What belongs to interceptors is left to them.
func (k *conversion) component(kind, name, prefix string) *component {
	c := &component{
		Part:   &Part{Kind: kind, Name: name, Status: Converted},
		prefix: prefix, values: map[string]string{}, taken: map[string]bool{},
	}
	for _, key := range k.keys {
		if rest, ok := strings.CutPrefix(key, prefix); ok && !strings.HasPrefix(rest, "interceptors") {
			c.keys = append(c.keys, rest)
			c.values[rest] = k.values[key]
		}
	}
	c.Type = shortType(c.take("type", ""))
	k.parts = append(k.parts, c.Part)
	return c
}

// name makes a name that is unique among blocks of that kind, and the same each time it is asked for.
func (k *conversion) name(kind, flume string) string {
	if name, ok := k.known[kind+"."+flume]; ok {
		return name
	}
	name := k.fresh(kind, flume)
	k.known[kind+"."+flume] = name
	return name
}

// fresh makes a name that no other block of that kind has.
func (k *conversion) fresh(kind, flume string) string {
	valid := validName(flume)
	name := valid
	for i := 2; k.used[kind+"."+strings.ToLower(name)]; i++ {
		suffix := fmt.Sprintf("_%d", i)
		name = valid[:min(len(valid), mostName-len(suffix))] + suffix
	}
	k.used[kind+"."+strings.ToLower(name)] = true
	return name
}

// block begins the block of a component. Names that Penstock would refuse get a note.
func (k *conversion) block(c *component, kind, plugin, flume string) *block {
	name := k.name(kind, flume)
	if name != flume {
		c.note(Differs, "", fmt.Sprintf("it is called %s here: a name has letters, digits, _ and -, and is unique without regard to case", name))
	}
	return &block{kind: kind, labels: []string{plugin, name}}
}

// missing leaves all of a component to a comment.
func missing(c *component, advice string) {
	c.note(Missing, "", fmt.Sprintf("there is no equivalent of the type %q. %s", cmp.Or(c.Type, "(none)"), advice))
	c.noteRest()
}

// noteRest lists what a component of which nothing is left was configured with.
func (c *component) noteRest() {
	for _, key := range c.keys {
		if !c.taken[key] {
			c.note(Converted, key, "as it was")
		}
	}
}

// text is the whole file.
func (k *conversion) text(file string) string {
	var s strings.Builder
	s.WriteString(comment(fmt.Sprintf("The agent %s of %s, converted from Apache Flume. TODO marks what is to be done by hand, NOTE what is not quite as it was.", k.agent, file)))
	section := func(text string) {
		if text != "" {
			s.WriteString("\n" + text)
		}
	}
	section(remarks(k.whole) + written(&block{kind: "agent", labels: []string{validAgent(k.agent)}}))
	for _, b := range k.shared {
		section(written(b))
	}
	for _, src := range k.sources {
		for _, i := range src.interceptors {
			section(i.text())
		}
		section(unit{src.component, src.blocks}.text())
		if src.route != nil {
			section(written(src.route))
		}
	}
	for _, ch := range k.channels {
		section(unit{ch.component, ch.blocks()}.text())
		if ch.shared != nil {
			section(written(ch.shared))
		}
	}
	for _, snk := range k.sinks {
		section(unit{snk.component, snk.blocks}.text())
	}
	for _, g := range k.groups {
		section(unit{g.component, g.blocks()}.text())
	}
	return s.String()
}

// unit is a part and what became of it.
type unit struct {
	*component
	blocks []*block
}

// text writes the notes, then the blocks.
func (u unit) text() string {
	var s strings.Builder
	notes := remarks(u.Part)
	if len(u.blocks) == 0 {
		s.WriteString(comment(fmt.Sprintf("%s%s", u.prefix[:len(u.prefix)-1], typed(u.Type))))
	}
	s.WriteString(notes)
	for i, b := range u.blocks {
		if i > 0 {
			s.WriteString("\n")
		}
		s.WriteString(written(b))
	}
	return s.String()
}

func typed(t string) string {
	if t == "" {
		return ":"
	}
	return " (" + t + "):"
}

// validAgent is the agent's name here, which may hold dots and begin with a digit.
func validAgent(name string) string { return strings.TrimPrefix(validName(name), "_") }
