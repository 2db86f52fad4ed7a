// SPDX-License-Identifier: Apache-2.0

package flume

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

// choice is what a multiplexing selector does.
type choice struct {
	header   string
	mapped   map[string][]string // channels by value of the header
	optional map[string][]string // the same, of those that may be passed over
	all      []string            // every value that some channel gets, in the order of the file
	defaults []string            // channels of events of another value, or of none
	custom   bool                // nobody knows how it chooses
}

// choose reads a multiplexing selector.
func (s *source) choose() {
	c := &choice{header: s.take("selector.header", "flume.selector.header"), mapped: map[string][]string{}, optional: map[string][]string{},
		defaults: s.words("selector.default")}
	for at, to := range map[string]map[string][]string{"selector.mapping.": c.mapped, "selector.optional.": c.optional} {
		for _, value := range s.under(at) {
			to[value] = s.words(at + value)
		}
	}
	for _, key := range s.keys {
		for _, at := range []string{"selector.mapping.", "selector.optional."} {
			if value, ok := strings.CutPrefix(key, at); ok && !slices.Contains(c.all, value) {
				c.all = append(c.all, value)
			}
		}
	}
	s.choice = c
}

// goes says whether an event with that value of the header goes into a channel. An optional channel takes nothing from the default ones.
func (c *choice) goes(value, ch string) bool {
	required, mapped := c.mapped[value]
	if !mapped {
		required = c.defaults
	}
	return slices.Contains(required, ch) || slices.Contains(c.optional[value], ch)
}

// usual says whether events of no value that is mapped go there.
func (c *choice) usual(ch string) bool { return slices.Contains(c.defaults, ch) }

// values are those with which an event goes into a channel, or of one that is usual, with which it does not.
func (c *choice) values(ch string) (list []string) {
	for _, v := range c.all {
		if c.goes(v, ch) != c.usual(ch) {
			list = append(list, v)
		}
	}
	return list
}

// everything says whether all events go into a channel, and nothing whether none does.
func (c *choice) everything(ch string) bool { return c.usual(ch) && len(c.values(ch)) == 0 }
func (c *choice) nothing(ch string) bool    { return !c.usual(ch) && len(c.values(ch)) == 0 }

// mayPass says whether a channel may be passed over, whatever the event.
func (c *choice) mayPass(ch string) bool {
	for _, to := range c.mapped {
		if slices.Contains(to, ch) {
			return false
		}
	}
	return !c.usual(ch)
}

// filter makes the processor that leaves to a channel what the selector would have given it; "" when that is everything.
func (c *choice) filter(k *conversion, s *source, ch string) string {
	if c.everything(ch) {
		return ""
	}
	action := "keep"
	if c.usual(ch) {
		action = "drop"
	}
	p := k.processor(s, "filter", "to_"+ch)
	p.block.config("action", action)
	p.block.config("attribute", c.header)
	return p.with("equals", c.values(ch))
}

// said is the choice in words.
func (c *choice) said() string {
	var parts []string
	for _, v := range c.all {
		to := slices.Concat(c.mapped[v], c.optional[v])
		slices.Sort(to)
		parts = append(parts, fmt.Sprintf("%q: %s", v, strings.Join(slices.Compact(to), " ")))
	}
	if len(c.defaults) > 0 {
		parts = append(parts, "others: "+strings.Join(c.defaults, " "))
	}
	return strings.Join(parts, "; ")
}

// dealChannels makes one channel of those that one source alone feeds, and has a route deal its events to their sinks.
func (k *conversion) dealChannels() {
	for _, s := range k.sources {
		if s.choice == nil || s.choice.custom || len(s.blocks) == 0 || len(s.into) == 0 {
			continue
		}
		alone := !slices.ContainsFunc(k.sources, func(o *source) bool {
			return o != s && slices.ContainsFunc(o.into, func(ch string) bool { return slices.Contains(s.into, ch) })
		})
		if alone {
			k.deal(s)
		}
	}
}

