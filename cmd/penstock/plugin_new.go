// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/plugins/skeleton"
	"github.com/penstock-io/penstock/spec/abi"
)

// begun is what plugin new answers.
type begun struct {
	Dir   string   `json:"dir"`
	Files []string `json:"files"`
}

// pluginName is what is a name in every language that there is a template for.
var pluginName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)

func newPluginNewCommand(a *app) *cobra.Command {
	var p skeleton.Plugin
	var kind string
	languages := skeleton.Languages()
	cmd := &cobra.Command{
		Use:   "new DIR",
		Short: "Begin a plugin: a small one that works, with its manifest, its test and the SDK",
		Long: `Write a small plugin into a new directory, whose name is the plugin's: source, manifest (plugin.hcl), test (` + trialsFile + `) and
the SDK, so that it builds without a network. Then, in that directory:

  penstock plugin build     compile it, or pack it (Python)
  penstock plugin test      check that it keeps the contract
  penstock plugin run       run it, and again whenever its source changes

With --runtime subprocess it is a program, which the agent runs as a child process: for what WebAssembly has not, such as threads and most client
libraries. Go can be either; the first build of a program in Go fetches gRPC, as go.mod and go.sum name it.`,
		Example: "  penstock plugin new --lang rust demo\n  penstock plugin new --lang go --kind sink archive\n  penstock plugin new --lang go --runtime subprocess demo",
		Args:    needs("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(languages, p.Language) {
				return wrongUse("Choose one with --lang: "+strings.Join(languages, ", "), "there is no template for the language %q", p.Language)
			}
			p.Kind = abi.Kind(kind)
			if p.Runtime == "" {
				p.Runtime = skeleton.Runtimes(p.Language)[0]
			}
			b, err := begin(args[0], p)
			if err != nil {
				return err
			}
			return a.answer(cmd, fmt.Sprintf("wrote %s into %s", plural(len(b.Files), "file"), b.Dir), b, func(t *terminal) {
				for _, f := range b.Files {
					if !isSDKInGo(f) {
						t.printf("  %s\n", filepath.Join(b.Dir, f))
					}
				}
				t.printf("\nNext: cd %s && penstock plugin build && penstock plugin test && penstock plugin run\n", b.Dir)
			})
		},
	}
	cmd.Flags().StringVarP(&p.Language, "lang", "l", "go", "the language: "+strings.Join(languages, ", "))
	cmd.Flags().StringVarP(&kind, "kind", "k", string(abi.Processor), "source, processor or sink")
	cmd.Flags().StringVar(&p.Runtime, "runtime", "", "what it runs as: wasm, or subprocess, a child process of the agent (default: wasm; for Python, subprocess)")
	complete := func(list ...string) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return list, cobra.ShellCompDirectiveNoFileComp
		}
	}
	if err := errors.Join(cmd.RegisterFlagCompletionFunc("lang", complete(languages...)),
		cmd.RegisterFlagCompletionFunc("kind", complete(string(abi.Source), string(abi.Processor), string(abi.Sink))),
		cmd.RegisterFlagCompletionFunc("runtime", complete(abi.RuntimeWasm, abi.RuntimeSubprocess))); err != nil {
		panic("BUG: " + err.Error())
	}
	return withJSON(cmd)
}

// isSDKInGo says whether a file is one of the many that the SDK in Go has.
func isSDKInGo(file string) bool {
	return slices.ContainsFunc([]string{"vendor/", "penstock/sdk/", "penstock/spec/"}, func(place string) bool { return strings.HasPrefix(file, place) })
}

// begin writes a new plugin, whose name is that of the directory. It touches nothing that is there already.
func begin(dir string, p skeleton.Plugin) (begun, error) {
	p.Name = filepath.Base(filepath.Clean(dir))
	if err := canBegin(p); err != nil {
		return begun{}, err
	}
	files, err := skeleton.Files(p)
	if err != nil {
		return begun{}, err
	}
	list, err := os.ReadDir(dir)
	switch {
	case len(list) > 0:
		return begun{}, wrongUse("Name a directory that is not there yet.", "%s is not empty", dir)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return begun{}, err
	}
	b := begun{Dir: dir, Files: slices.Sorted(maps.Keys(files))}
	for _, name := range b.Files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, files[name], 0o644)); err != nil {
			return b, fmt.Errorf("write the new plugin: %w", err)
		}
	}
	return b, nil
}

// canBegin says what is wrong with what somebody wants to begin.
func canBegin(p skeleton.Plugin) error {
	if !pluginName.MatchString(p.Name) {
		return wrongUse("Lower-case letters, digits, - and _ make a name, and it begins with a letter: penstock plugin new --lang "+p.Language+" my-plugin",
			"%q cannot be the name of a plugin", p.Name)
	}
	if kinds := skeleton.Kinds(p.Language); !slices.Contains(kinds, p.Kind) {
		return wrongUse(fmt.Sprintf("For %s there is --kind %v", p.Language, kinds), "there is no template of a %s in %s", p.Kind, p.Language)
	}
	all := []string{abi.RuntimeWasm, abi.RuntimeSubprocess}
	switch runtimes := skeleton.Runtimes(p.Language); {
	case slices.Contains(runtimes, p.Runtime):
		return nil
	case !slices.Contains(all, p.Runtime):
		return wrongUse("Choose one with --runtime: "+strings.Join(all, ", "), "there is no runtime %q", p.Runtime)
	case p.Runtime == abi.RuntimeWasm:
		return wrongUse("Leave --runtime out, or choose another --lang: go, rust, c, zig, assemblyscript.",
			"a plugin in %s is a program, and runs as a child process: it cannot be built for WebAssembly", p.Language)
	default:
		return wrongUse("Leave --runtime out, or choose --lang go or --lang python.", "there is no SDK for child processes in %s: its plugins are built for WebAssembly", p.Language)
	}
}
