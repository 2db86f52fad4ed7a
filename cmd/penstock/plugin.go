// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/agent"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/wasm"
	"github.com/penstock-io/penstock/plugins/bundle"
	"github.com/penstock-io/penstock/spec/abi"
)

const builtinScheme = "builtin:"

func newPluginCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plugin",
		Short: "Begin, build, test, run, list, inspect, pack, compile and reload plugins",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPluginNewCommand(a), newPluginBuildCommand(a), newPluginTestCommand(a), newPluginRunCommand(a),
		newPluginInspectCommand(a), newPluginLsCommand(a), newPluginPackCommand(a), newPluginCompileCommand(a), newPluginReloadCommand(a),
		newPluginServeCommand(), newPluginExecCommand())
	return cmd
}

// readModule reads "builtin:std" or a file, the way a pipeline's source argument does.
func readModule(source string) ([]byte, error) {
	if !strings.HasPrefix(source, builtinScheme) {
		abs, err := filepath.Abs(source)
		if err != nil {
			return nil, err
		}
		source = abs
	}
	code, _, err := new(agent.Modules).Code(config.PluginRef{Name: source, Source: source})
	if errors.Is(err, os.ErrNotExist) {
		return nil, &fault{err: err, exit: exitUsage, code: "usage", hint: "Name a .wasm file, or a module that comes with the binary: builtin:std"}
	}
	return code, err
}

func digestOf(code []byte) string {
	sum := sha256.Sum256(code)
	return hex.EncodeToString(sum[:])
}

// inspected is what plugin inspect answers.
type inspected struct {
	Module   string       `json:"module"`
	Digest   string       `json:"digest"` // "" with no bytes: it is part of the program
	Bytes    int          `json:"bytes"`
	Manifest abi.Manifest `json:"manifest"`
}

func newPluginInspectCommand(a *app) *cobra.Command {
	return withJSON(&cobra.Command{
		Use:     "inspect MODULE",
		Short:   "Show what a module holds, without running any of it",
		Example: "  penstock plugin inspect builtin:std\n  penstock plugin inspect ./parse.wasm --json",
		Args:    needs("MODULE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			inspect := inspectModule
			if isProgram(args[0]) {
				inspect = inspectProgram
			}
			m, err := inspect(args[0])
			if err != nil {
				return err
			}
			manifest := m.Manifest
			return a.answer(cmd, fmt.Sprintf("%s holds %s", args[0], plural(len(manifest.Plugins), "plugin")), m, m.print)
		},
	})
}

// inspectModule reads a .wasm file, or a builtin module. One that is no WebAssembly has no code of its own, and so no digest.
func inspectModule(path string) (inspected, error) {
	if name, builtin := strings.CutPrefix(path, builtinScheme); builtin && !slices.Contains(bundle.Names(), name) {
		m, err := newModules().Manifest(config.PluginRef{Name: path, Source: path})
		return inspected{Module: path, Manifest: m}, err
	}
	code, err := readModule(path)
	if err != nil {
		return inspected{}, err
	}
	manifest, err := wasm.ManifestOf(code)
	if err != nil {
		return inspected{}, fmt.Errorf("%s: %w", path, err)
	}
	return inspected{Module: path, Digest: digestOf(code), Bytes: len(code), Manifest: manifest}, nil
}

func (m inspected) print(t *terminal) {
	t.printf("%s %s\n", t.paint(bold, m.Manifest.Name), m.Manifest.Version)
	if m.Digest != "" {
		t.table([][]string{
			{"sha256", m.Digest},
			{"size", size(uint64(m.Bytes))},
		})
	}
	for _, p := range m.Manifest.Plugins {
		t.printf("\n%s %s\n", t.paint(bold, string(p.Kind)+" "+p.Name), claims(p))
		if p.Doc != "" {
			t.printf("  %s\n", firstSentence(p.Doc))
		}
		for _, n := range p.Needs {
			t.printf("  needs %s\n", needText(n))
		}
	}
	t.printf("\nArguments: penstock schema KIND NAME\n")
}

// claims says what the plugin promises about delivery.
func claims(p abi.Plugin) string {
	switch {
	case p.Kind == abi.Source && p.Replay != "":
		return "(replay: " + p.Replay + ")"
	case p.Kind == abi.Sink && p.Effects != "":
		return "(effects: " + p.Effects + ")"
	}
	return ""
}

func needText(n abi.Need) string {
	s := n.Kind + " " + fmt.Sprintf("%q", n.Handle)
	if n.Value != "" {
		s += " = " + n.Value
	}
	if n.Access != "" {
		s += ", to " + n.Access
	}
	return s
}

// firstSentence cuts a paragraph after its first full stop.
func firstSentence(text string) string {
	if first, _, ok := strings.Cut(text, ". "); ok {
		return first + "."
	}
	return text
}

// packed is what plugin pack answers.
type packed struct {
	Module  string   `json:"module"`
	Digest  string   `json:"digest"`
	Bytes   int      `json:"bytes"`
	Plugins []string `json:"plugins"`
}

