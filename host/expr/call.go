// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// maxPattern is the longest regular expression, in bytes: its machine takes some hundred times that.
const maxPattern = 4 << 10

// special are the functions that are not plain ones of their arguments' values.
var special = []string{"can", "coalesce", "contains", "jsondecode", "matches", "max", "min", "regex", "tobool", "tonumber", "tostring", "try"}

// Functions lists what an expression may call, sorted.
func Functions() []string {
	return slices.Sorted(slices.Values(slices.AppendSeq(slices.Clone(special), maps.Keys(functions))))
}

func (c *compiler) call(x *hclsyntax.FunctionCallExpr) operand {
	if x.ExpandFinal {
		return c.wrong(Unavailable, x.Range(), "A list that is spread over arguments, \"...\", is not available for events.")
	}
	f, isPlain := functions[x.Name]
	if !isPlain && !slices.Contains(special, x.Name) {
		return c.unknownFunction(x)
	}
	args := make([]operand, len(x.Args))
	for i, a := range x.Args {
		if args[i] = c.node(a); args[i].typ == broken {
			return args[i]
		}
	}
	if x.Name == "replace" && len(args) == 3 && args[1].fixed && args[1].typ == stringType && isPattern(args[1].val.s) {
		return c.replacePattern(x, args)
	}
	if isPlain {
		return c.callPlain(x, f, args)
	}
	least, most := 1, len(args)
	switch x.Name {
	case "contains", "matches", "regex":
		least, most = 2, 2
	case "can", "jsondecode", "tobool", "tonumber", "tostring":
		most = 1
	}
	if len(args) < least || len(args) > most {
		return c.count(x, least)
	}
	at := x.Range()
	switch x.Name {
	case "can":
		return c.can(args[0], at)
	case "coalesce":
		return c.coalesce(args, at)
	case "contains":
		return c.contains(args[0], args[1], at)
	case "jsondecode":
		return c.jsondecode(args[0], at)
	case "max":
		return c.extreme(args, 1, at)
	case "min":
		return c.extreme(args, -1, at)
	case "try":
		return c.try(args, at)
	case "matches", "regex":
		return c.regexp(x, args)
	}
	return c.to(x.Name, args[0], at)
}

// to compiles tobool, tonumber and tostring: null stays null.
func (c *compiler) to(name string, o operand, at hcl.Range) operand {
	t, convert := stringType, (*vm).toText
	switch name {
	case "tobool":
		t, convert = boolType, func(_ *vm, x value, place int64) value { return toBool(x, place) }
	case "tonumber":
		t, convert = numberType, func(_ *vm, x value, place int64) value { return toNumber(x, place) }
	}
	if o.typ >= listType || o.typ != t && (o.typ == boolType && t == numberType || o.typ == numberType && t == boolType) {
		return c.wrong(Type, at, "%s cannot be made %s.", upperFirst(o.typ.noun()), t.noun())
	}
	run, place := o.run, c.spot(at)
	got := c.operand(t, at, func(v *vm) value {
		x := run(v)
		if x.kind == null {
			return x
		}
		return convert(v, x, place)
	})
	got.sure = o.sure
	return got
}

func (c *compiler) count(x *hclsyntax.FunctionCallExpr, want int) operand {
	return c.wrong(Type, x.Range(), "%s takes %s; there are %d here.", x.Name, arguments(want), len(x.Args))
}

func arguments(n int) string {
	if n == 1 {
		return "one argument"
	}
	return fmt.Sprintf("%d arguments", n)
}

// callPlain compiles a call of a function of the table.
func (c *compiler) callPlain(x *hclsyntax.FunctionCallExpr, f plain, args []operand) operand {
	if len(args) != len(f.params) {
		return c.count(x, len(f.params))
	}
	var in [maxParams]node
	for i, t := range f.params {
		o := args[i]
		what := fmt.Sprintf("%s takes %s here", x.Name, t.noun())
		switch t {
		case stringType:
			o = c.asText(o, what)
		case numberType:
			o = c.asNumber(o, what)
		case boolType:
			o = c.asBool(o, what)
		case listType:
			o = c.asList(o, what)
		}
		if o.typ == broken {
			return o
		}
		in[i] = o.run
	}
	place, run := c.spot(x.Range()), f.run
	if len(f.params) == 1 {
		one := in[0]
		return c.sure(f.result, x.Range(), func(v *vm) value {
			a := one(v)
			if a.kind == failed {
				return a
			}
			return placed(run(v, [maxParams]value{a}), place)
		})
	}
	n := len(f.params)
	return c.sure(f.result, x.Range(), func(v *vm) value {
		var a [maxParams]value
		for i := range n {
			if a[i] = in[i](v); a[i].kind == failed {
				return a[i]
			}
		}
		return placed(run(v, a), place)
	})
}

