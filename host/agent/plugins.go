// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plugin"
)

// loaded is a plugin that is ready to be opened, shared by all components and revisions that have the same. It is told from others by its
// identity: the same file may have been loaded before and after somebody replaced it.
type loaded struct {
	plugin.Plugin
	ref  config.PluginRef // without its name: see keyOf
	gone func()           // tells of its end
}

// Close implements [plugin.Plugin]. All instances have been closed.
func (l *loaded) Close() error {
	l.gone()
	return l.Plugin.Close()
}

// keyOf is what a module is found by that was loaded: the same file under other bounds is another one.
func keyOf(ref config.PluginRef) config.PluginRef {
	ref.Name = ""
	return ref
}

// loadPlugins compiles each module once, all at the same time. What the revision before has of them already is taken over.
func (r *revision) loadPlugins(ctx context.Context, before *revision) error {
	wanted := map[config.PluginRef]*loaded{}
	refs := map[config.PluginRef]config.PluginRef{}
	for _, c := range r.Config.Components() {
		if r.standIn(c) != nil {
			continue
		}
		refs[keyOf(c.Ref)] = c.Ref
		if _, err := r.agent.runtime(RuntimeOf(c.Ref), r.Modules); err != nil {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for key, ref := range refs {
		g.Go(func() error {
			l, err := r.load(ctx, ref, before)
			if err != nil {
				return err
			}
			r.keep(l)
			r.agent.mu.Lock()
			defer r.agent.mu.Unlock()
			wanted[key] = l
			return nil
		})
	}
	err := g.Wait()
	for _, c := range r.Config.Components() {
		r.plugins[c.Address()] = wanted[keyOf(c.Ref)]
		if l := r.standIn(c); l != nil {
			r.plugins[c.Address()] = l
		}
	}
	return err
}

// load loads one plugin, unless the revision before has it. A program that runs as a child process is the same as long as its reference is: who
// replaces its file says so.
func (r *revision) load(ctx context.Context, ref config.PluginRef, before *revision) (*loaded, error) {
	runtime, err := r.agent.runtime(RuntimeOf(ref), r.Modules)
	if err != nil {
		return nil, err
	}
	if r.Modules.kept || ref.Subprocess && !r.Modules.anew[ref.Name] {
		if l := before.loaded(ref, ""); l != nil {
			return l, nil
		}
	}
	found, err := r.Modules.target(ref)
	if err != nil {
		return nil, fmt.Errorf("plugin %s: %w", ref.Name, err)
	}
	if found.Digest != "" {
		if l := before.loaded(ref, found.Digest); l != nil {
			return l, nil
		}
	}
	found.Background = before.Config != nil
	p, err := runtime.Load(ctx, found)
	if err != nil {
		return nil, fmt.Errorf("load plugin %s from %s: %w", ref.Name, ref.Source, err)
	}
	m := p.Manifest()
	metrics := r.agent.metrics.Plugin()
	metrics.Loaded(m.Name, m.Version, p.Digest(), RuntimeOf(ref))
	return &loaded{p, keyOf(ref), func() { metrics.Unloaded(m.Name, m.Version, p.Digest(), RuntimeOf(ref)) }}, nil
}

// loaded finds a plugin that was loaded, with a digest, or any with "".
func (r *revision) loaded(ref config.PluginRef, digest string) *loaded {
	for _, l := range r.plugins {
		if l != nil && l.ref == keyOf(ref) && (digest == "" || digest == l.Digest()) {
			return l
		}
	}
	return nil
}

// plugin is the module of a component.
func (r *revision) plugin(c config.Component) plugin.Plugin { return r.plugins[c.Address()] }

// ModuleFiles are the files of the WebAssembly modules that run now.
func (a *Agent) ModuleFiles() (files []string) {
	r := a.current()
	if r == nil {
		return nil
	}
	for _, l := range r.plugins {
		if !l.ref.Subprocess && !strings.HasPrefix(l.ref.Source, builtinScheme) && !slices.Contains(files, l.ref.Source) {
			files = append(files, l.ref.Source)
		}
	}
	return files
}

// runtime starts a runtime when it is first wanted. It lives as long as the agent.
func (a *Agent) runtime(name string, m *Modules) (plugin.Runtime, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if started := a.runtimes[name]; started != nil {
		return started, nil
	}
	started, err := runtimes[name](a.dir, a.opts, m)
	if err != nil {
		return nil, fmt.Errorf("start the runtime of plugins (%s): %w", name, err)
	}
	a.runtimes[name] = started
	return started, nil
}
