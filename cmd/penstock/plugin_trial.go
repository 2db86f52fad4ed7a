// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/agent"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/plugintest"
	"github.com/penstock-io/penstock/host/plugin/subprocess"
	"github.com/penstock-io/penstock/host/plugin/wasm"
	"github.com/penstock-io/penstock/spec/abi"
)

// trialsFile says how the plugins of a module are tried.
const trialsFile = "plugin.test.hcl"

// tested is what plugin test answers.
type tested struct {
	Module  string         `json:"module"`
	Digest  string         `json:"digest"`
	Plugins []testedPlugin `json:"plugins"`
	Untried []string       `json:"untried,omitempty"`
	Checks  int            `json:"checks"`
	Failed  int            `json:"failed"`
}

// testedPlugin is one trial of a plugin.
type testedPlugin struct {
	Kind      abi.Kind      `json:"kind"`
	Name      string        `json:"name"`
	Trial     string        `json:"trial,omitempty"`
	Checks    []testedCheck `json:"checks"`
	PerSecond float64       `json:"events_per_second,omitempty"`
}

type testedCheck struct {
	Says    string  `json:"says"`
	Error   string  `json:"error,omitempty"`
	Seconds float64 `json:"seconds"`
}

const trialHelp = `Run the plugins of a module the way the agent does, and check that they keep the contract: a sane manifest, errors of the right class, a
life cycle that can be gone through again, a source that resumes from its cursor without loss or repeat, a sink that survives any batch and
keeps what it claims, a processor that is a function of its batch, no growing memory.

What a plugin is opened with, and what comes of it, is said in ` + trialsFile + ` beside the module:

  processor "parse" "takes fields out of a line" {
    config {
      pattern = "^(?P<level>\\w+)"
    }
    input  = ["INFO hello"]
    output = ["INFO hello"]
  }

  source "numbers" "counts" {
    config {
      count = 40
    }
    events = 40
  }

  sink "lines" "appends" {
    config {
      path = "out.log"       # relative paths are in a directory of the trial's own, which it may read and write
    }
    file "old.log" {
      content = "what is there before"
    }
    stored = "out.log"
  }

A block "refuses" beside "config" holds arguments that the plugin itself must refuse.

Whoever is at the other end of a handle is a block named after it. Whatever address the config names, a trial has ports of the loopback
interface, without TLS, and reaches nothing else:

  source "lines" "takes lines of two" {
    config {
      listen = "tcp://0.0.0.0:5170"
    }
    client "listen" {                # need "listen" "listen" in plugin.hcl
      send = ["one\ntw", "o\n"]      # over UDP a datagram each
    }
    client "listen" {
      send = ["three"]
    }
    output = ["one", "two", "three"]
  }

  source "hook" "takes what is signed" {
    config {
      listen = "0.0.0.0:8080"
    }
    request "listen" {
      path   = "/in"
      header = { x-token = "secret" }
      body   = "one"
      status = 200                   # and that only when it is durable
    }
    events = 1
  }

  sink "post" "sends lines" {
    config {
      url = "https://api.internal/in"
    }
    server "url" {                   # refuses, hangs up, and must get all the same what the sink was given
      format = "lines"
      fail   = 5
    }
  }

Of a source it is also looked at that it goes on whatever strangers send it. Without MODULE it is the one in the working directory.
Exit code 1 when a check fails.`

func newPluginTestCommand(a *app) *cobra.Command {
	var file, only string
	cmd := &cobra.Command{
		Use:     "test [MODULE]",
		Short:   "Check that the plugins of a module keep their side of the contract",
		Long:    trialHelp,
		Example: "  penstock plugin test\n  penstock plugin test ./parse.wasm --json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			module, err := moduleArg(args)
			if err != nil {
				return err
			}
			if file == "" {
				file = filepath.Join(filepath.Dir(module), trialsFile)
			}
			t := &tester{app: a, quiet: wantsJSON(cmd), module: module, only: only}
			if err := t.run(cmd.Context(), file, cmd.Flags().Changed("file")); err != nil {
				return err
			}
			summary := fmt.Sprintf("%s, %d failed", plural(t.tested.Checks, "check"), t.tested.Failed)
			if t.tested.Failed > 0 {
				return &fault{err: errors.New(summary), exit: exitFailed, code: "failed", result: t.tested, show: func() { a.err.printf("%s\n", a.err.paint(red, summary)) }}
			}
			return a.answer(cmd, summary, t.tested, func(out *terminal) { out.printf("%s\n", out.paint(green, summary)) })
		},
	}
	cmd.Flags().StringVar(&only, "only", "", "only the checks with this in their text")
	cmd.Flags().StringVarP(&file, "file", "f", "", "how the plugins are tried (default: "+trialsFile+" beside the module)")
	return withJSON(cmd)
}

// moduleArg is the module that a command was given, or the one in the working directory.
func moduleArg(args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	found, err := filepath.Glob("*.wasm")
	if programs, _ := filepath.Glob("*" + subprocess.ManifestSuffix); err == nil {
		for _, p := range programs {
			found = append(found, "./"+strings.TrimSuffix(p, subprocess.ManifestSuffix))
		}
	}
	switch {
	case err != nil:
		return "", err
	case len(found) == 1:
		return found[0], nil
	case len(found) == 0:
		return "", wrongUse("Name a module, or make one here: penstock plugin build", "there is no .wasm file in this directory, and no program with a manifest")
	}
	return "", wrongUse("Name one of them.", "there are several plugins in this directory: %s", strings.Join(found, ", "))
}

