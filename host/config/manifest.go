// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/json"
	"errors"
	"maps"
	"path/filepath"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/penstock-io/penstock/spec/abi"
)

// ParseManifest reads a plugin.hcl, which declares what a module holds. The manifest is empty if there
// is an error among the diagnostics.
func ParseManifest(src []byte, filename string) (abi.Manifest, *Sources, hcl.Diagnostics) {
	d := &declarer{src: src}
	file := d.parse(src, filename)
	files := &Sources{files: map[string]*hcl.File{filename: file}}
	if d.failed() {
		return abi.Manifest{}, files, d.sorted()
	}
	m := d.module(file.Body, filename)
	if d.failed() {
		return abi.Manifest{}, files, d.sorted()
	}
	return m, files, d.sorted()
}

// IsManifest tells the declaration of a plugin from a pipeline file that has the same name: a plugin's directory may hold both a plugin and a pipeline
// to try it with. A manifest names itself, and a pipeline file has no argument outside of its blocks.
func IsManifest(filename string, src []byte) bool {
	if filepath.Base(filename) != "plugin.hcl" {
		return false
	}
	var unheard faults // mistakes are told where the file is read for what it is
	body, ok := unheard.parse(src, filename).Body.(*hclsyntax.Body)
	return ok && body.Attributes["name"] != nil
}

// declarer reads one plugin.hcl.
type declarer struct {
	faults
	src []byte
}

func (d *declarer) module(body hcl.Body, filename string) abi.Manifest {
	const owner = "A plugin.hcl"
	content := d.content(pluginLanguage, owner, body)
	at := fileRange(filename)
	head := values{at: at, args: d.settings(pluginLanguage.args, owner, content, at)}
	m := abi.Manifest{Name: head.text("name"), Version: head.text("version"), Runtime: head.text("runtime")}
	for _, found := range content.Blocks {
		i := slices.IndexFunc(pluginLanguage.blocks, func(b block) bool { return b.name == found.Type })
		p := d.plugin(d.decode(pluginLanguage.blocks[i], found), abi.Kind(found.Type))
		if _, taken := m.Find(p.Kind, p.Name); taken {
			d.add("E1208", found.LabelRanges[0], "The module already has a %s %q.", p.Kind, p.Name)
		}
		m.Plugins = append(m.Plugins, p)
	}
	if len(m.Plugins) == 0 && !d.failed() {
		d.add("E1204", at, "%s declares at least one source, sink or processor.", owner)
	}
	return m
}

func (d *declarer) plugin(v *values, kind abi.Kind) abi.Plugin {
	p := abi.Plugin{
		Kind: kind, Name: v.name(), Doc: v.text("doc"),
		Replay: v.text("replay"), Effects: v.text("effects"), Partitioned: v.yes("partitioned"),
		Concurrent:    v.yes("concurrent"),
		Multiplies:    v.yes("multiplies"),
		CursorVersion: uint32(v.number("cursor_version")),
		Limits:        abi.Limits{MemoryBytes: uint64(v.child("limits").number("memory"))},
	}
	if !identifier.MatchString(p.Name) || len(p.Name) > maxName {
		d.add("E1207", v.label[0], "%s cannot be the name of a plugin: letters, digits, _ and - make one, %d at most, and it begins with a letter.", quote(p.Name), maxName)
	}
	reads, _ := v.args["reads"].value.([]any)
	for _, r := range reads {
		p.Reads = append(p.Reads, uint32(integer(r)))
	}
	for _, a := range v.inner["argument"] {
		p.Arguments = append(p.Arguments, d.argument(a, p.Arguments))
	}
	for _, n := range v.inner["need"] {
		p.Needs = append(p.Needs, d.need(n, p))
	}
	return p
}

func (d *declarer) argument(v *values, before []abi.Argument) abi.Argument {
	a := abi.Argument{
		Name: v.name(), Required: v.yes("required"), Pattern: v.text("pattern"), Sensitive: v.yes("sensitive"),
		Deprecated: v.text("deprecated"), Doc: v.text("doc"),
	}
	enum, _ := v.args["enum"].value.([]any)
	for _, e := range enum {
		s, _ := e.(string)
		a.Enum = append(a.Enum, s)
	}
	switch {
	case !identifier.MatchString(a.Name) || len(a.Name) > maxName:
		d.add("E1207", v.label[0], "%s cannot be the name of an argument.", quote(a.Name))
	case slices.ContainsFunc(before, func(other abi.Argument) bool { return other.Name == a.Name }):
		d.add("E1208", v.label[0], "The plugin already has an argument %q.", a.Name)
	}
	if v.broken {
		return a
	}
	t, err := parseType(v.args["type"].expr, maxTypeDepth)
	if err != nil {
		d.add("E4101", v.where("type"), "The type of argument %q: %s", a.Name, stop(err.Error()))
		return a
	}
	a.Type = t.String()
	a.Min, a.Max = d.limit(v, "min", t.leaf()), d.limit(v, "max", t.leaf())
	a.Default = d.defaultOf(v)
	d.compiles(a, v)
	return a
}

// compiles reports what only shows when the parts of a declaration are put together.
func (d *declarer) compiles(a abi.Argument, v *values) {
	_, err := compileArgument(a)
	if wrong, ok := errors.AsType[*declError](err); ok {
		d.add("E4101", v.where(wrong.part), "The %s of argument %q: %s", wrong.part, a.Name, stop(wrong.err.Error()))
	}
	switch {
	case err != nil:
	case a.Min != nil && a.Max != nil && *a.Min > *a.Max:
		d.add("E4101", v.where("min"), "The min of argument %q is greater than its max.", a.Name)
	case a.Required && a.Default != nil:
		d.add("E4101", v.where("default"), "The argument %q is required, so a default is never used.", a.Name)
	}
}

