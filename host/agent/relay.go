// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/pipeline"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
)

// relaySource is the source of the plugin that a relay has in name.
const relaySource = builtinScheme + config.RelayModule

// isRelay says whether a component is a sink that puts into another channel.
func isRelay(c config.Component) bool { return c.Kind == abi.Sink && c.Ref.Source == relaySource }

// relayPlugin stands where a relay's plugin would: it is listed, and never opened, as the host itself is what puts.
type relayPlugin struct{}

var _ plugin.Plugin = relayPlugin{}

// Manifest implements [plugin.Plugin].
func (relayPlugin) Manifest() abi.Manifest { return config.RelayManifest() }

// Digest implements [plugin.Plugin]: there is no code but this program's.
func (relayPlugin) Digest() string { return "" }

// Open implements [plugin.Plugin].
func (relayPlugin) Open(context.Context, abi.Kind, plugin.Request) (plugin.Instance, error) {
	return plugin.Instance{}, fmt.Errorf("BUG: a relay is opened as a plugin")
}

// Close implements [plugin.Plugin].
func (relayPlugin) Close() error { return nil }

// relay is what a relay has in the place of a plugin.
func (r *revision) relay(p *part, s config.Sink) *pipeline.Relay {
	into := p.into
	return &pipeline.Relay{
		Address: s.Address(), From: p.channel.address, To: into.address, Channel: into, Buffers: into.pool,
		Backoff: pipeline.Backoff{Min: s.Retry.Min, Max: s.Retry.Max}, Exact: r.durable(s.From), Fate: p,
		Fetch: func(ctx context.Context) error {
			return r.agent.fetch(ctx, s.Address(), s.Into, r.formerly(s.Address()))
		},
	}
}
