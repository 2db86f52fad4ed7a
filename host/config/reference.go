// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// What a reference may name.
const (
	channelReference = "channel"
	secretReference  = "secret"
)

// channelOf reads a reference to a channel, and notes in ends that it leads there; ok is false when it
// was reported to lead nowhere.
func (l *loader) channelOf(v *values, arg string, ends map[string]bool) (channel string, ok bool) {
	if expr := v.args[arg].expr; expr != nil {
		channel, ok = l.channelAt(v, expr)
	}
	if !ok {
		l.adrift = true
		return "", false
	}
	ends[channel] = true
	return channel, true
}

// channelAt is the channel that an argument of a block names.
func (l *loader) channelAt(v *values, expr hcl.Expression) (channel string, ok bool) {
	channel, ok = l.reference(expr, channelReference, slices.Collect(maps.Keys(l.channels)))
	if ok && l.channels[channel].off() && !v.off() {
		l.add("E1504", expr.Range(), "channel.%s is switched off, at %s, and what names it is not. Switch both off, or neither.", channel, place(l.channels[channel].at))
		return channel, false
	}
	return channel, ok
}

// reference reads KIND.NAME or KIND.NAME[KEY] as it stands. The key alone is evaluated.
func (l *loader) reference(expr hcl.Expression, kind string, names []string) (name string, ok bool) {
	t, key, isName := l.split(expr)
	switch {
	case !isName:
		l.add("E1502", expr.Range(), "A %s is written bare: %s.NAME.%s", kind, kind, l.quotedReference(expr, kind, names))
		return "", false
	case t.RootName() != kind || len(t) != 2:
		l.add("E1502", expr.Range(), "A %s is written %s.NAME.%s", kind, kind, bareName(t, kind, names))
		return "", false
	}
	attr, ok := t[1].(hcl.TraverseAttr)
	if !ok {
		l.add("E1502", expr.Range(), "A %s is written %s.NAME, with a dot.", kind, kind)
		return "", false
	}
	base := kind + "." + attr.Name
	keys, repeated := l.each[base]
	switch {
	case l.unexpanded[base]:
		return "", false // reported there
	case repeated && key == nil && len(keys) == 0:
		l.add("E1501", expr.Range(), "%s has a for_each in which nothing is, and so there is none.", base)
	case repeated && key == nil:
		l.add("E1502", expr.Range(), "%s has a for_each, and so there is one for each key: write %s[each.key] in a block with the same for_each, or %s.", base, base, instanceName(base, keys[0]))
	case !repeated && key == nil && !slices.Contains(names, attr.Name):
		l.add("E1501", expr.Range(), "There is no %s %q.%s", kind, attr.Name, thereIs(attr.Name, names))
	case !repeated && key != nil && slices.Contains(names, attr.Name):
		l.add("E1502", expr.Range(), "%s has no for_each, and so no keys: write %s.", base, base)
	case !repeated && key != nil:
		l.add("E1501", expr.Range(), "There is no %s %q.%s", kind, attr.Name, thereIs(attr.Name, bases(names)))
	case key == nil:
		return attr.Name, true
	default:
		return l.keyed(attr.Name, key, expr, kind, keys)
	}
	return "", false
}

// keyed is the name of an instance that a reference means.
func (l *loader) keyed(name string, key, expr hcl.Expression, kind string, keys []string) (instance string, ok bool) {
	v, ok := l.evaluate(key)
	if !ok {
		return "", false
	}
	v, _ = v.Unmark()
	text := stringOf(v)
	if v.IsKnown() && !v.IsNull() && v.Type() == cty.Number {
		text = v.AsBigFloat().Text('f', -1)
	}
	if !slices.Contains(keys, text) {
		l.add("E1501", expr.Range(), "There is no %s.%s with the key %s.%s", kind, name, quote(text), thereIs(text, keys))
		return "", false
	}
	return instanceName(name, text), true
}

// split parts KIND.NAME from the key in brackets, if there is one.
func (l *loader) split(expr hcl.Expression) (t hcl.Traversal, key hcl.Expression, ok bool) {
	t, diags := hcl.AbsTraversalForExpr(expr)
	if !diags.HasErrors() {
		if len(t) == 3 {
			if index, isIndex := t[2].(hcl.TraverseIndex); isIndex {
				return t[:2], hcl.StaticExpr(index.Key, index.SrcRange), true
			}
		}
		return t, nil, true
	}
	index, isIndex := hcl.UnwrapExpression(expr).(*hclsyntax.IndexExpr)
	if !isIndex {
		index, isIndex = inJSON(expr)
	}
	if !isIndex {
		return nil, nil, false
	}
	t, diags = hcl.AbsTraversalForExpr(index.Collection)
	return t, index.Key, !diags.HasErrors()
}

// inJSON reads channel.shop[each.key] from a string of JSON.
func inJSON(expr hcl.Expression) (*hclsyntax.IndexExpr, bool) {
	if _, native := hcl.UnwrapExpression(expr).(hclsyntax.Expression); native {
		return nil, false
	}
	v, diags := expr.Value(nil) // the text as it stands
	if diags.HasErrors() || stringOf(v) == "" {
		return nil, false
	}
	at := expr.Range()
	parsed, diags := hclsyntax.ParseExpression([]byte(stringOf(v)), at.Filename, at.Start)
	index, ok := parsed.(*hclsyntax.IndexExpr)
	return index, ok && !diags.HasErrors()
}

// bases are names without the keys of instances.
func bases(names []string) (all []string) {
	for _, name := range names {
		base, _ := splitName(name)
		all = append(all, base)
	}
	return all
}

// bareName suggests channel.main to who wrote main, or chanel.main.
func bareName(t hcl.Traversal, kind string, names []string) string {
	wrote := t.RootName()
	if len(t) > 1 {
		if attr, ok := t[1].(hcl.TraverseAttr); ok {
			wrote = attr.Name
		}
	}
	return meant(wrote, kind, names)
}

// quotedReference suggests channel.main to who wrote "main" or "channel.main".
func (l *loader) quotedReference(expr hcl.Expression, kind string, names []string) string {
	v, diags := expr.Value(l.scope.context())
	if diags.HasErrors() || v.ContainsMarked() {
		return ""
	}
	text, ok := texts(v)
	if !ok || len(text) != 1 {
		return ""
	}
	return meant(strings.TrimPrefix(text[0], kind+"."), kind, names)
}

func meant(wrote, kind string, names []string) string {
	best := nearest(wrote, names)
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" Did you mean %s.%s?", kind, best)
}
