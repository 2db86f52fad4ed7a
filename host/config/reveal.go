// SPDX-License-Identifier: Apache-2.0

package config

import (
	"context"
	"errors"
	"maps"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// Secrets are what the secrets are that plugins and the agent are given, by name. They are shown to nobody.
type Secrets struct{ text map[string]string }

// String hides them.
func (Secrets) String() string { return "(secret)" }

// GoString hides them.
func (Secrets) GoString() string { return "(secret)" }

// Empty says whether there are none, or they were not read.
func (s Secrets) Empty() bool { return len(s.text) == 0 }

// ReadSecrets reads those that plugins and the agent are given: the one moment at which anybody looks at them, but for [Secrets.Again].
func ReadSecrets(c *Config) (Secrets, hcl.Diagnostics) {
	var f faults
	used := make(map[string]bool)
	for _, comp := range c.Components() {
		for _, name := range comp.Secrets {
			used[name] = true
		}
	}
	if c.Agent.Token != "" {
		used[c.Agent.Token] = true
	}
	all := Secrets{text: make(map[string]string)}
	for _, s := range c.Secrets {
		if !used[s.Name] {
			continue
		}
		text, err := readSecret(context.Background(), s.From)
		if err != nil {
			bad, _ := errors.AsType[*SecretError](err) // it always is
			f.add(bad.code, s.At, "secret.%s: %s", s.Name, stop(bad.text))
			continue
		}
		all.text[s.Name] = text
	}
	return all, f.sorted()
}

// Again reads one of them again. changed says that it is another in the result; s stays as it was. Its error is a *[SecretError].
func (s Secrets) Again(ctx context.Context, of Secret) (_ Secrets, changed bool, err error) {
	was, used := s.text[of.Name]
	if !used {
		return s, false, nil
	}
	text, err := readSecret(ctx, of.From)
	if err != nil || text == was {
		return s, false, err
	}
	all := maps.Clone(s.text)
	all[of.Name] = text
	return Secrets{all}, true, nil
}

// Reveal is [ReadSecrets] and [RevealWith] in one.
func Reveal(c *Config) (map[string]Revealed, hcl.Diagnostics) {
	secrets, diags := ReadSecrets(c)
	if diags.HasErrors() {
		return nil, diags
	}
	return RevealWith(c, secrets)
}

// RevealWith has each component, by its address, that is opened with something else than its Config. Values are in no diagnostic.
func RevealWith(c *Config, secrets Secrets) (map[string]Revealed, hcl.Diagnostics) {
	var f faults
	values := make(map[string]cty.Value, len(secrets.text))
	for name, text := range secrets.text {
		values[name] = cty.StringVal(text)
	}
	out := make(map[string]Revealed)
	for _, comp := range c.Components() {
		if len(comp.hidden)+len(comp.secretHandles) > 0 {
			out[comp.Address()] = f.reveal(comp, values)
		}
	}
	if c.Agent.Token != "" {
		out[AgentAddress] = f.revealToken(c, secrets.text[c.Agent.Token])
	}
	return out, f.sorted()
}
