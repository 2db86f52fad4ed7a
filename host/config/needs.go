// SPDX-License-Identifier: Apache-2.0

package config

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/penstock-io/penstock/host/address"
	"github.com/penstock-io/penstock/spec/abi"
)

// Handle is an address that a component may use: the one that its configuration names.
type Handle struct {
	Kind    string // abi.NeedDial, NeedListen, NeedServe or NeedHTTP
	Name    string // by which the plugin asks for it
	Address address.Address
	Grants  []address.Address // that cover it, some of them with a pattern; none, where the address is its own grant
}

// granted is a grant for an address.
type granted struct {
	kind, handle string
	address      address.Address
}

// declareHandles reads the grants for addresses, environment variables and secrets.
func (l *loader) declareHandles(p *pluginBlock) {
	grant := p.child("grant")
	for _, kind := range handleKinds {
		for _, b := range grant.inner[kind] {
			argument := argumentOf(kind)
			text := b.text(argument)
			if b.broken {
				continue
			}
			a, err := address.ParseGrant(kind, text)
			if err != nil {
				l.badAddress(b.where(argument), text, err)
				continue
			}
			p.addresses = append(p.addresses, granted{kind, b.name(), a})
		}
	}
	for _, names := range nameLists {
		p.names[names.need] = grant.list(names.argument)
	}
}

// handleKinds are the needs that come to one address each.
var handleKinds = []string{abi.NeedDial, abi.NeedListen, abi.NeedServe, abi.NeedHTTP}

// list returns a list of strings.
func (v *values) list(argument string) (names []string) {
	items, _ := v.args[argument].value.([]any)
	for _, item := range items {
		if name, ok := item.(string); ok {
			names = append(names, name)
		}
	}
	return names
}

// badAddress shows what was written, unless there may be a password in it.
func (l *loader) badAddress(at hcl.Range, text string, err error) {
	shown := quote(text)
	if strings.Contains(text, "@") {
		shown = "This"
	}
	l.add("E3004", at, "%s %s.", shown, err)
}

// handle grants the address that a need comes to. One that comes to nothing is not needed.
func (g *granter) handle(need abi.Need) {
	text, at, ok := g.single(need)
	if !ok || text == nil {
		return
	}
	a, err := address.Parse(need.Kind, *text)
	if err != nil {
		g.badAddress(at, *text, err)
		return
	}
	grants := g.covering(need, a)
	if !g.from.builtin() && len(grants) == 0 {
		g.lackOf(lack{need: need, address: a.String()})
		return
	}
	c := g.component
	if need.Kind == abi.NeedListen || need.Kind == abi.NeedServe {
		g.listenOnce(a, at)
	}
	c.Handles = append(c.Handles, Handle{Kind: need.Kind, Name: need.Handle, Address: a, Grants: grants})
	g.checkTLS(need.Kind, a, at)
}

// covering are the grants for the handle that cover the address.
func (g *granter) covering(need abi.Need, a address.Address) (grants []address.Address) {
	for _, have := range g.from.addresses {
		if have.kind == need.Kind && have.handle == need.Handle && have.address.Covers(a) {
			grants = append(grants, have.address)
		}
	}
	return grants
}

// listenOnce reports an address at which somebody else listens already. Port 0 is another one each time.
func (g *granter) listenOnce(a address.Address, at hcl.Range) {
	a = a.Bare()
	first, taken := g.listeners[a]
	switch {
	case a.Port == 0 && !a.Local():
	case taken:
		g.add("E3007", at, "%s listens there already, and an address is for one alone.", first)
	default:
		g.listeners[a] = g.component.Address()
	}
}

// single is the one text that a need comes to, nil for none; ok is false when it was reported to be something else.
func (g *granter) single(need abi.Need) (text *string, at hcl.Range, ok bool) {
	list, at, ok := g.texts(need)
	switch {
	case !ok || len(list) == 0:
		return nil, at, ok
	case len(list) > 1:
		g.add("E4005", g.component.DeclRange, "The manifest of plugin %s: need %q: %s comes to %d addresses, and a handle has one.",
			g.component.Plugin.Name, need.Handle, need.Value, len(list))
		return nil, at, false
	}
	return &list[0], at, true
}

// environment grants variables of the agent's environment.
func (g *granter) environment(need abi.Need) {
	names, at, ok := g.texts(need)
	if !ok {
		return
	}
	var missing []string
	for _, name := range names {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			g.add("E3005", at, "%s is not the name of an environment variable.", quote(name))
			continue
		}
		if !g.from.builtin() && !slices.Contains(g.from.names[abi.NeedEnv], name) {
			missing = append(missing, name)
			continue
		}
		g.component.Env = append(g.component.Env, name)
	}
	if len(missing) > 0 {
		g.lackOf(lack{need: need, names: missing})
	}
}
