// SPDX-License-Identifier: Apache-2.0

package config

import (
	"slices"
	"strings"

	"github.com/penstock-io/penstock/spec/abi"
)

// declarePrograms reads the grants for programs.
func (l *loader) declarePrograms(p *pluginBlock) {
	for _, b := range p.child("grant").inner[abi.NeedExec] {
		path := b.text("path")
		if b.broken || l.emptyPath(path, b.where("path")) {
			continue
		}
		p.programs[b.name()] = append(p.programs[b.name()], l.programPath(path))
	}
}

// programPath makes the path of a program absolute. A name without a slash is one that PATH finds.
func (l *loader) programPath(path string) string {
	if !strings.Contains(path, "/") {
		return path
	}
	return l.directory(path)
}

// programs grants the programs that a need comes to. In the config their paths become absolute: a plugin has another working directory.
func (g *granter) programs(need abi.Need) {
	c := g.component
	paths, at, ok := g.texts(need)
	if !ok || !g.childOnly(need, len(paths) > 0) {
		return
	}
	for _, path := range paths {
		if g.emptyPath(path, at) {
			continue
		}
		absolute := g.programPath(path)
		if expr, err := parseExpression(need.Value, "need"); err == nil && absolute != path {
			for _, name := range configNames(expr) {
				g.config[name] = withPath(g.config[name], path, absolute)
			}
		}
		if !g.from.builtin() && !g.from.runs(need.Handle, absolute) {
			g.lackOf(lack{need: need, address: absolute})
			continue
		}
		c.Programs = append(c.Programs, absolute)
	}
}

// withPath is the value of an argument in which the first text that is old has become another.
func withPath(value any, old, text string) any {
	switch v := value.(type) {
	case string:
		if v == old {
			return text
		}
	case []any:
		if i := slices.Index(v, any(old)); i >= 0 {
			v = slices.Clone(v) // it may be the default, which all components of the plugin have
			v[i] = text
			return v
		}
	}
	return value
}

// runs says whether a program is granted.
func (p *pluginBlock) runs(handle, path string) bool {
	return slices.ContainsFunc(p.programs[handle], func(have string) bool {
		return have == path || strings.HasSuffix(have, "/") && strings.HasPrefix(path, have)
	})
}

// network grants whatever the machine reaches.
func (g *granter) network(need abi.Need) {
	list, _, ok := g.texts(need)
	if !ok || len(list) == 0 || !g.childOnly(need, true) {
		return
	}
	if !g.from.builtin() && !g.from.child("grant").yes("network") {
		g.lackOf(lack{need: need})
		return
	}
	g.component.Needs = append(g.component.Needs, need.Kind)
}

// childOnly reports what a plugin in the sandbox asks for and cannot be given.
func (g *granter) childOnly(need abi.Need, asked bool) bool {
	c := g.component
	if asked && !c.Ref.Subprocess {
		g.add("E4008", c.DeclRange, "The plugin %s needs a handle of kind %q (%s), which only a plugin that runs as a child process can be given.",
			c.Plugin.Name, need.Kind, need.Handle)
	}
	return !asked || c.Ref.Subprocess
}
