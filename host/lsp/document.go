// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/spec/abi"
)

// document is a file that a request is about.
type document struct {
	*server
	path string
	src  []byte
}

// scope is what is known at a place of the language.
type scope struct {
	block  *config.Block  // nil: at the top of a file
	blocks []config.Block // that may stand there
	args   []abi.Argument // that may stand there
	free   bool           // what stands there is nobody's
}

// scopeAt follows the open blocks down the table, and into the config of a plugin.
func (d *document) scopeAt(frames []frame) scope {
	at := scope{blocks: d.roots}
	for i, f := range frames {
		b := blockOf(at.blocks, f.name)
		if b == nil {
			return scope{free: true}
		}
		at = scope{block: b, blocks: b.Blocks, args: b.Arguments, free: b.Free}
		if b.Name == "config" && i == 1 {
			if p, ok := d.plugin(abi.Kind(frames[0].name), frames[0].labels); ok {
				at.args, at.free = p.Arguments, false
			}
		}
	}
	return at
}

// plugin is what a source, sink or processor with these labels is of.
func (d *document) plugin(kind abi.Kind, labels []string) (abi.Plugin, bool) {
	o := d.options(filepath.Dir(d.path))
	if len(labels) == 0 || o.Manifest == nil || o.Builtin == nil {
		return abi.Plugin{}, false
	}
	ref, ok := d.pluginBlock(labels[0])
	if !ok {
		module, found := o.Builtin(kind, labels[0])
		if !found {
			return abi.Plugin{}, false
		}
		ref = config.PluginRef{Name: module, Source: "builtin:" + module}
	}
	if name, builtin := strings.CutPrefix(ref.Source, "builtin:"); builtin && o.Native != nil && o.Native(name) {
		ref.Subprocess = true
	}
	ref.ModuleBytes, ref.TableEntries = abi.DefaultModule, abi.DefaultTable
	m, err := o.Manifest(ref)
	if err != nil {
		return abi.Plugin{}, false // which is among the mistakes
	}
	if p, ok := m.Find(kind, labels[0]); ok {
		return p, true
	}
	i := slices.IndexFunc(m.Plugins, func(p abi.Plugin) bool { return p.Kind == kind })
	if i < 0 {
		return abi.Plugin{}, false
	}
	return m.Plugins[i], true
}

// pluginBlock is the plugin that a plugin block of that name declares.
func (d *document) pluginBlock(name string) (config.PluginRef, bool) {
	for _, decl := range d.declarations() {
		if decl.kind != "plugin" || decl.name != name {
			continue
		}
		ref := config.PluginRef{Name: name, Source: decl.texts["source"], Subprocess: decl.texts["runtime"] == "subprocess"}
		if !strings.HasPrefix(ref.Source, "builtin:") && !filepath.IsAbs(ref.Source) {
			ref.Source = filepath.Join(filepath.Dir(decl.at.Filename), ref.Source)
		}
		return ref, true
	}
	return config.PluginRef{}, false
}

// declarations are those of all files of the directory, as they are open or on the disk.
func (d *document) declarations() (all []declaration) {
	paths := d.opened(filepath.Dir(d.path))
	found, _ := filepath.Glob(filepath.Join(filepath.Dir(d.path), "*.hcl")) // a directory whose name is a pattern has only what is open
	for _, path := range found[:min(len(found), config.MaxFiles)] {
		if !slices.Contains(paths, path) && !strings.HasSuffix(path, ".test.hcl") && !strings.HasPrefix(filepath.Base(path), ".") {
			paths = append(paths, path)
		}
	}
	for _, path := range paths {
		if src := d.text(path); !config.IsManifest(path, src) {
			all = append(all, scan(src, path, d.roots).declared...)
		}
	}
	return all
}

// text is that of a file, or nothing if it cannot be read.
func (s *server) text(path string) []byte {
	if src, open := s.documents[path]; open {
		return src
	}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Size() > config.MaxFileBytes {
		return nil
	}
	src, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return src
}

// wordAt is the token at an offset, and the place that it stands in.
func (d *document) wordAt(at int) (word hclsyntax.Token, p place, ok bool) {
	tokens, _ := hclsyntax.LexConfig(d.src, d.path, scanStart)
	for _, t := range tokens {
		name := t.Type == hclsyntax.TokenIdent || t.Type == hclsyntax.TokenQuotedLit
		if name && t.Range.Start.Byte <= at && at <= t.Range.End.Byte {
			return t, scan(d.src[:t.Range.End.Byte], d.path, d.roots).place, true
		}
	}
	return word, p, false
}

