// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// userFunction is one that a file declares.
type userFunction struct {
	*values
	params []string
	rest   string // the parameter that takes all further arguments; ""
	result hcl.Expression
	state  int // of the look for circles: not yet, open, done
	scope  *scope
	budget *int
}

// maxCalls bounds how often functions of the configuration are called while it is loaded: they may call each other, each several times.
const maxCalls = 100_000

// declareFunctions reads all function blocks. A function speaks of its parameters alone; it may call others, but not come back to itself.
func (l *loader) declareFunctions() {
	all := make(map[string]*userFunction)
	budget := maxCalls
	for _, v := range l.blocks["function"] {
		if all[v.name()] != nil || v.broken {
			continue
		}
		if _, builtin := l.scope.functions[v.name()]; builtin {
			l.add("E1208", v.label[0], "There is a function %s already: it comes with the language.", v.name())
			continue
		}
		f := &userFunction{values: v, result: v.args["result"].expr, scope: l.scope, budget: &budget}
		if f.params = l.params(v, "params"); v.isSet("variadic_param") {
			f.rest = l.param(v.args["variadic_param"].expr)
		}
		all[v.name()] = f
	}
	for name, f := range all {
		l.scope.functions[name] = f.function()
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		l.checkFunction(all, all[name], nil)
	}
}

func (l *loader) params(v *values, arg string) (names []string) {
	expr := v.args[arg].expr
	items, diags := hcl.ExprList(expr)
	if diags.HasErrors() {
		l.add("E1301", expr.Range(), "The argument %q must be a list of names: [a, b].", arg)
	}
	for _, item := range items {
		name := l.param(item)
		if name != "" && slices.Contains(names, name) {
			l.add("E1208", item.Range(), "There is a parameter %s already.", name)
		}
		names = append(names, name)
	}
	return names
}

// param is the name of a parameter, written bare.
func (l *loader) param(expr hcl.Expression) string {
	name := hcl.ExprAsKeyword(expr)
	if name == "" {
		l.add("E1502", expr.Range(), "A parameter is a name, without quotes.")
	}
	return name
}

// checkFunction looks whether a function speaks of its parameters alone, and does not call itself by way of others.
func (l *loader) checkFunction(all map[string]*userFunction, f *userFunction, path []string) {
	const open, done = 1, 2
	switch f.state {
	case open:
		i := slices.Index(path, f.name())
		l.add("E1404", f.label[0], "The function %s calls itself, and would never end: %s.", f.name(), strings.Join(append(path[i:], f.name()), " → "))
		for _, name := range path[i:] {
			l.scope.functions[name] = broken
		}
		return
	case done:
		return
	}
	f.state = open
	known := append(slices.Clone(f.params), f.rest)
	for _, t := range f.result.Variables() {
		if !slices.Contains(known, t.RootName()) {
			l.add("E1401", t.SourceRange(), "A function speaks of its parameters alone; %s is none of them.%s", t.RootName(), didYouMean(t.RootName(), f.params))
		}
	}
	for _, call := range calls(f.result) {
		if other := all[call]; other != nil {
			l.checkFunction(all, other, append(path, f.name()))
		}
	}
	f.state = done
}

// broken stands for a function that never ends.
var broken = function.New(&function.Spec{
	VarParam: &function.Parameter{Name: "any", Type: cty.DynamicPseudoType, AllowNull: true, AllowUnknown: true, AllowDynamicType: true},
	Type:     function.StaticReturnType(cty.DynamicPseudoType),
	Impl:     func([]cty.Value, cty.Type) (cty.Value, error) { return cty.DynamicVal, nil },
})

// calls are the names of the functions that an expression calls. In JSON they are within strings, and are not found: see maxCalls.
func calls(expr hcl.Expression) (names []string) {
	node, ok := expr.(hclsyntax.Node)
	if !ok {
		return nil
	}
	_ = hclsyntax.VisitAll(node, func(n hclsyntax.Node) hcl.Diagnostics { // what it returns is what we return: nothing
		if call, ok := n.(*hclsyntax.FunctionCallExpr); ok {
			names = append(names, call.Name)
		}
		return nil
	})
	return names
}

var errCalls = fmt.Errorf("functions call each other more than %d times", maxCalls)

// function makes it one that expressions can call. Its type is known with its result: to find out beforehand would be to call it twice,
// and those that it calls four times.
func (f *userFunction) function() function.Function {
	spec := &function.Spec{Type: function.StaticReturnType(cty.DynamicPseudoType), Description: f.text("description")}
	for _, name := range f.params {
		spec.Params = append(spec.Params, function.Parameter{Name: name, Type: cty.DynamicPseudoType, AllowNull: true, AllowDynamicType: true})
	}
	if f.rest != "" {
		spec.VarParam = &function.Parameter{Name: f.rest, Type: cty.DynamicPseudoType, AllowNull: true, AllowDynamicType: true}
	}
	depth := 0
	spec.Impl = func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		if depth++; depth > maxNesting {
			return cty.NilVal, errCalls
		}
		defer func() { depth-- }()
		if *f.budget--; *f.budget < 0 {
			return cty.NilVal, errCalls
		}
		ctx := &hcl.EvalContext{Functions: f.scope.functions, Variables: make(map[string]cty.Value)}
		for i, name := range f.params {
			ctx.Variables[name] = args[i]
		}
		if f.rest != "" {
			ctx.Variables[f.rest] = cty.TupleVal(args[len(f.params):])
		}
		v, diags := f.result.Value(ctx)
		switch {
		case diags.HasErrors():
			return cty.NilVal, errors.New(strings.TrimSuffix(sentence(diags[0]), "."))
		case sizeOf(v) > maxText:
			return cty.NilVal, errLong
		}
		return v, nil
	}
	return function.New(spec)
}
