// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plan"
	"github.com/penstock-io/penstock/host/plugin"
)

// maxSpares bounds the instances that are started before the ones that they replace have ended: each has some megabytes of memory.
const maxSpares = 16

// spares are instances of a revision that were started ahead, so that the start, most of the time for which a component stands still when it is
// replaced, is over by then. None is opened before the one that it replaces has ended. Without one, an instance is started when it is opened.
type spares struct {
	mu  sync.Mutex
	all map[spareKey]plugin.Spare
}

// spareKey says which instance it is: of a component, or of a processor for one.
type spareKey struct{ address, of string }

// makeSpares starts instances of what a plan restarts. One that does not start is started again when it is opened, and is judged then.
func (r *revision) makeSpares(ctx context.Context, p *plan.Plan) {
	var g errgroup.Group
	g.SetLimit(1) // it takes a processor from those that run
	n := 0
	start := func(cc config.Component, of string, req plugin.Request) {
		from, ok := r.plugins[cc.Address()].Plugin.(plugin.Preparer)
		if n++; !ok || n > maxSpares {
			return
		}
		g.Go(func() error {
			if s, err := from.Prepare(ctx, cc.Kind, req); err == nil {
				r.agent.step("prepare", cc.Address())
				r.spares.add(spareKey{cc.Address(), of}, s)
			}
			return nil
		})
	}
	for _, step := range p.Steps {
		if step.Do == plan.Restart {
			r.startSpares(step.Address, start)
		}
	}
	_ = g.Wait() // none returns an error
}

// startSpares starts those of one component.
func (r *revision) startSpares(address string, start func(cc config.Component, of string, req plugin.Request)) {
	for _, s := range r.Config.Sinks {
		if s.Address() == address && s.Connections == 1 && s.Lanes < 2 { // the log of others says which it is
			c := r.newComponent(s.Component, s.From)
			start(s.Component, address, r.request(c))
			r.startProcessors(c, s.Through, start)
		}
	}
	for _, s := range r.Config.Sources {
		if s.Address() != address {
			continue
		}
		c := r.newComponent(s.Component, s.Into)
		start(s.Component, address, r.request(c))
		r.startProcessors(c, s.Through, start)
	}
}

// startProcessors starts those that a component's events go through.
func (r *revision) startProcessors(c *component, names []string, start func(cc config.Component, of string, req plugin.Request)) {
	for _, name := range names {
		i := slices.IndexFunc(r.Config.Processors, func(p config.Processor) bool { return p.Name == name })
		start(r.Config.Processors[i].Component, c.Address(), r.processorRequest(c, r.Config.Processors[i]))
	}
}

func (s *spares) add(key spareKey, one plugin.Spare) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[spareKey]plugin.Spare{}
	}
	if old := s.all[key]; old != nil { // the same processor twice in a row
		_ = old.Close()
	}
	s.all[key] = one
}

// take returns the one of a key, or nil. It is the caller's.
func (s *spares) take(key spareKey) plugin.Spare {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.all[key]
	delete(s.all, key)
	return one
}

// close frees what nobody has taken.
func (s *spares) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.all {
		_ = one.Close() // it has opened nothing
	}
	s.all = nil
}

// openAs opens an instance of what is configured as cc, for the component of an address.
func (r *revision) openAs(ctx context.Context, cc config.Component, of string, req plugin.Request) (plugin.Instance, error) {
	if s := r.spares.take(spareKey{cc.Address(), of}); s != nil {
		return s.Open(ctx, req)
	}
	return r.plugin(cc).Open(ctx, cc.Kind, req)
}
