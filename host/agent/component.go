// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/pipeline"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

const (
	// pollEvents and pollBytes are asked of each poll of a source. They match the default want of a
	// sink, so that a batch goes from emit to delivery as it is.
	pollEvents = 4096
	pollBytes  = 1 << 20
)

// component is one source or sink that runs, and what is known of it.
type component struct {
	config.Component
	run     func(context.Context) error
	channel *openChannel
	log     *slog.Logger
	plugins *admin.PluginMetrics
	opened  int // instances, ever; by the one goroutine that opens

	mu     sync.Mutex
	state  pipeline.State
	since  time.Time
	reason string
	tries  uint64 // times that it waited to try again

	ended  atomic.Bool  // run has returned
	flying atomic.Int64 // events that a source has read and that are not durable yet

	source *admin.SourceMetrics // one of the two is nil
	sink   *admin.SinkMetrics
	reader channel.Reader
	step   func(string)
}

func (a *Agent) buildComponents() error {
	for _, s := range a.opts.Config.Sinks {
		c, err := a.buildSink(s)
		if err != nil {
			return err
		}
		a.components = append(a.components, c)
	}
	for _, s := range a.opts.Config.Sources {
		a.components = append(a.components, a.buildSource(s))
	}
	return nil
}

func (a *Agent) newComponent(cc config.Component, channel string) *component {
	return &component{
		Component: cc, channel: a.channel(channel), plugins: a.metrics.Plugin(), step: a.opts.Step,
		log: a.opts.Log.With("component", cc.Address()), state: pipeline.Starting, since: time.Now(),
	}
}

// request is what an instance of the component is opened with, as far as sources and sinks are alike.
func (a *Agent) request(c *component) plugin.Request {
	r := plugin.Request{
		Component: c.Address(), Plugin: c.Plugin.Name, Config: c.Config, Instance: abi.Instance{Count: 1},
		Limits:  plugin.Limits{MemoryBytes: c.MemoryBytes, BatchEvents: pollEvents, BatchBytes: pollBytes},
		Buffers: c.channel.pool, Log: c.log, Metrics: c.plugins,
	}
	for _, d := range c.Dirs {
		r.Dirs = append(r.Dirs, plugin.Dir{Path: d.Path, Write: d.Write})
	}
	for _, need := range c.Needs {
		if need == "stdout" {
			r.Stdout = a.opts.Stdout
		}
	}
	if r.Stdout == nil && len(c.Needs) > 0 {
		r.Stdout = io.Discard
	}
	return r
}

func (a *Agent) buildSource(s config.Source) *component {
	c := a.newComponent(s.Component, s.Into)
	c.source = a.metrics.Source(c.Address())
	request := a.request(c)
	loop := &pipeline.Source{
		Address: c.Address(), Channel: c.channel, Version: c.Plugin.CursorVersion, Reads: c.Plugin.Reads,
		Backoff: sourceBackoff, Drain: a.opts.Config.Agent.DrainTimeout, Observer: sourceObserver{c}, Log: c.log,
		Open: func(ctx context.Context, cursor event.Cursor) (plugin.Source, error) {
			r := request
			r.Cursor = cursor
			inst, err := c.open(ctx, a.plugins[c.Ref.Source], abi.Source, r)
			return inst.Source, err
		},
	}
	c.run = loop.Run
	return c
}

// sourceBackoff is between the tries of a source; a sink's is its retry block.
var sourceBackoff = pipeline.Backoff{Min: 100 * time.Millisecond, Max: 30 * time.Second}

func (a *Agent) buildSink(s config.Sink) (*component, error) {
	c := a.newComponent(s.Component, s.From)
	c.sink = a.metrics.Sink(c.Address(), c.channel.address)
	start := channel.Now // in a new channel that is the oldest event too
	if s.Start == "oldest" {
		start = channel.Oldest
	}
	reader, err := c.channel.Reader(channel.ReaderSpec{Name: c.Address(), Start: start})
	if err != nil {
		return nil, fmt.Errorf("register %s with %s: %w", c.Address(), c.channel.address, err)
	}
	c.reader = reader
	request := a.request(c)
	loop := &pipeline.Sink{
		Address: c.Address(), Reader: reader, Backoff: pipeline.Backoff{Min: s.Retry.Min, Max: s.Retry.Max},
		Want:    channel.Want{Events: s.Batch.Events, Bytes: s.Batch.Bytes, Wait: s.Batch.Wait},
		Timeout: s.Timeout, Drain: a.opts.Config.Agent.DrainTimeout, Observer: sinkObserver{c}, Log: c.log,
		Open: func(ctx context.Context, info channel.ReaderInfo) (plugin.Instance, error) {
			r := request
			r.Stream = info.Stream
			for _, inc := range info.Incarnations {
				r.Incarnations = append(r.Incarnations, abi.Incarnation{ID: inc.ID, First: uint64(inc.First)})
			}
			return c.open(ctx, a.plugins[c.Ref.Source], abi.Sink, r)
		},
	}
	c.run = loop.Run
	return c, nil
}

func (c *component) open(ctx context.Context, p plugin.Plugin, kind abi.Kind, r plugin.Request) (plugin.Instance, error) {
	if c.opened++; c.opened > 1 {
		c.plugins.Restarted(c.Address())
	}
	return p.Open(ctx, kind, r)
}

// State implements [pipeline.Lifecycle].
func (c *component) State(s pipeline.State, reason string) {
	c.mu.Lock()
	c.state, c.reason, c.since = s, reason, time.Now()
	if s == pipeline.Retrying {
		c.tries++
	}
	c.mu.Unlock()
	if s == pipeline.Starting {
		c.flying.Store(0) // what the instance before had read and not committed is read again
	}
	if c.source != nil {
		c.source.State(admin.State(s))
	} else {
		c.sink.State(admin.State(s))
	}
}

func (c *component) fate() (pipeline.State, string, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state, c.reason, c.since
}

// sourceObserver counts what a source does.
type sourceObserver struct{ *component }

var _ pipeline.SourceObserver = sourceObserver{}

func (o sourceObserver) Read(events, bytes int) {
	o.flying.Add(int64(events))
	o.source.Read(events, bytes)
}

func (o sourceObserver) Acked(events int) {
	o.flying.Add(-int64(events))
	o.source.Acked(events)
}

func (o sourceObserver) Blocked(d time.Duration) { o.source.Blocked(d) }

func (o sourceObserver) Failed(class abi.Class) {
	if class == abi.Fatal {
		o.plugins.Trapped(o.Address())
	}
}

// sinkObserver counts what a sink does.
type sinkObserver struct{ *component }

var _ pipeline.SinkObserver = sinkObserver{}

// Committed counts a delivery. Its latency is that of its first event, by the event's own time: the moment at which the source read it.
func (o sinkObserver) Committed(b event.Batch, took time.Duration) {
	latency := time.Duration(-1)
	for _, e := range b.All() {
		latency = time.Since(time.Unix(0, e.Time))
		break
	}
	o.sink.Committed(b.Len(), b.Size(), took, latency)
}

func (o sinkObserver) Failed(class abi.Class) {
	o.sink.Retried(class.String())
	if class == abi.Fatal {
		o.plugins.Trapped(o.Address())
	}
}

func (o sinkObserver) Expired() { o.sink.Expired() }

func (o sinkObserver) Step(name string) { o.step(name) }
