// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/penstock-io/penstock/spec/abi"
)

const builtinScheme = "builtin:"

// subprocessRuntime is the runtime of plugins that are child processes.
const subprocessRuntime = "subprocess"

// pluginBlock is a plugin that a file declares.
type pluginBlock struct {
	*values
	ref       PluginRef
	used      bool
	dirs      map[string][]Dir // what is granted, by handle
	programs  map[string][]string
	addresses []granted
	names     map[string][]string // of environment variables and secrets, by the kind of need
	lacks     []lack              // what components ask for and are not granted
}

func (p *pluginBlock) builtin() bool { return strings.HasPrefix(p.ref.Source, builtinScheme) }

// declarePlugins reads all plugin blocks and their manifests, also of those that nothing uses: what is wrong with them is wrong.
func (l *loader) declarePlugins() {
	for _, v := range l.blocks["plugin"] {
		if l.plugins[v.name()] != nil {
			continue // reported as a name used twice
		}
		p := &pluginBlock{values: v, dirs: make(map[string][]Dir), programs: make(map[string][]string), names: make(map[string][]string)}
		l.plugins[v.name()] = p
		if v.broken {
			continue
		}
		p.ref = PluginRef{Name: v.name(), SHA256: strings.ToLower(v.text("sha256")), Subprocess: v.text("runtime") == subprocessRuntime}
		p.ref.Source = l.pluginSource(p)
		l.isolated(&p.ref)
		l.bound(p)
		l.declareGrants(p)
		p.broken = p.ref.Source == "" || !l.loadManifest(p.ref, v.where("source")) || !l.checkVersion(p)
	}
}

// pluginSource returns what PluginRef.Source says, or "" when it was reported to be wrong.
func (l *loader) pluginSource(p *pluginBlock) string {
	source, at := p.text("source"), p.where("source")
	name, builtin := strings.CutPrefix(source, builtinScheme)
	scheme, _, hasScheme := strings.Cut(source, ":")
	switch {
	case builtin && name != "":
		return source
	case hasScheme && !strings.Contains(scheme, "/"):
		l.add("E4004", at, `This version of penstock takes plugins from "builtin:NAME" and "./FILE.wasm"; this is %s.`, quote(source))
	case p.ref.Subprocess && strings.HasSuffix(source, ".wasm"):
		l.add("E4004", p.where("runtime"), "%s is WebAssembly, which runs in the sandbox: leave out runtime = %q.", source, subprocessRuntime)
	case !p.ref.Subprocess && l.program(p, source):
		l.add("E4004", at, "A plugin is a .wasm file, or \"builtin:NAME\"; this is %s. If it is a program, runtime = %q runs it as a child process, outside of the sandbox.",
			quote(source), subprocessRuntime)
	case !p.ref.Subprocess && !strings.HasSuffix(source, ".wasm"):
		l.add("E4004", at, `A plugin is a .wasm file, or "builtin:NAME"; this is %s.%s`, quote(source), l.builtinSource(source))
	case !filepath.IsAbs(source) && !strings.HasPrefix(source, "./") && !strings.HasPrefix(source, "../"):
		l.add("E4004", at, "A path begins with ./ or ../ or /, so that it is not taken for a name. Did you mean %q?", "./"+source)
	case filepath.IsAbs(source):
		return filepath.Clean(source)
	default:
		path, err := filepath.Abs(filepath.Join(filepath.Dir(p.at.Filename), source))
		if err == nil {
			return path
		}
		l.add("E4004", at, "Finding %s: %v.", source, err)
	}
	return ""
}

// program says whether there is a file at source, which may be a program.
func (l *loader) program(p *pluginBlock, source string) bool {
	if !strings.Contains(source, "/") || strings.HasSuffix(source, ".wasm") {
		return false
	}
	if !filepath.IsAbs(source) {
		source = filepath.Join(filepath.Dir(p.at.Filename), source)
	}
	info, err := os.Stat(source)
	return err == nil && info.Mode().IsRegular()
}

// builtinSource suggests "builtin:std" to who wrote "std".
func (l *loader) builtinSource(source string) string {
	if l.opts.Manifest == nil || source == "" || strings.ContainsAny(source, "/.") {
		return ""
	}
	if _, err := l.opts.Manifest(PluginRef{Name: source, Source: builtinScheme + source}); err != nil {
		return ""
	}
	return fmt.Sprintf(" Did you mean %q?", builtinScheme+source)
}

// manifest loads a manifest once. The files it comes from may change while we look; one answer holds.
func (l *loader) manifest(ref PluginRef) (abi.Manifest, error) {
	if known, ok := l.manifests[ref]; ok {
		return known.manifest, known.err
	}
	r := manifestResult{err: errors.New("plugins cannot be loaded here")}
	if l.opts.Manifest != nil {
		r.manifest, r.err = l.opts.Manifest(ref)
	}
	l.manifests[ref] = r
	return r.manifest, r.err
}

// loadManifest reports a manifest that cannot be had.
func (l *loader) loadManifest(ref PluginRef, at hcl.Range) bool {
	_, err := l.manifest(ref)
	if err == nil {
		return true
	}
	hint := ""
	if errors.Is(err, fs.ErrNotExist) && !ref.Subprocess {
		hint = wasmBeside(ref.Source)
	}
	l.add("E4002", at, "The plugin %q cannot be loaded: %s%s", ref.Name, stop(err.Error()), hint)
	return false
}

