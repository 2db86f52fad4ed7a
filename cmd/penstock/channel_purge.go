// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/admin"
)

func newChannelPurgeCommand(a *app) *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:   "purge CHANNEL [READER]",
		Short: "Give up all that waits in a channel, for one sink or for all",
		Long: `Give up what waits in a channel: for the sink READER, such as sink.archive, or else for all of them. Those events are never
delivered. The sink is stopped for a moment, when it has ended what it is doing; the others go on.

It says how many events that are, and asks. The channel logs the range of offsets and counts the events
(penstock_channel_dropped_events_total with the reason "purge"). The other way out is "penstock channel export", before.

` + onlineHelp + "\n\n" + oneChannelHelp,
		Example:           "  penstock channel purge main sink.archive\n  penstock channel purge main --yes --json",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: a.completeChannel(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.target(cmd.Context(), args[0], dataDir)
			if err != nil {
				return err
			}
			act := admin.Action{Verb: admin.Purge}
			if len(args) > 1 {
				act.Reader = asTyped(args[1])
			}
			ask := func(r []admin.Moved) string {
				return fmt.Sprintf("%s in %s. They are never delivered. Give them up?", waitingFor(r), t.Name)
			}
			return a.move(cmd, t, act, ask, func(r []admin.Moved) string {
				n := uint64(0)
				for _, m := range r {
					n += m.GivenUp
				}
				return fmt.Sprintf("%s given up by %s", plural(n, "event"), plural(len(r), "reader"))
			})
		},
	}
	dataDirFlag(cmd, &dataDir)
	keyFlag(cmd)
	yesFlag(cmd)
	return withJSON(cmd)
}

// waitingFor says how much waits for whom.
func waitingFor(readers []admin.Moved) string {
	text := ""
	for i, m := range readers {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%s for %s", plural(m.Waiting, "event"), m.Name)
	}
	if text == "" {
		return "nothing waits"
	}
	return text + " wait"
}
