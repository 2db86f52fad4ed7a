// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/agent"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plugin/subprocess"
	"github.com/penstock-io/penstock/plugins/native"
	"github.com/penstock-io/penstock/spec/abi"
)

// newPluginServeCommand is what an agent starts its own program with, to have a builtin plugin as a child process.
func newPluginServeCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "serve MODULE",
		Short:  "Serve a module that comes with the binary to the agent that has started this",
		Hidden: true,
		Args:   needs("MODULE"),
		RunE: func(_ *cobra.Command, args []string) error {
			if !native.Serve(args[0]) {
				return wrongUse("There are: "+strings.Join(native.Names(), ", "), "there is no module %q in this program", args[0])
			}
			return nil
		},
	}
}

// serveBuiltin says how a builtin module is started as a child process.
func serveBuiltin(module string) (path string, args []string, ok bool) {
	path, err := subprocess.Self()
	if err != nil || !slices.Contains(native.Names(), module) {
		return "", nil, false
	}
	return path, append(os.Args[:1:1], "plugin", "serve", module), true
}

// newModules finds the plugins of a pipeline, those that come with the binary among them.
func newModules() *agent.Modules {
	m := &agent.Modules{Serve: serveBuiltin, Launcher: launcher(), Native: map[string]abi.Manifest{}, Check: native.Check}
	for name, src := range native.Manifests() {
		manifest, _, diags := config.ParseManifest([]byte(src), name+"/plugin.hcl")
		if diags.HasErrors() {
			panic("BUG: " + diags.Error()) // it comes with the binary, and a test of its package reads it
		}
		m.Native[name] = manifest
	}
	return m
}
