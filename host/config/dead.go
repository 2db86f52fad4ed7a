// SPDX-License-Identifier: Apache-2.0

package config

import "github.com/penstock-io/penstock/spec/abi"

// linkDeadLetters reads which channel keeps the dead letters of which. One that does has none itself, and nobody else fills it: so
// there is no circle, and what is in it has a reason.
func (l *loader) linkDeadLetters(c *Config) {
	for i := range c.Channels {
		ch := &c.Channels[i]
		expr := l.channels[ch.Name].args["dead_letter"].expr
		if expr == nil {
			continue
		}
		v := l.channels[ch.Name]
		leave := l.enter(v)
		name, ok := l.channelAt(v, expr)
		leave()
		if !ok {
			l.adrift = true
			continue
		}
		ch.DeadLetter = name
		if _, known := l.dead[name]; !known {
			l.dead[name] = ch.Name
		}
	}
	for i := range c.Channels {
		ch := &c.Channels[i]
		_, keeps := l.dead[ch.Name]
		switch v := l.channels[ch.Name]; {
		case ch.DeadLetter != "" && ch.Kind == kindDurable && l.channels[ch.DeadLetter].labels[0] != kindDurable:
			l.add("W2006", v.where("dead_letter"), "%s is on disk, and channel.%s, which keeps its dead letters, is not: what its sinks reject is lost when the agent ends.",
				ch.Address(), ch.DeadLetter)
		case ch.DeadLetter == ch.Name:
			l.add("E2006", v.where("dead_letter"), "%s cannot keep its own dead letters: they would come back to the sink that rejected them. Name another channel.", ch.Address())
		case keeps && ch.DeadLetter != "":
			l.add("E2006", v.where("dead_letter"), "%s keeps the dead letters of channel.%s, and so has none of its own: what its own sinks reject holds them. Leave dead_letter out here.",
				ch.Address(), l.dead[ch.Name])
		}
	}
}

// onlyDead reports a source or a relay that fills a channel of dead letters.
func (l *loader) onlyDead(v *values, kind abi.Kind, into string) bool {
	of, keeps := l.dead[into]
	if keeps {
		l.add("E2006", v.where("into"), "channel.%s keeps the dead letters of channel.%s, and nothing else. Give %s.%s another channel.", into, of, kind, v.name())
	}
	return !keeps
}
