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

// maxAnswers is how many answers of modules about configs are kept. Beyond it all are asked for again.
const maxAnswers = 4096

// maxManifests is how many manifests of modules beside pipeline files are kept; a configuration has a few. Beyond it all are read again.
const maxManifests = 64

// editedPlugins keeps manifests while an editor runs, so that no module is read again at each key. What comes with the binary stays as it is; a file
// may be built anew at any time, and is then read anew.
type editedPlugins struct {
	builtin   *agent.Modules
	isolation func() (kept bool, trusted []string)
	kept      map[config.PluginRef]keptManifest
	answers   map[keptAsk]config.Answer // of what modules said of configs
}

type keptManifest struct {
	abi.Manifest
	size int64
	at   time.Time
}

func newEditedPlugins() *editedPlugins {
	m := newModules()
	return &editedPlugins{m, m.ConfigOptions("").Isolation, make(map[config.PluginRef]keptManifest), make(map[keptAsk]config.Answer)}
}

func (p *editedPlugins) options(dir string) config.Options {
	o := p.builtin.ConfigOptions(dir)
	o.Manifest, o.Isolation, o.Check = p.manifest, p.isolation, p.check
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

// keptAsk is what a module was asked about.
type keptAsk struct {
	source       string
	size         int64
	at           time.Time // of the file
	kind         abi.Kind
	name, config string
}

// check has plugins look at their configs. What a module from a file has said of a config it is not asked again.
func (p *editedPlugins) check(dataDir string, asks []config.Ask) []config.Answer {
	answers := make([]config.Answer, len(asks))
	var open []config.Ask
	var at []int
	for i, ask := range asks {
		said, ok := p.answers[keyOfAsk(ask)]
		if answers[i] = said; !ok {
			open, at = append(open, ask), append(at, i)
		}
	}
	if len(open) == 0 {
		return answers
	}
	m := newModules()
	m.Look = newLook()
	said := m.ConfigOptions("").Check(dataDir, open)
	if len(p.answers)+len(open) > maxAnswers {
		clear(p.answers)
	}
	for n, i := range at {
		answers[i] = said[n]
		if len(p.answers) < maxAnswers {
			p.answers[keyOfAsk(open[n])] = said[n]
		}
	}
	return answers
}

func keyOfAsk(ask config.Ask) keptAsk {
	k := keptAsk{source: ask.Ref.Source, kind: ask.Kind, name: ask.Name, config: string(ask.Config)}
	if info, err := os.Stat(ask.Ref.Source); err == nil { // else it is builtin, or says so itself
		k.size, k.at = info.Size(), info.ModTime()
	}
	return k
}
