// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// benchFlags are what bench is asked for.
type benchFlags struct {
	events, size, runs int
	paths, channels    []string
	durability         []string
	dir, plugin        string
}

// benchAnswer is what bench answers.
type benchAnswer struct {
	Version      string         `json:"version"`
	Builtins     []builtinState `json:"builtins"`
	Directory    string         `json:"directory"`
	DiskFsyncP50 float64        `json:"disk_fsync_p50_seconds"` // of 4 KiB, by itself
	Runs         int            `json:"runs"`                   // of each; the results are medians, memory is the most
	Results      []benchResult  `json:"results"`
}

func newBenchCommand(a *app) *cobra.Command {
	var f benchFlags
	cmd := withJSON(&cobra.Command{
		Use:   "bench",
		Short: "Measure this machine: events through real plugins and the durable channel",
		Long: `Measure this machine: events through real plugins and the durable channel.

Each run is "penstock run" in a process of its own, with the plugins that come with this binary:

  generate   source generate → channel → sink discard: what the channel and the sandbox cost
  file       source file → channel → sink file, each line made durable twice: the usual job
  tcp        source tcp → channel → sink tcp, sender and receiver on the same machine; with --plugin those of another module

Runs of different kinds alternate, and each figure is the median of its runs; memory is the most that was used.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.bench(cmd, f) },
	})
	cmd.Flags().IntVar(&f.events, "events", 2_000_000, "events a run")
	cmd.Flags().IntVar(&f.size, "size", 256, "bytes of an event's body")
	cmd.Flags().IntVar(&f.runs, "runs", 5, "runs of each kind")
	cmd.Flags().StringSliceVar(&f.paths, "path", []string{"generate", "file"}, "what to measure: generate, file, tcp")
	cmd.Flags().StringSliceVar(&f.channels, "channel", []string{"wal", "memory"}, "kinds of channel: wal, memory")
	cmd.Flags().StringSliceVar(&f.durability, "durability", []string{"fsync"}, "levels of the channel wal, such as fsync,interval:100ms,os")
	cmd.Flags().StringVar(&f.plugin, "plugin", "", "a .wasm file that has the source and the sink of path tcp (default: those that come with this binary)")
	cmd.Flags().StringVar(&f.dir, "dir", "", "work below this directory, on the disk to measure (default: the one for temporary files)")
	return cmd
}

func (f benchFlags) check() error {
	switch {
	case f.events < 1000 || f.runs < 1 || f.size < 64 || f.size > 1<<20:
		return wrongUse("For example: penstock bench --events 2000000 --size 256 --runs 5",
			"bench needs at least 1000 events, 1 run, and a size between 64 bytes and 1 MiB")
	case slices.ContainsFunc(f.paths, func(p string) bool { return p != "generate" && p != "file" && p != "tcp" }):
		return wrongUse("Use --path generate, --path file, --path tcp, or several with a comma.", "there is no path %q to measure", strings.Join(f.paths, ","))
	case slices.ContainsFunc(f.channels, func(c string) bool { return c != "wal" && c != "memory" }):
		return wrongUse("Use --channel wal, --channel memory, or both with a comma.", "there is no kind of channel %q", strings.Join(f.channels, ","))
	}
	return nil
}

func (a *app) bench(cmd *cobra.Command, f benchFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	root, err := os.MkdirTemp(f.dir, "penstock-bench")
	if err != nil {
		return fmt.Errorf("make a directory to work in: %w", err)
	}
	defer os.RemoveAll(root)
	disk, err := diskFsync(root)
	if err != nil {
		return fmt.Errorf("measure the disk of %s: %w", root, err)
	}
	answer := benchAnswer{Version: a.build.Version, Builtins: builtins(), Directory: root, DiskFsyncP50: disk.Seconds(), Runs: f.runs}
	runs, err := a.benchRuns(cmd, f, root)
	if err != nil {
		return err
	}
	for _, of := range runs {
		answer.Results = append(answer.Results, median(of))
	}
	return a.answer(cmd, plural(len(runs), "kind")+" of run, each "+plural(f.runs, "time"), answer, answer.print)
}

// benchRuns runs every plan f.runs times, in turn, after one short run that fills the cache of compiled modules.
func (a *app) benchRuns(cmd *cobra.Command, f benchFlags, root string) ([][]benchResult, error) {
	plugin, err := tcpPlugin(f.plugin)
	if err != nil {
		return nil, err
	}
	var plans []benchPlan
	for _, path := range f.paths {
		for _, channel := range f.channels {
			levels := []string{""}
			if channel == "wal" {
				levels = f.durability
			}
			for _, level := range levels {
				plans = append(plans, benchPlan{Path: path, Channel: channel, Durability: level, Events: f.events, Size: f.size, Plugin: plugin})
			}
		}
	}
	warm := plans[0]
	warm.Events = 1000
	a.err.printf("compiling the plugins\n")
	if _, err := warm.measure(cmd.Context(), root); err != nil {
		return nil, err
	}
	runs := make([][]benchResult, len(plans))
	for n := range f.runs {
		for i, p := range plans {
			r, err := p.measure(cmd.Context(), root)
			if err != nil {
				return nil, err
			}
			runs[i] = append(runs[i], r)
			a.err.printf("run %d of %d   %-8s → %-19s  %s events/s\n", n+1, f.runs, p.Path, r.channel(), number(int(r.EventsPerSecond)))
		}
	}
	return runs, nil
}

func (b benchAnswer) print(t *terminal) {
	t.printf("penstock %s", b.Version)
	for _, m := range b.Builtins {
		t.printf(", builtin %s sha256 %.12s", m.Name, m.Digest)
	}
	t.printf("\nevents of %d bytes; medians of %d runs; the disk alone makes 4 KiB durable in %s (median)\n\n", b.Results[0].Size, b.Runs, millis(b.DiskFsyncP50))
	t.printf("%s", benchTable(b.Results))
	for _, w := range b.Results {
		for _, m := range b.Results {
			if w.Path == m.Path && w.Channel == "wal" && m.Channel == "memory" {
				t.printf("\n%s: the channel %s moves %.2f of what the memory channel moves", w.Path, w.channel(), w.EventsPerSecond/m.EventsPerSecond)
			}
		}
	}
	for _, r := range b.Results {
		if r.Path == "tcp" {
			t.printf("\ntcp, %s: %.2f CPU-s/M with the sender and the receiver", r.channel(), r.AllCPUSecondsPerM)
		}
	}
	t.printf("\nfirst event delivered %.0f ms after the start of the process\n", b.Results[0].FirstEventSeconds*1e3)
}