// reference is what a word means, if it stands in KIND.NAME: on either of the two.
func (d *document) reference(word hclsyntax.Token, p place) (decl declaration, ok bool) {
	kind, name := "", string(word.Bytes)
	n := len(p.line)
	switch {
	case p.arg == "" || word.Type != hclsyntax.TokenIdent:
		return decl, false
	case n >= 5 && p.line[n-2].Type == hclsyntax.TokenDot && p.line[n-4].Type == hclsyntax.TokenDot && string(p.line[n-5].Bytes) == "route":
		kind, name = caseKind, string(p.line[n-3].Bytes)+"."+name
	case n >= 3 && p.line[n-2].Type == hclsyntax.TokenDot:
		kind = string(p.line[n-3].Bytes)
	default:
		tokens, _ := hclsyntax.LexConfig(d.src[word.Range.End.Byte:], d.path, scanStart)
		if len(tokens) < 2 || tokens[0].Type != hclsyntax.TokenDot || tokens[1].Type != hclsyntax.TokenIdent {
			return decl, false
		}
		kind, name = name, string(tokens[1].Bytes)
	}
	if kind == "var" {
		kind = "variable"
	}
	for _, decl := range d.declarations() {
		if decl.kind == kind && decl.name == name {
			return decl, true
		}
	}
	return decl, false
}

// isPluginLabel says whether a word is the first label of what names a plugin.
func isPluginLabel(word hclsyntax.Token, p place) bool {
	n := len(p.line)
	return word.Type == hclsyntax.TokenQuotedLit && len(p.frames) == 0 && n == 3 && isComponent(string(p.line[0].Bytes))
}

func isComponent(kind string) bool {
	return slices.Contains([]abi.Kind{abi.Source, abi.Sink, abi.Processor}, abi.Kind(kind))
}

// definition is where what a word means is declared, or nil.
func (d *document) definition(at int) any {
	word, p, ok := d.wordAt(at)
	if !ok {
		return nil
	}
	decl, ok := d.reference(word, p)
	if !ok && isPluginLabel(word, p) {
		all := d.declarations()
		i := slices.IndexFunc(all, func(o declaration) bool { return o.kind == "plugin" && o.name == string(word.Bytes) })
		if i >= 0 {
			decl, ok = all[i], true
		}
	}
	if !ok {
		return nil
	}
	return location{uriOf(decl.at.Filename), spanOf(d.text(decl.at.Filename), decl.at)}
}

// hover is the docs of a word, or nil.
func (d *document) hover(at int) any {
	word, p, ok := d.wordAt(at)
	if !ok {
		return nil
	}
	text := ""
	if decl, ok := d.reference(word, p); ok {
		text = fmt.Sprintf("`%s`, at %s:%d", strings.Join(append([]string{decl.kind}, decl.labels...), " "), filepath.Base(decl.at.Filename), decl.at.Start.Line)
		text += paragraph(decl.texts["description"])
	} else if isPluginLabel(word, p) {
		kind := string(p.line[0].Bytes)
		if plugin, ok := d.plugin(abi.Kind(kind), []string{string(word.Bytes)}); ok {
			text = fmt.Sprintf("`%s %q`", kind, plugin.Name) + paragraph(plugin.Doc)
		}
	} else if len(p.line) == 1 {
		text = d.docs(string(word.Bytes), d.scopeAt(p.frames))
	}
	if text == "" {
		return nil
	}
	return hover{markup{"markdown", text}}
}

// docs are those of an argument or block.
func (d *document) docs(name string, at scope) string {
	for _, a := range at.args {
		if a.Name == name {
			return "`" + name + "` " + about(a) + paragraph(a.Doc)
		}
	}
	if b := blockOf(at.blocks, name); b != nil {
		return "`" + head(*b) + "`" + paragraph(b.Doc)
	}
	return ""
}

func paragraph(text string) string {
	if text == "" {
		return ""
	}
	return "\n\n" + text
}

// about is an argument's type, and what it is when it is not set.
func about(a abi.Argument) string {
	text := a.Type
	switch {
	case a.Required:
		text += ", required"
	case len(a.Default) > 0:
		text += ", default " + string(a.Default)
	}
	if a.Deprecated != "" {
		text += ", deprecated: " + a.Deprecated
	}
	return text
}

// head is how a block begins: source "plugin" "name".
func head(b config.Block) string {
	text := b.Name
	for _, l := range b.Labels {
		text += fmt.Sprintf(" %q", l)
	}
	return text
}
