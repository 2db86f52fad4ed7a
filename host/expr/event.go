// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"slices"
	"strings"
	"unsafe"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Field is a part of an event that an expression may name: event.NAME.
type Field struct {
	Name string
	Doc  string // one sentence
}

var eventFields = []Field{
	{"attributes", "The first attribute of a name: event.attributes.NAME."},
	{"body", "The body, as a string."},
	{"json", "A field of the body, which is JSON: event.json.FIELD."},
	{"size", "The length of the body in bytes."},
	{"time", "Nanoseconds since 1970."},
}

// Fields lists what an event has, sorted by name. The slice is the caller's.
func Fields() []Field { return slices.Clone(eventFields) }

func partNames() (names []string) {
	for _, f := range eventFields {
		names = append(names, f.Name)
	}
	return names
}

// traversal compiles event.….
func (c *compiler) traversal(x *hclsyntax.ScopeTraversalExpr) operand {
	t, at := x.Traversal, x.Range()
	if wrong, ok := c.keys(t); !ok {
		return wrong
	}
	if t.RootName() == "batch" {
		return c.wrong(Unavailable, at, "What a batch is as a whole is not known here: say it of each event, with event.….")
	}
	if len(t) < 2 {
		return c.wrong(Unavailable, at, "An event as a whole is no value: name a part of it, such as event.attributes.NAME or event.body.")
	}
	name, _, _ := stepOf(t[1])
	switch name {
	case "attributes":
		return c.attribute(t[2:], at)
	case "body":
		return c.steps(c.sure(stringType, at, func(v *vm) value { return textOf(view(v.event.Body)) }), t[2:], at)
	case "size":
		return c.steps(c.sure(numberType, at, func(v *vm) value { return whole(int64(len(v.event.Body))) }), t[2:], at)
	case "time":
		return c.steps(c.sure(numberType, at, func(v *vm) value { return whole(v.event.Time) }), t[2:], at)
	case "json":
		body := func(v *vm) value { return textOf(view(v.event.Body)) }
		return c.picked(body, t[2:], at)
	}
	names := partNames()
	return c.wrong(Unknown, t[1].SourceRange(), "An event has no %q.%s", name, either(didYouMean(name, names), " It has "+strings.Join(names[:len(names)-1], ", ")+" and "+names[len(names)-1]+"."))
}

