// SPDX-License-Identifier: Apache-2.0

// Package agent builds pipelines from a configuration, runs them, and replaces them on reload.
//
// It is the only package that knows every kind of channel and of runtime, in plain maps: see build.go.
//
// [New] takes everything that can be refused: the data directory, addresses, channels, plugins; so that a
// process that cannot work says so at once and leaves no trace. [Agent.Run] runs what New has built until its
// context ends, drains, and frees it all. What fails later holds its component and nobody else. [Agent.Reload] goes over to
// another configuration meanwhile, and touches what is not the same and nothing else.
package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/pipeline"
	"github.com/penstock-io/penstock/host/plugin"
)

// ErrEnvironment is wrapped when the machine, not the configuration, is in the way: a data directory
// or an address that someone else has.
var ErrEnvironment = errors.New("cannot start here")

// ErrNotDrained is wrapped when something had not stopped after the time to drain.
var ErrNotDrained = errors.New("not drained within drain_timeout")

// startTime is how long the start of sources and sinks takes at most, as a rule.
const startTime = time.Second

// drainSlack is how long after the time to drain everything must have noticed that it is over.
const drainSlack = time.Second

// Options say what to run.
type Options struct {
	Setup
	// Load reads the configuration at a path anew; "" is the one that the agent was started with. given is what it is given beside what it was
	// given then. may, if it is not nil, is asked before any secret is read. nil: there is no reload. An error that is an [*admin.Refusal] is passed on
	// as it is.
	Load   func(path string, given admin.Variables, look Look, may func(*config.Config) error) (Setup, error)
	Build  admin.Build
	Log    *slog.Logger
	Logs   *admin.Log // what Log keeps of itself, or nil
	Stdout io.Writer  // for plugins that are granted it
	Listen string     // instead of the configuration's; "" = as configured
	// StandIns run in the place of plugins: see package rehearsal.
	StandIns StandIns
	Cache    string // where compiled plugins are kept; "": below the data directory
	// Step is called with the name of each step of delivery just before it is made; nil = nobody looks. See [StepFile].
	Step func(name string)
}

// Agent is a set of pipelines with what they share. Status, Live and Ready may be called at any time.
type Agent struct {
	opts     Options
	dir      string
	started  time.Time
	registry *prometheus.Registry
	metrics  *admin.Metrics
	server   *admin.Server
	guarded  secured // the tls block of the agent's own address
	moves    moves
	groups   groups
	closers  []func() error // in the order of opening
	work     errgroup.Group // the goroutines of components

	turn     chan struct{} // one token: held by who changes what runs, or has a component stand still; never closed
	reloads  chan struct{} // one token: held by a reload to the end of its probation, and by who stops the agent; never closed
	begun    chan struct{} // closed when components run
	stopping chan struct{} // closed when the agent begins to stop

	mu         sync.Mutex
	runs       bool
	final      *admin.Status // after everything was freed
	runtimes   map[string]plugin.Runtime
	rev        *revision    // that runs, or is to
	components []*component // replaced, never changed
	reloaded   admin.Reloads
	given      admin.Variables // with reloads, since it was started

	trace func(step string) // of reloads, for a test; nil: nobody looks
}

// openChannel is a channel with its name and kind.
type openChannel struct {
	channel.Channel
	channel.Operator
	channel.Seeker
	channel.Picker
	address, kind string
	pool          *channel.Pool
	drops         *dropLog
	unwatch       func()
	dead          deadHold // of one that keeps dead letters
}

// Close closes the channel, then frees the memory of its batches.
func (c *openChannel) Close() error {
	err := errors.Join(c.Channel.Close(), c.pool.Close(), c.drops.Close())
	c.unwatch()
	return err
}

