// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/admin"
)

// onlineHelp is that of commands which work on both.
const onlineHelp = `It is done by the agent that runs on the data directory, and logged there with who asked. Where none runs, it is done to
the directory.`

func newChannelForgetCommand(a *app) *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:   "forget CHANNEL READER",
		Short: "Drop the reader of a sink that is gone, so that it holds no space",
		Long: `Drop the reader of a sink that was removed from the pipeline. Until then the channel keeps all that this sink has not
delivered. READER is the sink's address, such as sink.archive; "penstock channel inspect" lists them.

It says how many events wait for it, and asks. It is refused for a sink that runs. If a sink of that name comes back, it is
a new one, with a new stream of events.

` + onlineHelp + "\n\n" + oneChannelHelp,
		Example:           "  penstock channel forget main sink.archive\n  penstock channel forget /var/lib/penstock/channels/main sink.archive --yes",
		Args:              needs("CHANNEL", "READER"),
		ValidArgsFunction: a.completeChannel(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.target(cmd.Context(), args[0], dataDir)
			if err != nil {
				return err
			}
			ask := func(r []admin.Moved) string {
				return fmt.Sprintf("%s has %s waiting in %s, and will not get them. Forget it?", r[0].Name, plural(r[0].Waiting, "event"), t.Name)
			}
			done := func(r []admin.Moved) string {
				return fmt.Sprintf("%s is forgotten; it had %s waiting", r[0].Name, plural(r[0].GivenUp, "event"))
			}
			return a.move(cmd, t, admin.Action{Verb: admin.Forget, Reader: asTyped(args[1])}, ask, done)
		},
	}
	dataDirFlag(cmd, &dataDir)
	keyFlag(cmd)
	yesFlag(cmd)
	return withJSON(cmd)
}
