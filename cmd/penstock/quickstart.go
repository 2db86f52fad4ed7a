// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/agent"
)

// quickstartPipeline is the same file as examples/quickstart/pipeline.hcl.
//
//go:embed quickstart.hcl
var quickstartPipeline []byte

// Names in the demo's directory, as the pipeline has them.
const (
	demoPipeline = "pipeline.hcl"
	demoLog      = "logs/app.log"
	demoOutput   = "out/app.log"
)

const (
	// demoRate is how many lines the log gets a second: many enough to be a flow, few enough to follow.
	demoRate = 200
	// demoSample is how many events there are to one that is shown on a terminal.
	demoSample = 40
	// demoRotate is after how many lines the log is renamed and begun anew, as logrotate does.
	demoRotate = 3 * demoRate
	// demoDrain bounds the wait for the last lines to arrive, after the log has ended.
	demoDrain = 20 * time.Second
	// demoLook is how often the demo looks how far the agent is.
	demoLook = 20 * time.Millisecond
)

// demo is one run of quickstart.
type demo struct {
	app       *app
	quiet     bool // --json: nothing but the report
	all, keep bool
	limit     time.Duration // 0 = until a signal

	dir    string
	screen *screen
	writer *logWriter
}

func newQuickstartCommand(a *app) *cobra.Command {
	d := &demo{app: a}
	cmd := &cobra.Command{
		Use:   "quickstart",
		Short: "Run a demo within seconds, in a directory of its own",
		Long: `Run a demo, in a temporary directory of its own. A log is written, some 200 lines a second, and rotated once; a sandboxed
plugin follows it; each batch is on disk in the channel before the log's position moves; two more plugins bring the
events to the screen and to a file. The pipeline file is there to be read and changed.

Ctrl-C stops it: what is in flight arrives first. Then every line of the output is compared with what was written.`,
		Example: "  penstock quickstart\n  penstock quickstart --for 10s --keep",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d.quiet = wantsJSON(cmd)
			r, err := d.run(cmd.Context())
			if err != nil {
				return err
			}
			if r.Lost+r.Repeated > 0 || !r.InOrder {
				return &fault{err: errors.New(r.verdict()), exit: exitFailed, code: "failed", result: r, show: func() { r.print(a.out) },
					hint: "This must never happen. The directory was kept; please report it with what is in it."}
			}
			return a.answer(cmd, r.verdict(), r, r.print)
		},
	}
	cmd.Flags().DurationVar(&d.limit, "for", 0, "stop after this long, such as 10s (default: at Ctrl-C)")
	cmd.Flags().BoolVar(&d.all, "all", false, "show every event, also on a terminal")
	cmd.Flags().BoolVar(&d.keep, "keep", false, "keep the directory when the demo ends")
	return withJSON(cmd)
}

// run runs the demo to its end. What it made is removed, unless it is to be kept or something went wrong.
func (d *demo) run(ctx context.Context) (r report, err error) {
	ctx, stop := d.app.untilSignal(ctx)
	defer stop()
	if err := d.lay(); err != nil {
		return r, err
	}
	ag, err := d.build(ctx)
	if err != nil {
		return r, errors.Join(err, os.RemoveAll(d.dir))
	}
	d.introduce(ag.Status())
	err = d.flow(ctx, ag)
	if err == nil {
		r, err = d.account(ag.Status())
	}
	switch {
	case err != nil:
		return r, fmt.Errorf("%w; the demo's directory is still there: %s", err, d.dir)
	case d.keep || !r.sound():
		r.Kept = d.dir
		return r, nil
	}
	return r, os.RemoveAll(d.dir)
}

// lay makes the directory, the pipeline file and the first lines of the log.
func (d *demo) lay() error {
	dir, err := os.MkdirTemp("", "penstock-quickstart-")
	if err != nil {
		return fmt.Errorf("make the demo's directory: %w", err)
	}
	d.dir = dir
	for _, sub := range []string{filepath.Dir(demoLog), filepath.Dir(demoOutput)} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			return fmt.Errorf("make the demo's directory: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, demoPipeline), quickstartPipeline, 0o644); err != nil {
		return fmt.Errorf("write the demo's pipeline: %w", err)
	}
	d.screen = newScreen(d.app.out, d.every())
	d.writer, err = newLogWriter(filepath.Join(dir, demoLog), demoRotate)
	return err
}

// every is how many events there are to one that is shown; 0 shows none.
func (d *demo) every() int {
	switch {
	case d.quiet:
		return 0
	case d.app.out.tty && !d.all:
		return demoSample
	}
	return 1
}

