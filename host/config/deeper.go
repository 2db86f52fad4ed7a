// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// asked is what a plugin is asked about, and where it was written.
type asked struct {
	Ask
	at       hcl.Range          // the config
	settings map[string]setting // its arguments
}

// ask notes that the plugin of a component is to look at its config, in which nothing else is wrong.
func (l *loader) ask(c *Component, v *values, settings map[string]setting) {
	if l.opts.Check == nil || len(c.Secrets)+len(c.hidden)+len(c.secretHandles) > 0 {
		return
	}
	at := v.at
	if b := v.child("config"); b.body != nil {
		at = b.at
	}
	l.asked = append(l.asked, asked{Ask{c.Ref, c.Kind, c.Plugin.Name, c.Config, c.Limits}, at, settings})
}

// deeper has all plugins look at their configs, at once: those of one module share what it takes.
func (l *loader) deeper(dataDir string) {
	if len(l.asked) == 0 {
		return
	}
	asks := make([]Ask, len(l.asked))
	for i, a := range l.asked {
		asks[i] = a.Ask
	}
	for i, answer := range l.opts.Check(dataDir, asks) {
		if answer.Err == nil {
			continue
		}
		about := ""
		if answer.Path != "" {
			about = fmt.Sprintf("The argument %q ", answer.Path)
		}
		l.add("E4010", l.asked[i].where(answer.Path), "%s", stop(cmp.Or(about, "Its config: ")+answer.Err.Error()))
	}
}

// where finds what a path speaks of, or the nearest around it that was written.
func (a asked) where(path string) hcl.Range {
	name, within, _ := strings.Cut(path, ".")
	s := a.settings[name]
	if s.expr == nil {
		return a.at
	}
	expr := s.expr
	for within != "" {
		name, within, _ = strings.Cut(within, ".")
		inner := element(expr, name)
		if inner == nil {
			break
		}
		expr = inner
	}
	return expr.Range()
}

// element is what an expression has under a key, or at an index; nil: it is not written there.
func element(of hcl.Expression, name string) hcl.Expression {
	switch e := of.(type) {
	case *hclsyntax.ObjectConsExpr:
		for _, item := range e.Items {
			if key, diags := item.KeyExpr.Value(nil); !diags.HasErrors() && key.IsKnown() && !key.IsNull() && key.Type().FriendlyName() == "string" && key.AsString() == name {
				return item.ValueExpr
			}
		}
	case *hclsyntax.TupleConsExpr:
		if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(e.Exprs) {
			return e.Exprs[i]
		}
	}
	return nil
}
