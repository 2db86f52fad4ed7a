// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/penstock-io/penstock/host/config"
)

// deadLetter is the one argument of a channel that is about those who use it.
const deadLetter = "dead_letter"

// live are the arguments of a channel that change while it is open.
var live = []string{"capacity", "max_events", "max_age", deadLetter}

func channelArguments(ch config.Channel) (s set) {
	s.text("kind", ch.Kind)
	s.size("capacity", ch.CapacityBytes)
	s.count("max_events", ch.MaxEvents)
	s.time("max_age", ch.MaxAge)
	s.text("on_full", ch.OnFull)
	s.time("retain", ch.Retain)
	s.text("durability", ch.Durability)
	s.time("durability.interval", ch.FlushEvery)
	if ch.MinFreeBytes != nil {
		s.text("min_free", sizeText(*ch.MinFreeBytes))
	}
	s.text("on_corrupt", ch.OnCorrupt)
	s.text("compression", ch.Compression)
	s.text("encryption.key", ch.Key)
	s.list("encryption.old", ch.OldKeys)
	s.time("scrub", ch.Scrub)
	s.time("forget_after", ch.ForgetAfter)
	s.text(deadLetter, ch.DeadLetter)
	return s
}

func (c *comparison) channels() {
	from, to := c.from.Config.Channels, c.to.Config.Channels
	for _, ch := range to {
		i := slices.IndexFunc(from, func(old config.Channel) bool { return old.Name == ch.Name })
		if i < 0 {
			c.add(Step{Address: ch.Address(), Do: Create})
			c.refuseRename(ch)
			continue
		}
		changes := diff(channelArguments(from[i]), channelArguments(ch))
		if len(changes) > 0 {
			c.add(Step{Address: ch.Address(), Do: Update, Changes: changes})
		}
		c.refuseFixed(ch.Address(), changes, live)
	}
	for _, old := range from {
		if !slices.ContainsFunc(to, func(ch config.Channel) bool { return ch.Name == old.Name }) {
			c.add(Step{Address: old.Address(), Do: Remove})
		}
	}
}

// refuseRename refuses a channel that is open under a name that it had before.
func (c *comparison) refuseRename(ch config.Channel) {
	for _, before := range c.to.Config.Formerly(ch.Address()) {
		if slices.ContainsFunc(c.from.Config.Channels, func(old config.Channel) bool { return old.Address() == before }) {
			c.plan.Refused = append(c.plan.Refused, fmt.Sprintf("%s cannot become %s while the agent runs: stop the agent and start it again, or put it back", before, ch.Address()))
		}
	}
}

// refuseNoReturn refuses to give up a channel in memory together with the way back: what is still in it when the new version fails would be lost.
func (c *comparison) refuseNoReturn() {
	i := slices.IndexFunc(c.plan.Steps, func(s Step) bool { return s.OneWay != "" })
	if i < 0 {
		return
	}
	for _, old := range c.from.Config.Channels {
		if s := c.plan.Step(old.Address()); old.Kind == "memory" && s != nil && s.Do == Remove {
			c.plan.Refused = append(c.plan.Refused, fmt.Sprintf("%s is in memory alone, and cannot go together with a change of %s from which there is no way back: take it out in another reload",
				old.Address(), c.plan.Steps[i].Address))
		}
	}
}

// agentLive are the arguments of the agent that change while it runs.
var agentLive = []string{"drain_timeout", "probation"}

// labelPrefix begins the names of the agent's labels, which change live.
const labelPrefix = "labels."

func agentArguments(a config.Agent) (s set) {
	s.text("name", a.Name)
	s.text("id", a.ID)
	s.text("data_dir", a.DataDir)
	s.text("drain_timeout", duration(a.DrainTimeout))
	s.text("probation", duration(a.Probation))
	for _, name := range slices.Sorted(maps.Keys(a.Labels)) {
		s.text(labelPrefix+name, a.Labels[name])
	}
	s.yes("origin", a.Origin)
	s.text("http.listen", a.Listen)
	s.text("http.token", a.Token)
	s.tls("http.tls", a.TLS)
	s.text("log.level", a.LogLevel)
	s.text("log.format", a.LogFormat)
	return s
}

func (c *comparison) agent() {
	if c.plan.From == "" {
		return
	}
	changes := diff(agentArguments(c.from.Config.Agent), agentArguments(c.to.Config.Agent))
	if len(changes) > 0 {
		c.add(Step{Address: "agent", Do: Update, Changes: changes})
	}
	c.refuseFixed("agent", changes, agentLive)
}

// refuseFixed says of what cannot change while it is in use.
func (c *comparison) refuseFixed(address string, changes []Change, live []string) {
	for _, ch := range changes {
		if slices.Contains(live, ch.Argument) || strings.HasPrefix(ch.Argument, labelPrefix) {
			continue
		}
		why := fmt.Sprintf("%s: %s cannot change while the agent runs (%s): ", address, ch.Argument, ch.arrow())
		if ch.Argument == "kind" {
			why += "give the channel another name, and keep this one until it is drained"
		} else {
			why += "stop the agent and start it again, or put it back"
		}
		c.plan.Refused = append(c.plan.Refused, why)
	}
}

// secrets looks at where they come from. Who is given one is started again when its value is another.
func (c *comparison) secrets() {
	if c.plan.From == "" {
		return
	}
	for _, s := range c.to.Config.Secrets {
		i := slices.IndexFunc(c.from.Config.Secrets, func(old config.Secret) bool { return old.Name == s.Name })
		if i >= 0 && c.from.Config.Secrets[i].From != s.From {
			step := Step{Address: "secret." + s.Name, Do: Update, Changes: []Change{{"from", c.from.Config.Secrets[i].From, s.From}}}
			step.asks = []string{"it comes from somewhere else"}
			c.add(step)
		}
	}
}

// arrow is how a change is written.
func (ch Change) arrow() string {
	unset := func(s string) string {
		if strings.TrimSpace(s) == "" {
			return "(not set)"
		}
		return s
	}
	return unset(ch.Old) + " → " + unset(ch.New)
}