// wasmBeside suggests a plugin in the same directory.
func wasmBeside(path string) string {
	found, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*.wasm"))
	if err != nil || len(found) == 0 {
		return ""
	}
	var names []string
	for _, f := range found {
		names = append(names, filepath.Base(f))
	}
	return thereIs(filepath.Base(path), names)
}

func (l *loader) checkVersion(p *pluginBlock) bool {
	want := p.text("version")
	if want == "" {
		return true
	}
	m, _ := l.manifest(p.ref)
	ok, err := satisfies(m.Version, want)
	switch {
	case err != nil:
		l.add("E1304", p.where("version"), "The argument %q %v.", "version", err)
		return false
	case !ok:
		l.add("E4007", p.where("version"), "The plugin %q is version %s; the pipeline asks for %s.", p.name(), m.Version, want)
	}
	return ok
}

// resolve finds the plugin that a source or sink names by its first label; ok is false when that was reported.
func (l *loader) resolve(kind abi.Kind, v *values) (plugin abi.Plugin, from *pluginBlock, ok bool) {
	label, at := v.labels[0], v.label[0]
	if p := l.plugins[label]; p != nil {
		p.used = true
		if p.broken {
			return plugin, p, false // reported there
		}
		m, _ := l.manifest(p.ref)
		plugin, ok = l.pick(m, kind, label, at)
		return plugin, p, ok
	}
	if l.relays(kind, v) {
		p := &pluginBlock{values: &values{at: at}, ref: PluginRef{Name: RelayModule, Source: builtinScheme + RelayModule}}
		l.bound(p)
		return RelayManifest().Plugins[0], p, true
	}
	if l.opts.Builtin != nil {
		if module, found := l.opts.Builtin(kind, label); found {
			p := &pluginBlock{values: &values{at: at}, ref: PluginRef{Name: module, Source: builtinScheme + module}}
			l.isolated(&p.ref)
			l.bound(p)
			if !l.loadManifest(p.ref, at) {
				return plugin, p, false
			}
			m, _ := l.manifest(p.ref)
			plugin, ok = l.pick(m, kind, label, at)
			return plugin, p, ok
		}
	}
	l.unknownPlugin(kind, label, at)
	return plugin, nil, false
}

// native says whether a source is a builtin module that runs as a child process alone.
func (l *loader) native(source string) bool {
	name, builtin := strings.CutPrefix(source, builtinScheme)
	return builtin && l.opts.Native != nil && l.opts.Native(name)
}

// isolated notes whether a plugin runs as a child process, and what keeps it to its grants then.
func (l *loader) isolated(ref *PluginRef) {
	ref.Subprocess = ref.Subprocess || l.native(ref.Source)
	if ref.Subprocess && l.opts.Isolation != nil {
		kept, trusted := l.opts.Isolation()
		ref.Kept, ref.TrustedWith = kept, strings.Join(trusted, "; ")
	}
}

// pick finds the plugin of that kind in a module: by its name, or because there is no other.
func (l *loader) pick(m abi.Manifest, kind abi.Kind, label string, at hcl.Range) (abi.Plugin, bool) {
	if p, ok := m.Find(kind, label); ok {
		return p, true
	}
	var fit []abi.Plugin
	var names, all []string
	for _, p := range m.Plugins {
		all = append(all, string(p.Kind)+" "+p.Name)
		if p.Kind == kind {
			fit, names = append(fit, p), append(names, p.Name)
		}
	}
	switch len(fit) {
	case 1:
		return fit[0], true
	case 0:
		l.add("E4003", at, "The module %s has no %s; it has %s.", m.Name, kind, list(all, "and"))
	default:
		l.add("E4006", at, "The module %s has several: %s. Call the plugin block after the one that is meant.%s",
			m.Name, list(names, "and"), didYouMean(label, names))
	}
	return abi.Plugin{}, false
}

func (l *loader) unknownPlugin(kind abi.Kind, label string, at hcl.Range) {
	names := slices.Collect(maps.Keys(l.plugins))
	if l.opts.Builtins != nil {
		names = append(names, l.opts.Builtins(kind)...)
	}
	if other, ok := l.otherKind(kind, label); ok {
		l.add("E4003", at, "%s is a %s, not a %s.%s", label, other, kind, didYouMean(label, names))
		return
	}
	l.add("E4001", at, "There is no %s plugin %q.%s To use one of your own, declare it: plugin %q { source = \"./%s.wasm\" }.",
		kind, label, thereIs(label, names), label, label)
}

// otherKind finds a builtin of that name which does something else.
func (l *loader) otherKind(kind abi.Kind, label string) (abi.Kind, bool) {
	if l.opts.Builtin == nil {
		return "", false
	}
	for _, other := range []abi.Kind{abi.Source, abi.Sink, abi.Processor} {
		if _, ok := l.opts.Builtin(other, label); ok && other != kind {
			return other, true
		}
	}
	return "", false
}

// closePlugins holds what was declared against what was used.
func (l *loader) closePlugins() {
	for _, name := range slices.Sorted(maps.Keys(l.plugins)) {
		p := l.plugins[name]
		switch {
		case p.broken:
		case !p.used:
			l.add("W4001", p.at, "Nothing names the plugin %q.", name)
		default:
			l.unusedGrants(p)
			l.missingGrants(p)
		}
	}
}

// exists says whether there is something at path; it is for suggestions only.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
