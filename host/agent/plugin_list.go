// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"slices"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/config"
)

// Plugins lists the modules that are loaded, with what uses each.
func (a *Agent) Plugins() []admin.Plugin {
	r := a.current()
	if r == nil {
		return []admin.Plugin{} // the agent has ended
	}
	c := r.Config
	byLoaded := map[*loaded]*admin.Plugin{}
	for _, comp := range c.Components() {
		loaded := r.plugins[comp.Address()]
		p := byLoaded[loaded]
		if p == nil {
			m := loaded.Manifest()
			p = &admin.Plugin{
				Name: m.Name, Version: m.Version, Digest: loaded.Digest(), Runtime: RuntimeOf(comp.Ref), Source: comp.Ref.Source, Trusted: comp.Ref.Trusted,
			}
			byLoaded[loaded] = p
		}
		p.Uses = append(p.Uses, admin.PluginUse{
			Component: comp.Address(), Plugin: comp.Plugin.Name, Instances: instancesOf(c, comp.Address()),
			PluginFigures: a.metrics.Plugin().Figures(comp.Address()), May: comp.Permissions(),
		})
	}
	list := []admin.Plugin{}
	for _, p := range byLoaded {
		list = append(list, *p)
	}
	slices.SortFunc(list, func(a, b admin.Plugin) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Uses[0].Component, b.Uses[0].Component))
	})
	return list
}

// instancesOf is how many instances of its plugin a component has at most.
func instancesOf(c *config.Config, address string) int {
	n := 0
	for _, s := range c.Sources {
		for _, p := range s.Through {
			if "processor."+p == address {
				n++
			}
		}
		if s.Address() == address {
			return 1
		}
	}
	for _, s := range c.Sinks {
		loops := max(1, s.Connections, s.Lanes)
		if s.Address() == address {
			return loops
		}
		for _, p := range s.Through {
			if "processor."+p == address {
				n += loops
			}
		}
	}
	return n
}
