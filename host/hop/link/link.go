// SPDX-License-Identifier: Apache-2.0

// Package link carries hops over gRPC: [Plugin] holds the source that receives and the sink that sends. What they say to each other
// is package hop's to decide.
//
// Both are part of the agent and run in no sandbox: they know the cursor and the readers of a channel, which no guest does. Their addresses are
// granted like everybody's, and TLS is the endpoint's: certificates are read again when they change, and a listener outlives the instances.
//
// Invariants:
//
//   - Each call of an upstream has one goroutine that receives, which is gRPC's, and one that answers. The first waits for the second.
//   - Messages of one upstream are handed to the channel in their order, by one call at a time: a newer call ends the older one, and begins when
//     everything that was taken has its outcome.
//   - A source that is closed answers what became durable, then refuses the rest: none of its upstreams is left waiting.
//   - Close waits for every goroutine.
package link

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"

	"github.com/penstock-io/penstock/host/address"
	"github.com/penstock-io/penstock/host/hop"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
)

// Manifest is the plugin.hcl of the module.
//
//go:embed plugin.hcl
var Manifest string

// The handles of the manifest.
const listenHandle, dialHandle = "in", "out"

// Plugin is the module.
type Plugin struct {
	M abi.Manifest // what Manifest says

	answered answered
}

var _ plugin.Plugin = (*Plugin)(nil)

// answered is what receivers have said last that they hold of a stream, by sink, stream and address, as long as the agent runs.
type answered struct {
	mu sync.Mutex
	by map[string]hop.Span
}

// swap notes a span, and returns the one before.
func (a *answered) swap(key string, held hop.Span) (before hop.Span) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by == nil {
		a.by = map[string]hop.Span{}
	}
	before, a.by[key] = a.by[key], held
	return before
}

// Manifest implements [plugin.Plugin].
func (p *Plugin) Manifest() abi.Manifest { return p.M }

// Digest implements [plugin.Plugin]. It has no code of its own.
func (p *Plugin) Digest() string { return "" }

// Close implements [plugin.Plugin].
func (p *Plugin) Close() error { return nil }

// Open implements [plugin.Plugin].
func (p *Plugin) Open(ctx context.Context, kind abi.Kind, open plugin.Request) (plugin.Instance, error) {
	switch kind {
	case abi.Source:
		s, err := openSource(open)
		if err != nil {
			return plugin.Instance{}, err
		}
		return plugin.Instance{Source: s}, nil
	case abi.Sink:
		return openSink(ctx, open, &p.answered)
	}
	return plugin.Instance{}, &plugin.Error{Class: abi.Config, Code: abi.ENOSYS, Message: fmt.Sprintf("there is no %s \"hop\"", kind)}
}

// sourceConfig is the config of a source.
type sourceConfig struct {
	Listen    string   `json:"listen"`
	Clients   []string `json:"clients"`
	Upstreams int      `json:"upstreams"`
	Window    int      `json:"window"`
}

// sinkConfig is the config of a sink.
type sinkConfig struct {
	Address     string `json:"address"`
	Window      int    `json:"window"`
	Compression string `json:"compression"`
}

// Check looks at a config, without any I/O: path is the argument that err is about.
func Check(kind abi.Kind, config json.RawMessage) (path string, err error) {
	if kind == abi.Source {
		c, err := read[sourceConfig](config)
		if err != nil {
			return "", err
		}
		if err := guarded(abi.NeedListen, c.Listen); err != nil {
			return "listen", err
		}
		if len(c.Clients) == 0 {
			return "clients", fmt.Errorf("lists nobody: name the identities of those who may send, such as \"edge-*\"")
		}
		return "", nil
	}
	c, err := read[sinkConfig](config)
	if err != nil {
		return "", err
	}
	if err := guarded(abi.NeedDial, c.Address); err != nil {
		return "address", err
	}
	return "", nil
}

func read[T any](config json.RawMessage) (c T, err error) {
	if err := json.Unmarshal(config, &c); err != nil {
		return c, fmt.Errorf("read the config: %w", err)
	}
	return c, nil
}

// guarded says what is wrong with an address at which others could read or write along.
func guarded(need, text string) error {
	a, err := address.Parse(need, text)
	if err != nil {
		return nil // it was said when what it needs was looked at
	}
	if a.Secure() || a.Local() || a.Host == "localhost" {
		return nil
	}
	if ip, err := netip.ParseAddr(strings.Trim(a.Host, "[]")); err == nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("is %s, where anybody on the way could read along: write tls://, and name a tls block with cert, key and ca; without are a unix socket and 127.0.0.1", a)
}

var _ io.Closer = (*Plugin)(nil)