// build starts the agent in this process, the way run does, but for its paths.
func (d *demo) build(ctx context.Context) (*agent.Agent, error) {
	l, err := d.app.loadIn(filepath.Join(d.dir, demoPipeline), d.dir)
	if err != nil {
		return nil, err
	}
	d.say("Preparing the plugins (the first time takes a moment: they are compiled to machine code)\n")
	ag, err := agent.New(ctx, agent.Options{
		Setup: agent.Setup{Config: l.config, Modules: l.modules}, Build: d.app.build, Stdout: d.screen,
		Listen: "127.0.0.1:0", // a demo takes no port that something else may want
		Log:    d.app.newLogger("text", "warn", admin.NewLog()),
	})
	if err != nil && ctx.Err() != nil {
		err = errors.New("stopped before anything flowed")
	}
	if err != nil {
		return nil, fmt.Errorf("start the demo: %w", err)
	}
	return ag, nil
}

func (d *demo) say(format string, args ...any) {
	if !d.quiet {
		d.screen.say(format, args...)
	}
}

func (d *demo) introduce(s admin.Status) {
	t, command := d.app.out, commandPath()
	path := func(name string) string { return filepath.Join(d.dir, name) }
	d.say(`
%s

  %s   written by this demo, %d lines a second; renamed once to app.log.1
        ↓  source.app: the plugin that follows logs, a WebAssembly module in a sandbox
  channel.main   on disk before the log's position moves
        ↓  sink.screen: here         ↓  sink.copy: %s

The pipeline:         %s
Try in another terminal:
  %s status --data-dir %s
  tail -f %s
  curl -s http://%s/metrics | grep penstock_
  kill -9 %d; cd %s && %s run     it goes on where it was
`, t.paint(bold, "Events flow:"), path(demoLog), demoRate, path(demoOutput), path(demoPipeline),
		command, s.DataDir, path(demoOutput), s.HTTP, s.PID, d.dir, command)
	stopping := "Ctrl-C stops it, and counts."
	if d.limit > 0 {
		stopping = fmt.Sprintf("It stops after %v, and counts.", d.limit)
	}
	if n := d.every(); n > 1 {
		stopping += fmt.Sprintf(" One event in %d is shown; --all shows each.", n)
	}
	d.say("%s\n\n", stopping)
}

// commandPath is how to call this program in another terminal: by its name if it is found by that.
func commandPath() string {
	self, err := os.Executable()
	if err != nil {
		return "penstock"
	}
	if found, err := exec.LookPath("penstock"); err == nil && sameFile(found, self) {
		return "penstock"
	}
	return self
}

func sameFile(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// flow writes the log while the agent runs. When ctx ends, the log ends first, then the last lines
// arrive, then the agent stops.
func (d *demo) flow(ctx context.Context, ag *agent.Agent) error {
	writing, stopWriting := context.WithCancel(ctx)
	if d.limit > 0 {
		writing, stopWriting = context.WithTimeout(ctx, d.limit)
	}
	defer stopWriting()
	running, stopAgent := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAgent()
	var g errgroup.Group
	g.Go(func() error {
		defer stopWriting() // an agent that ends by itself ends the demo
		return ag.Run(running)
	})
	g.Go(func() error {
		defer stopAgent()
		if err := d.writer.run(writing, demoRate, d.rotated); err != nil {
			return err
		}
		d.say("\nThe log has ended. Waiting for its last lines to arrive …\n")
		return d.await(ag, running)
	})
	return g.Wait()
}

func (d *demo) rotated(from, to string) {
	d.say("%s\n", d.app.out.paint(yellow, "— the log was rotated: "+filepath.Base(from)+" is "+filepath.Base(to)+" now, and a new one has begun —"))
}

// await waits until both sinks have written all lines, or for demoDrain: what is missing then is counted as lost.
func (d *demo) await(ag *agent.Agent, running context.Context) error {
	limited, cancel := context.WithTimeout(running, demoDrain)
	defer cancel()
	tick := time.NewTicker(demoLook)
	defer tick.Stop()
	for !d.arrived(ag.Status()) {
		select {
		case <-limited.Done():
			return nil
		case <-tick.C:
		}
	}
	return nil
}

func (d *demo) arrived(s admin.Status) bool {
	for _, c := range s.Components {
		if c.Kind == "sink" && c.Events < d.writer.lines() {
			return false
		}
	}
	return true
}
