// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/hop/link"
	"github.com/penstock-io/penstock/host/pipeline"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/hoppb"
)

// hopModule is the builtin module of hops.
const hopModule = "hop"

const _ = uint(channel.MaxCursor - hoppb.MaxCursor) // what a hop keeps fits a channel

// inside are the builtin modules that are part of the agent, and run in no sandbox: they need what no guest is given. Each has a manifest like any other.
var inside = map[string]struct {
	manifest func() abi.Manifest
	load     func() plugin.Plugin
	check    func(kind abi.Kind, config json.RawMessage) (path string, err error)
}{
	hopModule: {
		manifest: hopManifest,
		load:     func() plugin.Plugin { return &link.Plugin{M: hopManifest()} },
		check:    link.Check,
	},
}

var hopManifest = sync.OnceValue(func() abi.Manifest {
	m, _, diags := config.ParseManifest([]byte(link.Manifest), "hop/plugin.hcl")
	if diags.HasErrors() {
		panic("BUG: " + diags.Error()) // it is part of the program
	}
	return m
})

// insideOf says whether a source of a plugin is a module that is part of the agent.
func insideOf(source string) (module string, ok bool) {
	module, builtin := strings.CutPrefix(source, builtinScheme)
	if !builtin {
		return "", false
	}
	_, ok = inside[module]
	return module, ok
}

// within is the runtime of such modules.
type within struct{}

// Load implements [plugin.Runtime].
func (within) Load(_ context.Context, ref plugin.Ref) (plugin.Plugin, error) {
	module, ok := insideOf(ref.Source)
	if !ok {
		return nil, fmt.Errorf("%s is no part of the agent", ref.Source)
	}
	return inside[module].load(), nil
}

// Close implements [plugin.Runtime].
func (within) Close() error { return nil }

var _ io.Closer = within{}

// hops says whether a component is one end of a hop.
func hops(c config.Component) bool { return c.Ref.Source == builtinScheme+hopModule }

// hopBackoff is between the tries of a sink of a hop, whatever its retry block says of destinations that may be away for long: the receiver is another
// agent, which bids it wait when it has to, and a link that is back is to be used within half a second.
var hopBackoff = pipeline.Backoff{Min: 50 * time.Millisecond, Max: 400 * time.Millisecond}

// durable says whether what is in a channel of the configuration, no crash takes away.
func (r *revision) durable(name string) bool {
	i := slices.IndexFunc(r.Config.Channels, func(c config.Channel) bool { return c.Name == name })
	return i >= 0 && r.Config.Channels[i].Kind == "wal" && r.Config.Channels[i].Durability == "fsync"
}

// forgets is after how long a channel of the configuration forgets what of a cursor was not set again.
func (r *revision) forgets(name string) time.Duration {
	i := slices.IndexFunc(r.Config.Channels, func(c config.Channel) bool { return c.Name == name })
	if i < 0 {
		return 0
	}
	return r.Config.Channels[i].ForgetAfter
}
