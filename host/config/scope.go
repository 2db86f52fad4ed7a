// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// scope is what an expression may speak of. A nil scope has the functions of the language alone.
type scope struct {
	functions map[string]function.Function
	vars      map[string]cty.Value
	locals    map[string]*local
	agent     map[string]cty.Value // its name, id and labels; nil until its block is read
	each      map[string]cty.Value // key and value; nil outside of for_each
	known     *hcl.EvalContext     // made of these; see context
}

// The names under which things stand in expressions.
const (
	varRoot   = "var"
	localRoot = "local"
	eachRoot  = "each"
	agentRoot = "agent"
)

// sensitive marks a value that is not to be shown.
const sensitive = valueMark("sensitive")

type valueMark string

// context is what is known when the configuration is loaded.
func (s *scope) context() *hcl.EvalContext {
	if s == nil {
		return &hcl.EvalContext{Functions: functions, Variables: map[string]cty.Value{}}
	}
	if s.known == nil {
		s.known = &hcl.EvalContext{Functions: s.functions, Variables: map[string]cty.Value{varRoot: cty.ObjectVal(s.vars), localRoot: s.localValues(nil)}}
		if s.agent != nil {
			s.known.Variables[agentRoot] = cty.ObjectVal(s.agent)
		}
		if s.each != nil {
			s.known.Variables[eachRoot] = cty.ObjectVal(s.each)
		}
	}
	return s.known
}

// localValues are the locals, those with secrets in them as they come out with these secrets.
func (s *scope) localValues(hidden map[string]cty.Value) cty.Value {
	all := make(map[string]cty.Value, len(s.locals))
	for name, l := range s.locals {
		all[name] = l.value
		if v, ok := hidden[name]; ok {
			all[name] = v
		}
	}
	return cty.ObjectVal(all)
}

// with is the context with secrets in it, known or not.
func (s *scope) with(secrets map[string]cty.Value) *hcl.EvalContext {
	ctx := s.context().NewChild()
	ctx.Variables = map[string]cty.Value{secretReference: cty.ObjectVal(secrets)}
	if s == nil {
		return ctx
	}
	hidden := make(map[string]cty.Value)
	for _, l := range hiddenLocals(s.locals) {
		v, diags := l.expr.Value(ctx)
		if diags.HasErrors() {
			v = cty.DynamicVal // reported where it stands
		}
		hidden[l.name] = v
		ctx.Variables[localRoot] = s.localValues(hidden)
	}
	return ctx
}

// instance is the scope within one instance of a block with for_each.
func (s *scope) instance(key, value cty.Value) *scope {
	return &scope{functions: s.functions, vars: s.vars, locals: s.locals, agent: s.agent, each: map[string]cty.Value{"key": key, "value": value}}
}

// secretUse is a secret that an expression speaks of, itself or through locals.
type secretUse struct {
	name string
	at   hcl.Range // of the reference, or of that to a local value
	word hcl.Range // of its name alone, where it stands there
}

// secretsIn lists the secrets in an expression; ok is false when a reference to one was not written as such, and reported.
func (f *faults) secretsIn(expr hcl.Expression) (found []secretUse, ok bool) {
	ok = true
	for _, t := range expr.Variables() {
		name, at, isName := second(t)
		switch {
		case t.RootName() == secretReference && (!isName || len(t) != 2):
			f.add("E1502", t.SourceRange(), "A secret is written secret.NAME.")
			ok = false
		case t.RootName() == secretReference:
			found = append(found, secretUse{name, t.SourceRange(), at})
		case t.RootName() == localRoot && isName && f.scope != nil && f.scope.locals[name] != nil:
			for _, secret := range f.scope.locals[name].secrets {
				found = append(found, secretUse{secret, t.SourceRange(), t.SourceRange()})
			}
		}
	}
	return found, ok
}

// second is the name after the root of a traversal.
func second(t hcl.Traversal) (name string, at hcl.Range, ok bool) {
	if len(t) < 2 {
		return "", hcl.Range{}, false
	}
	attr, ok := t[1].(hcl.TraverseAttr)
	return attr.Name, attr.SrcRange, ok
}

// evaluate is the value of an expression that is to be known now, and speaks of no secret; ok is false when it has none, which was reported,
// here or where what it speaks of is declared.
func (f *faults) evaluate(expr hcl.Expression) (v cty.Value, ok bool) {
	if !f.namesKnown(expr) {
		return cty.NilVal, false
	}
	v, diags := expr.Value(f.scope.context())
	if diags.HasErrors() {
		f.unevaluated(expr, diags)
		return cty.NilVal, false
	}
	return v, true
}

