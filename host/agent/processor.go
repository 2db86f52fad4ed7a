// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/pipeline"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// onErrors are what a processor does with an event that it cannot process.
var onErrors = map[string]pipeline.OnError{
	"stop": pipeline.Stop, "drop": pipeline.Drop, "dead_letter": pipeline.DeadLetter, "pass": pipeline.Pass,
}

// processorBatch is the largest batch that a processor may make: an event in it has room for what makes a dead letter of it.
const processorBatch = event.MaxBatch - event.DeadRoom

// through makes the processors of a source, or of a loop of a sink, each an instance of its own.
func (r *revision) through(c *component, names []string) (chain []pipeline.Processor) {
	for _, name := range names {
		i := slices.IndexFunc(r.Config.Processors, func(p config.Processor) bool { return p.Name == name })
		chain = append(chain, r.processor(c, r.Config.Processors[i]))
	}
	return chain
}

func (r *revision) processor(c *component, p config.Processor) pipeline.Processor {
	address := p.Address()
	use := &processorUse{address: address, metrics: r.agent.metrics.Processor(address), of: c}
	request := r.processorRequest(c, p)
	return pipeline.Processor{
		Address: address, OnError: onErrors[p.OnError], Observer: use, When: when(p.When),
		Plugin: r.pluginOf(p.Component),
		Open: func(ctx context.Context) (plugin.Processor, error) {
			if use.opened.Add(1) > 1 {
				c.plugins.Restarted(address)
			}
			inst, err := r.openAs(ctx, p.Component, c.Address(), request)
			return inst.Processor, err
		},
	}
}

func (r *revision) processorRequest(c *component, p config.Processor) plugin.Request {
	req := r.requestOf(p.Component, c)
	req.Log = c.log.With("processor", p.Address())
	req.Limits.BatchBytes = processorBatch
	return req
}

// when makes what asks events whether a condition holds; nil when it holds for all.
func when(c *config.Condition) pipeline.When {
	if c == nil {
		return nil
	}
	return func() func(*event.Event) (bool, error) { return c.Evaluator().Bool }
}

// pluginOf names the plugin of a component, for dead letters: "std/regex 0.1.0".
func (r *revision) pluginOf(c config.Component) string {
	module := r.plugin(c).Manifest()
	return fmt.Sprintf("%s/%s %s", module.Name, c.Plugin.Name, module.Version)
}

// processorUse is a processor in one place, and observes it.
type processorUse struct {
	address string
	metrics *admin.ProcessorMetrics
	of      *component
	opened  atomic.Int64 // instances, ever
}

var _ pipeline.ProcessorObserver = (*processorUse)(nil)

func (u *processorUse) Processed(p pipeline.Processed) {
	u.metrics.Processed(p.Taken, p.Given, p.Filtered, p.Dropped, p.DeadLetter, p.Passed, p.Skipped, p.Undecided)
}

func (u *processorUse) Failed(class abi.Class) {
	u.of.failed(class, u.address)
}
