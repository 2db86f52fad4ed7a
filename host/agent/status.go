// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"os"
	"time"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/pipeline"
)

// Status returns the state of everything at this moment, or of the moment before everything was freed.
func (a *Agent) Status() admin.Status {
	a.mu.Lock()
	final := a.final
	a.mu.Unlock()
	if final != nil {
		return *final
	}
	r := a.current()
	if r == nil {
		r = &revision{Setup: a.opts.Setup}
	}
	s := admin.Status{
		Agent: r.Config.Agent.Name, Labels: r.Config.Agent.Labels, Version: a.opts.Build.Version, Revision: r.Config.Revision,
		PID: os.Getpid(), Started: a.started, DataDir: a.dir,
		Components: []admin.Component{}, Channels: []admin.Channel{}, Groups: a.groups.status(), Reload: a.lastReload(),
	}
	if a.server != nil {
		s.HTTP, s.HTTPS = a.server.Addr(), a.opts.Config.Agent.TLS != nil
	}
	s.Paths, s.TLS = r.Config.Guarantees(), a.certificates()
	for _, c := range a.running() {
		of := c.status()
		of.Listeners, of.Denied = a.listenersOf(c.Address()), a.metrics.Plugin().Denials(c.Address())
		s.Components = append(s.Components, of)
	}
	for _, c := range a.channels() {
		s.Channels = append(s.Channels, admin.ChannelStatus(c.address, c.kind, c.Stats(), time.Now()))
	}
	return s
}

func (c *component) status() admin.Component {
	state, reason, since := c.fate()
	s := admin.Component{
		Address: c.Address(), Kind: string(c.Kind), Plugin: c.Ref.Source + ":" + c.Plugin.Name, Channel: c.channel.address,
		State: admin.State(state), Since: since, Started: c.started, Reason: reason, May: c.Permissions(),
	}
	s.Dead = c.dead.Count()
	s.Failure, s.FailedAt = c.failure()
	if c.source != nil {
		n := c.source.Counts()
		s.Events, s.Bytes, s.Waiting, s.Retries = n.Acked, n.Bytes, uint64(max(0, c.flying.Load())), c.retries()
		return s
	}
	if c.into != nil {
		s.Into = c.into.address
	}
	n := c.sink.Counts()
	s.Events, s.Bytes, s.Retries, s.Rejected, s.Filtered, s.Consumed = n.Committed, n.Bytes, n.Retries, n.Rejected, n.Filtered, n.Consumed
	s.Waiting, s.Parts = c.layout.waiting(), c.layout.parts()
	return s
}

func (c *component) failure() (why string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lastTry.why, c.lastTry.at
}

func (c *component) retries() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tries
}

// Live says why the process should be started again, or nil: a channel stopped after an error of its disk.
// A destination that is down is no reason.
func (a *Agent) Live() error {
	for _, c := range a.channels() {
		if err := c.Stats().Stopped; err != nil {
			return fmt.Errorf("%s has stopped: %w", c.address, err)
		}
	}
	return nil
}

// Ready says, a sentence each, why the agent does not do all of its work; none when it does.
func (a *Agent) Ready() []string {
	reasons := []string{}
	a.mu.Lock()
	running := a.runs
	a.mu.Unlock()
	if !running {
		return append(reasons, "the agent does not run: it starts or drains")
	}
	if err := a.Live(); err != nil {
		reasons = append(reasons, err.Error())
	}
	for _, c := range a.channels() {
		if why := c.Stats().ShortOfDisk; why != "" {
			reasons = append(reasons, fmt.Sprintf("%s is short of disk, so that its sources wait: %s", c.address, why))
		}
	}
	for _, c := range a.running() {
		switch state, reason, _ := c.fate(); state {
		case pipeline.Held:
			reasons = append(reasons, fmt.Sprintf("%s is held: %s", c.Address(), reason))
		case pipeline.Paused:
			reasons = append(reasons, fmt.Sprintf("%s is paused: %s", c.Address(), reason))
		case pipeline.Starting:
			reasons = append(reasons, c.Address()+" is starting")
		}
	}
	return reasons
}