func either(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// keys refuses an index that is neither a number nor a string.
func (c *compiler) keys(t hcl.Traversal) (wrong operand, ok bool) {
	for _, step := range t {
		if i, isIndex := step.(hcl.TraverseIndex); isIndex && i.Key.Type() != cty.String && i.Key.Type() != cty.Number {
			return c.wrong(Type, i.SrcRange, "An index is a number or a string; this is %s.", i.Key.Type().FriendlyNameForConstraint()), false
		}
	}
	return operand{}, true
}

// stepOf reads a step of a traversal. number is set when it is one.
func stepOf(t hcl.Traverser) (name string, index int, number bool) {
	switch t := t.(type) {
	case hcl.TraverseAttr:
		return t.Name, 0, false
	case hcl.TraverseIndex:
		if t.Key.Type() == cty.String {
			return t.Key.AsString(), 0, false
		}
		if t.Key.Type() == cty.Number {
			n, _ := t.Key.AsBigFloat().Int64()
			if f := t.Key.AsBigFloat(); !f.IsInt() || n < 0 || n > maxIndex {
				return "", maxIndex, true
			}
			return "", int(n), true
		}
	}
	return "", 0, false
}

// maxIndex is beyond the last element of any list: an event has fewer bytes.
const maxIndex = 1 << 30

// attribute compiles what follows event.attributes.
func (c *compiler) attribute(rest hcl.Traversal, at hcl.Range) operand {
	if len(rest) == 0 {
		return c.wrong(Unavailable, at, "The attributes as a whole are no value: name one, event.attributes.NAME or event.attributes[\"NAME\"].")
	}
	name, _, number := stepOf(rest[0])
	if number {
		return c.wrong(Type, at, "Attributes have names: write event.attributes[\"NAME\"].")
	}
	o := c.operand(stringType, at, func(v *vm) value { return v.attribute(name) })
	return c.steps(o, rest[1:], at)
}

// attribute returns the value of the first attribute of that name.
func (v *vm) attribute(name string) value {
	attrs := v.event.Attributes
	for i := range attrs {
		if attrs[i].Key == name {
			return textOf(view(attrs[i].Value))
		}
	}
	return value{kind: null}
}

// view is b as a string that is as valid as b.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// picked compiles the way to a field of JSON. doc comes to a string.
func (c *compiler) picked(doc node, rest hcl.Traversal, at hcl.Range) operand {
	path := make([]step, len(rest))
	for i, t := range rest {
		path[i].name, path[i].index, path[i].elem = stepOf(t)
	}
	place := c.spot(at)
	return c.operand(anything, at, func(v *vm) value {
		d := doc(v)
		if d.kind != text {
			return d
		}
		found, there, valid := pick(d.s, path)
		if !valid {
			return fail(place, notJSON)
		}
		if !there {
			return value{kind: null}
		}
		return v.decoded(found, place)
	})
}

// decoded is the value of JSON that was checked.
func (v *vm) decoded(s string, place int64) value {
	switch s[0] {
	case '"':
		s = s[1 : len(s)-1]
		if strings.IndexByte(s, '\\') < 0 {
			return textOf(s)
		}
		if !v.room(len(s)) {
			return fail(place, tooMuch)
		}
		from := len(v.buf)
		v.buf = appendUnescaped(v.buf, s)
		return v.made(from)
	case '{', '[':
		return value{kind: raw, s: s}
	case 't', 'f':
		return truth(s[0] == 't')
	case 'n':
		return value{kind: null}
	}
	if n, ok := parseNumber(s); ok {
		return n
	}
	return fail(place, noResult)
}

// steps compiles what follows a value.
func (c *compiler) steps(o operand, rest hcl.Traversal, at hcl.Range) operand {
	if wrong, ok := c.keys(rest); !ok {
		return wrong
	}
	for _, t := range rest {
		name, index, number := stepOf(t)
		key := c.fixed(textOf(name), stringType, t.SourceRange())
		if number {
			key = c.fixed(whole(int64(index)), numberType, t.SourceRange())
		}
		o = c.element(o, key, at)
	}
	return o
}

// index compiles a[b].
func (c *compiler) index(x *hclsyntax.IndexExpr) operand {
	if t, ok := x.Collection.(*hclsyntax.ScopeTraversalExpr); ok && t.Traversal.RootName() == "event" && len(t.Traversal) == 2 {
		if name, _, _ := stepOf(t.Traversal[1]); name == "attributes" {
			return c.attributeAt(x)
		}
	}
	return c.element(c.node(x.Collection), c.node(x.Key), x.Range())
}

// attributeAt compiles event.attributes[…], where the name is part of the event too.
func (c *compiler) attributeAt(x *hclsyntax.IndexExpr) operand {
	key := c.asText(c.node(x.Key), "The name of an attribute is a string")
	if key.typ == broken {
		return key
	}
	return c.operand(stringType, x.Range(), func(v *vm) value {
		k := key.run(v)
		if k.kind != text {
			return k
		}
		return v.attribute(k.s)
	})
}

// element compiles the element of o at key.
func (c *compiler) element(o, key operand, at hcl.Range) operand {
	switch {
	case o.typ == broken:
		return o
	case key.typ == broken:
		return key
	case o.typ != anything && o.typ != listType && o.typ != objectType:
		return c.wrong(Type, at, "%s has no elements.", upperFirst(o.typ.noun()))
	case key.typ == boolType || key.typ >= listType || key.typ == nullType:
		return c.wrong(Type, key.at, "An index is a number or a string; this is %s.", key.typ.noun())
	case o.typ == objectType && o.names != nil && key.fixed && key.val.kind == text && !slices.Contains(o.names, key.val.s):
		return c.wrong(Unknown, key.at, "There is no %q in it.%s", key.val.s, didYouMean(key.val.s, append([]string(nil), o.names...)))
	}
	place := c.spot(at)
	return c.operand(anything, at, func(v *vm) value { return v.element(o.run(v), key.run(v), place) })
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// element is in[key]. What is not in JSON is null, as an attribute that is not there.
func (v *vm) element(in, key value, place int64) value {
	switch {
	case in.kind == failed:
		return in
	case key.kind == failed:
		return key
	case key.kind == null:
		return fail(place, isNull)
	case in.kind == raw:
		return v.within(in, key, place)
	case in.kind == object:
		k := v.toText(key, place)
		if k.kind == failed {
			return k
		}
		if found, ok := in.l.named(k.s); ok {
			return found
		}
		return fail(place, noElement)
	case in.kind == list:
		k := toNumber(key, place)
		switch {
		case k.kind == failed:
			return k
		case k.kind == integer && k.n >= 0 && k.n < int64(len(in.l.elems)):
			return in.l.elems[k.n]
		}
		return fail(place, noElement)
	}
	return value{kind: null}
}

// within is the element of JSON at key.
func (v *vm) within(in, key value, place int64) value {
	path := [1]step{}
	if in.s[0] == '[' {
		k := toNumber(key, place)
		if k.kind != integer || k.n < 0 || k.n > maxIndex {
			return value{kind: null}
		}
		path[0] = step{index: int(k.n), elem: true}
	} else {
		k := v.toText(key, place)
		if k.kind == failed {
			return k
		}
		path[0] = step{name: k.s}
	}
	found, there, _ := pick(in.s, path[:])
	if !there {
		return value{kind: null}
	}
	return v.decoded(found, place)
}
