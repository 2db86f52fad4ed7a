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
	var language, kind string
	languages := skeleton.Languages()
	cmd := &cobra.Command{
		Use:   "new DIR",
		Short: "Begin a plugin: a small one that works, with its manifest, its test and the SDK",
		Long: `Write a small plugin into a new directory, whose name is the plugin's: source, manifest (plugin.hcl), test (` + trialsFile + `) and
the SDK, so that it builds without a network. Then, in that directory:

  penstock plugin build     compile it for WebAssembly, or pack it (Python)
  penstock plugin test      check that it keeps the contract
  penstock plugin run       run it, and again whenever its source changes`,
		Example: "  penstock plugin new --lang rust demo\n  penstock plugin new --lang go --kind sink archive",
		Args:    needs("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(languages, language) {
				return wrongUse("Choose one with --lang: "+strings.Join(languages, ", "), "there is no template for the language %q", language)
			}
			b, err := begin(args[0], language, abi.Kind(kind))
			if err != nil {
				return err
			}
			return a.answer(cmd, fmt.Sprintf("wrote %s into %s", plural(len(b.Files), "file"), b.Dir), b, func(t *terminal) {
				for _, f := range b.Files {
					if !strings.HasPrefix(f, "vendor/") {
						t.printf("  %s\n", filepath.Join(b.Dir, f))
					}
				}
				t.printf("\nNext: cd %s && penstock plugin build && penstock plugin test && penstock plugin run\n", b.Dir)
			})
		},
	}
	cmd.Flags().StringVarP(&language, "lang", "l", "go", "the language: "+strings.Join(languages, ", "))
	cmd.Flags().StringVarP(&kind, "kind", "k", string(abi.Processor), "source, processor or sink")
	complete := func(list ...string) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return list, cobra.ShellCompDirectiveNoFileComp
		}
	}
	if err := errors.Join(cmd.RegisterFlagCompletionFunc("lang", complete(languages...)),
		cmd.RegisterFlagCompletionFunc("kind", complete(string(abi.Source), string(abi.Processor), string(abi.Sink)))); err != nil {
		panic("BUG: " + err.Error())
	}
	return withJSON(cmd)
}

// begin writes a new plugin. It touches nothing that is there already.
func begin(dir, language string, kind abi.Kind) (begun, error) {
	name := filepath.Base(filepath.Clean(dir))
	if !pluginName.MatchString(name) {
		return begun{}, wrongUse("Lower-case letters, digits, - and _ make a name, and it begins with a letter: penstock plugin new --lang "+language+" my-plugin",
			"%q cannot be the name of a plugin", name)
	}
	if kinds := skeleton.Kinds(language); !slices.Contains(kinds, kind) {
		return begun{}, wrongUse(fmt.Sprintf("For %s there is --kind %v", language, kinds), "there is no template of a %s in %s", kind, language)
	}
	files, err := skeleton.Files(language, kind, name)
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
