// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/plugin/subprocess"
)

// watchEvery is how often the source of a plugin is looked at.
const watchEvery = 300 * time.Millisecond

// trialPipeline is the pipeline that plugin run runs.
const trialPipeline = "pipeline.hcl"

// workshopData is where, beside a plugin that is being written, the data of its runs are, and its compiled code.
const workshopData = ".penstock"

func newPluginRunCommand(a *app) *cobra.Command {
	w := &workshop{app: a}
	cmd := &cobra.Command{
		Use:   "run [DIR]",
		Short: "Build a plugin and run it, and again whenever its source changes",
		Long: `Build the plugin in a directory, "." by default, and run the ` + trialPipeline + ` beside it, with data in .penstock there, so that it goes on
where it was. When a file changes it is built and started again, and goes on where it was, as it would after a crash. A source that does not
compile is told, and what runs goes on. Events that go to a stdout sink are shown. Ctrl-C stops it.`,
		Example: "  penstock plugin run\n  penstock plugin run ./demo --fresh",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := a.untilSignal(cmd.Context())
			defer stop()
			w.dir = pathArg(args)
			if w.pipeline == "" {
				w.pipeline = filepath.Join(w.dir, trialPipeline)
			}
			return w.run(ctx)
		},
	}
	cmd.Flags().StringVar(&w.pipeline, "pipeline", "", "the pipeline file (default: "+trialPipeline+" beside the plugin)")
	cmd.Flags().BoolVar(&w.fresh, "fresh", false, "forget the data of earlier runs")
	cmd.Flags().StringVar(&w.level, "log-level", "warn", `what of the agent's log is shown: "debug", "info", "warn" or "error"`)
	return cmd
}

// workshop runs a plugin while it is being written.
type workshop struct {
	*app
	dir, pipeline, level string
	fresh                bool
}

func (w *workshop) run(ctx context.Context) error {
	data := filepath.Join(w.dir, workshopData)
	if w.fresh {
		if err := os.RemoveAll(data); err != nil {
			return fmt.Errorf("begin anew: %w", err)
		}
	}
	seen := w.sources()
	if err := w.build(ctx); err != nil {
		return err
	}
	for {
		running, stop := context.WithCancel(ctx)
		ended := make(chan error, 1) // never closed
		var agent sync.WaitGroup
		agent.Go(func() {
			ended <- w.app.run(running, w.pipeline, runFlags{dataDir: data, http: "off", logLevel: w.level})
		})
		again, err := w.attend(ctx, ended, &seen)
		stop()
		agent.Wait()
		select {
		case last := <-ended:
			err = errors.Join(err, last)
		default: // attend has seen it end
		}
		if !again {
			return err
		}
		w.tell(err)
	}
}

// attend waits until everything is over, or a change of the source has been built and what runs is to be replaced.
func (w *workshop) attend(ctx context.Context, ended <-chan error, seen *uint64) (again bool, err error) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if ctx.Err() != nil {
				return false, err
			}
			w.tell(err)
			w.err.printf("%s\n", w.err.paint(dim, "the agent has ended; it starts again when a file changes (Ctrl-C to leave)"))
		case <-tick.C:
			now := w.sources()
			if ctx.Err() != nil || now == *seen {
				continue
			}
			*seen = now
			err := w.build(ctx)
			if err == nil {
				return true, nil
			}
			w.tell(err)
		case <-ctx.Done():
			return false, nil
		}
	}
}

// build builds the plugin, and says so.
func (w *workshop) build(ctx context.Context) error {
	begun := time.Now()
	b, err := w.buildPlugin(ctx, w.dir, "", "")
	if err == nil {
		w.err.printf("%s %s (%s)\n", w.err.paint(dim, "built"), b.Module, span(time.Since(begun)))
	}
	return err
}

// tell shows an error and goes on.
func (w *workshop) tell(err error) {
	f, ok := errors.AsType[*fault](err)
	switch {
	case err == nil || errors.Is(err, context.Canceled):
	case ok && f.show != nil:
		f.show()
	default:
		w.err.printf("%s %s\n", w.err.paint(red, "Error:"), err)
	}
}

// sources is a sum over the names, sizes and times of the files that the plugin is made of.
func (w *workshop) sources() uint64 {
	sum := fnv.New64a()
	_ = filepath.WalkDir(w.dir, func(path string, e fs.DirEntry, err error) error { // what cannot be read now is looked at again soon
		name := e.Name()
		switch {
		case err != nil:
			return nil
		case e.IsDir() && path != w.dir && (strings.HasPrefix(name, ".") || name == "target" || name == "node_modules" || name == "build"):
			return filepath.SkipDir
		case e.IsDir() || strings.Contains(name, ".wasm") || strings.Contains(name, subprocess.ManifestSuffix) || isFile(path+subprocess.ManifestSuffix):
			return nil // what has been built
		}
		if info, err := e.Info(); err == nil {
			_, _ = fmt.Fprintln(sum, path, info.Size(), info.ModTime().UnixNano())
		}
		return nil
	})
	return sum.Sum64()
}
