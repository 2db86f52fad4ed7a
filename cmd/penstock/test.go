// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/agent"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/rehearsal"
)

// testSuffix ends the names of files with tests of pipelines; the one for plugins has it too.
const testSuffix = ".test.hcl"

// testedPipeline is what test answers.
type testedPipeline struct {
	Files  []string  `json:"files"`
	Tests  []oneTest `json:"tests"`
	Failed int       `json:"failed"`
	took   time.Duration
}

// oneTest is what came of one test.
type oneTest struct {
	Name     string        `json:"name"`
	File     string        `json:"file"`
	Line     int           `json:"line"`
	OK       bool          `json:"ok"`
	Seconds  float64       `json:"seconds"`
	Failures []testFailure `json:"failures,omitempty"`
	Log      string        `json:"log,omitempty"` // of the agent, where it failed
}

// testFailure is one expectation that was not met.
type testFailure struct {
	Message string            `json:"message"`
	Range   *config.JSONRange `json:"range"`
	Diff    []string          `json:"diff,omitempty"` // " " is in both, "-" was expected, "+" has come
}

const testHelp = `Run a pipeline on what tests give it, and compare what comes of it with what they expect. Tests are blocks in files that end in .test.hcl,
beside the pipeline files:

  test "errors are kept, and nothing else" {
    input "service" {                       # a source: these events come in the place of what its plugin would read
      bodies = ["ERROR disk full", "INFO listening"]
    }
    sink "archive" {                        # a sink: how it behaves; without a block it takes everything
      fail = 2                              # it refuses two deliveries first
    }
    expect "sink.archive" {                 # what must have come there
      bodies = ["ERROR disk full"]
    }
    expect "channel.rejected" {
      events = 0
    }
  }

What runs is the agent with the real channels and processors, in a directory that is gone afterwards. Nothing is listened on or connected to: sources
are replaced by the input, and sinks by a recorder, or, with stored = "FILE", the sink's own plugin runs, in that directory.

PATH is the directory of the pipeline, "." by default; a pipeline file NAME.hcl, whose tests are in NAME.test.hcl; or a file of tests.
Exit code 1 when a test fails.`

func newTestCommand(a *app) *cobra.Command {
	var only string
	cmd := &cobra.Command{
		Use:     "test [PATH]",
		Short:   "Run the tests of pipeline files",
		Long:    testHelp,
		Example: "  penstock test\n  penstock test pipeline.test.hcl --only \"errors are kept\"",
		Args:    cobra.MaximumNArgs(1),

		Annotations: map[string]string{readsPipeline: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			p := &pipelineTester{app: a, quiet: wantsJSON(cmd), only: only, done: testedPipeline{Files: []string{}, Tests: []oneTest{}}}
			begun := time.Now()
			if err := p.run(cmd.Context(), pathArg(args)); err != nil {
				return err
			}
			p.done.took = time.Since(begun)
			summary := fmt.Sprintf("%s, %d failed (%s)", plural(len(p.done.Tests), "test"), p.done.Failed, span(p.done.took))
			if p.done.Failed > 0 {
				return &fault{err: errors.New(summary), exit: exitFailed, code: "failed", result: p.done, show: func() { a.err.printf("%s\n", a.err.paint(red, summary)) }}
			}
			return a.answer(cmd, summary, p.done, func(t *terminal) { t.printf("%s\n", t.paint(green, summary)) })
		},
	}
	cmd.Flags().StringVar(&only, "only", "", "only the tests with this in their name")
	return withJSON(cmd)
}

// pipelineTester runs tests.
type pipelineTester struct {
	*app
	quiet    bool
	only     string
	pipeline string // path of the pipeline
	cache    string // of compiled plugins
	done     testedPipeline
}

