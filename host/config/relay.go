// SPDX-License-Identifier: Apache-2.0

package config

import (
	"slices"
	"strings"

	"github.com/penstock-io/penstock/host/guarantee"
	"github.com/penstock-io/penstock/spec/abi"
)

// A relay is a sink "channel": the agent itself takes from one channel and puts into another. There is no plugin, but a manifest for those who ask
// what a sink claims.

// RelayModule is the name of the builtin module that the relay stands for.
const RelayModule = "channel"

// RelayManifest is what a relay claims.
func RelayManifest() abi.Manifest {
	return abi.Manifest{Name: RelayModule, Version: "1.0.0", Plugins: []abi.Plugin{{
		Kind: abi.Sink, Name: RelayModule, Effects: "transactional",
		Doc: "Puts events into another channel of the same agent, `into`: one on another disk, with another capacity, encryption or retention. How far it got is a " +
			"cursor in that channel, in the record of the events, so that nothing is lost there and nothing comes twice. It has no config.",
	}}}
}

// Relays says whether the sink puts into another channel.
func (s Sink) Relays() bool { return s.Into != "" }

// relays says whether a sink block is a relay, unless a plugin block has taken the name.
func (l *loader) relays(kind abi.Kind, v *values) bool {
	return kind == abi.Sink && len(v.labels) > 0 && v.labels[0] == RelayModule && l.plugins[RelayModule] == nil
}

// notOfRelays are the arguments of a sink that a relay has no use for, and why.
var notOfRelays = []struct{ name, why string }{
	{"timeout", "it waits for as long as the other channel is full. Remove it"},
	{"delivery", "no path ends in it. Say it in the sinks of the channel that it puts into"},
}

// relay reads where a relay puts what it takes.
func (l *loader) relay(v *values, s *Sink) bool {
	before := len(l.diags)
	switch relays := l.relays(abi.Sink, v); {
	case v.broken:
		return true
	case !relays && v.isSet("into"):
		l.add("E2012", v.where("into"), "A sink %s puts into no channel: its destination is in its config. Remove into, or take a sink \"channel\", which puts what it takes into another channel.", quote(v.labels[0]))
	case !relays:
	case v.args["into"].expr == nil:
		l.add("E1204", v.at, "A sink \"channel\" needs the argument \"into\": write into = channel.NAME, for the channel that it puts into.")
		l.adrift = true
	case l.grouped[v.name()] != nil:
		l.add("E2012", v.label[0], "sink.%s puts into a channel, which keeps up to where it has the events of another: those of a group go to several members. Have it read the channel itself.", v.name())
	default:
		l.relayInto(v, s)
	}
	return !l.diags[before:].HasErrors()
}

func (l *loader) relayInto(v *values, s *Sink) {
	for _, not := range notOfRelays {
		if v.isSet(not.name) {
			l.add("E2012", v.where(not.name), "sink.%s puts into a channel, and has no %s: %s.", v.name(), not.name, not.why)
		}
	}
	if into, ok := l.channelOf(v, "into", l.fed); ok && l.onlyDead(v, abi.Sink, into) {
		s.Into = into
	}
	s.Timeout = 0
}

// hop is a way from one channel to another.
type hop struct {
	by, to string // the address of a relay, or "dead letters"; the name of a channel
}

// circles reports relays that would bring events back to where they come from, also as dead letters.
func (l *loader) circles(c *Config) {
	if l.adrift {
		return
	}
	ways := map[string][]hop{}
	for _, s := range c.Sinks {
		if s.Relays() {
			ways[s.From] = append(ways[s.From], hop{s.Address(), s.Into})
		}
	}
	for _, ch := range c.Channels {
		if ch.DeadLetter != "" {
			ways[ch.Name] = append(ways[ch.Name], hop{"dead letters", ch.DeadLetter})
		}
	}
	said := map[string]bool{} // relays that are on a circle which is reported
	for _, s := range c.Sinks {
		if !s.Relays() || said[s.Address()] {
			continue
		}
		v := l.blockAt(s.Address())
		_, letters := l.dead[s.From]
		if back, found := wayBack(ways, s.Into, s.From, nil); found {
			way := []string{"channel." + s.From, s.Address(), "channel." + s.Into}
			for _, h := range back {
				said[h.by] = true
				way = append(way, h.by, "channel."+h.to)
			}
			l.add("E2013", v.where("into"), "Events would go in a circle, for ever: %s. Have one of its relays put into another channel.", strings.Join(way, " → "))
		} else if i := slices.IndexFunc(c.Channels, func(ch Channel) bool { return ch.Name == s.Into }); letters && i >= 0 && c.Channels[i].DeadLetter != "" {
			l.add("E2006", v.where("into"), "%s takes dead letters from channel.%s, and channel.%s has dead letters of its own: they would be letters of letters. Have it put into a channel without dead_letter.",
				s.Address(), s.From, s.Into)
		}
	}
}

// wayBack finds a way from one channel to another. seen are the channels that it has been to.
func wayBack(ways map[string][]hop, from, to string, seen []string) (way []hop, found bool) {
	if from == to {
		return nil, true
	}
	if slices.Contains(seen, from) {
		return nil, false
	}
	for _, h := range ways[from] {
		if rest, found := wayBack(ways, h.to, to, append(seen, from)); found {
			return append([]hop{h}, rest...), true
		}
	}
	return nil, false
}

// onward are the paths from here on: to each sink of a channel, and through its relays to those of others. A configuration has no circles.
func (c *Config) onward(p guarantee.Path, channel string) (list []guarantee.Path) {
	if len(p.Stages) > len(c.Channels) {
		return nil // a circle, which is reported
	}
	for _, k := range c.Sinks {
		if k.From != channel {
			continue
		}
		next := p
		next.Stages = append(slices.Clone(p.Stages), c.stage(k))
		if k.Relays() {
			list = append(list, c.onward(next, k.Into)...)
			continue
		}
		list = append(list, next)
	}
	return list
}