// unevaluated reports that an expression has no value. The library may show what is not to be shown.
func (f *faults) unevaluated(expr hcl.Expression, diags hcl.Diagnostics) {
	if f.touchesSensitive(expr) {
		f.add("E1401", expr.Range(), "The expression has no value with what is in it, which is sensitive and not shown.")
		return
	}
	f.adopt("E1401", diags, expr.Range())
}

// touchesSensitive says whether an expression speaks of a value that is not to be shown.
func (f *faults) touchesSensitive(expr hcl.Expression) bool {
	return slices.ContainsFunc(expr.Variables(), func(t hcl.Traversal) bool {
		v, diags := t.TraverseAbs(f.scope.context())
		return !diags.HasErrors() && v.ContainsMarked()
	})
}

// namesKnown checks that an expression speaks of what there is; ok is false when it does not, or of what has no value because of a mistake elsewhere.
func (f *faults) namesKnown(expr hcl.Expression) (ok bool) {
	ok = true
	for _, t := range expr.Variables() {
		ok = f.nameKnown(expr, t) && ok
	}
	return ok
}

func (f *faults) nameKnown(expr hcl.Expression, t hcl.Traversal) bool {
	root := t.RootName()
	if root == secretReference {
		return true
	}
	known := f.scope.names(root)
	name, at, isName := second(t)
	switch {
	case known == nil:
		f.add("E1401", t.SourceRange(), "%s", f.noVariable(expr, t))
		return false
	case !isName:
		f.add("E1401", t.SourceRange(), "What is declared is named after %s, with a dot: %s.NAME.", root, root)
		return false
	case !slices.Contains(known, name):
		f.add("E1501", t[0].SourceRange(), "There is no %s %q.%s", nounOf[root], name, thereIs(name, known))
		f.diags[len(f.diags)-1].Subject.End = at.End
		return false
	case root == varRoot && f.scope.vars[name].RawEquals(cty.DynamicVal), root == localRoot && f.scope.locals[name].broken,
		root == agentRoot && f.scope.agent[name].RawEquals(cty.DynamicVal):
		return false // reported there
	}
	return true
}

var nounOf = map[string]string{varRoot: "variable", localRoot: "local value", eachRoot: "part of each", agentRoot: "part of agent"}

// names are those of what there is under a root; nil: there is no such root here.
func (s *scope) names(root string) []string {
	switch {
	case s == nil:
		return nil
	case root == varRoot:
		return append([]string{}, slices.Sorted(maps.Keys(s.vars))...)
	case root == localRoot:
		return append([]string{}, slices.Sorted(maps.Keys(s.locals))...)
	case root == agentRoot && s.agent != nil:
		return []string{"id", "labels", "name"}
	case root == eachRoot && s.each != nil:
		return []string{"key", "value"}
	}
	return nil
}

// noVariable says why a word is not one, as well as can be guessed.
func (f *faults) noVariable(expr hcl.Expression, t hcl.Traversal) string {
	root := t.RootName()
	switch {
	case root == eachRoot:
		return "each is known within a block that has for_each, and this one has none."
	case root == agentRoot:
		return "agent is known in the blocks of the pipeline, and not in variables, locals, functions or the agent block itself."
	case root == "event" || root == "batch":
		return root + " is known while events flow, and this is evaluated when the configuration is loaded."
	case slices.Contains(referenceRoots, root):
		return fmt.Sprintf("A %s is named where it is wired up, and is no value.", root)
	case slices.Contains(f.scope.names(varRoot), root):
		return fmt.Sprintf("There is nothing called %q. Did you mean var.%s?", root, root)
	case slices.Contains(f.scope.names(localRoot), root):
		return fmt.Sprintf("There is nothing called %q. Did you mean local.%s?", root, root)
	case hcl.ExprAsKeyword(expr) != "":
		return fmt.Sprintf("There is nothing called %q. Did you mean %q, in quotes?", root, root)
	}
	return fmt.Sprintf("There is nothing called %q here.%s", root, didYouMean(root, []string{varRoot, localRoot, eachRoot, agentRoot, secretReference}))
}

// referenceRoots are what stands in references, which are not evaluated.
var referenceRoots = []string{channelReference, processorReference, tlsReference, "source", "sink", "plugin"}
