// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// maxNodes is how many parts an expression may have: what each event is asked. It bounds the stack as well.
const maxNodes = 4096

// typ is what is known of a value before there is an event.
type typ uint8

const (
	anything typ = iota // a field of JSON, or one of several
	broken              // there is a diagnostic: what depends on it is not worth another
	nullType
	boolType
	numberType
	stringType
	listType
	objectType
)

// noun is what a message calls a value of the type.
func (t typ) noun() string {
	return [...]string{"a value", "a value", "null", "a bool", "a number", "a string", "a list", "an object"}[t]
}

// operand is a compiled part of an expression. Whatever its type, it may be null or fail when it runs.
type operand struct {
	run   node
	typ   typ
	at    hcl.Range
	place int64
	sure  bool // it is never null
	fixed bool // it is val for every event
	val   value
	names []string // of the fields, when it is known which ones an object has
}

type compiler struct {
	ctx      *hcl.EvalContext
	diags    hcl.Diagnostics
	places   []hcl.Range
	mentions map[hclsyntax.Node]bool
	nodes    int
	loaded   strings.Builder // see Program.Loaded
}

// mentions finds the parts of x that are for events.
func mentions(x hclsyntax.Expression) map[hclsyntax.Node]bool {
	w := &mentionWalker{found: map[hclsyntax.Node]bool{}}
	_ = hclsyntax.Walk(x, w) // it has no diagnostics
	return w.found
}

type mentionWalker struct {
	path  []hclsyntax.Node
	found map[hclsyntax.Node]bool
}

func (w *mentionWalker) Enter(n hclsyntax.Node) hcl.Diagnostics {
	w.path = append(w.path, n)
	t, ok := n.(*hclsyntax.ScopeTraversalExpr)
	if !ok || !atEvents(t.Traversal.RootName()) {
		return nil
	}
	for i := len(w.path) - 1; i >= 0; i-- {
		x, ok := w.path[i].(hclsyntax.Expression)
		switch {
		case !ok: // the scope of a loop
		case w.found[x]:
			return nil // and so all that is around it
		default:
			w.found[x] = true
		}
	}
	return nil
}

func (w *mentionWalker) Exit(hclsyntax.Node) hcl.Diagnostics {
	w.path = w.path[:len(w.path)-1]
	return nil
}

// spot gives a place its number.
func (c *compiler) spot(at hcl.Range) int64 {
	c.places = append(c.places, at)
	return int64(len(c.places) - 1)
}

func (c *compiler) operand(t typ, at hcl.Range, run node) operand {
	return operand{run: run, typ: t, at: at, place: c.spot(at)}
}

// sure is an operand that is never null.
func (c *compiler) sure(t typ, at hcl.Range, run node) operand {
	o := c.operand(t, at, run)
	o.sure = true
	return o
}

// fixed is the operand of a constant.
func (c *compiler) fixed(v value, t typ, at hcl.Range) operand {
	o := c.operand(t, at, func(*vm) value { return v })
	o.fixed, o.sure, o.val = true, v.kind != null, v
	if v.kind == object {
		o.names = v.l.names
	}
	return o
}

// node compiles x: a constant, unless it is for events.
func (c *compiler) node(x hclsyntax.Expression) operand {
	if c.nodes++; c.nodes > maxNodes {
		return c.wrong(Unavailable, x.Range(), "The expression has more than %d parts. Prepare it in a processor, as an attribute.", maxNodes)
	}
	if !c.mentions[x] {
		return c.constant(x)
	}
	return c.build(x)
}

// build compiles x by its parts.
func (c *compiler) build(x hclsyntax.Expression) operand {
	switch x := x.(type) {
	case *hclsyntax.ParenthesesExpr:
		return c.node(x.Expression)
	case *hclsyntax.TemplateWrapExpr:
		return c.node(x.Wrapped)
	case *hclsyntax.ScopeTraversalExpr:
		return c.traversal(x)
	case *hclsyntax.RelativeTraversalExpr:
		return c.steps(c.node(x.Source), x.Traversal, x.Range())
	case *hclsyntax.IndexExpr:
		return c.index(x)
	case *hclsyntax.TemplateExpr:
		return c.template(x)
	case *hclsyntax.ConditionalExpr:
		return c.conditional(x)
	case *hclsyntax.BinaryOpExpr:
		return c.binary(x)
	case *hclsyntax.UnaryOpExpr:
		return c.unary(x)
	case *hclsyntax.FunctionCallExpr:
		return c.call(x)
	case *hclsyntax.TupleConsExpr:
		return c.tuple(x)
	}
	return c.wrong(Unavailable, x.Range(), "%s is not available for events. There are literals, templates, event.…, operators, conditionals, indices and functions.", construct(x))
}

