// SPDX-License-Identifier: Apache-2.0

package config

import (
	"path/filepath"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/penstock-io/penstock/host/address"
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
	Output  []string          // source: the bodies of what it brings; processor: what comes of Input; nil: that is not looked at
	Refuses bool              // there is a config that the plugin must refuse

	Clients  []TrialClient  // source: who connects to what it listens on
	Requests []TrialRequest // source: what it is asked by HTTP
	Servers  []TrialServer  // sink: what stands for its destinations

	block *values
}

// TrialClient is somebody who connects to a source.
type TrialClient struct {
	Handle  string
	Send    []string
	Receive string
}

// TrialRequest is what a source is asked by HTTP.
type TrialRequest struct {
	Handle, Method, Path string
	Header               map[string]string
	Body                 string
	Status               int
}

// TrialServer stands for a destination.
type TrialServer struct {
	Handle, Format string
	Fail           int
}

// trialLanguage is what a plugin.test.hcl may hold.
var trialLanguage = block{blocks: []block{
	{name: "source", labels: []string{"plugin", "name"}, doc: "How a source is tried.", blocks: slices.Concat(trialBlocks, []block{clientBlock, requestBlock}), args: arguments(
		arg{name: "events", typ: "integer", max: 1 << 20, shown: "as many as `output` has", doc: "How many events it brings."},
		arg{name: "output", typ: "list(string)", doc: "Their bodies: in any order where there are several clients."})},
	{name: "processor", labels: []string{"plugin", "name"}, doc: "How a processor is tried.", blocks: trialBlocks, args: arguments(
		arg{name: "input", typ: "list(string)", doc: "The bodies of one batch."},
		arg{name: "output", typ: "list(string)", doc: "The bodies of what comes of it."})},
	{name: "sink", labels: []string{"plugin", "name"}, doc: "How a sink is tried.", blocks: slices.Concat(trialBlocks, []block{serverBlock}), args: arguments(
		arg{name: "stored", typ: "string", doc: "The file in which it stores the bodies, a line each."})},
}}

// maxOthers bounds the clients, the requests and the servers of a trial: it is run several times over, within seconds.
const maxOthers = 100

var trialBlocks = []block{
	{name: "config", once: true, free: true, doc: "The plugin's own arguments. Relative paths in it are in the directory of the trial; addresses lead nowhere else than to the blocks here."},
	{name: "refuses", once: true, free: true, doc: "Arguments that the manifest lets through, and the plugin must refuse."},
	{name: "file", labels: []string{"path"}, doc: "A file that is in the directory of the trial before it begins.", args: arguments(
		arg{name: "content", typ: "string", required: true, doc: "What is in it."})},
}

var clientBlock = block{name: "client", labels: []string{"handle"}, doc: "Somebody who connects to what the source listens on. Several do so at the same time.", args: arguments(
	arg{name: "send", typ: "list(string)", required: true, doc: "What they send, one after the other; over UDP a datagram each. Then they end their side, and the source is to close its own."},
	arg{name: "receive", typ: "string", doc: "What they must get before they end it."})}

var requestBlock = block{name: "request", labels: []string{"handle"}, doc: "What somebody asks of the source by HTTP. Several come one after the other.", args: arguments(
	arg{name: "method", typ: "string", def: "POST", doc: "How."},
	arg{name: "path", typ: "string", def: "/", pattern: "/.*", doc: "Path and query."},
	arg{name: "header", typ: "map(string)", doc: "Headers."},
	arg{name: "body", typ: "string", doc: "The body."},
	arg{name: "status", typ: "integer", def: "200", min: 200, max: 599, doc: "What it must be answered with: 2xx and 3xx when what it brought is durable, and not before."})}

