// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/admin"
)

func newReloadCommand(a *app) *cobra.Command {
	var dataDir, hash string
	cmd := &cobra.Command{
		Use:   "reload [PATH]",
		Short: "Have the running agent go over to what its files say",
		Long: `Have the running agent read its pipeline files again, and go over to what they say: "penstock plan" shows beforehand what that is.

Everything new is built beside the old first. Where any of it is wrong, the agent runs on as it was. Then what is not the same is stopped, each part
by itself at the border of a transaction, and opened anew from where it stood; all else is not touched. Channels keep what they hold, and who
connects meanwhile waits a moment. What is new is on probation for ten seconds: where it breaks, refuses its configuration or hangs, the agent
goes back by itself. A destination that is down is no reason for that.

The command answers when that is decided: 0 when what the files say runs, else 1, or 2 when there are mistakes in the files. SIGHUP does the same, and
answers in the log.

PATH is only needed to find the agent, by the data directory in its files; --data-dir does too. The agent reads the files that it was started with.
With --var and --var-file it gives them other values, which hold until it ends: give them to "penstock run" too.`,
		Example: "  penstock reload\n  penstock reload --plan 1f0a6c2be9d04471 --data-dir /var/lib/penstock",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.reload(cmd, pathArg(args), dataDir, admin.Reload{Hash: hash})
		},
	}
	dataDirFlag(cmd, &dataDir)
	cmd.Flags().StringVar(&hash, "plan", "", "only if this is still the plan: the hash that \"penstock plan\" has shown")
	return withJSON(cmd)
}

// reload has the agent reload, and tells what came of it.
func (a *app) reload(cmd *cobra.Command, path, dataDir string, ask admin.Reload) error {
	dir, _, err := a.lookForDataDir(path, dataDir) // the agent says itself what is wrong with its files
	if err != nil {
		return err
	}
	if ask.Variables, err = a.given(); err != nil {
		return err
	}
	out, err := admin.AskReload(cmd.Context(), dir, ask)
	if errors.Is(err, admin.ErrNoAgent) {
		return &fault{err: err, hint: fmt.Sprintf("Nobody answers at %s. Start one with: penstock run", dir)}
	}
	if err != nil {
		return a.refused(err)
	}
	p, err := planIn(out)
	if err != nil {
		return err
	}
	summary := "reloaded: " + p.Done()
	return a.answer(cmd, summary, out, func(t *terminal) {
		weaker := p.Weaker()
		p.Status.Flying, p.Paths = nil, nil // that was before
		p.Write(t, nil)
		for _, path := range weaker {
			t.printf("%s %s\n", t.paint(yellow, "weaker:"), path)
		}
		t.printf("%s\n", t.paint(green, summary))
	})
}