// construct names what is not available.
func construct(x hclsyntax.Expression) string {
	switch x.(type) {
	case *hclsyntax.ForExpr, *hclsyntax.TemplateJoinExpr:
		return "A for expression"
	case *hclsyntax.SplatExpr:
		return "A splat expression"
	case *hclsyntax.ObjectConsExpr:
		return "An object made of parts of an event"
	}
	return "This"
}

// constant evaluates what is the same for all events.
func (c *compiler) constant(x hclsyntax.Expression) operand {
	known, called := true, calls(x)
	for _, f := range called {
		if c.configTime(f.Name) {
			continue
		}
		known = false
		if !slices.Contains(Functions(), f.Name) {
			return c.unknownFunction(f)
		}
	}
	if !known {
		return c.folded(c.build(x))
	}
	v, diags := x.Value(c.ctx)
	if diags.HasErrors() {
		return c.adopt(x, diags)
	}
	if _, literal := x.Value(nil); literal.HasErrors() {
		fmt.Fprintf(&c.loaded, "%#v\n", v)
	}
	return c.of(v, x.Range())
}

// calls lists the calls of functions in x.
func calls(x hclsyntax.Expression) (found []*hclsyntax.FunctionCallExpr) {
	_ = hclsyntax.VisitAll(x, func(n hclsyntax.Node) hcl.Diagnostics {
		if f, ok := n.(*hclsyntax.FunctionCallExpr); ok {
			found = append(found, f)
		}
		return nil
	})
	return found
}

// configTime says whether a function can be called when the configuration is loaded.
func (c *compiler) configTime(name string) bool {
	for ctx := c.ctx; ctx != nil; ctx = ctx.Parent() {
		if _, ok := ctx.Functions[name]; ok {
			return true
		}
	}
	return false
}

// folded runs what has only constants in it.
func (c *compiler) folded(o operand) operand {
	if o.typ == broken || o.fixed || c.diags.HasErrors() {
		return o
	}
	v := o.run(&vm{})
	if v.kind == failed && reason(v.n&0xff) != notKnown {
		return c.wrong(Unknown, c.places[v.n>>8], "This can never have a value: %s.", reasons[v.n&0xff])
	}
	if v.kind == failed {
		return o
	}
	return c.fixed(v, typeOf(v), o.at)
}

func typeOf(v value) typ {
	switch v.kind {
	case null:
		return nullType
	case boolean:
		return boolType
	case integer, float:
		return numberType
	case text:
		return stringType
	case list:
		return listType
	case object:
		return objectType
	}
	return anything
}

// of makes a constant of a value of HCL's.
func (c *compiler) of(v cty.Value, at hcl.Range) operand {
	if v.ContainsMarked() {
		return c.wrong(Unavailable, at, "Secrets, and what is sensitive, are not available for events.")
	}
	if !v.IsWhollyKnown() {
		o := c.operand(anything, at, nil)
		o.typ = typeOfType(v.Type())
		o.run = func(*vm) value { return fail(o.place, notKnown) }
		return o
	}
	got, ok := fromCty(v)
	if !ok {
		return c.wrong(Type, at, "A number here is beyond what is counted with for events: up to 1.8e308.")
	}
	return c.fixed(got, typeOf(got), at)
}

func typeOfType(t cty.Type) typ {
	switch {
	case t == cty.Bool:
		return boolType
	case t == cty.Number:
		return numberType
	case t == cty.String:
		return stringType
	}
	return anything
}

