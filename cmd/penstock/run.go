// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/agent"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plugin/subprocess"
	"github.com/penstock-io/penstock/host/watch"
)

// runFlags are what the command line says in place of the pipeline files.
type runFlags struct {
	dataDir, http, logFormat, logLevel string
	killAt                             string
	watch                              bool
}

// startGC is how much garbage there may be while plugins are loaded, in percent of what is used: little of what that takes is garbage, and looking for it made a
// start a twentieth longer. The agent gives back what is left when it runs.
const startGC = 400

func newRunCommand(a *app) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [PATH]",
		Short: "Run pipeline files",
		Long: `Run pipeline files until SIGINT or SIGTERM, then drain: sources are not read any more, deliveries that have begun may
finish, positions are written. A second signal leaves at once; nothing that was acknowledged is lost by it, nor by kill -9.

PATH is a file, or a directory of which all *.hcl files are one configuration; "." by default. Mistakes in it are
shown all at once, and nothing is started (exit code 2). A data directory or an address that another agent
has is refused (exit code 3).

SIGHUP reads the files again and goes over to what they say, as "penstock reload" does: see there. With --watch that happens when they change, a file that
they read with file() or --var-file, or a .wasm file that runs. Never by itself: that a plugin may touch more than before, another secret, sha256, runtime, program or trusted; the log says then what
to run.

The agent logs to standard error. What stdout sinks write is all that goes to standard output.`,
		Example: "  penstock run\n  penstock run /etc/penstock --log-format json\n  penstock run pipeline.hcl --data-dir ./data --http off",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := subprocess.HideFromChildren(); err != nil { // before any secret is read
				return err
			}
			ctx, stop := a.untilSignal(cmd.Context())
			defer stop()
			return a.run(ctx, pathArg(args), f)
		},
	}
	dataDirFlag(cmd, &f.dataDir)
	cmd.Flags().StringVar(&f.http, "http", "", `address of metrics and health on this machine, such as 127.0.0.1:7420; "off" for none`)
	cmd.Flags().StringVar(&f.logFormat, "log-format", "", `"text" or "json" (default: text on a terminal)`)
	cmd.Flags().StringVar(&f.logLevel, "log-level", "", `"debug", "info", "warn" or "error"`)
	cmd.Flags().BoolVar(&f.watch, "watch", false, "take up changes of the files and of modules by itself, but for what somebody has to decide")
	cmd.Flags().StringVar(&f.killAt, "kill-at", "", `for tests: die as by kill -9 just before a step of delivery, such as "fsync:17"`)
	_ = cmd.Flags().MarkHidden("kill-at")
	return cmd
}

func (a *app) run(ctx context.Context, path string, f runFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	hup, stop := hangups() // from here on: one that comes too early would end the process
	defer stop()
	var watcher *watch.Watcher
	var deaf error
	if f.watch { // from here on: what changes after it is read is taken up
		if watcher, deaf = watch.New(path); deaf == nil {
			defer func() { _ = watcher.Close() }()
		}
	}
	l, setup, err := a.setup(path, f, nil)
	if err != nil {
		return err
	}
	a.showDiagnostics(l)
	files := &reader{app: a, path: path, runFlags: f}
	files.depend(l.sources)
	opts := agent.Options{
		Setup: setup, Load: files.read, Build: a.build, Stdout: a.out, Listen: f.http, Logs: admin.NewLog(),
	}
	opts.Log = a.newLogger(l.config.Agent.LogFormat, l.config.Agent.LogLevel, opts.Logs)
	if f.killAt != "" {
		if opts.Step, err = agent.KillAt(f.killAt); err != nil {
			return wrongUse("", "--kill-at: %w", err)
		}
	}
	if !isDir(agent.CacheDir(l.config.Agent.DataDir)) {
		opts.Log.Info("compiling the plugins to machine code, which takes some seconds the first time")
	}
	percent := debug.SetGCPercent(startGC)
	ag, err := agent.New(ctx, opts)
	debug.SetGCPercent(percent)
	if err != nil && ctx.Err() != nil {
		opts.Log.Info("stopped while it started: nothing had begun")
		return nil
	}
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	if deaf != nil {
		unwatched(opts.Log, deaf)
	}
	return runAndReload(ctx, ag, hup, files, watcher)
}

// check refuses what a pipeline file could not say either.
func (f *runFlags) check() error {
	var level slog.Level
	if f.logLevel != "" && level.UnmarshalText([]byte(f.logLevel)) != nil {
		return wrongUse("", `--log-level %q: it is "debug", "info", "warn" or "error"`, f.logLevel)
	}
	if f.logFormat != "" && f.logFormat != "text" && f.logFormat != "json" {
		return wrongUse("", `--log-format %q: it is "text" or "json"`, f.logFormat)
	}
	if err := admin.CheckListen(f.http); err != nil {
		return &fault{err: fmt.Errorf("--http: %w", err), exit: exitUsage, code: "usage"}
	}
	return nil
}

// apply lets the command line go before the files.
func (f *runFlags) apply(c *config.Config) error {
	if f.dataDir != "" {
		dir, err := filepath.Abs(f.dataDir)
		if err != nil {
			return fmt.Errorf("--data-dir: %w", err)
		}
		c.Agent.DataDir = dir
	}
	if f.logLevel != "" {
		c.Agent.LogLevel = f.logLevel
	}
	if f.logFormat != "" {
		c.Agent.LogFormat = f.logFormat
	}
	return nil
}

// legible writes durations as people do, in JSON too: "30s" is not 30000000000.
func legible(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// newLogger makes the agent's log, on standard error, of which kept keeps the last lines. format "auto" is text for people, JSON for programs.
func (a *app) newLogger(format, level string, kept *admin.Log) *slog.Logger {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		least = slog.LevelInfo // both the files and the flags were checked; "" is the usual
	}
	opts := &slog.HandlerOptions{Level: least, ReplaceAttr: legible}
	var print slog.Handler = slog.NewJSONHandler(a.err, opts)
	if format == "text" || format != "json" && a.err.tty {
		print = slog.NewTextHandler(a.err, opts)
	}
	return slog.New(kept.Handler(print, least, *opts))
}
