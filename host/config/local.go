// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// local is a value with a name. Where it speaks of secrets, it is known when they are read.
type local struct {
	name    string
	expr    hcl.Expression
	at      hcl.Range // of the name
	value   cty.Value // unknown where secrets are in it
	secrets []string  // that it speaks of, itself or through others
	broken  bool      // it has no value, which was reported
	order   int       // in which it was evaluated; 0 = not yet
}

// maxLocals bounds the locals of a configuration: each may speak of all others.
const maxLocals = 10_000

// declareLocals reads all locals blocks. They may speak of variables, and of each other in any order.
func (l *loader) declareLocals() {
	names := l.scope.locals
	for _, v := range l.blocks["locals"] {
		attrs, diags := v.body.JustAttributes()
		for _, d := range diags {
			l.add("E1201", *d.Subject, "In a locals block stand arguments alone: NAME = VALUE.")
			l.adrift = true
		}
		for _, attr := range inOrder(attrs) {
			first := names[attr.Name]
			switch {
			case first != nil:
				l.add("E1208", attr.NameRange, "local.%s is already at %s.", attr.Name, place(first.at))
				first.broken = true
			case len(names) >= maxLocals:
				l.add("E1003", attr.NameRange, "There are more than %d locals.", maxLocals)
				return
			default:
				names[attr.Name] = &local{name: attr.Name, expr: attr.Expr, at: attr.NameRange, value: cty.DynamicVal}
			}
		}
	}
	e := evaluator{loader: l, open: make(map[string]bool)}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		e.settle(names[name])
	}
	l.scope.known = nil
}

// inOrder lists attributes as they stand in the file.
func inOrder(attrs hcl.Attributes) []*hcl.Attribute {
	return slices.SortedFunc(maps.Values(attrs), func(a, b *hcl.Attribute) int {
		return cmp.Compare(a.NameRange.Start.Byte, b.NameRange.Start.Byte)
	})
}

// evaluator evaluates locals, each after those that it speaks of.
type evaluator struct {
	*loader
	open map[string]bool // those that are being evaluated
	path []string
	done int
}

func (e *evaluator) settle(v *local) {
	if v.order != 0 {
		return
	}
	if e.open[v.name] {
		i := slices.Index(e.path, v.name)
		e.add("E1404", v.at, "local.%s has no value, since it is made of itself: local.%s.", v.name, strings.Join(append(e.path[i:], v.name), " → local."))
		for _, name := range e.path[i:] {
			e.scope.locals[name].broken = true
		}
		return
	}
	e.open[v.name] = true
	e.path = append(e.path, v.name)
	for _, t := range v.expr.Variables() {
		name, _, ok := second(t)
		if other := e.scope.locals[name]; ok && t.RootName() == localRoot && other != nil {
			e.settle(other)
		}
	}
	e.path = e.path[:len(e.path)-1]
	e.done++
	v.order = e.done
	e.evaluateLocal(v)
}

func (e *evaluator) evaluateLocal(v *local) {
	if v.broken {
		return
	}
	e.scope.known = nil // the ones before this are known by now
	found, ok := e.secretsIn(v.expr)
	if !ok || !e.namesKnown(v.expr) {
		v.broken = true
		return
	}
	ctx := e.scope.context()
	if len(found) > 0 {
		unknown := make(map[string]cty.Value)
		for _, s := range found {
			v.secrets = append(v.secrets, s.name)
			unknown[s.name] = cty.UnknownVal(cty.String)
		}
		slices.Sort(v.secrets)
		v.secrets = slices.Compact(v.secrets)
		v.broken = !e.secretNames(found)
		ctx = e.scope.with(unknown)
	}
	value, diags := v.expr.Value(ctx)
	switch {
	case v.broken:
	case diags.HasErrors():
		e.unevaluated(v.expr, diags)
		v.broken = true
	case sizeOf(value) > maxText:
		e.add("E1003", v.expr.Range(), "The value is larger than %s.", formatSize(maxText))
		v.broken = true
	default:
		v.value = value
	}
}

// hiddenLocals are those that speak of secrets, each after those that it speaks of.
func hiddenLocals(all map[string]*local) (hidden []*local) {
	for _, l := range all {
		if len(l.secrets) > 0 && !l.broken {
			hidden = append(hidden, l)
		}
	}
	slices.SortFunc(hidden, func(a, b *local) int { return cmp.Compare(a.order, b.order) })
	return hidden
}

// secretNames reports secrets that there are not.
func (l *loader) secretNames(found []secretUse) bool {
	names, ok := slices.Sorted(maps.Keys(l.secrets)), true
	for _, s := range found {
		if !slices.Contains(names, s.name) {
			l.add("E1501", s.word, "There is no secret %q.%s", s.name, thereIs(s.name, names))
			ok = false
		}
	}
	return ok
}