var serverBlock = block{name: "server", labels: []string{"handle"}, doc: "Stands for what the sink connects to, or sends requests to.", args: arguments(
	arg{name: "format", typ: "string", def: "lines", enum: []string{"lines", "json", "any"}, doc: "How bodies are told from what arrives: a line each; a value of JSON each, in a stream or in arrays; `any`: that is not looked at."},
	arg{name: "fail", typ: "integer", def: "5", max: 100, doc: "How many connections or requests it refuses, one after the other, where that is tried; 0: it is not."})}

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
		c, diags := t.Component(&t.List[i], filepath.Dir(filename), false)
		l.diags = append(l.diags, diags...)
		if !diags.HasErrors() {
			l.others(c, t.List[i].block)
		}
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
	if t.Events == 0 {
		t.Events = len(t.Output)
	}
	if t.Kind == abi.Source && !v.isSet("events") && t.Output == nil {
		l.add("E1204", v.at, "A source block needs the argument \"events\" or \"output\": how many events it brings, or their bodies.")
	}
	t.network(v)
	for _, f := range v.inner["file"] {
		path := f.name()
		if !filepath.IsLocal(path) {
			l.add("E4103", f.label[0], "The path of a file is relative, and stays in the directory of the trial; this is %s.", quote(path))
		}
		t.Files[path] = f.text("content")
	}
	if t.Stored != "" && !filepath.IsLocal(t.Stored) {
		l.add("E4103", v.where("stored"), "The path is relative, and stays in the directory of the trial; this is %s.", quote(t.Stored))
	}
	return t
}

// network reads who is at the other ends of the plugin's handles.
func (t *Trial) network(v *values) {
	for _, b := range v.inner["client"] {
		t.Clients = append(t.Clients, TrialClient{b.name(), b.texts("send"), b.text("receive")})
	}
	for _, b := range v.inner["request"] {
		r := TrialRequest{Handle: b.name(), Method: b.text("method"), Path: b.text("path"), Body: b.text("body"), Status: int(b.number("status"))}
		header, _ := b.args["header"].value.(map[string]any)
		r.Header = map[string]string{}
		for name, value := range header {
			r.Header[name], _ = value.(string)
		}
		t.Requests = append(t.Requests, r)
	}
	for _, b := range v.inner["server"] {
		t.Servers = append(t.Servers, TrialServer{b.name(), b.text("format"), int(b.number("fail"))})
	}
}

// otherEnds are the needs whose other end a block of a trial can be.
var otherEnds = map[string][]string{
	clientBlock.name: {abi.NeedListen}, requestBlock.name: {abi.NeedServe}, serverBlock.name: {abi.NeedDial, abi.NeedHTTP},
}

// others checks that blocks for other ends are of handles that the component has.
func (l *loader) others(c Component, v *values) {
	for _, name := range []string{clientBlock.name, requestBlock.name, serverBlock.name} {
		if blocks := v.inner[name]; len(blocks) > maxOthers {
			l.add("E4103", blocks[maxOthers].at, "There are %d %s blocks, and %d at most.", len(blocks), name, maxOthers)
		}
		var has []string
		for _, h := range c.Handles {
			if slices.Contains(otherEnds[name], h.Kind) {
				has = append(has, h.Name)
			}
		}
		for i, b := range v.inner[name] {
			switch first := slices.IndexFunc(v.inner[name], func(o *values) bool { return o.name() == b.name() }); {
			case !slices.Contains(has, b.name()):
				l.add("E4103", b.label[0], "The %s %s has no handle %q whose other end is a %s.%s", c.Kind, c.Plugin.Name, b.name(), name, thereIs(b.name(), has))
			case name == serverBlock.name && first < i:
				l.add("E4103", b.at, "There is a server %q already, at %s.", b.name(), place(v.inner[name][first].at))
			}
		}
	}
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
			Native: func(string) bool { return t.ofChild() },
		},
		listeners: map[address.Address]string{},
		plugins:   map[string]*pluginBlock{}, manifests: map[PluginRef]manifestResult{}, schemas: map[schemaKey][]argument{},
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

// ofChild says whether the module needs what only a child process can be given.
func (t *Trials) ofChild() bool {
	return slices.ContainsFunc(t.manifest.Plugins, func(p abi.Plugin) bool {
		return slices.ContainsFunc(p.Needs, func(n abi.Need) bool { return n.Kind == abi.NeedExec || n.Kind == abi.NeedNetwork })
	})
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
