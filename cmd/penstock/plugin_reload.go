// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/admin"
)

func newPluginReloadCommand(a *app) *cobra.Command {
	var dataDir, path string
	cmd := &cobra.Command{
		Use:   "reload NAME",
		Short: "Have the running agent go over to the file of a plugin as it is now",
		Long: `Have the running agent load the plugin of the block plugin "NAME" again: its .wasm file, or the program that it runs as a child process, has been
replaced. It is compiled beside the version that runs. Then the components that use it are stopped at the border of a transaction, one by one, and
opened from where they stood. A version that breaks, refuses its configuration or hangs on probation gives way to the one before.

Where the pipeline files have other changes too, nothing is done: "penstock reload" takes up all of it. That finds a replaced .wasm file as well, but
takes a program for the same as long as its path and its sha256 are: this command is how to say that it is not.`,
		Example: "  penstock plugin reload parse\n  penstock plugin reload parse --data-dir /var/lib/penstock",
		Args:    needs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.reload(cmd, path, dataDir, admin.Reload{Plugin: args[0]})
		},
	}
	dataDirFlag(cmd, &dataDir)
	cmd.Flags().StringVar(&path, "pipeline", ".", "the pipeline files, to find the agent by")
	return withJSON(cmd)
}