// tester tries the plugins of a module.
type tester struct {
	*app
	quiet  bool
	module string
	only   string // text of the checks that are run; "": all, and the speed is measured
	plugin plugin.Plugin
	trials *config.Trials
	tested tested
}

func (t *tester) run(ctx context.Context, file string, asked bool) (err error) {
	runtime, ref, err := t.runtime()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, runtime.Close()) }()
	if t.plugin, err = runtime.Load(ctx, ref); err != nil {
		return fmt.Errorf("load %s: %w", t.module, err)
	}
	defer func() { err = errors.Join(err, t.plugin.Close()) }()
	t.tested.Module, t.tested.Digest = t.module, t.plugin.Digest()
	if err := t.readTrials(file, asked); err != nil {
		return err
	}
	m := t.plugin.Manifest()
	t.say("%s %s (%s, sha256 %.12s…)\n", t.out.paint(bold, m.Name), m.Version, t.module, t.plugin.Digest())
	manifest := testedPlugin{Name: "manifest"}
	t.check(ctx, &manifest, plugintest.Check{Says: "the manifest is sane", Run: func(context.Context, string) error { return errors.Join(plugintest.Manifest(m)...) }})
	more, left := t.trials.Defaults()
	for _, trial := range append(t.trials.List, more...) {
		if err := t.trial(ctx, &trial); err != nil {
			return err
		}
	}
	if t.tested.Untried = left; len(left) > 0 {
		t.say("\nNot tried: %s. A block in %s says how.\n", strings.Join(left, ", "), trialsFile)
	}
	t.say("\n")
	return nil
}

// runtime is what the plugin runs in, and what that is to load.
func (t *tester) runtime() (r plugin.Runtime, ref plugin.Ref, err error) {
	ref = plugin.Ref{Name: t.module, Source: t.module}
	if isProgram(t.module) {
		if ref.Path, err = filepath.Abs(t.module); err == nil {
			r, err = subprocess.New(subprocess.Options{})
		}
		return r, ref, err
	}
	if ref.Code, err = readModule(t.module); err != nil {
		return nil, ref, err
	}
	o := wasm.Options{Log: slog.New(slog.DiscardHandler)}
	if dir := filepath.Dir(t.module); isFile(filepath.Join(dir, "plugin.hcl")) { // where plugin run keeps it too
		o.CacheDir = agent.CacheDir(filepath.Join(dir, workshopData))
	}
	if r, err = wasm.New(o); err != nil {
		err = fmt.Errorf("start the runtime of plugins: %w", err)
	}
	return r, ref, err
}

// say tells a person how it goes.
func (t *tester) say(format string, args ...any) {
	if !t.quiet {
		t.out.printf(format, args...)
	}
}

func (t *tester) readTrials(file string, asked bool) error {
	src, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !asked:
		t.trials = config.NoTrials(t.plugin.Manifest())
		return nil
	case err != nil:
		return fmt.Errorf("read how plugins are tried: %w", err)
	}
	start := time.Now()
	trials, sources, diags := config.ParseTrials(src, file, t.plugin.Manifest())
	if trials == nil {
		return t.mistakes(loaded{sources: sources, diags: diags, took: time.Since(start)})
	}
	t.trials = trials
	return nil
}

// trial runs the checks of one plugin, and measures it.
func (t *tester) trial(ctx context.Context, trial *config.Trial) error {
	done := testedPlugin{Kind: trial.Kind, Name: trial.Plugin, Trial: trial.Name}
	t.say("\n%s %s\n", t.out.paint(bold, string(trial.Kind)+" "+trial.Plugin), trial.Name)
	c := t.caseOf(trial)
	for _, check := range plugintest.Checks(t.plugin, c) {
		t.check(ctx, &done, check)
	}
	if trial.Kind != abi.Source && t.only == "" {
		err := inDirectory(func(dir string) (err error) {
			done.PerSecond, err = plugintest.Speed(ctx, t.plugin, c, dir)
			return err
		})
		if err == nil {
			t.say("  %s events/s\n", number(int64(done.PerSecond)))
		}
	}
	t.tested.Plugins = append(t.tested.Plugins, done)
	return ctx.Err()
}

func (t *tester) check(ctx context.Context, in *testedPlugin, check plugintest.Check) {
	if !strings.Contains(check.Says, t.only) {
		return
	}
	begun := time.Now()
	err := inDirectory(func(dir string) error { return check.Run(ctx, dir) })
	done := testedCheck{Says: check.Says, Seconds: time.Since(begun).Seconds()}
	t.tested.Checks++
	mark := t.out.paint(green, "ok  ")
	if err != nil {
		t.tested.Failed++
		done.Error, mark = err.Error(), t.out.paint(red, "FAIL")
	}
	in.Checks = append(in.Checks, done)
	t.say("  %s  %s (%s)\n", mark, check.Says, span(time.Since(begun)))
	if err != nil {
		t.say("        %s\n", strings.ReplaceAll(err.Error(), "\n", "\n        "))
	}
}

// inDirectory does something in a directory that is gone afterwards.
func inDirectory(do func(dir string) error) error {
	dir, err := os.MkdirTemp("", "penstock-test-*")
	if err != nil {
		return fmt.Errorf("make a directory for the trial: %w", err)
	}
	return errors.Join(do(dir), os.RemoveAll(dir))
}