// fromCty converts a value that is known. ok is false when a number does not fit.
func fromCty(v cty.Value) (got value, ok bool) {
	switch t := v.Type(); {
	case v.IsNull():
		return value{kind: null}, true
	case t == cty.Bool:
		return truth(v.True()), true
	case t == cty.String:
		return textOf(v.AsString()), true
	case t == cty.Number:
		f := v.AsBigFloat()
		if n, accuracy := f.Int64(); accuracy == big.Exact {
			return whole(n), true
		}
		rounded, _ := f.Float64()
		return number(rounded)
	case !v.CanIterateElements():
		return value{}, false
	}
	seq := &sequence{}
	kind := list
	if t := v.Type(); t.IsObjectType() || t.IsMapType() {
		kind, seq.names = object, []string{}
	}
	for it := v.ElementIterator(); it.Next(); {
		k, e := it.Element()
		elem, ok := fromCty(e)
		if !ok {
			return value{}, false
		}
		seq.elems = append(seq.elems, elem)
		if kind == object {
			seq.names = append(seq.names, k.AsString())
		}
	}
	return value{kind: kind, l: seq}, true
}

// want converts the whole to what the caller needs.
func (c *compiler) want(o operand, want Want) operand {
	switch {
	case o.typ == broken:
		return o
	case want == Text:
		return c.asText(o, "A string is needed here")
	case o.typ != boolType && o.typ != anything && !(o.fixed && o.typ == stringType):
		hint := ""
		if o.typ == stringType {
			hint = " Compare it: … == \"…\"."
		}
		return c.wrong(Type, o.at, "A bool is needed here; this is %s.%s", o.typ.noun(), hint)
	}
	return c.asBool(o, "A bool is needed here")
}

// asText converts o to a string. It says what is wrong in the words of what.
func (c *compiler) asText(o operand, what string) operand {
	switch {
	case o.typ == broken, o.typ == stringType && o.sure:
		return o
	case o.typ == nullType || o.typ >= listType:
		return c.wrong(Type, o.at, "%s; this is %s.", what, o.typ.noun())
	}
	place, run := o.place, o.run
	return c.converted(o, stringType, func(v *vm) value { return v.toText(run(v), place) })
}

// asNumber converts o to a number.
func (c *compiler) asNumber(o operand, what string) operand {
	if o.typ == broken || o.typ == numberType && o.sure {
		return o
	}
	switch o.typ {
	case anything, numberType, stringType:
	default:
		return c.wrong(Type, o.at, "%s; this is %s.", what, o.typ.noun())
	}
	if o.fixed && o.typ == stringType {
		if _, ok := parseNumber(o.val.s); !ok {
			return c.wrong(Type, o.at, "%s; this is a string that is not a number.", what)
		}
	}
	place, run := o.place, o.run
	return c.converted(o, numberType, func(v *vm) value {
		x := run(v)
		if x.kind == integer {
			return x
		}
		return toNumber(x, place)
	})
}

// asBool converts o to a bool.
func (c *compiler) asBool(o operand, what string) operand {
	if o.typ == broken || o.typ == boolType && o.sure {
		return o
	}
	switch o.typ {
	case anything, boolType, stringType:
	default:
		return c.wrong(Type, o.at, "%s; this is %s.", what, o.typ.noun())
	}
	if o.fixed && o.typ == stringType {
		if _, ok := parseBool(o.val.s); !ok {
			return c.wrong(Type, o.at, "%s; this is a string that is neither \"true\" nor \"false\".", what)
		}
	}
	place, run := o.place, o.run
	return c.converted(o, boolType, func(v *vm) value {
		x := run(v)
		if x.kind == boolean {
			return x
		}
		return toBool(x, place)
	})
}

// converted is o with another type, also as a constant.
func (c *compiler) converted(o operand, t typ, run node) operand {
	o.typ, o.run, o.sure = t, run, true
	if o.fixed {
		v := run(&vm{})
		o.val, o.run = v, func(*vm) value { return v }
	}
	return o
}

// wrong reports a mistake.
func (c *compiler) wrong(p Problem, at hcl.Range, format string, args ...any) operand {
	c.diags = append(c.diags, &hcl.Diagnostic{
		Severity: hcl.DiagError, Summary: p.String(), Detail: fmt.Sprintf(format, args...), Subject: &at, Extra: p,
	})
	return operand{typ: broken, at: at, run: func(*vm) value { return fail(0, notKnown) }}
}
