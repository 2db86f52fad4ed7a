// SPDX-License-Identifier: Apache-2.0

package config

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/penstock-io/penstock/spec/abi"
)

// wildcards begin what is no plain path. A backslash escapes one, and so is none of a plain path either.
const wildcards = `*?[{\`

// grantedDir is the directory that a path or glob stands for: the one that holds what is named. A path that
// ends in a slash names the directory itself.
func grantedDir(path string) string {
	if i := strings.IndexAny(path, wildcards); i >= 0 {
		path = path[:i]
	}
	dir, _ := filepath.Split(path)
	return filepath.Clean(dir)
}

// declareGrants reads what a plugin block grants.
func (l *loader) declareGrants(p *pluginBlock) {
	for _, d := range p.child("grant").inner["dir"] {
		path := d.text("path")
		if d.broken || l.emptyPath(path, d.where("path")) {
			continue
		}
		path = l.path(path)
		if strings.ContainsAny(path, wildcards) {
			path = grantedDir(path)
		}
		handle := d.name()
		p.dirs[handle] = append(p.dirs[handle], Dir{Path: path, Write: d.text("access") == "write"})
	}
	l.declareHandles(p)
	l.declarePrograms(p)
	if grant := p.inner["grant"]; p.builtin() && len(grant) > 0 && grant[0].at != p.at {
		l.add("W3002", grant[0].at, "A builtin plugin is granted what its config names, and nothing more.")
	}
}

func (l *loader) emptyPath(path string, at hcl.Range) bool {
	if path != "" && !strings.ContainsRune(path, 0) {
		return false
	}
	l.add("E3002", at, "%s is not the path of anything.", quote(path))
	return true
}

// unusedGrants warns of grants for handles that the plugin does not ask for: a typing error more often than not.
func (l *loader) unusedGrants(p *pluginBlock) {
	if p.builtin() {
		return
	}
	m, _ := l.manifest(p.ref)
	grant := p.child("grant")
	for _, kind := range append([]string{abi.NeedDir, abi.NeedExec}, handleKinds...) {
		known := handles(m, kind)
		for _, b := range grant.inner[kind] {
			if !slices.Contains(known, b.name()) {
				l.add("W3001", b.at, "The plugin %q asks for no %s %q.%s", p.name(), kindWords[kind], b.name(), didYouMean(b.name(), known))
			}
		}
	}
	for _, name := range p.names[abi.NeedSecret] {
		if names := slices.Sorted(maps.Keys(l.secrets)); !slices.Contains(names, name) {
			l.add("E1501", grant.where("secrets"), "There is no secret %q.%s", name, thereIs(name, names))
		}
	}
}

// kindWords are how a sentence calls a need.
var kindWords = map[string]string{
	abi.NeedDir: "directory", abi.NeedDial: "connection", abi.NeedListen: "address to listen on", abi.NeedServe: "HTTP server", abi.NeedHTTP: "HTTP client", abi.NeedExec: "program",
}

func handles(m abi.Manifest, kind string) (names []string) {
	for _, p := range m.Plugins {
		for _, n := range p.Needs {
			if n.Kind == kind {
				names = append(names, n.Handle)
			}
		}
	}
	return names
}

// granter computes what one component may touch.
type granter struct {
	*loader
	component *Component
	from      *pluginBlock
	settings  map[string]setting // of the config block
	config    map[string]any     // what the plugin gets: what is set, with the paths in it absolute
	tlsKnown  bool               // the component names a tls block that there is, or none
}

// grant goes through the plugin's needs. Paths that a need for directories speaks of become absolute: a plugin
// sees a directory under its path on the host, and has no working directory.
func (g *granter) grant(args []argument) {
	for name, s := range g.settings {
		if s.value != nil {
			g.config[name] = s.value
		}
	}
	g.sensitive(args)
	c := g.component
	for _, need := range c.Plugin.Needs {
		switch need.Kind {
		case abi.NeedDir:
			g.directories(need)
		case abi.NeedStdout:
			g.stdout(need)
		case abi.NeedDial, abi.NeedListen, abi.NeedServe, abi.NeedHTTP:
			g.handle(need)
		case abi.NeedEnv:
			g.environment(need)
		case abi.NeedSecret:
			g.secret(need)
		case abi.NeedExec:
			g.programs(need)
		case abi.NeedNetwork:
			g.network(need)
		default:
			g.add("E4008", c.DeclRange, "The plugin %s needs a handle of kind %q (%s), which this version of penstock cannot give.",
				c.Plugin.Name, need.Kind, need.Handle)
		}
	}
	c.Dirs = widest(c.Dirs)
	slices.Sort(c.Needs)
	c.Needs = slices.Compact(c.Needs)
	slices.Sort(c.Env)
	c.Env = slices.Compact(c.Env)
	slices.Sort(c.Programs)
	c.Programs = slices.Compact(c.Programs)
}

func (g *granter) stdout(need abi.Need) {
	if !g.from.builtin() && !g.from.child("grant").yes("stdout") {
		g.lackOf(lack{need: need})
		return
	}
	g.component.Needs = append(g.component.Needs, need.Kind)
}

// texts is what a need comes to, and where the user wrote that; ok is false when it was reported.
func (g *granter) texts(need abi.Need) (list []string, at hcl.Range, ok bool) {
	c := g.component
	at = c.DeclRange
	expr, err := parseExpression(need.Value, "need")
	if err != nil {
		g.add("E4005", at, "The manifest of plugin %s: need %q: %s", c.Plugin.Name, need.Handle, stop(err.Error()))
		return nil, at, false
	}
	for _, name := range configNames(expr) {
		if s := g.settings[name]; s.expr != nil {
			at = s.expr.Range()
		}
		if need.Kind == abi.NeedDir {
			g.absolute(name)
		}
	}
	v, diags := expr.Value(needContext(g.settings, g.config))
	list, ok = texts(v)
	if diags.HasErrors() || !ok {
		g.add("E4005", c.DeclRange, "The manifest of plugin %s: need %q: %s does not come to %s.", c.Plugin.Name, need.Handle, need.Value, needValues[need.Kind])
		return nil, at, false
	}
	return list, at, true
}

func (g *granter) directories(need abi.Need) {
	c := g.component
	paths, at, ok := g.texts(need)
	if !ok {
		return
	}
	var missing []Dir
	for _, path := range paths {
		if g.emptyPath(path, at) {
			continue
		}
		dir := Dir{Path: grantedDir(g.directory(path)), Write: need.Access == "write"}
		if g.from.builtin() || g.from.covers(need.Handle, dir) {
			c.Dirs = append(c.Dirs, dir)
			g.present(dir, at)
			continue
		}
		missing = append(missing, dir)
	}
	if len(missing) > 0 {
		g.lackOf(lack{need: need, dirs: widest(missing)})
	}
}

// present warns of a directory that is granted and not there.
func (g *granter) present(dir Dir, at hcl.Range) {
	if absent := g.opts.Absent; absent == nil || !absent(dir.Path) || slices.ContainsFunc(g.component.Dirs[:len(g.component.Dirs)-1], func(d Dir) bool { return d.Path == dir.Path }) {
		return
	}
	does := "reads"
	if dir.Write {
		does = "writes"
	}
	g.add("W3005", at, "The directory %s, in which %s %s, is not there.", quote(dir.Path), g.component.Address(), does)
}

// configNames lists the arguments that an expression over config speaks of.
func configNames(expr hclsyntax.Expression) (names []string) {
	for _, t := range expr.Variables() {
		if len(t) < 2 || t.RootName() != "config" {
			continue
		}
		if attr, ok := t[1].(hcl.TraverseAttr); ok {
			names = append(names, attr.Name)
		}
	}
	return names
}

// absolute makes the paths in an argument absolute.
func (g *granter) absolute(name string) {
	switch v := g.config[name].(type) {
	case string:
		g.config[name] = g.directory(v)
	case []any:
		v = slices.Clone(v) // it may be the default, which all components of the plugin have
		for i := range v {
			if s, ok := v[i].(string); ok {
				v[i] = g.directory(s)
			}
		}
		g.config[name] = v
	}
}

// directory makes a path absolute and keeps the slash at its end, which says that it names a directory. An empty one stays:
// it is reported.
func (l *loader) directory(path string) string {
	switch {
	case path == "":
		return ""
	case strings.HasSuffix(path, "/"):
		return strings.TrimSuffix(l.path(path), "/") + "/"
	}
	return l.path(path)
}

// texts flattens a string, or a list of strings; null is none.
func texts(v cty.Value) ([]string, bool) {
	ty := v.Type()
	switch {
	case v.IsNull():
		return nil, true
	case !v.IsWhollyKnown():
		return nil, false
	case ty == cty.String:
		return []string{v.AsString()}, true
	case !ty.IsTupleType() && !ty.IsListType() && !ty.IsSetType():
		return nil, false
	}
	var out []string
	for _, e := range each(v) {
		more, ok := texts(e)
		if !ok {
			return nil, false
		}
		out = append(out, more...)
	}
	return out, true
}

func (p *pluginBlock) covers(handle string, want Dir) bool {
	return slices.ContainsFunc(p.dirs[handle], func(have Dir) bool { return have.covers(want) })
}

// covers says whether the directory holds the other, with at least its right.
func (d Dir) covers(other Dir) bool {
	if other.Write && !d.Write {
		return false
	}
	within := d.Path == "/" || strings.HasPrefix(other.Path, d.Path+"/")
	return d.Path == other.Path || within
}

// widest drops directories that another one covers, and sorts the rest.
func widest(dirs []Dir) []Dir {
	byPath := make(map[string]Dir)
	for _, d := range dirs {
		byPath[d.Path] = Dir{d.Path, d.Write || byPath[d.Path].Write}
	}
	var out []Dir
	for _, path := range slices.Sorted(maps.Keys(byPath)) {
		d := byPath[path]
		if !slices.ContainsFunc(out, func(have Dir) bool { return have.covers(d) }) {
			out = append(out, d)
		}
	}
	return out
}