// source returns an expression as it is written.
func (d *declarer) source(expr hcl.Expression) string { return string(expr.Range().SliceBytes(d.src)) }

// defaultOf keeps a default in the form in which it was written, so that a person reads "1MiB".
func (d *declarer) defaultOf(v *values) json.RawMessage {
	expr := v.args["default"].expr
	if expr == nil {
		return nil
	}
	value, ok := d.evaluate(expr)
	if !ok {
		return nil
	}
	if value.IsNull() || !value.IsWhollyKnown() {
		return nil
	}
	doc, err := ctyjson.SimpleJSONValue{Value: value}.MarshalJSON()
	if err != nil {
		d.add("E4101", expr.Range(), "The default cannot be written as JSON: %v.", err)
		return nil
	}
	return doc
}

// limit reads min or max, which are written in the type of the argument.
func (d *declarer) limit(v *values, name string, leaf typ) *float64 {
	expr := v.args[name].expr
	if expr == nil {
		return nil
	}
	if !slices.Contains([]form{formNumber, formInteger, formDuration, formSize}, leaf.form) {
		d.add("E4101", expr.Range(), "Only numbers, durations and sizes have a %s; this is %s.", name, leaf.noun())
		return nil
	}
	value, ok := d.evaluate(expr)
	if !ok {
		return nil
	}
	c := checker{}
	n := c.value(value, leaf, nil)
	for _, m := range c.wrong {
		d.add("E4101", expr.Range(), "The %s %s.", name, m.text)
	}
	f := float64(integer(n))
	if number, ok := n.(json.Number); ok {
		f, _ = number.Float64() // it was made from one
	}
	return &f
}

func (d *declarer) need(v *values, p abi.Plugin) abi.Need {
	kind, handle := v.labels[0], v.name()
	n := abi.Need{Handle: handle, Kind: kind}
	expr := v.args["value"].expr
	_, known := needValues[kind]
	switch {
	case !known:
		d.add("E4102", v.label[0], "There is no need of kind %q; there is %s.%s", kind, oneOf(needKinds), didYouMean(kind, needKinds))
	case !identifier.MatchString(handle) || len(handle) > maxName:
		d.add("E1207", v.label[1], "%s cannot be the name of a handle.", quote(handle))
	case slices.ContainsFunc(p.Needs, func(other abi.Need) bool { return other.Kind == kind && other.Handle == handle }):
		d.add("E1208", v.label[1], "The plugin already needs a %s %q.", kind, handle)
	case kind == abi.NeedServe && slices.ContainsFunc(p.Needs, func(other abi.Need) bool { return other.Kind == kind }):
		d.add("E4102", v.label[0], "A plugin serves at one address; this is the second need of kind %q.", kind)
	case kind == abi.NeedStdout:
		if expr != nil || v.isSet("access") {
			d.add("E4102", v.at, "Standard output has neither value nor access.")
		}
	case kind != abi.NeedDir && v.isSet("access"):
		d.add("E4102", v.args["access"].name, "Only a need for a directory has an access.")
	case expr == nil:
		d.add("E1204", v.at, "A need of kind %q has a value: an expression over config that comes to %s.", kind, needValues[kind])
	default:
		if kind == abi.NeedDir {
			n.Access = v.text("access")
		}
		n.Value = d.source(expr)
		d.needValue(expr, p)
		if _, ok := sensitiveArgument(n, p); kind == abi.NeedSecret && !ok && !d.failed() {
			d.add("E4102", expr.Range(), "A need for a secret names an argument that is a string and sensitive, as in config.password.")
		}
	}
	return n
}

// needValues are the kinds of need, and what the value of each comes to.
var needValues = map[string]string{
	abi.NeedDir: "paths", abi.NeedStdout: "nothing", abi.NeedDial: "an address", abi.NeedListen: "an address", abi.NeedServe: "an address",
	abi.NeedHTTP: "a URL", abi.NeedEnv: "names of environment variables", abi.NeedSecret: "an argument that is sensitive",
	abi.NeedExec: "programs", abi.NeedNetwork: "text or null",
}

var needKinds = slices.Sorted(maps.Keys(needValues))

// needValue checks that the expression speaks of the plugin's arguments alone.
func (d *declarer) needValue(expr hcl.Expression, p abi.Plugin) {
	var names []string
	for _, a := range p.Arguments {
		names = append(names, a.Name)
	}
	for _, t := range expr.Variables() {
		if t.RootName() != "config" || len(t) < 2 {
			d.add("E4102", t.SourceRange(), "A need speaks of config alone, as in config.paths.")
			continue
		}
		if attr, ok := t[1].(hcl.TraverseAttr); !ok || !slices.Contains(names, attr.Name) {
			d.add("E4102", t.SourceRange(), "The plugin has no such argument.%s", didYouMean(attr.Name, names))
		}
	}
	node, ok := expr.(hclsyntax.Node)
	if !ok {
		return
	}
	_ = hclsyntax.VisitAll(node, func(n hclsyntax.Node) hcl.Diagnostics { // what it returns is what we return: nothing
		if call, ok := n.(*hclsyntax.FunctionCallExpr); ok {
			if _, known := functions[call.Name]; !known {
				d.add("E4102", call.NameRange, "There is no function %q.", call.Name)
			}
		}
		return nil
	})
}
