// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/plugin/subprocess"
)

// newPluginExecCommand is what [subprocess.Exec] needs a command for. Nobody calls it but an agent.
func newPluginExecCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "exec",
		Short:  "Start a plugin with nothing but its grants; an agent runs this",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return &fault{err: subprocess.Exec(), exit: subprocess.ExitConfinement, code: "isolation"}
		},
	}
}

// launcher is what this program is called with, for an agent to start plugins by.
func launcher() []string { return append(os.Args[:1:1], "plugin", "exec") }
