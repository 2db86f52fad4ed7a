// SPDX-License-Identifier: Apache-2.0

package flume

import (
	"fmt"
	"slices"
	"strings"
)

// selector reads how a source picks channels.
func (k *conversion) selector(s *source) {
	kind := strings.ToLower(s.take("selector.type", "replicating"))
	switch {
	case kind == "replicating":
		s.optional = s.words("selector.optional")
	case kind == "multiplexing":
		s.choose()
	default:
		s.choose()
		s.again = false
		s.choice.custom = true
		s.noteEach(Converted, "selector.", "of the selector")
		s.note(Missing, "selector.type", "only selectors that copy, or choose by an attribute, have an equivalent")
	}
	for _, name := range s.into {
		if k.channelNamed(name) == nil {
			s.note(Missing, "", fmt.Sprintf("there is no channel %s among those of the agent", name))
		}
	}
	s.into = slices.DeleteFunc(s.into, func(name string) bool { return k.channelNamed(name) == nil })
}

// feed connects the blocks of a source with channels.
func (k *conversion) feed(s *source) {
	var targets []*channel
	for _, name := range s.into {
		if ch := k.channelNamed(name).standing(); !slices.Contains(targets, ch) {
			targets = append(targets, ch)
		}
	}
	switch {
	case len(s.blocks) == 0:
	case s.route != nil || s.whole != nil:
		s.connect(k.dealt(s).block.address())
	case s.choice != nil && s.again && !s.choice.custom:
		k.feedEach(s, targets)
	case s.choice != nil:
		c := s.choice
		s.note(Missing, "", fmt.Sprintf("the source has no channel yet. Flume chose one by the attribute %q (%s), which needs a route, or a sender for each channel; "+
			"or write into = channel.NAME, and give all events to one channel", c.header, c.said()))
		s.connect("")
	case len(targets) == 0:
		s.note(Missing, "channels", "write into = channel.NAME")
		s.connect("")
	case len(targets) == 1:
		s.connect(targets[0].block.address())
	case s.again:
		k.feedEach(s, targets)
	default:
		s.note(Missing, "channels", "the source has no channel yet. It copied its events to several that other sources feed too; here every sink of a channel gets all of its events, "+
			"so write one channel into all of these sources, and from it into their sinks")
		s.connect("")
	}
	for _, b := range s.blocks {
		s.Became = append(s.Became, b.address())
	}
	if s.route != nil && len(s.blocks) > 0 {
		s.Became = append(s.Became, s.route.address())
	}
}

// feedEach reads the same once for each channel: exact, since each reader has a position of its own.
func (k *conversion) feedEach(s *source, targets []*channel) {
	s.note(Converted, "", "a source fills one channel, so that there is one for each; each knows how far it has read")
	blocks := s.blocks
	s.blocks = nil
	for n, ch := range targets {
		own := ""
		if s.choice != nil {
			own = s.choice.filter(k, s, ch.Name)
		}
		for _, b := range blocks {
			one := b
			if n > 0 {
				one = b.copyAs(k.name("source", b.labels[1]+"_"+ch.Name))
			}
			s.blocks = append(s.blocks, one)
			s.first[one] = s.first[b]
			s.connectOne(one, ch.block.address(), own)
		}
	}
}

// connect gives every block of the source the channel; "" leaves it out.
func (s *source) connect(into string) {
	for _, b := range s.blocks {
		s.connectOne(b, into, "")
	}
}

// connectOne puts the channel and the processors before the block's own arguments; last is a processor of it alone, or "".
func (s *source) connectOne(b *block, into, last string) {
	var args []arg
	if into != "" {
		args = append(args, arg{"into", into})
	}
	through := slices.Concat(s.first[b], s.through, []string{last})
	through = slices.DeleteFunc(through, func(p string) bool { return p == "" })
	if len(through) > 0 {
		args = append(args, arg{"through", "[" + strings.Join(through, ", ") + "]"})
	}
	// What a block was copied from has been connected already.
	own := slices.DeleteFunc(slices.Clone(b.args), func(a arg) bool { return a.name == "into" || a.name == "through" })
	b.args = append(args, own...) // tls
}
