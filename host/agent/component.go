// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/pipeline"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

const (
	// pollEvents is asked of each poll of a source. Like the bytes that are (limits.batch) it matches the default want of a
	// sink, so that a batch goes from emit to delivery as it is.
	pollEvents = 4096
)

// component is one source or sink that runs, and what is known of it.
type component struct {
	config.Component
	run     func(context.Context) error
	channel *openChannel
	into    *openChannel // of a relay: that it puts into
	log     *slog.Logger
	plugins *admin.PluginMetrics
	parts   []*part // of a sink: its loops

	mu      sync.Mutex
	state   pipeline.State
	since   time.Time
	reason  string
	tries   uint64 // times that it waited to try again
	lastTry struct {
		why string // at the last of them
		at  time.Time
	}

	started time.Time // as it is configured now

	closers []io.Closer           // what ends with it
	trial   atomic.Pointer[trial] // nil: it is not on probation
	grave   atomic.Bool           // its last failure
	ended   atomic.Bool           // it does not run any more, and never will
	gone    chan struct{}         // closed then
	errands chan *errand          // never closed
	paused  string                // why it does not run now, ""  = it does; for keep alone, and the errands that it does
	byHand  string                // likewise, by someone who pauses this component alone; kept over a reload
	retired bool                  // another takes its place; likewise
	stop    context.CancelCauseFunc
	flying  atomic.Int64 // events that a source has read and that are not durable yet

	source *admin.SourceMetrics // one of the two is nil
	sink   *admin.SinkMetrics
	dead   *admin.DeadLetterMetrics // nil: it has no dead letters
	layout *layout
	step   func(string)
}

func (r *revision) newComponent(cc config.Component, channel string) *component {
	return &component{
		Component: cc, channel: r.channel(channel), plugins: r.agent.metrics.Plugin(), step: r.agent.opts.Step,
		log: r.log.With("component", cc.Address()), state: pipeline.Starting, since: time.Now(), started: time.Now(),
		gone: make(chan struct{}), errands: make(chan *errand),
	}
}

// request is what an instance of the component is opened with, as far as sources and sinks are alike.
func (r *revision) request(c *component) plugin.Request { return r.requestOf(c.Component, c) }

// requestOf is request for what is configured as cc, and runs as c or as a part of it.
func (r *revision) requestOf(cc config.Component, c *component) plugin.Request {
	req := plugin.Request{
		Component: cc.Address(), Plugin: cc.Plugin.Name, Config: cc.Config, Instance: abi.Instance{Count: 1},
		Limits:  limitsOf(cc),
		Buffers: c.channel.pool, Log: c.log, Metrics: c.plugins,
	}
	for _, d := range cc.Dirs {
		req.Dirs = append(req.Dirs, plugin.Dir{Path: d.Path, Write: d.Write})
	}
	req.Programs, req.Network = cc.Programs, slices.Contains(cc.Needs, abi.NeedNetwork)
	if slices.Contains(cc.Needs, abi.NeedStdout) {
		if req.Stdout = r.agent.opts.Stdout; req.Stdout == nil {
			req.Stdout = io.Discard
		}
	}
	r.grant(cc, &req)
	return req
}

func (r *revision) buildSource(s config.Source) *component {
	c := r.newComponent(s.Component, s.Into)
	c.source = r.agent.metrics.Source(c.Address())
	request, opened := r.request(c), 0
	request.Forgets = r.forgets(s.Into)
	loop := &pipeline.Source{
		Address: c.Address(), Channel: c.channel, Version: c.Plugin.CursorVersion, Reads: c.Plugin.Reads,
		Backoff: sourceBackoff, Drain: r.Config.Agent.DrainTimeout, Observer: sourceObserver{c}, Log: c.log,
		Through: r.through(c, s.Through), Buffers: c.channel.pool, Dead: r.deadLetters(c), Resumes: c.Plugin.Replay == "cursor",
		Fetch: func(ctx context.Context) error {
			return r.agent.fetch(ctx, s.Address(), s.Into, r.formerly(s.Address()))
		},
		Open: func(ctx context.Context, cursor event.Cursor) (plugin.Source, error) {
			req := request
			req.Cursor = cursor
			inst, err := r.openInstance(ctx, c, &opened, req)
			return inst.Source, err
		},
	}
	if r.Config.Agent.Origin {
		loop.Origin = &pipeline.Origin{Agent: r.Config.Agent.ID, Keep: hops(c.Component)}
	}
	if hops(c.Component) {
		loop.Ahead = askedAhead
	}
	if c.Plugin.Replay == "ack" {
		loop.Ahead, loop.Patience = askedAhead, askedPatience
	}
	c.run = loop.Run
	return c
}

// Of sources whose senders wait for an answer, each for that of its own batch.
const (
	// askedAhead is how many of their batches may be on their way to disk: as many as one poll emits. They share a flush.
	askedAhead = 64
	// askedPatience is how long they may wait for room: as long as a request waits for a plugin that takes it.
	askedPatience = time.Second
)

// sourceBackoff is between the tries of a source; a sink's is its retry block.
var sourceBackoff = pipeline.Backoff{Min: 100 * time.Millisecond, Max: 30 * time.Second}

// openInstance opens an instance for a loop that has opened so many before.
func (r *revision) openInstance(ctx context.Context, c *component, opened *int, req plugin.Request) (plugin.Instance, error) {
	if *opened++; *opened > 1 {
		c.plugins.Restarted(c.Address())
	}
	return r.openAs(ctx, c.Component, c.Address(), req)
}

// State implements [pipeline.Lifecycle].
func (c *component) State(s pipeline.State, reason string) {
	c.judge(s, reason)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.is(s, reason)
}

// is sets the state. c.mu is held, so that what is shown last is what came last.
func (c *component) is(s pipeline.State, reason string) {
	c.state, c.reason, c.since = s, reason, time.Now()
	if s == pipeline.Retrying {
		c.tries++
		c.lastTry.why, c.lastTry.at = reason, c.since
	}
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

func (o sourceObserver) Failed(class abi.Class, _ bool) { o.failed(class, o.Address()) }
