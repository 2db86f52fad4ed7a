// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/event"
)

// StandIns are what runs in the place of the plugins of some components, by address. Nothing is loaded for these, and what they are granted is
// theirs to know.
type StandIns map[string]plugin.Plugin

// standIn is what stands for the plugin of a component, or nil.
func (r *revision) standIn(c config.Component) *loaded {
	p := r.agent.opts.StandIns[c.Address()]
	if p == nil && isRelay(c) {
		p = relayPlugin{}
	}
	if p == nil {
		return nil
	}
	return &loaded{p, keyOf(c.Ref), func() {}}
}

// Observe opens a further reader of a channel, between New and Run, so that it gets every event. It must be closed before Run returns.
func (a *Agent) Observe(address, name string) (channel.Reader, error) {
	for _, c := range a.channels() {
		if c.address == address {
			return c.Reader(channel.ReaderSpec{Name: name})
		}
	}
	return nil, fmt.Errorf("there is no %s", address)
}

// Dealer says of which cases of a route events are, by their places there. It is for one goroutine.
func (a *Agent) Dealer(route string) func(*event.Event) []int {
	return a.current().routes[route].Asker()
}
