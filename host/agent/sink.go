// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/pipeline"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
)

func (r *revision) buildSink(s config.Sink) (*component, error) {
	c := r.newComponent(s.Component, s.From)
	c.sink = r.agent.metrics.Sink(c.Address(), c.channel.address)
	if s.Relays() {
		c.into = r.channel(s.Into)
	}
	dead := r.deadLetters(c)
	c.layout = &layout{c: c, want: layoutOf(s), before: r.formerly(c.Address()), readers: map[string]*laneReader{}}
	if g, in := r.Config.GroupOf(s); in {
		c.layout.want = []channel.ReaderSpec{{Name: g.Address()}}
		c.layout.join = func() (*laneReader, error) {
			return r.agent.groups.join(c.channel, r.Config, g, c.Address())
		}
	}
	c.layout.loops = func(stage []*laneReader) []*pipeline.Sink { return r.loops(c, s, dead, stage) }
	if err := c.layout.open(); err != nil {
		return c, fmt.Errorf("register %s with %s: %w", c.Address(), c.channel.address, err)
	}
	c.run = c.layout.run
	return c, nil
}

// loops makes the loops of a sink: one for each lane, or each connection.
func (r *revision) loops(c *component, s config.Sink, dead *pipeline.DeadLetters, stage []*laneReader) (loops []*pipeline.Sink) {
	var parts []*part
	pause := new(pipeline.Pause)
	for i, reader := range stage {
		if !reader.lane.All() {
			parts = append(parts, &part{reader: reader, name: partName(reader), log: c.log.With("lane", reader.lane.String()), instance: abi.Instance{Index: i, Count: len(stage)}})
			continue
		}
		for i := range s.Connections {
			p := &part{reader: reader, log: c.log, instance: abi.Instance{Index: i, Count: s.Connections}}
			if s.Connections > 1 {
				p.name = fmt.Sprintf("connection %d", i)
				p.log = c.log.With("connection", i)
			}
			parts = append(parts, p)
		}
	}
	for _, p := range parts {
		p.component, p.agent, p.state = c, r.agent, pipeline.Starting
		loop := r.loop(p, s)
		loop.Dead, loop.Pause = dead, pause
		inGroup(loop, p)
		loops = append(loops, loop)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parts = parts
	return loops
}

// loop makes one of the loops of a sink.
func (r *revision) loop(p *part, s config.Sink) *pipeline.Sink {
	c := p.component
	request := r.request(c)
	request.Instance, request.Log, request.Channel = p.instance, p.log, s.From
	request.Durable, request.Reader = r.durable(s.From), c.Address()
	if g, in := r.Config.GroupOf(s); in {
		request.Shared, request.Reader = !g.Exact(), g.Address()
		if g.Exact() {
			request.Settled = p.reader.settled
		}
	}
	backoff := pipeline.Backoff{Min: s.Retry.Min, Max: s.Retry.Max}
	if hops(c.Component) {
		backoff = hopBackoff
	}
	loop := &pipeline.Sink{
		Address: c.Address(), From: c.channel.address, Plugin: r.pluginOf(c.Component),
		Reader: p.reader, Suspects: p.reader.suspects, Buffers: c.channel.pool, Backoff: backoff,
		Filter:  r.filter(s.Feed),
		Through: r.through(c, s.Through),
		Want:    channel.Want{Events: s.Batch.Events, Bytes: s.Batch.Bytes, Wait: s.Batch.Wait},
		Timeout: s.Timeout, Drain: r.Config.Agent.DrainTimeout, Observer: p, Log: p.log,
		Open: func(ctx context.Context, info channel.ReaderInfo) (plugin.Instance, error) {
			req := request
			req.Stream = info.Stream
			for _, inc := range info.Incarnations {
				req.Incarnations = append(req.Incarnations, abi.Incarnation{ID: inc.ID, First: uint64(inc.First)})
				req.Ends = append(req.Ends, inc.Next)
			}
			if n := len(req.Ends); n > 0 {
				req.Ends[n-1] = math.MaxUint64
			}
			return r.openInstance(ctx, c, &p.opened, req)
		},
	}
	if s.Relays() && r.agent.opts.StandIns[c.Address()] == nil {
		loop.Open = r.relay(p, s).Open
	}
	return loop
}

// deliver runs the loops until all have ended. One that is held is logged, and the others go on.
func (c *component) deliver(ctx context.Context, loops []*pipeline.Sink) error {
	var g errgroup.Group
	for _, loop := range loops {
		g.Go(func() error { return logHeld(loop.Log, loop.Run(ctx)) })
	}
	return g.Wait()
}

// part is one loop of a sink, and observes it.
type part struct {
	*component
	agent    *Agent
	name     string // "connection 3", "lane customer/0-of-4"; "" where there is but one
	reader   *laneReader
	instance abi.Instance
	log      *slog.Logger
	opened   int // instances, ever; by the one goroutine that opens

	// component.mu guards these.
	state  pipeline.State
	reason string
}

var _ pipeline.SinkObserver = (*part)(nil)

// gravest is the order in which the states of parts count for the whole.
var gravest = []pipeline.State{pipeline.Held, pipeline.Retrying, pipeline.Starting, pipeline.Running, pipeline.Finished, pipeline.Stopped}

// State makes the state of the sink that of the part that is worst off.
func (p *part) State(s pipeline.State, reason string) {
	c := p.component
	c.judge(s, reason)
	c.mu.Lock()
	defer c.mu.Unlock()
	p.state, p.reason = s, reason
	worst := slices.MinFunc(c.parts, func(a, b *part) int { return slices.Index(gravest, a.state) - slices.Index(gravest, b.state) })
	reason = worst.reason
	if worst.name != "" && reason != "" {
		reason = worst.name + ": " + reason
	}
	if len(c.parts) == 1 || worst.state != c.state || reason != c.reason {
		c.is(worst.state, reason)
	}
}

// Committed counts a delivery. Its latency is that of its first event, by the event's own time: the moment at which the source read it.
func (p *part) Committed(d pipeline.Delivered) {
	latency := time.Duration(-1)
	for _, e := range d.Batch.All() {
		latency = time.Since(time.Unix(0, e.Time))
		break
	}
	p.sink.Committed(d.Batch.Len(), d.Batch.Size(), d.Took, latency)
	p.sink.Filtered(d.Filtered, d.Undecided)
	if d.Unmatched > 0 {
		p.unmatched(d.Unmatched)
	}
	p.sink.Consumed(d.Consumed)
}

func (p *part) Failed(class abi.Class, _ bool) {
	p.sink.Retried(class.String())
	p.failed(class, p.Address())
}

func (p *part) Expired() { p.sink.Expired() }

func (p *part) Step(name string) { p.step(name) }
