// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/penstock-io/penstock/spec/abi"
)

// hidden is an argument of a plugin that is not known before the agent starts: its expression speaks of secrets.
type hidden struct {
	argument argument
	expr     hcl.Expression
	names    []string // of secrets, sorted
	scope    *scope
}

// secretHandle is a need for a secret: the argument is not in the config that the plugin gets, but handed out when it asks.
type secretHandle struct{ handle, argument string }

// Revealed is what a component is opened with in place of its Config. It is shown to nobody.
type Revealed struct {
	Config  json.RawMessage
	Secrets map[string]string // by handle
}

// String is what a log shows of it.
func (Revealed) String() string { return "(secret)" }

// hide checks an argument whose value speaks of secrets, as far as that can be done without them. There are none where a reference was wrong.
func (f *faults) hide(a argument, s setting, found []secretUse) setting {
	switch {
	case len(found) == 0:
		s.unknown = true
		return s
	case !a.Sensitive:
		f.add("E5005", found[0].at, "The argument %q is one that is shown, in logs and to whoever asks for the configuration: it takes no secret.", a.Name)
		return s
	case a.typ.form != formString:
		f.add("E5005", found[0].at, "A secret is text, and the argument %q is %s.", a.Name, a.typ.noun())
		return s
	}
	if s.unknown = !f.namesKnown(s.expr); s.unknown {
		return s
	}
	unknown := make(map[string]cty.Value)
	for _, secret := range found {
		unknown[secret.name] = cty.UnknownVal(cty.String)
	}
	s.secrets = found
	if _, diags := s.expr.Value(f.scope.with(unknown)); diags.HasErrors() {
		f.unevaluated(s.expr, diags)
	}
	return s
}

// sensitive notes which arguments are secrets, and whether the plugin may have them.
func (g *granter) sensitive(args []argument) {
	for _, a := range args {
		s := g.settings[a.Name]
		h := hidden{argument: a, expr: s.expr, scope: g.scope}
		if !g.secretNames(s.secrets) {
			continue
		}
		for _, secret := range s.secrets {
			h.names = append(h.names, secret.name)
		}
		if len(h.names) == 0 {
			continue
		}
		slices.Sort(h.names)
		h.names = slices.Compact(h.names)
		g.component.hidden = append(g.component.hidden, h)
		g.component.Secrets = append(g.component.Secrets, h.names...)
		if missing := g.from.missing(abi.NeedSecret, h.names); len(missing) > 0 {
			g.lackOf(lack{need: abi.Need{Kind: abi.NeedSecret, Value: "config." + a.Name}, names: missing})
		}
	}
	slices.Sort(g.component.Secrets)
	g.component.Secrets = slices.Compact(g.component.Secrets)
}

// missing are those of the names that the plugin block does not grant.
func (p *pluginBlock) missing(need string, names []string) (missing []string) {
	if p.builtin() {
		return nil
	}
	for _, n := range names {
		if !slices.Contains(p.names[need], n) {
			missing = append(missing, n)
		}
	}
	return missing
}

// secret takes an argument out of the config, for a plugin that will ask for it by its handle.
func (g *granter) secret(need abi.Need) {
	c := g.component
	name, ok := sensitiveArgument(need, c.Plugin)
	if !ok {
		g.add("E4005", c.DeclRange, "The manifest of plugin %s: need %q: %s is no argument that is sensitive and a string.", c.Plugin.Name, need.Handle, need.Value)
		return
	}
	c.secretHandles = append(c.secretHandles, secretHandle{need.Handle, name})
}

// sensitiveArgument is the argument that a need for a secret speaks of.
func sensitiveArgument(need abi.Need, p abi.Plugin) (name string, ok bool) {
	expr, err := parseExpression(need.Value, "need")
	if err != nil {
		return "", false
	}
	t, diags := hcl.AbsTraversalForExpr(expr)
	if diags.HasErrors() || len(t) != 2 || t.RootName() != "config" {
		return "", false
	}
	attr, isAttr := t[1].(hcl.TraverseAttr)
	ok = isAttr && slices.ContainsFunc(p.Arguments, func(a abi.Argument) bool {
		return a.Name == attr.Name && a.Sensitive && a.Type == "string"
	})
	return attr.Name, ok
}

// settle makes what the plugin gets of the checked config: without secrets.
func (c *Component) settle(config map[string]any) {
	c.open = maps.Clone(config)
	for _, s := range c.secretHandles {
		delete(config, s.argument)
	}
	c.Config = encode(config)
}

func encode(config map[string]any) json.RawMessage {
	doc, err := json.Marshal(config)
	if err != nil {
		panic("BUG: a checked config does not encode: " + err.Error())
	}
	return doc
}

// AgentAddress is where [Reveal] has what the agent itself is given: its token, under the handle "token".
const AgentAddress = "agent"

// minToken is the length below which a token can be guessed.
const minToken = 16

func (f *faults) revealToken(c *Config, token string) Revealed {
	if len(token) < minToken {
		i := slices.IndexFunc(c.Secrets, func(s Secret) bool { return s.Name == c.Agent.Token })
		f.add("E5003", c.Secrets[i].At, "secret.%s: a token has %d characters at least; this one can be guessed.", c.Agent.Token, minToken)
	}
	return Revealed{Secrets: map[string]string{"token": token}}
}

func (f *faults) reveal(c Component, secrets map[string]cty.Value) Revealed {
	config := maps.Clone(c.open)
	for _, h := range c.hidden {
		v, diags := h.expr.Value(h.scope.with(secrets))
		if diags.HasErrors() { // whose text may hold what nobody is to see
			f.add("E1401", h.expr.Range(), "The argument %q has no value with what the secrets are.", h.argument.Name)
			continue
		}
		check := checker{rules: h.argument}
		config[h.argument.Name] = check.value(v, h.argument.typ, nil)
		for _, m := range check.wrong {
			f.add(m.code, h.expr.Range(), "The argument %q %s", h.argument.Name, stop(m.text))
		}
	}
	r := Revealed{Secrets: make(map[string]string)}
	for _, s := range c.secretHandles {
		if text, ok := config[s.argument].(string); ok {
			r.Secrets[s.handle] = text
		}
		delete(config, s.argument)
	}
	r.Config = encode(config)
	return r
}

// Components lists all that run a plugin.
func (c *Config) Components() (all []Component) {
	for _, s := range c.Sources {
		all = append(all, s.Component)
	}
	for _, p := range c.Processors {
		all = append(all, p.Component)
	}
	for _, s := range c.Sinks {
		all = append(all, s.Component)
	}
	return all
}
