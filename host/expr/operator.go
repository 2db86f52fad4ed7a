// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// orders are the comparisons of numbers: a bit each for less, equal and greater.
var orders = map[*hclsyntax.Operation]uint8{
	hclsyntax.OpLessThan: 1, hclsyntax.OpLessThanOrEqual: 3, hclsyntax.OpGreaterThan: 4, hclsyntax.OpGreaterThanOrEqual: 6,
}

var arithmetics = map[*hclsyntax.Operation]arithmetic{
	hclsyntax.OpAdd: add, hclsyntax.OpSubtract: subtract, hclsyntax.OpMultiply: multiply, hclsyntax.OpDivide: divide, hclsyntax.OpModulo: modulo,
}

func (c *compiler) binary(x *hclsyntax.BinaryOpExpr) operand {
	a, b := c.node(x.LHS), c.node(x.RHS)
	switch x.Op {
	case hclsyntax.OpLogicalAnd, hclsyntax.OpLogicalOr:
		a, b = c.asBool(a, "This must be a bool"), c.asBool(b, "This must be a bool")
	case hclsyntax.OpEqual, hclsyntax.OpNotEqual:
	default:
		a, b = c.asNumber(a, "This must be a number"), c.asNumber(b, "This must be a number")
	}
	if a.typ == broken || b.typ == broken {
		return operand{typ: broken, at: x.Range(), run: a.run}
	}
	switch x.Op {
	case hclsyntax.OpLogicalAnd:
		return c.sure(boolType, x.Range(), decides(a.run, b.run, false))
	case hclsyntax.OpLogicalOr:
		return c.sure(boolType, x.Range(), decides(a.run, b.run, true))
	case hclsyntax.OpEqual:
		return c.equality(a, b, x.Range(), true)
	case hclsyntax.OpNotEqual:
		return c.equality(a, b, x.Range(), false)
	}
	if mask, ok := orders[x.Op]; ok {
		return c.sure(boolType, x.Range(), ordered(a, b, mask))
	}
	return c.arithmetic(a, b, arithmetics[x.Op], x.Range())
}

// decides is || where one true decides, and && where one false does: as in HCL either side may, also when the other one fails.
func decides(a, b node, by bool) node {
	return func(v *vm) value {
		l := a(v)
		if l.kind == boolean && l.isTrue() == by {
			return l
		}
		r := b(v)
		if r.kind == boolean && r.isTrue() == by || l.kind == boolean {
			return r
		}
		return l
	}
}

// ordered compares numbers. A constant on the right, which is usual, is not asked for anew.
func ordered(a, b operand, mask uint8) node {
	left, right := a.run, b.run
	slow := func(l, r value) value {
		switch {
		case l.kind == failed:
			return l
		case r.kind == failed:
			return r
		}
		return truth(mask>>(compare(l, r)+1)&1 != 0)
	}
	if k := b.val; b.fixed && k.kind == integer {
		return func(v *vm) value {
			l := left(v)
			if l.kind == integer {
				return truth(mask>>(order(l.n, k.n)+1)&1 != 0)
			}
			return slow(l, k)
		}
	}
	return func(v *vm) value { return slow(left(v), right(v)) }
}

func (c *compiler) arithmetic(a, b operand, do arithmetic, at hcl.Range) operand {
	place := c.spot(at)
	return c.sure(numberType, at, func(v *vm) value {
		l, r := a.run(v), b.run(v)
		switch {
		case l.kind == failed:
			return l
		case r.kind == failed:
			return r
		}
		if n, ok := do(l, r); ok {
			return n
		}
		return fail(place, noResult)
	})
}

// equality compiles == and !=. As in HCL nothing is converted, so that values of different types are never equal: nobody means that.
func (c *compiler) equality(a, b operand, at hcl.Range, want bool) operand {
	switch {
	case a.typ >= listType && b.typ >= listType:
		return c.wrong(Type, at, "Lists and objects are not compared for events. Compare their elements, or write contains(list, value).")
	case a.typ > nullType && b.typ > nullType && a.typ != b.typ:
		return c.wrong(Type, at, "%s is never equal to %s. Convert one of them%s.", upperFirst(a.typ.noun()), b.typ.noun(), conversion(a.typ, b.typ))
	}
	left, right, place := a.run, b.run, c.spot(at)
	if k := b.val; b.fixed && k.kind == text {
		return c.sure(boolType, at, func(v *vm) value {
			l := left(v)
			if l.kind == failed {
				return l
			}
			return truth((l.kind == text && l.s == k.s) == want)
		})
	}
	return c.sure(boolType, at, func(v *vm) value {
		l, r := left(v), right(v)
		switch {
		case l.kind == failed:
			return l
		case r.kind == failed:
			return r
		}
		same, comparable := equal(l, r)
		if !comparable {
			return fail(place, notCompared)
		}
		return truth(same == want)
	})
}

