// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/pipeline"
	"github.com/penstock-io/penstock/host/plan"
)

// Setup is a configuration to run, with what it was validated with.
type Setup struct {
	Config *config.Config
	Keys   Keys // of the channels: see [ReadKeys]
	// Revealed is what components are opened with that are given secrets: see [config.Reveal].
	Revealed map[string]config.Revealed
	Secrets  config.Secrets  // that Revealed was made with; empty: none is read again
	Modules  *Modules        // the ones that Config was validated with; nil: read anew
	Sources  *config.Sources // the files, which are kept beside the data once they have proved good; nil: they are not
}

// revision is a setup with all that was opened for it: channels, plugins and what components are granted. Components are made of it. It is not
// changed once they run.
//
// A revision takes over from the one before what both of them have: the same channel, the same compiled plugin, the same address that is listened
// on. So the two stand beside each other until the new one has proved good, and what only one of them has is closed with it.
type revision struct {
	Setup
	agent    *Agent
	log      *slog.Logger
	plan     *plan.Plan                    // from the one before; nil: there was none
	tried    atomic.Pointer[config.Config] // what was gone over to, and back from; nil: nothing
	plugins  map[string]*loaded            // by address of the component
	grants   map[string]*granted           // by address of the component
	secured  map[string]secured            // by name of the tls block; those in use
	routes   map[string]*pipeline.Route    // by name
	channels []*openChannel
	spares   spares
	opened   []io.Closer // all of it, in the order of opening; pointers, so that what is shared is seen
}

// prepare opens a setup, the cheap and the likely to be refused first. Nothing of before is touched, and nothing that a component has open is
// opened a second time. On an error, what only the new one would have is closed.
func (a *Agent) prepare(ctx context.Context, s Setup, before *revision, p *plan.Plan) (_ *revision, err error) {
	if s.Modules == nil {
		s.Modules = &Modules{}
	}
	r := &revision{Setup: s, agent: a, log: a.opts.Log, plan: p, plugins: map[string]*loaded{}, grants: map[string]*granted{}, secured: map[string]secured{}, routes: routesOf(s.Config)}
	if before == nil {
		before = &revision{}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close(before))
		}
	}()
	defer s.Modules.forget()
	if before.Config == nil { // an agent that starts: what cannot listen is to be known first
		if err := r.openGrants(before); err != nil {
			return nil, err
		}
	}
	g, ctx := errgroup.WithContext(ctx) // one waits for the disk, the other for the processor
	g.Go(func() error { return r.openChannels(before) })
	g.Go(func() error { return r.loadPlugins(ctx, before) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if before.Config != nil { // after what takes seconds: whoever connects to a new address waits for its component
		if err := r.openGrants(before); err != nil {
			return nil, err
		}
	}
	return r, r.holdDead()
}

// keeps says whether a component is the same as in the revision before.
func (r *revision) keeps(address string) bool { return r.plan != nil && r.plan.Step(address) == nil }

// keep notes that something belongs to the revision. a.mu guards it, since channels and plugins are opened at the same time.
func (r *revision) keep(c io.Closer) {
	r.agent.mu.Lock()
	defer r.agent.mu.Unlock()
	if !slices.Contains(r.opened, c) {
		r.opened = append(r.opened, c)
	}
}

// close closes, the last opened first, what the other revision does not have.
func (r *revision) close(other *revision) error {
	var errs []error
	for _, c := range slices.Backward(r.opened) {
		if !slices.Contains(other.opened, c) {
			errs = append(errs, c.Close())
		}
	}
	r.opened = nil
	return errors.Join(errs...)
}

// closerFunc is a func that is closed once. Each is another.
type closerFunc struct{ close func() error }

// Close implements [io.Closer].
func (c *closerFunc) Close() error { return c.close() }

// channel is an open channel, by its name.
func (r *revision) channel(name string) *openChannel {
	if c := r.find("channel." + name); c != nil {
		return c
	}
	panic("BUG: " + name + " passed validation and is not open")
}

// find is an open channel, by its address; nil: there is none.
func (r *revision) find(address string) *openChannel {
	i := slices.IndexFunc(r.channels, func(c *openChannel) bool { return c.address == address })
	if i < 0 {
		return nil
	}
	return r.channels[i]
}

// build makes a component of the revision, for which everything else is open. A sink registers its readers.
func (r *revision) build(address string) (*component, error) {
	for _, s := range r.Config.Sinks {
		if s.Address() == address {
			return r.buildSink(s)
		}
	}
	for _, s := range r.Config.Sources {
		if s.Address() == address {
			return r.buildSource(s), nil
		}
	}
	return nil, fmt.Errorf("BUG: %s is in no revision", address)
}

// addresses are those of all that runs by itself, sinks first, in the order of the files.
func (r *revision) addresses() (all []string) {
	for _, s := range r.Config.Sinks {
		all = append(all, s.Address())
	}
	for _, s := range r.Config.Sources {
		all = append(all, s.Address())
	}
	return all
}
