// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/penstock-io/penstock/host/expr"
)

// Condition is an expression that is asked of each event: see spec/expressions.md.
type Condition struct {
	*expr.Program
	Text string // as it is written, on one line
}

// problems are the codes of what package expr finds wrong.
var problems = map[expr.Problem]code{expr.Unavailable: "E1411", expr.Unknown: "E1412", expr.Type: "E1413"}

// condition compiles an argument that is asked of each event. It is nil when the argument is not set, or says that it holds for all; ok is false when
// something is wrong with it, which was reported.
func (l *loader) condition(v *values, name string) (c *Condition, ok bool) {
	x := v.args[name].expr
	if x == nil {
		return nil, true
	}
	if !l.conditionNames(x) {
		return nil, false
	}
	p, diags := expr.Compile(x, l.scope.context(), expr.Bool)
	for _, d := range diags {
		problem, _ := hcl.DiagnosticExtra[expr.Problem](d)
		if problem == 0 { // of the parser: a template in JSON
			l.adopt("E1101", hcl.Diagnostics{d}, x.Range())
			continue
		}
		l.add(problems[problem], *d.Subject, "%s", d.Detail)
	}
	if diags.HasErrors() {
		return nil, false
	}
	if answer, fixed := p.Constant(); fixed && answer {
		return nil, true
	}
	return &Condition{Program: p, Text: l.text(x.Range())}, true
}

// conditionNames checks what a condition speaks of beside the event.
func (l *loader) conditionNames(x hcl.Expression) bool {
	if found, ok := l.secretsIn(x); len(found) > 0 || !ok {
		for _, secret := range found {
			l.add("E1411", secret.at, "Secrets, and what is sensitive, are not available for events.")
		}
		return false
	}
	ok := true
	for _, t := range x.Variables() {
		if l.scope.names(t.RootName()) != nil || t.RootName() == eachRoot {
			ok = l.nameKnown(x, t) && ok
		}
	}
	return ok
}

// text is what stands at r, on one line.
func (l *loader) text(r hcl.Range) string {
	f := l.files.files[r.Filename]
	if f == nil || !r.CanSliceBytes(f.Bytes) {
		return ""
	}
	return strings.Join(strings.Fields(string(r.SliceBytes(f.Bytes))), " ")
}