// New builds what the configuration says: nothing flows yet. Run, or else Close, must follow.
func New(ctx context.Context, o Options) (*Agent, error) {
	if o.Step == nil {
		o.Step = func(string) {}
	}
	a := &Agent{
		opts: o, dir: o.Config.Agent.DataDir, started: time.Now(),
		registry: prometheus.NewRegistry(), runtimes: make(map[string]plugin.Runtime),
		turn: make(chan struct{}, 1), reloads: make(chan struct{}, 1), begun: make(chan struct{}), stopping: make(chan struct{}),
	}
	a.metrics = admin.NewMetrics(a.registry, o.Build)
	a.introduce(o.Config)
	a.metrics.Groups(a.groups.status)
	a.metrics.TLS(a.certificates)
	if err := a.build(ctx); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// introduce shows in metrics what runs, and who that is.
func (a *Agent) introduce(c *config.Config) {
	a.metrics.ConfigRevision(c.Revision)
	a.metrics.Agent(c.Agent.Name, c.Agent.ID, c.Agent.Labels)
}

// build opens everything, the cheap and the likely to be refused first.
func (a *Agent) build(ctx context.Context) error {
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return fmt.Errorf("%w: make the data directory: %w; name another with data_dir in the agent block, or --data-dir", ErrEnvironment, err)
	}
	held, err := lock(a.dir)
	if err != nil {
		return err
	}
	a.onClose(held.Close)
	if err := a.listen(); err != nil {
		return err
	}
	r, err := a.prepare(ctx, a.opts.Setup, nil, nil)
	if err != nil {
		return err
	}
	a.become(r)
	if err := a.survey(); err != nil {
		return err
	}
	for _, address := range r.addresses() {
		c, err := r.build(address)
		if err != nil {
			return err
		}
		a.components = append(a.components, c)
	}
	a.warnUnused()
	a.warnStranded()
	return nil
}

// become makes r what the agent runs.
func (a *Agent) become(r *revision) {
	a.groups.arrange(r.Config)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rev = r
}

// current is what the agent runs; nil: it has not got so far.
func (a *Agent) current() *revision {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rev
}

// running are all components that there are now.
func (a *Agent) running() []*component {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.components
}

// channels are those that are open now.
func (a *Agent) channels() []*openChannel {
	if r := a.current(); r != nil {
		return r.channels
	}
	return nil
}

// onClose makes Close call f, before all that was opened earlier.
func (a *Agent) onClose(f func() error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closers = append(a.closers, f)
}

func (a *Agent) listen() error {
	listen := a.opts.Listen
	if listen == "" {
		listen = cmp.Or(a.opts.Config.Agent.Listen, admin.Off)
	}
	opts := admin.Options{Agent: a, Control: a, Components: a, Logs: a.opts.Logs, Metrics: a.registry, Listen: listen, DataDir: a.dir, Log: a.opts.Log}
	if err := a.guard(&opts); err != nil {
		return err
	}
	server, err := admin.Listen(opts)
	if errors.Is(err, admin.ErrExposed) {
		return err
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrEnvironment, err)
	}
	a.server = server
	a.onClose(server.Close)
	return nil
}

// guard has the server ask who connects, as the configuration says.
func (a *Agent) guard(o *admin.Options) (err error) {
	c := a.opts.Config.Agent
	o.Token, o.Beyond = a.opts.Revealed[config.AgentAddress].Secrets["token"], c.Guarded()
	if c.Token != "" && o.Token == "" {
		return fmt.Errorf("%w: secret.%s, the token of the agent, was not read", ErrEnvironment, c.Token)
	}
	if c.TLS == nil {
		return nil
	}
	if a.guarded, err = a.secure(c.TLS); err == nil {
		o.TLS, err = a.guarded.files.Server()
	}
	if err != nil {
		return fmt.Errorf("%w: http { } of the agent: %w (with tls.%s at %s line %d)", ErrEnvironment, err, c.TLS.Name, c.TLS.DeclRange.Filename, c.TLS.DeclRange.Start.Line)
	}
	return nil
}

