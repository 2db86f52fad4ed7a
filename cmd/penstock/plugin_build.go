// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/plugin/toolchain"
)

func newPluginBuildCommand(a *app) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "build [DIR]",
		Short: "Compile a folder of plugin source, and pack its manifest",
		Long: `Compile the plugin in a folder (the current one when none is named) to WebAssembly, and write the plugin.hcl beside it into the module.

The language is told from the files: main.go, Cargo.toml, *.zig, *.ts, *.c, plugin.py. Python becomes a program, one file that the agent runs
as a child process (runtime = "subprocess"), with its manifest beside it. Its compiler must be installed; when it is not, the exit code
is 3 and the message says how to get it.`,
		Example: "  penstock plugin build\n  penstock plugin build examples/json-filter -o json-filter.wasm",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := a.buildPlugin(cmd.Context(), pathArg(args), output)
			if err != nil {
				return err
			}
			return a.answer(cmd, "built "+p.Module, p, func(t *terminal) {
				t.printf("%s: %s, %s\n", p.Module, strings.Join(p.Plugins, ", "), size(uint64(p.Bytes)))
			})
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "where to write the module (default: NAME.wasm, or NAME for a program, in the folder; NAME is that in plugin.hcl)")
	return withJSON(cmd)
}

// buildPlugin compiles a folder and packs its manifest. The manifest is read first: it is where mistakes are cheap.
func (a *app) buildPlugin(ctx context.Context, dir, output string) (p packed, err error) {
	project, err := toolchain.Open(dir)
	if err != nil {
		return p, &fault{err: err, exit: exitUsage, code: "usage", hint: "Name the folder of a plugin: penstock plugin build DIR"}
	}
	manifest := filepath.Join(dir, "plugin.hcl")
	m, err := a.readManifest(manifest)
	if err != nil {
		return p, err
	}
	extension := ".wasm"
	if project.Program() {
		extension = ""
	}
	if output == "" {
		output = filepath.Join(dir, m.Name+extension)
	}
	scratch, err := os.MkdirTemp("", "penstock-build-")
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	module := filepath.Join(scratch, m.Name+extension)
	if err := project.Build(ctx, module, a.err); err != nil {
		if missing, ok := errors.AsType[*toolchain.Missing](err); ok {
			return p, &fault{err: err, exit: exitEnvironment, code: "toolchain", hint: missing.Install}
		}
		return p, err
	}
	if !project.Program() {
		return a.pack(module, manifest, output)
	}
	code, err := os.ReadFile(module)
	if err != nil {
		return p, err
	}
	if err := replaceFile(output, code); err != nil {
		return p, err
	}
	if err := os.Chmod(output, 0o755); err != nil {
		return p, err
	}
	p, err = a.packProgram(output, manifest, output)
	p.Module, p.Bytes = output, len(code) // what was built is the program, not what lies beside it
	return p, err
}
