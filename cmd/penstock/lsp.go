// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/agent"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/lsp"
	"github.com/penstock-io/penstock/spec/abi"
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
			plugins := newEditedPlugins()
			options := func(dir string) config.Options {
				o := plugins.options(dir)
				o.Version, o.Variables = a.build.Version, a.variables
				return o
			}
			return lsp.Serve(cmd.Context(), a.stdin, a.out, options)
		},
	}
}

// maxManifests is how many manifests of modules beside pipeline files are kept; a configuration has a few. Beyond it all are read again.
const maxManifests = 64

// editedPlugins keeps manifests while an editor runs, so that no module is read again at each key. What comes with the binary stays as it is; a file
// may be built anew at any time, and is then read anew.
type editedPlugins struct {
	builtin   *agent.Modules
	isolation func() (kept bool, trusted []string)
	kept      map[config.PluginRef]keptManifest
}

type keptManifest struct {
	abi.Manifest
	size int64
	at   time.Time
}

func newEditedPlugins() *editedPlugins {
	m := newModules()
	return &editedPlugins{m, m.ConfigOptions("").Isolation, make(map[config.PluginRef]keptManifest)}
}

func (p *editedPlugins) options(dir string) config.Options {
	o := p.builtin.ConfigOptions(dir)
	o.Manifest, o.Isolation = p.manifest, p.isolation
	return o
}

// manifest is that of a plugin. What failed is not kept: it may be mended.
func (p *editedPlugins) manifest(ref config.PluginRef) (abi.Manifest, error) {
	if strings.HasPrefix(ref.Source, "builtin:") {
		return p.builtin.Manifest(ref)
	}
	info, err := os.Stat(ref.Source)
	if ref.Subprocess || err != nil { // a program's manifest lies beside it; and who cannot read a file says so best
		return newModules().Manifest(ref)
	}
	if k, ok := p.kept[ref]; ok && k.size == info.Size() && k.at.Equal(info.ModTime()) {
		return k.Manifest, nil
	}
	m, err := newModules().Manifest(ref)
	if err != nil {
		return abi.Manifest{}, err
	}
	if len(p.kept) >= maxManifests {
		clear(p.kept)
	}
	p.kept[ref] = keptManifest{m, info.Size(), info.ModTime()}
	return m, nil
}
