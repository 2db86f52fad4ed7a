// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// Variables are what the configuration is given from outside. What stands later goes before; the environment, PENSTOCK_VAR_name, goes
// before the default alone.
type Variables struct {
	Files []string // of lines NAME = VALUE, or JSON where the name ends in .json
	Set   []string // "NAME=VALUE": a string where the variable is one, else an expression
}

// VariablePrefix begins the environment variables that give variables a value.
const VariablePrefix = "PENSTOCK_VAR_"

// variable is one that a file declares.
type variable struct {
	*values
	typ      *typ // nil: any
	given    cty.Value
	from     hcl.Range // where the value was given
	isGiven  bool
	hasFault bool // it has no value, which was reported
}

// declareVariables reads all variable blocks, and what they are given. See [loader.validate].
func (l *loader) declareVariables(files *Sources) {
	all := make(map[string]*variable)
	for _, v := range l.blocks["variable"] {
		if all[v.name()] != nil {
			continue // reported as a name used twice
		}
		d := &variable{values: v, hasFault: v.broken}
		all[v.name()] = d
		l.variableType(d)
	}
	l.fromEnvironment(all)
	for _, name := range l.opts.Variables.Files {
		l.fromFile(all, name, files)
	}
	for _, text := range l.opts.Variables.Set {
		l.fromCommandLine(all, text)
	}
	for name, d := range all {
		l.scope.vars[name] = cty.DynamicVal
		if v, ok := l.variableValue(d); ok {
			if d.yes("sensitive") {
				v = v.Mark(sensitive)
			}
			l.scope.vars[name] = v
		}
	}
	l.variables = all
}

func (l *loader) variableType(d *variable) {
	expr := d.args["type"].expr
	if expr == nil || hcl.ExprAsKeyword(expr) == "any" {
		return
	}
	t, err := parseType(expr, maxTypeDepth)
	if err != nil {
		l.add("E4101", expr.Range(), "The type of variable %q: %s", d.name(), stop(err.Error()))
		d.hasFault = true
		return
	}
	d.typ = &t
}

func (l *loader) fromEnvironment(all map[string]*variable) {
	for name, d := range all {
		if text, ok := os.LookupEnv(VariablePrefix + name); ok {
			l.given(d, text, VariablePrefix+name)
		}
	}
}

func (l *loader) fromCommandLine(all map[string]*variable, text string) {
	name, value, ok := strings.Cut(text, "=")
	at := fileRange("--var " + name)
	name = strings.TrimSpace(name)
	switch d := all[name]; {
	case !ok:
		l.add("E1405", at, "A variable is given as --var NAME=VALUE; this is %s.", quote(text))
	case d == nil:
		l.add("E1405", at, "--var %s: no block declares the variable %q.%s", name, name, thereIs(name, slices.Collect(maps.Keys(all))))
	default:
		l.given(d, value, "--var "+name)
	}
}

// given notes a value that is written as text: a string as it is, anything else as an expression.
func (l *loader) given(d *variable, text, where string) {
	d.from, d.isGiven = fileRange(where), true
	if d.typ == nil || d.typ.form == formString || d.typ.form == formDuration || d.typ.form == formSize {
		d.given = cty.StringVal(text)
		return
	}
	d.given = cty.DynamicVal
	err := boundSource([]byte(text), where)
	if err == nil {
		expr, diags := hclsyntax.ParseExpression([]byte(text), where, hcl.InitialPos)
		if !diags.HasErrors() {
			d.given, diags = expr.Value((*scope)(nil).context())
		}
		if diags.HasErrors() {
			err = errors.New("it is no expression")
		}
	}
	if err != nil {
		d.hasFault = true
		l.add("E1401", d.from, "%s: the variable %q is %s, and what it is given cannot be read as one: %v. Strings in lists and objects stand in quotes.", where, d.name(), d.typ.noun(), err)
	}
}

func (l *loader) fromFile(all map[string]*variable, name string, files *Sources) {
	src, err := readFile(name)
	if err != nil {
		files.absent = append(files.absent, name)
		l.unreadable(name, err)
		return
	}
	before := len(l.diags)
	file := l.parse(src, name)
	files.add(name, file)
	if l.diags[before:].HasErrors() {
		l.adrift = true
		return
	}
	attrs, diags := file.Body.JustAttributes()
	for _, d := range diags {
		l.add("E1201", *d.Subject, "In a file of variables stand lines NAME = VALUE alone, and no blocks.")
	}
	for _, attr := range inOrder(attrs) {
		d := all[attr.Name]
		if d == nil {
			l.add("E1405", attr.NameRange, "No block declares the variable %q.%s", attr.Name, thereIs(attr.Name, slices.Collect(maps.Keys(all))))
			continue
		}
		d.from, d.isGiven = attr.Expr.Range(), true
		v, diags := attr.Expr.Value((*scope)(nil).context())
		if diags.HasErrors() {
			l.adopt("E1401", diags, attr.Expr.Range())
			d.hasFault = true
		}
		d.given = v
	}
}

// variableValue is what was given, else the default, as the type has it.
func (l *loader) variableValue(d *variable) (cty.Value, bool) {
	v, at := d.given, d.from
	if !d.isGiven && !d.hasFault {
		expr := d.args["default"].expr
		if expr == nil {
			l.add("E1402", d.at, "The variable %q has no default, and was given no value: --var %s=VALUE, a --var-file with %s = VALUE, or %s%s in the environment.", d.name(), d.name(), d.name(), VariablePrefix, d.name())
			d.hasFault = true
			return v, false
		}
		at = expr.Range()
		var known bool
		if v, known = l.constant(expr); !known {
			d.hasFault = true
		}
	}
	if d.hasFault {
		return v, false
	}
	if sizeOf(v) > maxText {
		l.add("E1003", at, "The value of variable %q is larger than %s.", d.name(), formatSize(maxText))
		d.hasFault = true
	}
	if d.typ != nil && !v.IsNull() {
		v = l.typed(d, v, at)
	}
	return v, !d.hasFault
}