func newPluginPackCommand(a *app) *cobra.Command {
	var manifest, output string
	cmd := &cobra.Command{
		Use:   "pack MODULE",
		Short: "Write plugin.hcl into a module, so that the module says what it is",
		Long: `Write a manifest into a WebAssembly module: which plugins it holds, their arguments, what they need of the host.
The host reads it without running the module, and checks pipeline files against it.

Of a program that runs as a child process the manifest is written beside it, as MODULE.manifest.json.

A manifest that is there already is replaced. The output is written beside the module and renamed, so that
whoever reads it sees the old or the new one.`,
		Example: "  penstock plugin pack parse.wasm\n  penstock plugin pack build/parse.wasm --manifest plugin.hcl -o parse.wasm",
		Args:    needs("MODULE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if manifest == "" {
				manifest = filepath.Join(filepath.Dir(args[0]), "plugin.hcl")
			}
			if output == "" {
				output = args[0]
			}
			p, err := a.pack(args[0], manifest, output)
			if err != nil {
				return err
			}
			summary := fmt.Sprintf("packed %s into %s", plural(len(p.Plugins), "plugin"), p.Module)
			return a.answer(cmd, summary, p, func(t *terminal) {
				t.printf("%s: %s, sha256 %s\n", p.Module, strings.Join(p.Plugins, ", "), p.Digest)
			})
		},
	}
	cmd.Flags().StringVar(&manifest, "manifest", "", `the manifest (default: "plugin.hcl" beside the module)`)
	cmd.Flags().StringVarP(&output, "output", "o", "", "where to write the packed module (default: in its place)")
	return withJSON(cmd)
}

func (a *app) pack(module, manifest, output string) (packed, error) {
	if isProgram(module) {
		return a.packProgram(module, manifest, output)
	}
	code, err := readModule(module)
	if err != nil {
		return packed{}, err
	}
	m, err := a.readManifest(manifest)
	if err != nil {
		return packed{}, err
	}
	code, err = wasm.Pack(code, m)
	if err != nil {
		return packed{}, fmt.Errorf("pack %s: %w", module, err)
	}
	if err := replaceFile(output, code); err != nil {
		return packed{}, err
	}
	return packed{Module: output, Digest: digestOf(code), Bytes: len(code), Plugins: pluginsOf(m)}, nil
}

// readManifest reads a plugin.hcl. Mistakes in it come as a fault that shows them all.
func (a *app) readManifest(path string) (abi.Manifest, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return abi.Manifest{}, &fault{
			err: fmt.Errorf("read the manifest: %w", err), exit: exitUsage, code: "usage",
			hint: "Name the plugin.hcl that says what the module holds: --manifest FILE",
		}
	}
	start := time.Now()
	m, sources, diags := config.ParseManifest(src, path)
	l := loaded{sources: sources, diags: diags, took: time.Since(start)}
	if diags.HasErrors() {
		return m, a.mistakes(l)
	}
	return m, nil
}

// replaceFile writes a file under another name and renames it, so that nobody sees half of it.
func replaceFile(path string, content []byte) error {
	mode := os.FileMode(0o644)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	return nil
}

// pluginsOf lists what a module holds.
func pluginsOf(m abi.Manifest) (list []string) {
	for _, each := range m.Plugins {
		list = append(list, string(each.Kind)+" "+each.Name)
	}
	return list
}

// compiled is what plugin compile answers for one module.
type compiled struct {
	Module  string  `json:"module"`
	Digest  string  `json:"digest"`
	Seconds float64 `json:"seconds"`
}

func newPluginCompileCommand(a *app) *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:   "compile MODULE…",
		Short: "Compile modules ahead of time, so that the agent starts at once",
		Long: `Check modules, compile them to machine code, and keep that in the agent's cache, where the agent finds it when it starts.
What the cache holds already takes no time. The code is for this version of penstock and this kind of processor.`,
		Example: "  penstock plugin compile builtin:std ./parse.wasm --data-dir /var/lib/penstock",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := a.findDataDir(".", dataDir)
			if err != nil {
				return err
			}
			list, err := compileAll(cmd.Context(), agent.CacheDir(dir), args)
			if err != nil {
				return err
			}
			return a.answer(cmd, "compiled "+plural(len(list), "module"), list, func(t *terminal) {
				for _, c := range list {
					t.printf("%s: %s (sha256 %.12s…)\n", c.Module, span(time.Duration(c.Seconds*float64(time.Second))), c.Digest)
				}
			})
		},
	}
	dataDirFlag(cmd, &dataDir)
	return withJSON(cmd)
}

func compileAll(ctx context.Context, cacheDir string, modules []string) (list []compiled, err error) {
	runtime, err := wasm.New(wasm.Options{CacheDir: cacheDir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, fmt.Errorf("start the runtime of plugins: %w", err)
	}
	defer func() { err = errors.Join(err, runtime.Close()) }()
	for _, module := range modules {
		code, err := readModule(module)
		if err != nil {
			return nil, err
		}
		start := time.Now()
		p, err := runtime.Load(ctx, plugin.Ref{Name: module, Source: module, Code: code})
		if err != nil {
			return nil, err
		}
		list = append(list, compiled{Module: module, Digest: p.Digest(), Seconds: time.Since(start).Seconds()})
		if err := p.Close(); err != nil {
			return nil, fmt.Errorf("free %s: %w", module, err)
		}
	}
	return list, nil
}