// conversion suggests how a string and something else become comparable.
func conversion(a, b typ) string {
	if b == stringType {
		a, b = b, a
	}
	switch {
	case a == stringType && b == numberType:
		return ": tonumber(…) == 500, or … == \"500\""
	case a == stringType && b == boolType:
		return ": … == \"true\""
	}
	return ""
}

func (c *compiler) unary(x *hclsyntax.UnaryOpExpr) operand {
	if x.Op == hclsyntax.OpLogicalNot {
		o := c.asBool(c.node(x.Val), "This must be a bool")
		return c.as(o, boolType, x.Range(), func(v *vm) value {
			b := o.run(v)
			if b.kind == failed {
				return b
			}
			return truth(!b.isTrue())
		})
	}
	o := c.asNumber(c.node(x.Val), "This must be a number")
	place := c.spot(x.Range())
	return c.as(o, numberType, x.Range(), func(v *vm) value {
		n := o.run(v)
		if n.kind == failed {
			return n
		}
		if n, ok := subtract(whole(0), n); ok {
			return n
		}
		return fail(place, noResult)
	})
}

// as is an operand made of o, which may be broken.
func (c *compiler) as(o operand, t typ, at hcl.Range, run node) operand {
	if o.typ == broken {
		return o
	}
	return c.sure(t, at, run)
}

// conditional compiles a ? b : c. Only what is chosen is evaluated.
func (c *compiler) conditional(x *hclsyntax.ConditionalExpr) operand {
	when := c.asBool(c.node(x.Condition), "A condition is a bool")
	yes, no := c.node(x.TrueResult), c.node(x.FalseResult)
	if when.typ == broken || yes.typ == broken || no.typ == broken {
		return operand{typ: broken, at: x.Range(), run: when.run}
	}
	t, ok := unified(yes.typ, no.typ)
	if !ok {
		return c.wrong(Type, x.Range(), "The two results are %s and %s: both must be of one type.", yes.typ.noun(), no.typ.noun())
	}
	yes, no = c.unify(yes, t), c.unify(no, t)
	return c.operand(t, x.Range(), func(v *vm) value {
		b := when.run(v)
		switch {
		case b.kind == failed:
			return b
		case b.isTrue():
			return yes.run(v)
		}
		return no.run(v)
	})
}

// unified is the type that two can be converted to, as HCL has it: numbers and bools become strings beside one.
func unified(a, b typ) (t typ, ok bool) {
	switch {
	case a == b, b == nullType:
		return a, true
	case a == nullType:
		return b, true
	case a == anything || b == anything:
		return anything, true
	case a == stringType && b < listType, b == stringType && a < listType:
		return stringType, true
	case a >= listType && b >= listType:
		return anything, true
	}
	return broken, false
}

// unify converts o to t where that is a string; null stays null.
func (c *compiler) unify(o operand, t typ) operand {
	if t != stringType || o.typ == stringType || o.typ == nullType {
		return o
	}
	run, place, sure := o.run, o.place, o.sure
	o = c.converted(o, stringType, func(v *vm) value {
		x := run(v)
		if x.kind == null {
			return x
		}
		return v.toText(x, place)
	})
	o.sure = sure
	return o
}

// template compiles "a${b}c".
func (c *compiler) template(x *hclsyntax.TemplateExpr) operand {
	nodes := make([]node, 0, len(x.Parts))
	for _, p := range x.Parts {
		o := c.asText(c.node(p), "What stands in a template becomes a string")
		if o.typ == broken {
			return o
		}
		nodes = append(nodes, o.run)
	}
	place := c.spot(x.Range())
	return c.sure(stringType, x.Range(), func(v *vm) value { return v.joined(nodes, "", place) })
}

// joined puts texts together.
func (v *vm) joined(nodes []node, separator string, place int64) value {
	var few [8]value // so that usual templates need no memory
	texts := few[:0]
	for _, run := range nodes { // first all, since they may make text too
		t := run(v)
		if t.kind == failed {
			return t
		}
		texts = append(texts, t)
	}
	from := len(v.buf)
	for i, t := range texts {
		if !v.room(len(separator) + len(t.s)) {
			return fail(place, tooMuch)
		}
		if i > 0 {
			v.buf = append(v.buf, separator...)
		}
		v.buf = append(v.buf, t.s...)
	}
	return v.made(from)
}

// tuple compiles [a, b].
func (c *compiler) tuple(x *hclsyntax.TupleConsExpr) operand {
	nodes := make([]node, 0, len(x.Exprs))
	for _, e := range x.Exprs {
		o := c.node(e)
		if o.typ == broken {
			return o
		}
		nodes = append(nodes, o.run)
	}
	return c.operand(listType, x.Range(), func(v *vm) value {
		seq := &sequence{elems: make([]value, 0, len(nodes))}
		for _, run := range nodes {
			e := run(v)
			if e.kind == failed {
				return e
			}
			seq.elems = append(seq.elems, e)
		}
		return value{kind: list, l: seq}
	})
}
