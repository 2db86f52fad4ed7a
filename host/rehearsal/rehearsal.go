// SPDX-License-Identifier: Apache-2.0

// Package rehearsal runs a pipeline on what a test gives it, and compares what comes of it with what is expected.
//
// The agent that runs is the real one, with real channels, processors and loops, in a directory that is gone afterwards. What stands in the place of
// sources brings the events of the test; what stands in the place of sinks takes them down, refuses or rejects some, unless the test has the sink's
// own plugin run. So nothing is listened on or connected to, and no secret is read that no processor needs.
//
// Time is cut where nothing depends on it: events have the times that the test gives them, pauses between attempts and the gathering of batches
// take milliseconds, and disks are not waited for. A plugin in WebAssembly cannot be given another clock, so the rest is real.
package rehearsal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/agent"
	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plugin"
)

// Options say what to run.
type Options struct {
	Test    config.Test
	Config  *config.Config // loaded with relative paths taken against Dir; it is changed
	Modules *agent.Modules
	Dir     string // of the test alone, which is there
	Cache   string // of compiled plugins; "": they are compiled anew
}

// Failure is one expectation that was not met.
type Failure struct {
	At    hcl.Range
	What  string // a sentence
	Lines []Line // what was expected and what came, where that is a list
}

// Line is a line of a comparison: ' ' is in both, '-' was expected, '+' has come.
type Line struct {
	Mark byte
	Text string
}

// Result is what came of a test.
type Result struct {
	Failures []Failure
	Log      string // warnings and errors of the agent, a line each
}

const (
	// look is how often it is looked whether everything stands still.
	look = 2 * time.Millisecond
	// drainTime is for what is in a call when all is over: a sink that the test has made slow.
	drainTime = 2 * time.Second
	// maxLogBytes bounds what is kept of the agent's log.
	maxLogBytes = 16 << 10
)

// Run runs one test. The error is that of what could not be run; what a test has found is in the result.
func Run(ctx context.Context, o Options) (Result, error) {
	r := &run{Options: o, recorders: map[string]*recorder{}, stands: agent.StandIns{}, taken: map[string]*taken{}, shared: map[string]*tape{}}
	r.prepare()
	revealed, diags := config.Reveal(o.Config)
	if diags.HasErrors() {
		return Result{}, diags.Errs()[0]
	}
	log := &boundedBuffer{}
	a, err := agent.New(ctx, agent.Options{
		Setup: agent.Setup{Config: o.Config, Modules: o.Modules, Revealed: revealed}, Listen: admin.Off, StandIns: r.stands, Cache: o.Cache,
		Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: noTime})),
	})
	if err != nil {
		return Result{}, err
	}
	why, end, err := r.through(ctx, a)
	if err != nil {
		return Result{}, err
	}
	return Result{Failures: append(why, r.compare(end)...), Log: log.String()}, nil
}

// run is one test while it runs.
type run struct {
	Options
	recorders map[string]*recorder // by address of the sink
	stands    agent.StandIns
	taken     map[string]*taken // by address of the channel
	shared    map[string]*tape  // by address of the group: what its members took, in that order
}

// taken is what was put into a channel.
type taken struct {
	reader channel.Reader
	deals  []*deal // of the routes of the channel
	events []record
}

// shortRetry are the pauses of a test.
var shortRetry = config.Retry{Min: time.Millisecond, Max: 10 * time.Millisecond}

// prepare puts stand-ins in the place of plugins, and cuts time.
func (r *run) prepare() {
	c := r.Config
	c.Agent.DataDir, c.Agent.DrainTimeout = filepath.Join(r.Dir, ".penstock"), drainTime
	for i := range c.Channels {
		ch := &c.Channels[i]
		ch.Key, ch.OldKeys, ch.Scrub = "", nil, 0
		if ch.Durability == "fsync" {
			ch.Durability = "os"
		}
		ch.MinFreeBytes = new(uint64)
	}
	for i := range c.Groups {
		c.Groups[i].CoolDown = shortRetry // fail_back and return_in stay: who takes what would else be left to chance
	}
	for i := range c.Sources {
		s := &c.Sources[i]
		s.Component = stripped(s.Component)
		r.stands[s.Address()] = newFeeder(s.Name, r.Test.Inputs)
	}
	for i := range c.Sinks {
		s := &c.Sinks[i]
		s.Start, s.Retry = "oldest", shortRetry
		s.Batch.Wait = min(s.Batch.Wait, 10*time.Millisecond)
		if behaves, said := r.behaviour(s.Name), r.said(s.Name); behaves.Stored == "" && (said || !s.Relays()) { // a relay relays
			s.Component = stripped(s.Component)
			of := &recorder{TestSink: behaves, transactional: s.Plugin.Effects == "transactional", group: r.tapeOf(s)}
			r.recorders[s.Address()], r.stands[s.Address()] = of, of
		}
	}
}

// stripped is a component that is granted nothing, since it needs nothing.
func stripped(c config.Component) config.Component {
	return config.Component{Name: c.Name, Kind: c.Kind, Ref: c.Ref, Plugin: c.Plugin, Config: []byte("{}"), Limits: c.Limits, DeclRange: c.DeclRange}
}

