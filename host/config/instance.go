// SPDX-License-Identifier: Apache-2.0

package config

import (
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/penstock-io/penstock/host/address"
)

// A block with for_each is one for each key, all of its kind: source.shop["eu"]. That is the name of the instance, in references, logs, metrics
// and cursors, and depends on nothing but the key: others may come and go. A directory is called shop.eu, which no name without a key is.

// forEachArgument and enabledArgument are the meta-arguments of what runs.
var (
	forEachArgument = arg{name: "for_each", typ: "map or set", doc: "One instance for each key of a map, or each string of a list or set: `each.key` and `each.value` stand for it. Its name is `NAME[\"KEY\"]`."}
	enabledArgument = arg{name: "enabled", typ: "bool", def: "true", doc: "`false`: it is checked like any other, and not there: see [Blocks that are switched off](#blocks-that-are-switched-off)."}
)

// instantiable are the blocks that may have for_each.
var instantiable = []string{"source", "processor", "channel", "sink"}

// maxInstances bounds the instances of one block.
const maxInstances = 1000

// instanceKey is what may be a key. It becomes a part of the name of a directory, whence no slash; and of a name that ends at the first dot.
var instanceKey = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

// instanceName names the one of a block that has this key.
func instanceName(name, key string) string { return name + `["` + key + `"]` }

// splitName parts a name from the key of its instance, which is "" where there is none.
func splitName(name string) (base, key string) {
	base, key, _ = strings.Cut(name, `["`)
	return base, strings.TrimSuffix(key, `"]`)
}

// DirName is the name of the directory of something with that name: shop.eu for shop["eu"]. Of the name of a directory it is itself.
func DirName(name string) string {
	if base, key := splitName(name); key != "" {
		return base + "." + key
	}
	return name
}

// NameOfDir is the reverse of [DirName]. What a shell makes of a name, shop[eu], is taken as well.
func NameOfDir(dir string) string {
	if base, key, ok := strings.Cut(strings.TrimSuffix(dir, "]"), "["); ok {
		return instanceName(base, strings.Trim(key, `"`))
	}
	if base, key, ok := strings.Cut(dir, "."); ok {
		return instanceName(base, key)
	}
	return dir
}

// instances reads a block: once, or once for each key.
func (l *loader) instances(spec block, b *hcl.Block) []*values {
	if !slices.Contains(instantiable, spec.name) {
		return []*values{l.decode(spec, b)}
	}
	head, _, diags := b.Body.PartialContent(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: forEachArgument.name}}})
	attr := head.Attributes[forEachArgument.name]
	if diags.HasErrors() || attr == nil {
		return []*values{l.decode(spec, b)}
	}
	base := spec.name + "." + b.Labels[len(b.Labels)-1]
	keys, elements, ok := l.forEach(attr.Expr)
	l.each[base] = keys
	if !ok {
		l.adrift, l.unsure = true, true
		l.unexpanded[base] = true
		return nil
	}
	outer := l.scope
	defer func() { l.scope = outer }()
	var all []*values
	for i, key := range keys {
		l.scope = outer.instance(cty.StringVal(key), elements[i])
		v := l.decode(spec, b)
		v.key, v.labels = key, slices.Clone(v.labels)
		v.labels[len(v.labels)-1] = instanceName(v.name(), key)
		all = append(all, v)
	}
	return all
}

// forEach evaluates what a block is repeated for, sorted by key.
func (l *loader) forEach(expr hcl.Expression) (keys []string, elements []cty.Value, ok bool) {
	if found, _ := l.secretsIn(expr); len(found) > 0 {
		l.add("E1209", expr.Range(), "Keys become names, which are shown: they come from no secret.")
		return nil, nil, false
	}
	v, ok := l.evaluate(expr)
	if !ok {
		return nil, nil, false
	}
	ty := v.Type()
	switch {
	case v.ContainsMarked() && (v.IsMarked() || !ty.IsMapType() && !ty.IsObjectType()):
		l.add("E1209", expr.Range(), "Keys become names, which are shown: they come from nothing that is sensitive.")
	case v.IsNull() || !v.IsKnown():
		l.add("E1209", expr.Range(), "for_each is a map, or a list of strings; this is null.")
	case ty.IsMapType(), ty.IsObjectType():
		for it := v.ElementIterator(); it.Next(); {
			k, e := it.Element()
			keys, elements = append(keys, k.AsString()), append(elements, e)
		}
		return keys, elements, l.checkKeys(expr, keys)
	case ty.IsTupleType(), ty.IsListType(), ty.IsSetType():
		for _, e := range each(v) {
			if e.IsNull() || e.Type() != cty.String {
				l.add("E1209", expr.Range(), "for_each is a map, or a list of strings; this is a list of something else. A map has keys: { for x in … : x.name => x }.")
				return nil, nil, false
			}
			keys = append(keys, e.AsString())
		}
		slices.Sort(keys)
		for _, key := range keys {
			elements = append(elements, cty.StringVal(key))
		}
		return keys, elements, l.checkKeys(expr, keys)
	default:
		l.add("E1209", expr.Range(), "for_each is a map, or a list of strings; this is %s.", (&checker{}).describe(v))
	}
	return nil, nil, false
}

func (l *loader) checkKeys(expr hcl.Expression, keys []string) bool {
	seen := make(map[string]string)
	for _, key := range keys {
		other, taken := seen[strings.ToLower(key)]
		seen[strings.ToLower(key)] = key
		switch {
		case len(keys) > maxInstances:
			l.add("E1209", expr.Range(), "There would be %d instances; %d are the most of one block.", len(keys), maxInstances)
		case !instanceKey.MatchString(key):
			l.add("E1209", expr.Range(), "%s cannot be a key: letters, digits, _, - and dots make one, because it becomes a part of names.", quote(key))
		case taken:
			l.add("E1209", expr.Range(), "The keys %q and %q are one: names do not differ by case, nor twice.", other, key)
		default:
			continue
		}
		return false
	}
	return true
}

// enter goes into the scope of a block that was read, until the func that it returns is called.
func (l *loader) enter(v *values) (leave func()) {
	outer := l.scope
	if v.scope != nil {
		l.scope = v.scope
	}
	return func() { l.scope = outer }
}

// off says whether a block is switched off.
func (v *values) off() bool {
	on, set := v.args[enabledArgument.name].value.(bool)
	return set && !on
}

// aside checks something that is switched off: mistakes in it are reported, but it takes no address, drains no channel and asks for no grant.
func (l *loader) aside(of string, check func()) {
	listeners, fed, drained, chosen := l.listeners, l.fed, l.drained, l.chosen
	l.listeners, l.fed, l.drained, l.chosen = map[address.Address]string{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	lacks := make(map[*pluginBlock]int)
	for _, p := range l.plugins {
		lacks[p] = len(p.lacks)
	}
	check()
	for channel := range l.drained {
		l.idle[channel] = of
	}
	for option := range l.chosen {
		l.idle[option] = of
	}
	l.listeners, l.fed, l.drained, l.chosen = listeners, fed, drained, chosen
	for p, n := range lacks {
		p.lacks = p.lacks[:n]
	}
}
