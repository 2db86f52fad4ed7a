// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/plugin/toolchain"
	"github.com/penstock-io/penstock/spec/abi"
)

func newPluginBuildCommand(a *app) *cobra.Command {
	var output, runtime string
	cmd := &cobra.Command{
		Use:   "build [DIR]",
		Short: "Compile a folder of plugin source, and pack its manifest",
		Long: `Compile the plugin in a folder (the current one when none is named) to WebAssembly, and write the plugin.hcl beside it into the module.

The language is told from the files: main.go, Cargo.toml, *.zig, *.ts, *.c, plugin.py. Python becomes a program, one file that the agent runs
as a child process (runtime = "subprocess"), with its manifest beside it; and Go does, where plugin.hcl says runtime = "subprocess", for the
machine that GOOS and GOARCH name. Its compiler must be installed; when it is not, or a module of Go cannot be fetched, the exit code is 3
and the message says how to get it.`,
		Example: "  penstock plugin build\n  penstock plugin build examples/json-filter -o json-filter.wasm",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := a.buildPlugin(cmd.Context(), pathArg(args), runtime, output)
			if err != nil {
				return err
			}
			return a.answer(cmd, "built "+p.Module, p, func(t *terminal) {
				t.printf("%s: %s, %s\n", p.Module, strings.Join(p.Plugins, ", "), size(uint64(p.Bytes)))
			})
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "where to write the module (default: NAME.wasm, or NAME for a program, in the folder; NAME is that in plugin.hcl)")
	cmd.Flags().StringVar(&runtime, "runtime", "", "what to build it for: wasm or subprocess (default: the runtime in plugin.hcl)")
	return withJSON(cmd)
}

// openPlugin finds out what lies in a folder, and what it is to be built for; the manifest says it, where runtime does not.
func (a *app) openPlugin(dir, runtime string) (project toolchain.Project, m abi.Manifest, err error) {
	project, err = toolchain.Open(dir)
	if err != nil {
		return project, m, &fault{err: err, exit: exitUsage, code: "usage", hint: "Name the folder of a plugin: penstock plugin build DIR"}
	}
	if m, err = a.readManifest(filepath.Join(dir, "plugin.hcl")); err != nil {
		return project, m, err
	}
	if project, err = project.For(cmp.Or(runtime, m.Runtime)); err != nil {
		return project, m, wrongUse("Go is built for wasm and for subprocess, Python for subprocess, and what is in other languages for wasm.", "build %s: %v", dir, err)
	}
	return project, m, nil
}

// buildPlugin compiles a folder and packs its manifest. The manifest is read first: it is where mistakes are cheap.
func (a *app) buildPlugin(ctx context.Context, dir, runtime, output string) (p packed, err error) {
	project, m, err := a.openPlugin(dir, runtime)
	if err != nil {
		return p, err
	}
	manifest := filepath.Join(dir, "plugin.hcl")
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