// placed says where what has failed stands, unless it has been said.
func placed(v value, place int64) value {
	if v.kind == failed && v.n>>8 == 0 {
		v.n |= place << 8
	}
	return v
}

// asList makes sure that o is a list.
func (c *compiler) asList(o operand, what string) operand {
	switch o.typ {
	case broken, listType:
		return o
	case anything:
		run, place := o.run, o.place
		o.typ, o.run = listType, func(v *vm) value { return toList(run(v), place) }
		return o
	}
	return c.wrong(Type, o.at, "%s; this is %s.", what, o.typ.noun())
}

// can says whether its argument has a value.
func (c *compiler) can(o operand, at hcl.Range) operand {
	return c.sure(boolType, at, func(v *vm) value { return truth(o.run(v).kind != failed) })
}

// try is the first of its arguments that has a value.
func (c *compiler) try(args []operand, at hcl.Range) operand {
	t := args[0].typ
	for _, o := range args[1:] {
		if o.typ != t {
			t = anything
		}
	}
	return c.operand(t, at, func(v *vm) (got value) {
		for i := range args {
			if got = args[i].run(v); got.kind != failed {
				break
			}
		}
		return got
	})
}

// coalesce is the first of its arguments that is not null.
func (c *compiler) coalesce(args []operand, at hcl.Range) operand {
	t := args[0].typ
	for _, o := range args[1:] {
		all, ok := unified(t, o.typ)
		if !ok {
			return c.wrong(Type, o.at, "coalesce takes arguments of one type; this is %s, and before it is %s.", o.typ.noun(), t.noun())
		}
		t = all
	}
	nodes := make([]node, len(args))
	for i := range args {
		nodes[i] = c.unify(args[i], t).run
	}
	place := c.spot(at)
	return c.sure(t, at, func(v *vm) value {
		first := fail(place, allNull)
		for _, run := range nodes {
			got := run(v)
			if got.kind == failed {
				return got // as in every call: all arguments have a value
			}
			if first.kind == failed && got.kind != null {
				first = got
			}
		}
		return first
	})
}

// contains says whether a list has an element of that value.
func (c *compiler) contains(in, of operand, at hcl.Range) operand {
	in = c.asList(in, "contains takes a list first; for a part of a text write strcontains")
	if in.typ == broken {
		return in
	}
	if in.fixed && of.typ > nullType && !slices.ContainsFunc(in.val.l.elems, func(e value) bool { return typeOf(e) == of.typ }) && len(in.val.l.elems) > 0 {
		return c.wrong(Type, at, "None of the list is ever equal to %s, since it has no such element.", of.typ.noun())
	}
	place, list, key := c.spot(at), in.run, of.run
	return c.sure(boolType, at, func(v *vm) value {
		l, k := list(v), key(v)
		switch {
		case l.kind == failed:
			return l
		case k.kind == failed:
			return k
		}
		return placed(v.contains(l, k), place)
	})
}

// contains compares k with each element.
func (v *vm) contains(l, k value) value {
	if l.kind == raw {
		for s := range elements(l.s) {
			same, comparable := equal(v.decoded(s, 0), k)
			if !comparable {
				return fail(0, notCompared)
			}
			if same {
				return truth(true)
			}
		}
		return truth(false)
	}
	for i := range l.l.elems {
		e := &l.l.elems[i]
		if e.kind == text && k.kind == text {
			if e.s == k.s {
				return truth(true)
			}
			continue
		}
		same, comparable := equal(*e, k)
		if !comparable {
			return fail(0, notCompared)
		}
		if same {
			return truth(true)
		}
	}
	return truth(false)
}

func (c *compiler) jsondecode(o operand, at hcl.Range) operand {
	o = c.asText(o, "jsondecode takes a string")
	if o.typ == broken {
		return o
	}
	return c.picked(o.run, nil, at)
}

// extreme is min and max.
func (c *compiler) extreme(args []operand, sign int, at hcl.Range) operand {
	nodes := make([]node, len(args))
	for i := range args {
		o := c.asNumber(args[i], "This must be a number")
		if o.typ == broken {
			return o
		}
		nodes[i] = o.run
	}
	return c.sure(numberType, at, func(v *vm) value {
		best := nodes[0](v)
		for _, run := range nodes[1:] {
			if best.kind == failed {
				break
			}
			if n := run(v); n.kind == failed || compare(n, best) == sign {
				best = n
			}
		}
		return best
	})
}