// said says whether the test has a sink behave in some way.
func (r *run) said(sink string) bool {
	return slices.ContainsFunc(r.Test.Sinks, func(s config.TestSink) bool { return s.Sink == sink })
}

// behaviour is what the test says of a sink.
func (r *run) behaviour(sink string) config.TestSink {
	for _, s := range r.Test.Sinks {
		if s.Sink == sink {
			return s
		}
	}
	return config.TestSink{Sink: sink}
}

// through runs the agent until everything stands still, or the time is over, and says how it stood then.
func (r *run) through(ctx context.Context, a *agent.Agent) (why []Failure, end admin.Status, err error) {
	for _, c := range r.Config.Channels {
		reader, err := a.Observe(c.Address(), observer)
		if err != nil {
			return nil, end, errors.Join(err, a.Close())
		}
		r.taken[c.Address()] = &taken{reader: reader, deals: r.dealsOf(a, c.Name)}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var watching, running errgroup.Group
	for _, t := range r.taken {
		watching.Go(t.watch)
	}
	running.Go(func() error { return a.Run(ctx) })
	settled := r.settles(ctx, a)
	if end = a.Status(); !settled {
		why = r.stuck(end)
	}
	for _, t := range r.taken {
		err = errors.Join(err, t.reader.Close())
	}
	err = errors.Join(err, watching.Wait())
	cancel()
	return why, end, errors.Join(err, running.Wait())
}

// observer is the name of the readers that take down what is put into channels.
const observer = "test"

// watch takes down what is put, until the reader is closed.
func (t *taken) watch() error {
	for {
		lease, err := t.reader.Take(context.Background(), channel.Want{Events: 4096, Bytes: 1 << 20})
		if errors.Is(err, channel.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read what was put: %w", err)
		}
		for _, e := range lease.Delivery().Batch.All() {
			of := recordOf(e)
			t.events = append(t.events, of)
			for _, d := range t.deals {
				d.add(&e, of)
			}
		}
		if err := lease.Commit(); err != nil && !errors.Is(err, channel.ErrClosed) {
			return fmt.Errorf("read what was put: %w", err)
		}
	}
}

// settles waits until everything stands still. It says false when the time of the test was over first.
func (r *run) settles(ctx context.Context, a *agent.Agent) bool {
	over := time.After(r.Test.Timeout)
	for still := 0; still < 2; { // twice in a row, since a status is not of one moment
		if r.still(a.Status()) {
			still++
		} else {
			still = 0
		}
		select {
		case <-time.After(look):
		case <-over:
			return false
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// still says whether nothing more will come.
func (r *run) still(s admin.Status) bool {
	for _, c := range s.Components {
		switch {
		case c.State == admin.Held:
		case c.Kind == "source":
			if c.State != admin.Finished && !r.blocked(s, c) {
				return false
			}
		case c.Waiting > 0 && !r.recorders[c.Address].hopeless() && !r.grouped(c.Address):
			return false
		}
	}
	if slices.ContainsFunc(s.Groups, func(g admin.Group) bool { return !r.groupStill(s, g) }) {
		return false
	}
	for _, c := range s.Channels {
		for _, reader := range c.Readers {
			if reader.Name == observer && reader.Waiting > 0 {
				return false
			}
		}
	}
	return true
}

// blocked says whether a source waits for room that a sink which is down will not make.
func (r *run) blocked(s admin.Status, source admin.Component) bool {
	full := false
	for _, c := range s.Channels {
		full = full || c.Address == source.Channel && (c.CapacityEvents > 0 && c.Events >= c.CapacityEvents || c.CapacityBytes > 0 && c.Bytes >= c.CapacityBytes)
	}
	for _, c := range s.Components {
		if full && c.Kind == "sink" && c.Channel == source.Channel && (c.State == admin.Held || r.recorders[c.Address].hopeless()) {
			return true
		}
	}
	return false
}

// stuck says what still moved when the time was over.
func (r *run) stuck(s admin.Status) (why []Failure) {
	var list []string
	for _, c := range s.Components {
		if c.Kind == "source" && c.State != admin.Finished || c.Kind == "sink" && c.Waiting > 0 {
			what := fmt.Sprintf("%s is %s", c.Address, c.State)
			if c.Waiting > 0 {
				what += fmt.Sprintf(" with %d events waiting", c.Waiting)
			}
			if c.Reason != "" {
				what += ": " + c.Reason
			}
			list = append(list, what)
		}
	}
	return []Failure{{At: r.Test.At, What: fmt.Sprintf("it does not come to an end within %v: %s", r.Test.Timeout, strings.Join(list, "; "))}}
}

// boundedBuffer keeps the beginning of what is written. Handlers of log/slog write one at a time.
type boundedBuffer struct{ bytes.Buffer }

func (b *boundedBuffer) Write(p []byte) (int, error) {
	if b.Len() < maxLogBytes {
		b.Buffer.Write(p)
	}
	return len(p), nil
}

// noTime leaves out what differs from run to run.
func noTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

var _ plugin.Plugin = (*recorder)(nil)