func (p *pipelineTester) run(ctx context.Context, path string) error {
	files, err := p.find(path)
	if err != nil {
		return err
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read tests: %w", err)
		}
		start := time.Now()
		tests, sources, diags := config.ParseTests(src, file)
		if diags.HasErrors() {
			return p.mistakes(loaded{sources: sources, diags: diags, took: time.Since(start)})
		}
		p.done.Files = append(p.done.Files, file)
		tests = slices.DeleteFunc(tests, func(t config.Test) bool { return !strings.Contains(t.Name, p.only) })
		if err := p.check(tests, sources); err != nil {
			return err
		}
		for _, t := range tests {
			if err := p.test(ctx, t); err != nil {
				return err
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
	if len(p.done.Tests) == 0 {
		return wrongUse("A test is a block in a file that ends in "+testSuffix+": see penstock test --help", "there is no test%s", withName(p.only))
	}
	return nil
}

// check finds all that does not fit the pipeline before anything is run.
func (p *pipelineTester) check(tests []config.Test, sources *config.Sources) error {
	start := time.Now()
	var diags hcl.Diagnostics
	for _, t := range tests {
		l, err := p.loadFor(t, "")
		if err != nil {
			return err
		}
		diags = append(diags, t.Check(l.config)...)
		if p.cache == "" {
			p.cache = cacheOf(l.config)
		}
	}
	if diags.HasErrors() {
		return p.mistakes(loaded{sources: sources, diags: diags, took: time.Since(start)})
	}
	return nil
}

// loadFor loads the pipeline as a test has it, with relative paths of data taken from dir.
func (p *pipelineTester) loadFor(t config.Test, dir string) (loaded, error) {
	before := p.variables
	defer func() { p.variables = before }()
	for _, name := range slices.Sorted(maps.Keys(t.Variables)) {
		p.variables.Set = append(slices.Clip(p.variables.Set), name+"="+t.Variables[name])
	}
	return p.loadIn(p.pipeline, dir)
}

func withName(only string) string {
	if only == "" {
		return ""
	}
	return fmt.Sprintf(" with %q in its name", only)
}

// find tells the pipeline from its tests.
func (p *pipelineTester) find(path string) (files []string, err error) {
	if _, err := os.Stat(path); err != nil {
		return nil, wrongUse("", "read tests: %w", err)
	}
	p.pipeline = path
	if strings.HasSuffix(path, testSuffix) {
		if p.pipeline = strings.TrimSuffix(path, testSuffix) + ".hcl"; !isFile(p.pipeline) {
			p.pipeline = filepath.Dir(path)
		}
		return []string{path}, nil
	}
	if isFile(path) {
		return []string{strings.TrimSuffix(path, ".hcl") + testSuffix}, nil
	}
	files, err = filepath.Glob(filepath.Join(escapeGlob(path), "*"+testSuffix))
	if err != nil {
		return nil, fmt.Errorf("list tests: %w", err)
	}
	return slices.DeleteFunc(files, func(name string) bool {
		return filepath.Base(name) == trialsFile || strings.HasPrefix(filepath.Base(name), ".")
	}), nil
}

// test runs one test, and says how it went.
func (p *pipelineTester) test(ctx context.Context, t config.Test) error {
	begun := time.Now()
	var result rehearsal.Result
	err := inDirectory(func(dir string) (err error) {
		result, err = p.rehearse(ctx, t, dir)
		return err
	})
	if err != nil {
		if _, ok := errors.AsType[*fault](err); ok || ctx.Err() != nil {
			return err
		}
		return fmt.Errorf("%s: run test %q: %w", placeOf(config.RangeJSON(t.At)), t.Name, err)
	}
	one := oneTest{Name: t.Name, File: t.At.Filename, Line: t.At.Start.Line, OK: len(result.Failures) == 0, Seconds: time.Since(begun).Seconds()}
	for _, f := range result.Failures {
		at := config.RangeJSON(f.At)
		failure := testFailure{Message: f.What, Range: &at}
		for _, l := range f.Lines {
			failure.Diff = append(failure.Diff, string(l.Mark)+" "+l.Text)
		}
		one.Failures = append(one.Failures, failure)
	}
	if !one.OK {
		p.done.Failed++
		one.Log = result.Log
	}
	p.done.Tests = append(p.done.Tests, one)
	if !p.quiet {
		p.tell(one)
	}
	return nil
}

// rehearse loads the pipeline for the test, and runs it in a directory.
func (p *pipelineTester) rehearse(ctx context.Context, t config.Test, dir string) (rehearsal.Result, error) {
	l, err := p.loadFor(t, dir)
	if err != nil {
		return rehearsal.Result{}, err
	}
	if err := makeFolders(t, l.config, dir); err != nil {
		return rehearsal.Result{}, err
	}
	return rehearsal.Run(ctx, rehearsal.Options{Test: t, Config: l.config, Modules: l.modules, Dir: dir, Cache: p.cache})
}

// makeFolders makes those that sinks are granted whose own plugins run. None is outside of the directory of the test.
func makeFolders(t config.Test, c *config.Config, dir string) error {
	for _, of := range t.Sinks {
		i := slices.IndexFunc(c.Sinks, func(s config.Sink) bool { return s.Name == of.Sink })
		if of.Stored == "" {
			continue
		}
		for _, d := range c.Sinks[i].Dirs {
			if rel, err := filepath.Rel(dir, d.Path); err != nil || !filepath.IsLocal(rel) {
				return wrongUse("Make the path relative, or a variable that the test sets with variables = { … }, or leave \"stored\" out.",
					"test %q would have %s write to %s, which is not in the directory of the test", t.Name, c.Sinks[i].Address(), d.Path)
			}
			if err := os.MkdirAll(d.Path, 0o755); err != nil {
				return fmt.Errorf("make the directory of the test: %w", err)
			}
		}
	}
	return nil
}

// cacheOf is where compiled plugins are kept: with the agent of the pipeline, where one has run, else with the user.
func cacheOf(c *config.Config) string {
	if dir := agent.CacheDir(c.Agent.DataDir); isDir(dir) && writable(dir) {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "" // each is compiled anew
	}
	return filepath.Join(dir, "penstock", "compiled")
}

// writable says whether a file can be made in a directory.
func writable(dir string) bool {
	f, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return false
	}
	err = errors.Join(f.Close(), os.Remove(f.Name()))
	return err == nil || errors.Is(err, fs.ErrNotExist)
}

// tell prints what came of a test.
func (p *pipelineTester) tell(one oneTest) {
	mark := p.out.paint(green, "ok  ")
	if !one.OK {
		mark = p.out.paint(red, "FAIL")
	}
	p.out.printf("%s  %s (%s)\n", mark, one.Name, span(time.Duration(one.Seconds*float64(time.Second))))
	for _, f := range one.Failures {
		p.out.printf("      %s: %s\n", placeOf(*f.Range), f.Message)
		for _, line := range f.Diff {
			switch line[0] {
			case '-':
				line = p.out.paint(red, line)
			case '+':
				line = p.out.paint(green, line)
			}
			p.out.printf("        %s\n", line)
		}
	}
	if one.Log != "" {
		p.out.printf("      the agent's log:\n        %s\n", strings.ReplaceAll(strings.TrimSpace(one.Log), "\n", "\n        "))
	}
}