// pattern compiles a regular expression now, once; nil: it is wrong, which was reported.
func (c *compiler) pattern(text string, at hcl.Range) *regexp.Regexp {
	if len(text) > maxPattern {
		c.wrong(Unavailable, at, "The pattern has %d bytes; the most is %d.", len(text), maxPattern)
		return nil
	}
	re, err := regexp.Compile(text)
	if err != nil {
		c.wrong(Unknown, at, "Not a regular expression (RE2): %s.", err)
		return nil
	}
	return re
}

// isPattern says of what replace is to replace whether it is a pattern: one within slashes is.
func isPattern(old string) bool { return len(old) > 2 && old[0] == '/' && old[len(old)-1] == '/' }

// replacePattern compiles replace with a pattern. In what stands for a match, $1 and ${name} are what groups caught.
func (c *compiler) replacePattern(x *hclsyntax.FunctionCallExpr, args []operand) operand {
	in, with := c.asText(args[0], "replace takes a string here"), c.asText(args[2], "replace takes a string here")
	old := args[1].val.s
	re := c.pattern(old[1:len(old)-1], args[1].at)
	if in.typ == broken || with.typ == broken || re == nil {
		return operand{typ: broken}
	}
	at, place := x.Range(), c.spot(x.Range())
	return c.sure(stringType, at, func(v *vm) value {
		s, by := in.run(v), value{}
		if s.kind != failed {
			by = with.run(v)
		}
		switch {
		case s.kind == failed:
			return s
		case by.kind == failed:
			return by
		}
		return placed(v.replaceAll(re, s.s, by.s), place)
	})
}

// replaceAll puts by in the place of each match of re in s.
func (v *vm) replaceAll(re *regexp.Regexp, s, by string) value {
	found := re.FindAllStringSubmatchIndex(s, maxElements+1)
	if len(found) > maxElements {
		return fail(0, tooMuch)
	}
	from, done, names := len(v.buf), 0, strings.Count(by, "$")
	for _, m := range found {
		if !v.room(m[0] - done + len(by) + names*(m[1]-m[0])) { // before it is there
			return fail(0, tooMuch)
		}
		v.buf = append(v.buf, s[done:m[0]]...)
		v.buf = re.ExpandString(v.buf, by, s, m)
		done = m[1]
	}
	if !v.room(len(s) - done) {
		return fail(0, tooMuch)
	}
	v.buf = append(v.buf, s[done:]...)
	return v.made(from)
}

// regexp compiles matches and regex.
func (c *compiler) regexp(x *hclsyntax.FunctionCallExpr, args []operand) operand {
	pattern, in := args[0], c.asText(args[1], x.Name+" takes a string after the pattern")
	switch {
	case in.typ == broken:
		return in
	case !pattern.fixed || pattern.typ != stringType:
		return c.wrong(Type, pattern.at, "The pattern of %s comes first, and is a string that is known when the configuration is loaded.", x.Name)
	}
	re := c.pattern(pattern.val.s, pattern.at)
	if re == nil {
		return operand{typ: broken}
	}
	at, run := x.Range(), in.run
	if x.Name == "matches" {
		return c.sure(boolType, at, func(v *vm) value {
			s := run(v)
			if s.kind == failed {
				return s
			}
			return truth(re.MatchString(s.s))
		})
	}
	return c.captures(re, run, at)
}

// captures is what regex comes to: the match, or what its groups caught, as a list or under their names.
func (c *compiler) captures(re *regexp.Regexp, run node, at hcl.Range) operand {
	place, names, t := c.spot(at), re.SubexpNames()[1:], stringType
	named := 0
	for _, n := range names {
		if n != "" {
			named++
		}
	}
	switch {
	case named > 0 && named < len(names):
		return c.wrong(Type, at, "Either all groups of the pattern have names or none has.")
	case named > 0:
		t = objectType
	case len(names) > 0:
		t, names = listType, nil
	}
	o := c.operand(t, at, func(v *vm) value {
		s := run(v)
		if s.kind == failed {
			return s
		}
		found := re.FindStringSubmatchIndex(s.s)
		switch {
		case found == nil:
			return fail(place, noMatch)
		case len(found) == 2:
			return textOf(s.s[found[0]:found[1]])
		}
		return caught(s.s, found[2:], names)
	})
	if t == objectType {
		o.names = names
	}
	return o
}

// caught makes a list of what groups caught, or an object when they have names. A group without part in the match is null.
func caught(s string, at []int, names []string) value {
	seq, k := &sequence{names: names}, list
	if names != nil {
		k = object
	}
	for i := 0; i < len(at); i += 2 {
		e := value{kind: null}
		if at[i] >= 0 {
			e = textOf(s[at[i]:at[i+1]])
		}
		seq.elems = append(seq.elems, e)
	}
	return value{kind: k, l: seq}
}
