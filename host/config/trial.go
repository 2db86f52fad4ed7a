// SPDX-License-Identifier: Apache-2.0

package config

import (
	"path/filepath"

	"github.com/hashicorp/hcl/v2"

	"github.com/penstock-io/penstock/spec/abi"
)

// Trials are what a plugin.test.hcl says: how the plugins of a module are to be tried.
type Trials struct {
	List     []Trial
	manifest abi.Manifest
}

// Trial is one block of it.
type Trial struct {
	Kind    abi.Kind
	Plugin  string
	Name    string
	Files   map[string]string // what lies in the directory of the trial, by relative path
	Events  int               // source: how many it brings there
	Stored  string            // sink: the file there in which it stores the bodies, a line each; ""
	Input   []string          // processor: the bodies of a batch
	Output  []string          // processor: what comes of them; nil: that is not looked at
	Refuses bool              // there is a config that the plugin must refuse
	block   *values
}

// trialLanguage is what a plugin.test.hcl may hold.
var trialLanguage = block{blocks: []block{
	{name: "source", labels: []string{"plugin", "name"}, blocks: trialBlocks, args: arguments(
		arg{name: "events", typ: "integer", required: true, max: 1 << 20, doc: "How many events it brings."})},
	{name: "processor", labels: []string{"plugin", "name"}, blocks: trialBlocks, args: arguments(
		arg{name: "input", typ: "list(string)", doc: "The bodies of one batch."},
		arg{name: "output", typ: "list(string)", doc: "The bodies of what comes of it."})},
	{name: "sink", labels: []string{"plugin", "name"}, blocks: trialBlocks, args: arguments(
		arg{name: "stored", typ: "string", doc: "The file in which it stores the bodies, a line each."})},
}}

var trialBlocks = []block{
	{name: "config", once: true, free: true, doc: "The plugin's own arguments. Relative paths in it are in the directory of the trial."},
	{name: "refuses", once: true, free: true, doc: "Arguments that the manifest lets through, and the plugin must refuse."},
	{name: "file", labels: []string{"path"}, doc: "A file that is in the directory of the trial before it begins.", args: arguments(
		arg{name: "content", typ: "string", required: true, doc: "What is in it."})},
}

// ParseTrials reads a plugin.test.hcl, of a module with that manifest. There are no Trials if there is an error among the diagnostics.
func ParseTrials(src []byte, filename string, m abi.Manifest) (*Trials, *Sources, hcl.Diagnostics) {
	l := &loader{}
	file := l.parse(src, filename)
	files := &Sources{files: map[string]*hcl.File{filename: file}}
	t := &Trials{manifest: m}
	if l.failed() {
		return nil, files, l.sorted()
	}
	for _, found := range l.content(trialLanguage, "A plugin.test.hcl", file.Body).Blocks {
		for _, spec := range trialLanguage.blocks {
			if spec.name == found.Type {
				t.List = append(t.List, l.trial(spec, found))
			}
		}
	}
	for i := range t.List { // what depends on no directory is found out at once
		_, diags := t.Component(&t.List[i], filepath.Dir(filename), false)
		l.diags = append(l.diags, diags...)
	}
	if l.failed() {
		return nil, files, l.sorted()
	}
	return t, files, l.sorted()
}

func (l *loader) trial(spec block, found *hcl.Block) Trial {
	v := l.decode(spec, found)
	t := Trial{
		Kind: abi.Kind(spec.name), Plugin: v.labels[0], Name: v.name(), Files: map[string]string{},
		Events: int(v.number("events")), Stored: v.text("stored"), Input: v.texts("input"), Output: v.texts("output"), block: v,
		Refuses: v.child("refuses").body != nil,
	}
	for _, f := range v.inner["file"] {
		path := f.name()
		if !filepath.IsLocal(path) {
			l.add("E4101", f.label[0], "The path of a file is relative, and stays in the directory of the trial; this is %s.", quote(path))
		}
		t.Files[path] = f.text("content")
	}
	if t.Stored != "" && !filepath.IsLocal(t.Stored) {
		l.add("E4101", v.where("stored"), "The path is relative, and stays in the directory of the trial; this is %s.", quote(t.Stored))
	}
	return t
}

// texts returns a list of strings; nil when it is not set.
func (v *values) texts(name string) []string {
	list, _ := v.args[name].value.([]any)
	if list == nil {
		return nil
	}
	out := make([]string, 0, len(list))
	for _, e := range list {
		s, _ := e.(string)
		out = append(out, s)
	}
	return out
}

// Component is the plugin of a trial as a pipeline would have it, in that directory, granted what it needs; with the config that it must refuse
// if refused.
func (t *Trials) Component(trial *Trial, dir string, refused bool) (Component, hcl.Diagnostics) {
	const module = "module"
	l := &loader{
		opts: Options{
			Dir: dir, Manifest: func(PluginRef) (abi.Manifest, error) { return t.manifest, nil },
			Builtin: func(kind abi.Kind, name string) (string, bool) {
				_, ok := t.manifest.Find(kind, name)
				return module, ok
			},
		},
		plugins: map[string]*pluginBlock{}, manifests: map[PluginRef]manifestResult{}, schemas: map[schemaKey][]argument{},
	}
	l.opts.Builtins = func(kind abi.Kind) (names []string) {
		for _, p := range t.manifest.Plugins {
			if p.Kind == kind {
				names = append(names, p.Name)
			}
		}
		return names
	}
	v := trial.block
	if v == nil { // nobody wrote one
		v = &values{labels: []string{trial.Plugin, trial.Name}, label: make([]hcl.Range, 2), inner: map[string][]*values{}}
		v.inner["config"] = []*values{defaultsOf(configBlock, hcl.Range{})}
	}
	if refused {
		v = &values{labels: v.labels, label: v.label, at: v.at, inner: map[string][]*values{"config": v.inner["refuses"]}}
	}
	c, _ := l.component(trial.Kind, v)
	return c, l.sorted()
}

// Defaults lists a trial of each plugin that there is none of and that needs no config, and names the others.
func (t *Trials) Defaults() (list []Trial, left []string) {
	tried := map[string]bool{}
	for _, trial := range t.List {
		tried[string(trial.Kind)+" "+trial.Plugin] = true
	}
	for _, p := range t.manifest.Plugins {
		name := string(p.Kind) + " " + p.Name
		if tried[name] {
			continue
		}
		trial := Trial{Kind: p.Kind, Plugin: p.Name, Name: "without a config"}
		if _, diags := t.Component(&trial, ".", false); diags.HasErrors() || p.Kind == abi.Source {
			left = append(left, name)
			continue
		}
		list = append(list, trial)
	}
	return list, left
}

// NoTrials are those of a module without a plugin.test.hcl.
func NoTrials(m abi.Manifest) *Trials { return &Trials{manifest: m} }
