// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/penstock-io/penstock/host/expr"
	"github.com/penstock-io/penstock/spec/abi"
)

var scanStart = hcl.InitialPos

// referenceKinds are the roots of references, and the kind of what they name.
var referenceKinds = []struct{ root, kind string }{
	{"channel", "channel"}, {"processor", "processor"}, {"secret", "secret"}, {"tls", "tls"}, {"var", "variable"}, {"local", "local"},
	{"source", "source"}, {"sink", "sink"}, {"route", "route"},
}

// completion gathers what could stand at an offset.
type completion struct {
	*document
	place
	rest  span // the part of the word that is typed, which is replaced
	found []item
}

// complete lists what could stand at an offset. Only the text before it counts.
func (d *document) complete(at int) items {
	begin := at
	for begin > 0 && isWord(d.src[begin-1]) {
		begin--
	}
	s := scan(d.src[:begin], d.path, d.roots)
	c := &completion{document: d, place: s.place, rest: span{positionAt(d.src, begin), positionAt(d.src, at)}, found: []item{}}
	quoted := begin > 0 && d.src[begin-1] == '"'
	switch {
	case c.arg != "":
		c.value(quoted)
	case len(c.line) == 0 && !quoted:
		c.names()
	case len(c.line) > 0:
		c.labels(quoted)
	}
	return items{Items: c.found}
}

func isWord(b byte) bool {
	return b == '_' || b == '-' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= 0x80
}

func (c *completion) add(i item) {
	i.TextEdit = textEdit{c.rest, i.Label}
	c.found = append(c.found, i)
}

func (c *completion) insert(i item, text string) {
	i.TextEdit = textEdit{c.rest, text}
	c.found = append(c.found, i)
}

// names are the arguments and blocks that may stand where a line begins.
func (c *completion) names() {
	at := c.scopeAt(c.frames)
	for _, a := range at.args {
		if f := c.frames[len(c.frames)-1]; !slices.Contains(f.args, a.Name) {
			c.insert(item{Label: a.Name, Kind: itemProperty, Detail: about(a), Documentation: &markup{"markdown", a.Doc}}, a.Name+" = ")
		}
	}
	for _, b := range at.blocks {
		text := b.Name + " "
		if len(b.Labels) == 0 {
			text += "{"
		}
		c.insert(item{Label: b.Name, Kind: itemModule, Detail: head(b), Documentation: &markup{"markdown", b.Doc}}, text)
	}
}

// labels are the plugins, or the kinds of channel, that may stand in the first label.
func (c *completion) labels(quoted bool) {
	kind := string(c.line[0].Bytes)
	if len(c.frames) > 0 || len(c.line) > 2 || len(c.line) == 2 && !quoted {
		return
	}
	var names []string
	switch {
	case kind == "channel":
		names = []string{"memory", "wal"}
	case isComponent(kind):
		o := c.options(filepath.Dir(c.path))
		if o.Builtins != nil {
			names = append(names, o.Builtins(abi.Kind(kind))...)
		}
		for _, d := range c.declarations() {
			if d.kind == "plugin" {
				names = append(names, d.name)
			}
		}
	}
	slices.Sort(names)
	c.texts(slices.Compact(names), quoted)
}

// texts are strings, with quotes unless one is there.
func (c *completion) texts(names []string, quoted bool) {
	for _, name := range names {
		text := name
		if !quoted {
			text = `"` + name + `"`
		}
		c.insert(item{Label: name, Kind: itemValue}, text)
	}
}

// value is what may stand in the value of an argument.
func (c *completion) value(quoted bool) {
	n := len(c.line)
	if n >= 4 && c.line[n-1].Type == hclsyntax.TokenDot && c.line[n-3].Type == hclsyntax.TokenDot && string(c.line[n-4].Bytes) == "route" {
		c.cases(string(c.line[n-2].Bytes)+".", "")
		return
	}
	if n >= 2 && c.line[n-1].Type == hclsyntax.TokenDot {
		c.members(c.line[n-2])
		return
	}
	at := c.scopeAt(c.frames)
	i := slices.IndexFunc(at.args, func(a abi.Argument) bool { return a.Name == c.arg })
	var a abi.Argument
	if i >= 0 {
		a = at.args[i]
	}
	if quoted {
		c.texts(a.Enum, true)
		return
	}
	switch kind := strings.TrimSuffix(strings.TrimPrefix(a.Type, "list("), ")"); kind {
	case "channel", "processor", "secret", "sink", "tls":
		c.references(kind, kind+".")
		if reader := c.frames[len(c.frames)-1].name; c.arg == "from" && (reader == "sink" || reader == "sink_group") {
			c.cases("", "route.")
		}
		return
	case "bool":
		c.add(item{Label: "true", Kind: itemValue})
		c.add(item{Label: "false", Kind: itemValue})
	case "expression":
		c.add(item{Label: "event", Kind: itemVariable, Detail: "The event that is asked about."})
	}
	c.texts(a.Enum, false)
	for _, root := range []string{"var", "local", "secret"} {
		c.references(root, root+".")
	}
}

// members are what may stand after a dot.
func (c *completion) members(root hclsyntax.Token) {
	switch name := string(root.Bytes); name {
	case "event":
		for _, f := range expr.Fields() {
			c.add(item{Label: f.Name, Kind: itemProperty, Detail: f.Doc})
		}
	case "each":
		c.add(item{Label: "key", Kind: itemProperty})
		c.add(item{Label: "value", Kind: itemProperty})
	default:
		c.references(name, "")
	}
}

// references are the names of what a root stands for, each once.
func (c *completion) references(root, prefix string) {
	i := slices.IndexFunc(referenceKinds, func(k struct{ root, kind string }) bool { return k.root == root })
	if i < 0 {
		return
	}
	seen := make(map[string]bool)
	for _, d := range c.declarations() {
		if d.kind != referenceKinds[i].kind || seen[d.name] {
			continue
		}
		seen[d.name] = true
		c.add(item{Label: prefix + d.name, Kind: itemReference, Detail: filepath.Base(d.at.Filename)})
	}
}

// cases are those of all routes, or of the one that the prefix names. Each stands behind what is put before it.
func (c *completion) cases(of, before string) {
	for _, d := range c.declarations() {
		if name, ok := strings.CutPrefix(d.name, of); ok && d.kind == caseKind {
			c.add(item{Label: before + name, Kind: itemReference, Detail: filepath.Base(d.at.Filename)})
		}
	}
}