// Run moves events until ctx ends, then drains and frees everything. It returns nil when that went
// well; a component that is held does not end it. The cause of ctx is logged.
//
// A plugin that is caught in a call, as in a write to a pipe that nobody reads, cannot be told to stop. After the time
// to drain, Run leaves it there and returns [ErrNotDrained]; nothing has been freed then, and the process must end.
func (a *Agent) Run(ctx context.Context) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	var server errgroup.Group
	server.Go(func() error {
		defer cancel() // an agent that cannot be asked is not run
		return a.server.Run(serving)
	})
	a.startAll()
	of := a.current().Config
	a.opts.Log.Info("agent runs", "sources", len(of.Sources), "sinks", len(of.Sinks), "data_dir", a.dir, "http", a.server.Addr())
	freeAfterStart(ctx)
	var beside sync.WaitGroup // those who read secrets, and certificates
	beside.Go(func() { newRefresher(a).run(ctx) })
	beside.Go(func() { (&expiries{agent: a}).run(ctx) })
	<-ctx.Done()
	within := a.current().Config.Agent.DrainTimeout
	a.opts.Log.Info("draining: sources are not read any more, deliveries that have begun may finish", "because", context.Cause(ctx), "within", within)
	a.stopAll(context.Cause(ctx))
	drained := make(chan error, 1)
	go func() {
		beside.Wait()
		a.reloads <- struct{}{} // a reload has seen that it is over
		drained <- a.work.Wait()
	}()
	select {
	case err := <-drained:
		stop()
		err = errors.Join(err, server.Wait(), a.Close())
		a.opts.Log.Info("stopped", "waiting", a.waiting(), "uptime", time.Since(a.started).Round(time.Second))
		return err
	case <-time.After(within + drainSlack):
		return fmt.Errorf("%w of %v: %s; nothing that was acknowledged is lost, and what was not delivered comes again",
			ErrNotDrained, within, strings.Join(a.busy(), ", "))
	}
}

// startAll lets the components go.
func (a *Agent) startAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.runs = true
	close(a.begun)
	for _, c := range a.components {
		a.launch(c)
	}
}

// start lets a component go, unless the agent stops.
func (a *Agent) start(c *component) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.runs {
		return errGone
	}
	a.launch(c)
	return nil
}

// launch begins the goroutine of a component, which ends with its own context: that of a reload is over before. a.mu is held.
func (a *Agent) launch(c *component) {
	ctx, stop := context.WithCancelCause(context.Background())
	c.stop = stop
	a.work.Go(func() error {
		defer stop(nil)
		return c.keep(ctx)
	})
}

// stopAll has all components stop, and none start.
func (a *Agent) stopAll(cause error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.runs = false
	close(a.stopping)
	for _, c := range a.components {
		c.stop(cause)
	}
}

// freeAfterStart gives back what loading the plugins took beside what they keep, a multiple of that: not while instances start, since it keeps a
// processor busy for some 20 ms.
func freeAfterStart(ctx context.Context) {
	select {
	case <-time.After(startTime):
		debug.FreeOSMemory()
	case <-ctx.Done():
	}
}

// waiting is how many events the channels hold that some sink has yet to get.
func (a *Agent) waiting() (n uint64) {
	for _, c := range a.Status().Channels {
		n += c.Events
	}
	return n
}

// busy says which components have not stopped, a few words each.
func (a *Agent) busy() []string {
	var busy []string
	for _, c := range a.running() {
		if !c.ended.Load() {
			busy = append(busy, c.Address()+" is still in a call")
		}
	}
	return busy
}

// Close frees everything, the last opened first. After Run it has been called.
func (a *Agent) Close() error {
	final := a.Status()
	a.mu.Lock()
	if a.final == nil {
		a.final = &final
	}
	closers, components, rev, runtimes := a.closers, a.components, a.rev, a.runtimes
	a.closers, a.components, a.rev, a.runtimes = nil, nil, nil, nil
	a.mu.Unlock()
	var errs []error
	for _, c := range components {
		errs = append(errs, c.close())
	}
	if rev != nil {
		errs = append(errs, rev.close(&revision{}))
	}
	for _, r := range runtimes {
		errs = append(errs, r.Close())
	}
	for i := len(closers) - 1; i >= 0; i-- {
		errs = append(errs, closers[i]())
	}
	return errors.Join(errs...)
}

// logHeld logs why a component is held, if it is: the others go on.
func logHeld(log *slog.Logger, err error) error {
	if held, ok := errors.AsType[*pipeline.HeldError](err); ok {
		log.Error("held: mend the cause, then reload; until then its events stay where they are", "reason", held.Err, "command", "penstock reload")
		return nil
	}
	return err
}