// deal makes the route of a source.
func (k *conversion) deal(s *source) {
	c := s.choice
	var cases []*channel
	for _, name := range s.into {
		ch := k.channelNamed(name)
		switch ch.skips = c.mayPass(name); {
		case c.nothing(name):
			ch.note(Missing, "", fmt.Sprintf("the selector of %s gives it no event: remove it, with its sinks", s.Name))
			continue
		case c.everything(name):
			ch.note(Converted, "", fmt.Sprintf("the selector of %s gives it every event", s.Name))
		default:
			cases = append(cases, ch)
		}
		s.whole = append(s.whole, ch)
	}
	k.join(s.whole)
	if len(cases) == 0 {
		return
	}
	s.route = &block{kind: "route", labels: []string{k.name("route", s.Name)}}
	s.route.refer("from", k.dealt(s).block.address())
	fallback := c.fallback(cases)
	if c.several(cases) {
		s.route.set("match", "all")
	}
	if fallback == nil {
		s.route.set("unmatched", "discard")
	}
	of, values := s.header()
	for _, ch := range cases {
		b := &block{kind: "case", labels: []string{k.name(s.route.address(), ch.Name)}}
		ch.reads = s.route.address() + "." + b.labels[0]
		if ch == fallback {
			b.kind = "default"
		} else {
			b.refer("when", condition(of, values(c.values(ch.Name)), c.usual(ch.Name)))
		}
		s.route.blocks = append(s.route.blocks, b)
	}
	slices.SortStableFunc(s.route.blocks, func(a, b *block) int { return strings.Compare(a.kind, b.kind) }) // the default last
	if len(c.defaults) == 0 {
		s.note(Converted, "", "what has none of the values of its selector is given up, as Flume did, and counted")
	}
}

// fallback is the channel that gets just what no other case does, or nil.
func (c *choice) fallback(cases []*channel) (of *channel) {
	for _, ch := range cases {
		if !c.usual(ch.Name) {
			continue
		}
		if of != nil {
			return nil
		}
		of = ch
	}
	for _, v := range c.all {
		others := slices.ContainsFunc(cases, func(ch *channel) bool { return ch != of && c.goes(v, ch.Name) })
		if of != nil && others == c.goes(v, of.Name) {
			return nil
		}
	}
	return of
}

// several says whether some event is of more than one case.
func (c *choice) several(cases []*channel) bool {
	usual := 0
	for _, ch := range cases {
		if c.usual(ch.Name) {
			usual++
		}
	}
	return usual > 1 || slices.ContainsFunc(c.all, func(v string) bool {
		n := 0
		for _, ch := range cases {
			if c.goes(v, ch.Name) {
				n++
			}
		}
		return n > 1
	})
}

// condition asks whether what an event has is one of some values, or none of them.
func condition(of string, values []string, not bool) string {
	text := string(hclwrite.TokensForValue(ctyOf(values)).Bytes())
	switch {
	case len(values) > 1 && not:
		return "!contains(" + text + ", " + of + ")"
	case len(values) > 1:
		return "contains(" + text + ", " + of + ")"
	}
	text = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	if not {
		return of + " != " + text
	}
	return of + " == " + text
}

// severities and facilities are what syslog's numbers are called here.
var (
	severities = []string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}
	facilities = []string{"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
		"ntp", "security", "console", "solaris-cron", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"}
)

// header is how an expression names the header of the selector, and what its values are called here.
func (s *source) header() (of string, values func([]string) []string) {
	as := func(names []string) func([]string) []string {
		return func(list []string) (out []string) {
			for _, v := range list {
				if n, err := strconv.Atoi(v); err == nil && n >= 0 && n < len(names) {
					v = names[n]
				}
				out = append(out, v)
			}
			return out
		}
	}
	name, plugin := s.choice.header, s.blocks[0].labels[0]
	switch {
	case slices.ContainsFunc(s.interceptors, func(u unit) bool { return u.makes(name) }):
	case plugin == "syslog" && name == "Severity":
		return element("event.attributes", "syslog.severity"), as(severities)
	case plugin == "syslog" && name == "Facility":
		return element("event.attributes", "syslog.facility"), as(facilities)
	case plugin == "syslog" && (name == "host" || name == "hostname"):
		return element("event.attributes", "syslog.host"), as(nil)
	case plugin == "http" && slices.Contains(s.blocks[0].within("config").args, arg{"format", `"json"`}):
		return element("event.json.headers", name), as(nil) // the headers of an event are in its body
	}
	return element("event.attributes", name), as(nil)
}

// makes says whether an interceptor sets a header.
func (u unit) makes(header string) bool {
	for key, value := range u.values {
		if value == header && (key == "key" || strings.HasPrefix(key, "serializers.") && strings.HasSuffix(key, ".name")) {
			return true
		}
	}
	return false
}

// element is one of an object.
func element(of, name string) string {
	if hclsyntax.ValidIdentifier(name) {
		return of + "." + name
	}
	return of + "[" + string(hclwrite.TokensForValue(ctyOf(name)).Bytes()) + "]"
}

// dealt is the channel that has the events of a source with a route.
func (k *conversion) dealt(s *source) *channel { return s.whole[0].standing() }