// constant evaluates an expression that speaks of nothing.
func (l *loader) constant(expr hcl.Expression) (cty.Value, bool) {
	for _, t := range expr.Variables() {
		l.add("E1401", t.SourceRange(), "The default of a variable speaks of nothing else. A local value may: locals { NAME = … }.")
		return cty.NilVal, false
	}
	v, diags := expr.Value((*scope)(nil).context())
	if diags.HasErrors() {
		l.adopt("E1401", diags, expr.Range())
	}
	return v, !diags.HasErrors()
}

// typed makes a value one of the variable's type.
func (l *loader) typed(d *variable, v cty.Value, at hcl.Range) cty.Value {
	c := checker{}
	c.rules.Sensitive, c.rules.typ = d.yes("sensitive"), *d.typ
	c.value(v, *d.typ, nil)
	for _, m := range c.wrong {
		l.add(m.code, at, "The variable %s %s", d.name()+pathText(m.path), stop(m.text))
		d.hasFault = true
	}
	if d.hasFault {
		return v
	}
	out, err := convert.Convert(d.typ.complete(v), d.typ.cty())
	if err != nil {
		l.add("E1301", at, "The variable %q must be %s: %v.", d.name(), d.typ.noun(), err)
		d.hasFault = true
	}
	return out
}

// cty is the type as expressions know it: durations and sizes are strings.
func (t typ) cty() cty.Type {
	switch t.form {
	case formNumber, formInteger:
		return cty.Number
	case formBool:
		return cty.Bool
	case formList:
		return cty.List(t.elem.cty())
	case formMap:
		return cty.Map(t.elem.cty())
	case formObject:
		attrs := make(map[string]cty.Type, len(t.fields))
		for _, f := range t.fields {
			attrs[f.name] = f.typ.cty()
		}
		return cty.Object(attrs)
	}
	return cty.String
}

// complete fills in the defaults of objects; what is not set and has none is null.
func (t typ) complete(v cty.Value) cty.Value {
	switch {
	case v.IsNull():
		return v
	case t.form == formList && v.LengthInt() > 0:
		var out []cty.Value
		for _, e := range each(v) {
			out = append(out, t.elem.complete(e))
		}
		return cty.TupleVal(out)
	case t.form == formMap:
		out := make(map[string]cty.Value)
		for name, e := range v.AsValueMap() {
			out[name] = t.elem.complete(e)
		}
		return cty.ObjectVal(out)
	case t.form == formObject:
		given := v.AsValueMap()
		out := make(map[string]cty.Value)
		for _, f := range t.fields {
			e, ok := given[f.name]
			switch {
			case ok && !e.IsNull():
				out[f.name] = f.typ.complete(e)
			case f.def != cty.NilVal:
				out[f.name] = f.typ.complete(f.def)
			default:
				out[f.name] = cty.NullVal(f.typ.cty())
			}
		}
		return cty.ObjectVal(out)
	}
	return v
}

// validate holds variables against the conditions that their blocks set. These may speak of locals, which are known by now.
func (l *loader) validate() {
	for _, name := range slices.Sorted(maps.Keys(l.variables)) {
		l.validations(l.variables[name])
	}
}

func (l *loader) validations(d *variable) {
	for _, v := range d.inner["validation"] {
		condition, message := v.args["condition"].expr, v.args["error_message"].expr
		if v.broken || d.hasFault || condition == nil || message == nil {
			continue
		}
		if !slices.ContainsFunc(condition.Variables(), func(t hcl.Traversal) bool {
			name, _, _ := second(t)
			return t.RootName() == varRoot && name == d.name()
		}) {
			l.add("E1403", condition.Range(), "The condition says nothing about var.%s.", d.name())
			continue
		}
		met, ok := l.evaluate(condition)
		if !ok {
			continue
		}
		met, _ = met.Unmark()
		met, err := convert.Convert(met, cty.Bool)
		switch {
		case err != nil || met.IsNull() || !met.IsKnown():
			l.add("E1301", condition.Range(), "A condition must be true or false.")
		case met.False():
			l.refused(d, v, message)
		}
	}
}

// refused shows the message of a condition that is not met, where the value was given.
func (l *loader) refused(d *variable, v *values, message hcl.Expression) {
	at, where := d.from, ""
	switch {
	case !d.isGiven:
		at = d.where("default")
	case at.Start == at.End: // neither file nor line
		where = at.Filename + ": "
	}
	text, ok := l.evaluate(message)
	if !ok {
		return
	}
	said, err := convert.Convert(text, cty.String)
	switch {
	case text.ContainsMarked():
		l.add("E1403", at, "%sThe variable %q does not meet its condition; the message would show what is sensitive.", where, d.name())
	case err != nil || said.IsNull() || !said.IsKnown():
		l.add("E1301", message.Range(), "The argument \"error_message\" must be a string.")
	default:
		l.add("E1403", at, "%s%s", where, stop(fmt.Sprintf("The variable %q: %s", d.name(), said.AsString())))
	}
	if d.isGiven {
		l.diags[len(l.diags)-1].Detail += fmt.Sprintf(" (The condition is at %s.)", place(v.at))
	}
}
