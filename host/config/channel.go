// SPDX-License-Identifier: Apache-2.0

package config

import (
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// defaultKinds are the channels there are, unless Options say otherwise.
var defaultKinds = []string{"wal", "memory"}

const kindDurable = "wal" // the kind that takes room on the disk

func (l *loader) declareChannels(c *Config) {
	kinds := l.opts.ChannelKinds
	if kinds == nil {
		kinds = defaultKinds
	}
	for _, v := range l.blocks["channel"] {
		if l.channels[v.name()] != nil {
			continue // reported as a name used twice
		}
		l.channels[v.name()] = v
		leave := l.enter(v)
		ch := l.channel(v, kinds)
		leave()
		if !v.off() {
			c.Channels = append(c.Channels, ch)
		}
	}
}

func (l *loader) channel(v *values, kinds []string) Channel {
	if kind := v.labels[0]; !slices.Contains(kinds, kind) {
		l.add("E2002", v.label[0], "There is no channel of kind %q.%s", kind, thereIs(kind, kinds))
	}
	l.durableOnly(v)
	l.losing(v)
	level, every := l.durability(v)
	key, old := l.encryption(v)
	return Channel{
		Kind: v.labels[0], Name: v.name(),
		CapacityBytes: uint64(v.number("capacity")),
		MaxEvents:     uint64(v.number("max_events")),
		MaxAge:        time.Duration(v.number("max_age")),
		OnFull:        v.text("on_full"),
		Retain:        time.Duration(v.number("retain")),
		Durability:    level,
		FlushEvery:    every,
		MinFreeBytes:  minFree(v),
		OnCorrupt:     v.text("on_corrupt"),
		Compression:   v.text("compression"),
		Key:           key,
		OldKeys:       old,
		ForgetAfter:   l.forgetAfter(v),
		Scrub:         time.Duration(v.number("scrub")),
		DeclRange:     v.at,
	}
}

// durableOnly warns of what only a channel on disk has a use for.
func (l *loader) durableOnly(v *values) {
	for _, arg := range []string{"durability", "min_free", "scrub", "compression", "retain"} {
		if v.labels[0] != kindDurable && v.isSet(arg) {
			l.add("W2004", v.args[arg].name, "Only a channel of kind %q has a use for %s: this one keeps nothing on disk.", kindDurable, arg)
		}
	}
}

func minFree(v *values) *uint64 {
	if !v.isSet("min_free") {
		return nil
	}
	n := uint64(v.number("min_free"))
	return &n
}

// forgetAfter reads after how long cursor entries are forgotten.
func (l *loader) forgetAfter(v *values) time.Duration {
	d := time.Duration(v.number("forget_after"))
	if d != 0 && d < minForgetAfter && !v.broken {
		l.add("E2004", v.where("forget_after"), "forget_after must be 0s, which is never, or at least %s; this is %s.", formatDuration(minForgetAfter), formatDuration(d))
	}
	return d
}

// durability reads a level, and says what is at risk below fsync.
func (l *loader) durability(v *values) (level string, every time.Duration) {
	wrote := v.text("durability")
	at := v.where("durability")
	name := "channel." + v.name()
	const resend = "What its sources can send again comes again; what its sinks have delivered meanwhile, twice."
	level, interval, timed := strings.Cut(wrote, ":")
	switch {
	case v.broken, wrote == "fsync", v.labels[0] != kindDurable:
		return "fsync", 0
	case wrote == "os":
		l.add("W2003", at, "When the machine crashes, %s may lose events that it has acknowledged: up to 8 MiB of the newest. %s", name, resend)
		return level, 0
	case level == "interval" && timed:
		every, err := parseDuration(interval)
		if err == nil && every >= minFlushEvery && every <= maxFlushEvery {
			l.add("W2003", at, "When the machine crashes, %s may lose events that it has acknowledged: those of the last %s. %s", name, formatDuration(every), resend)
			return level, every
		}
		l.add("E2003", at, "The interval must be a duration from %s to %s; this is %q.", formatDuration(minFlushEvery), formatDuration(maxFlushEvery), interval)
	default:
		l.add("E2003", at, "durability is \"fsync\", \"interval:100ms\" or \"os\"; this is %q.", wrote)
	}
	return "", 0
}

// topology looks at the graph as a whole. Where some reference leads nowhere, the graph is not known.
func (l *loader) topology(c *Config) {
	if len(l.blocks["source"])+len(l.blocks["sink"]) == 0 && !l.failed() {
		l.add("W1001", l.first, "There is neither a source nor a sink, so the agent would do nothing.")
	}
	for _, ch := range c.Channels {
		_, keeps := l.dead[ch.Name] // its held reader drains it
		if !l.drained[ch.Name] && !keeps && !l.adrift {
			off := ""
			if sink, idle := l.idle[ch.Name]; idle {
				off = " sink." + sink + " would, and is switched off: switch it on, or the channel and its sources off."
			}
			l.add("E2001", ch.DeclRange, "Nothing takes events out of %s: it would fill, and then stop its sources. Add a sink with from = %s, or remove the channel.%s",
				ch.Address(), ch.Address(), off)
		}
		if !l.fed[ch.Name] && !keeps && !l.adrift {
			l.add("W2001", ch.DeclRange, "Nothing puts events into %s. If it still holds some, its sinks will take them.", ch.Address())
		}
	}
	l.unreadCases(c)
	l.room(c)
}

// room warns when the channels may come to hold more than the disk does.
func (l *loader) room(c *Config) {
	if l.opts.DiskFree == nil {
		return
	}
	free, err := l.opts.DiskFree(existing(c.Agent.DataDir))
	if err != nil {
		return // a warning is not worth an error; the agent will find out when it opens the directory
	}
	sum := uint64(0)
	for _, ch := range c.Channels {
		if ch.Kind != kindDurable {
			continue
		}
		before := sum
		sum += ch.CapacityBytes
		if sum <= free || before > free {
			continue
		}
		together := ""
		if before > 0 {
			together = ", together with the channels before it"
		}
		l.add("W2002", ch.DeclRange, "%s may come to hold %s%s; at %s there is room for %s.",
			ch.Address(), roundSize(sum), together, c.Agent.DataDir, roundSize(free))
	}
}

// existing is the nearest directory above path that is there already.
func existing(path string) string {
	for !exists(path) && filepath.Dir(path) != path {
		path = filepath.Dir(path)
	}
	return path
}
