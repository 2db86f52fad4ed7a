// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/lsp"
)

func newLSPCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "lsp",
		Short: "Serve an editor: mistakes, completion, docs, layout",
		Long: `Serve an editor over standard input and output, in the Language Server Protocol: mistakes as they are typed, completion of blocks, arguments
and references, docs, layout, and where things are declared. The editor starts it; spec/editors.md says how.

The *.hcl files of a directory are one configuration, as for run. Nothing is run, and no secret is read.`,
		Args: cobra.NoArgs,

		Annotations: map[string]string{readsPipeline: "yes"},
		RunE: func(cmd *cobra.Command, _ []string) error {
			options := func(dir string) config.Options {
				o := newModules().ConfigOptions(dir) // anew each time: a plugin may have been built meanwhile
				o.Version, o.Variables = a.build.Version, a.variables
				return o
			}
			return lsp.Serve(cmd.Context(), a.stdin, a.out, options)
		},
	}
}
