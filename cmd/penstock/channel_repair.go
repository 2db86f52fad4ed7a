// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/channel/wal"
	"github.com/penstock-io/penstock/spec/event"
)

// repairedChannel is what repair answers.
type repairedChannel struct {
	channelDir
	DryRun  bool          `json:"dry_run"`
	Mended  []mendedPlace `json:"mended"`
	Records uint64        `json:"records"` // lost, as far as it is known
	Events  uint64        `json:"events"`
	Waited  uint64        `json:"undelivered"` // of Events
}

// mendedPlace is one thing that was set right.
type mendedPlace struct {
	What    string       `json:"what"`
	File    string       `json:"file"`
	Offset  int64        `json:"offset"`
	Length  int64        `json:"length"`
	Records uint64       `json:"records"`
	Events  uint64       `json:"events"`
	Waited  uint64       `json:"undelivered"`
	First   event.Offset `json:"first"`
	Next    event.Offset `json:"next"`
	Kept    string       `json:"kept,omitempty"`
}

func newChannelRepairCommand(a *app) *cobra.Command {
	var dataDir string
	var dry bool
	cmd := &cobra.Command{
		Use:   "repair CHANNEL",
		Short: "Make a damaged channel openable, and say what is lost",
		Long: `Make a channel openable whose log, META or positions are damaged or missing. What is sound stays and is delivered; what
is damaged is moved to the channel's quarantine directory, and never thrown away; what is missing is marked in the
log with its exact range of offsets, and passed over by the sinks. A second repair finds nothing to do.

It says first what it would do, and asks. It is refused while an agent has the channel open (exit code 3). Copy the
directory before, if there is room, and run it as the user that the agent runs as, to whom the new files belong.

` + oneChannelHelp,
		Example:           "  penstock channel repair main --dry-run\n  penstock channel repair /var/lib/penstock/channels/main --yes",
		Args:              needs("CHANNEL"),
		ValidArgsFunction: a.completeChannel(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := a.oneChannel(args[0], dataDir)
			if err != nil {
				return err
			}
			return a.repair(cmd, dir, dry)
		},
	}
	dataDirFlag(cmd, &dataDir)
	keyFlag(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would be done")
	yesFlag(cmd)
	return withJSON(cmd)
}

func (a *app) repair(cmd *cobra.Command, dir channelDir, dry bool) error {
	keys, err := a.keys(cmd, dir)
	if err != nil {
		return err
	}
	bar := progressBar{to: a.err, what: "looking at " + dir.Name, quiet: wantsJSON(cmd), unit: func(n uint64) string { return plural(n, "segment") }}
	plan, err := wal.Repair(dir.Path, true, bar.draw, keys...)
	bar.clear()
	if err != nil {
		return err
	}
	r := newRepaired(dir, plan, true)
	if dry || len(plan) == 0 {
		return a.answer(cmd, r.summary(), r, r.print)
	}
	if yes, _ := cmd.Flags().GetBool("yes"); !yes && !wantsJSON(cmd) {
		r.print(a.err)
	}
	if err := a.confirm(cmd, "Do this?"); err != nil {
		return err
	}
	bar.what = "repairing " + dir.Name
	done, err := wal.Repair(dir.Path, false, bar.draw, keys...)
	bar.clear()
	if err != nil {
		return err
	}
	r = newRepaired(dir, done, false)
	return a.answer(cmd, r.summary(), r, r.print)
}

func newRepaired(dir channelDir, list []wal.Mended, dry bool) repairedChannel {
	r := repairedChannel{channelDir: dir, DryRun: dry, Mended: []mendedPlace{}}
	for _, d := range list {
		p := mendedPlace{
			What: d.What, File: d.File, Offset: d.Offset, Length: d.Length, Records: d.Records, Events: d.Events, Waited: d.Waited, First: d.Lost.First, Next: d.Lost.Next,
		}
		if p.Kept = d.Kept; dry {
			p.Kept = ""
		}
		r.Mended = append(r.Mended, p)
		r.Records += d.Records
		r.Events += d.Events
		r.Waited += d.Waited
	}
	return r
}

// missing says of events that are not in the log any more whether anybody waits for them.
func missing(events, waited uint64) string {
	switch {
	case waited == events:
		return plural(events, "event") + " lost"
	case waited == 0:
		return plural(events, "event") + " missing, which all sinks had delivered"
	}
	return fmt.Sprintf("%s missing, of which %s not delivered and lost", plural(events, "event"), number(waited))
}

func (r repairedChannel) summary() string {
	does := "mended"
	switch {
	case len(r.Mended) == 0:
		return "nothing to repair"
	case r.DryRun:
		does = "would mend"
	}
	return fmt.Sprintf("%s %s; %s", does, plural(len(r.Mended), "place"), missing(r.Events, r.Waited))
}

func (r repairedChannel) print(t *terminal) {
	t.printf("%s  %s\n", t.paint(bold, r.Name), r.summary())
	for _, p := range r.Mended {
		at := filepath.Join(r.Path, p.File)
		if p.Length > 0 {
			at += fmt.Sprintf(" at byte %d, %s", p.Offset, plural(p.Length, "byte"))
		}
		t.printf("  %s: %s\n", at, p.What)
		if p.Next > p.First {
			t.printf("    offsets %d to %d: %s\n", p.First, p.Next-1, missing(p.Events, p.Waited))
		}
		if p.Kept != "" {
			t.printf("    kept: %s\n", filepath.Join(r.Path, p.Kept))
		}
	}
}
