// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"context"
	"encoding/json"
	"maps"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
)

const (
	// checkTime is the processor time that a guest has to start, and then for each config that it looks at.
	checkTime = time.Second
	// maxBrokenChecks is how many instances of a module may break while they look at configs: each may have taken all of its time.
	maxBrokenChecks = 3
)

// Check implements [plugin.Checker]. One instance looks at all configs, one after the other; one that broke is replaced.
func (p *Plugin) Check(ctx context.Context, limits plugin.Limits, looks []plugin.Look) []error {
	said := make([]error, len(looks))
	if !p.exports[abi.ExportCheck] || p.trusted { // nothing ends a call of one that is trusted
		return said
	}
	limits.Call = checkTime
	var in *instance
	defer func() {
		if in != nil {
			in.discard()
		}
	}()
	for i, broken := 0, 0; i < len(looks) && broken < maxBrokenChecks && ctx.Err() == nil; i++ {
		if in == nil {
			described, ok := p.manifest.Find(looks[i].Kind, looks[i].Plugin)
			if !ok {
				continue
			}
			var err error
			if in, err = p.start(ctx, looks[i].Kind, described, plugin.Request{Limits: limits}); err != nil {
				return said // it cannot be opened either, and says so there
			}
		}
		said[i] = in.check(ctx, looks[i])
		if in.dead != nil {
			in.discard()
			in = nil
			broken++
		}
	}
	return said
}

// check has the guest look at one config. What it needs grants or the world for, it cannot say: only that it refuses the config, or breaks over it.
func (in *instance) check(ctx context.Context, look plugin.Look) error {
	in.kind = look.Kind
	code, err := in.ask(ctx, &in.guest.check, plugin.Request{Plugin: look.Plugin, Config: look.Config, Instance: abi.Instance{Count: 1}})
	switch {
	case ctx.Err() != nil:
		return nil // it had no time, whatever it answers
	case err != nil:
		return err
	case code == abi.EINVAL:
		return in.failed(code)
	}
	in.failure = failure{}
	return nil
}

// ask calls an export with an open request. An error means that the guest was not asked, or is dead.
func (in *instance) ask(ctx context.Context, e *export, open plugin.Request) (abi.Code, error) {
	config := open.Config
	if len(config) == 0 {
		config = json.RawMessage("{}")
	}
	request, err := abi.OpenRequest{
		Plugin: open.Plugin, Kind: in.kind, Config: config, Instance: open.Instance,
		Stream: open.Stream, Incarnations: open.Incarnations, Cursor: maps.Clone(open.Cursor),
	}.Append(nil)
	if err != nil {
		return 0, &plugin.Error{Class: abi.Config, Code: abi.EINVAL, Message: err.Error(), Err: err}
	}
	view, err := in.arena(ctx, len(request))
	if err != nil {
		return 0, err
	}
	copy(view, request)
	return in.run(ctx, e, uint64(len(request)))
}

var _ plugin.Checker = (*Plugin)(nil)
