// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/agent"
	"github.com/penstock-io/penstock/host/config"
)

// listedPlugins is what plugin ls answers.
type listedPlugins struct {
	Running bool           `json:"running"` // else nothing runs, and there are no figures
	Plugins []admin.Plugin `json:"plugins"`
}

func newPluginLsCommand(a *app) *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:   "ls [PATH]",
		Short: "List the plugins that pipeline files use, and what they take",
		Long: `List the modules that the agent has loaded: name, version, digest and runtime, and for each component that uses one its instances, memory,
processor time, restarts, and what it may touch.

Of pipeline files whose agent does not run, what they would load is listed, without figures. PATH is a file or a directory of pipeline files, "." by
default, or a .wasm module or a program, of which what it holds is listed.`,
		Example: "  penstock plugin ls\n  penstock plugin ls ./parse.wasm --json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := pathArg(args)
			if strings.HasPrefix(path, builtinScheme) || filepath.Ext(path) == ".wasm" || isFile(path) && isProgram(path) {
				return a.listModule(cmd, path)
			}
			return a.listPlugins(cmd, path, dataDir)
		},
	}
	dataDirFlag(cmd, &dataDir)
	return withJSON(cmd)
}

// listModule lists what a module holds.
func (a *app) listModule(cmd *cobra.Command, path string) error {
	inspect, ref := inspectModule, config.PluginRef{Source: path}
	if ref.Subprocess = isProgram(path); ref.Subprocess {
		inspect = inspectProgram
	} else if name, builtin := strings.CutPrefix(path, builtinScheme); builtin {
		_, ref.Subprocess = newModules().Native[name]
	}
	m, err := inspect(path)
	if err != nil {
		return err
	}
	p := admin.Plugin{Name: m.Manifest.Name, Version: m.Manifest.Version, Digest: m.Digest, Runtime: agent.RuntimeOf(ref), Source: path, Uses: []admin.PluginUse{}}
	summary := fmt.Sprintf("%s holds %s", path, plural(len(m.Manifest.Plugins), "plugin"))
	return a.answer(cmd, summary, listedPlugins{Plugins: []admin.Plugin{p}}, func(t *terminal) {
		printPlugin(t, p)
		t.printf("  %s\n", strings.Join(pluginsOf(m.Manifest), ", "))
	})
}

func (a *app) listPlugins(cmd *cobra.Command, path, dataDir string) error {
	dir, err := a.findDataDir(path, dataDir)
	if err != nil {
		return err
	}
	list, err := admin.AskPlugins(cmd.Context(), dir)
	running := err == nil
	switch {
	case errors.Is(err, admin.ErrNoAgent) && dataDir == "":
		if list, err = a.plannedPlugins(path); err != nil {
			return err
		}
		if !wantsJSON(cmd) {
			a.err.printf("No agent runs on %s: this is what would be loaded.\n\n", dir)
		}
	case err != nil:
		return refused(err, dir)
	}
	return a.answer(cmd, plural(len(list), "module"), listedPlugins{running, list}, func(t *terminal) { printPlugins(t, list, running) })
}

// plannedPlugins is what pipeline files would load.
func (a *app) plannedPlugins(path string) ([]admin.Plugin, error) {
	l, err := a.load(path)
	if err != nil {
		return nil, err
	}
	list := []admin.Plugin{}
	for _, c := range l.config.Components() {
		i := slices.IndexFunc(list, func(p admin.Plugin) bool { return p.Source == c.Ref.Source })
		if i < 0 {
			p, err := plannedPlugin(c.Ref)
			if err != nil {
				return nil, err
			}
			i, list = len(list), append(list, p)
		}
		list[i].Uses = append(list[i].Uses, admin.PluginUse{Component: c.Address(), Plugin: c.Plugin.Name, May: c.Permissions()})
	}
	return list, nil
}

func plannedPlugin(ref config.PluginRef) (admin.Plugin, error) {
	inspect := inspectModule
	if ref.Subprocess && !strings.HasPrefix(ref.Source, builtinScheme) {
		inspect = inspectProgram
	}
	m, err := inspect(ref.Source)
	return admin.Plugin{
		Name: m.Manifest.Name, Version: m.Manifest.Version, Digest: m.Digest, Runtime: agent.RuntimeOf(ref), Source: ref.Source, Trusted: ref.Trusted,
	}, err
}

func printPlugin(t *terminal, p admin.Plugin) {
	trusted := ""
	if p.Trusted {
		trusted = ", trusted"
	}
	digest := ", sha256 " + p.Digest[:min(12, len(p.Digest))] + "…"
	if p.Digest == "" {
		digest = ""
	}
	t.printf("%s %s  %s, %s%s%s\n", t.paint(bold, p.Name), p.Version, p.Source, p.Runtime, trusted, digest)
}

func printPlugins(t *terminal, list []admin.Plugin, running bool) {
	for i, p := range list {
		if i > 0 {
			t.printf("\n")
		}
		printPlugin(t, p)
		rows := [][]string{{"  COMPONENT", "PLUGIN", "INSTANCES", "MEMORY", "CPU", "RESTARTS"}}
		if !running {
			rows = [][]string{{"  COMPONENT", "PLUGIN"}}
		}
		for _, u := range p.Uses {
			row := []string{"  " + u.Component, u.Plugin}
			if running {
				row = append(row, number(u.Instances), size(u.MemoryBytes), span(time.Duration(u.CPUSeconds*float64(time.Second))), number(u.Restarts))
			}
			rows = append(rows, row)
		}
		t.table(rows)
		for _, u := range p.Uses {
			for _, may := range u.May {
				t.printf("  %s may %s\n", u.Component, may)
			}
		}
	}
}
