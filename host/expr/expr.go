// SPDX-License-Identifier: Apache-2.0

// Package expr compiles HCL expressions over events into closures.
//
// An expression that speaks of an event (event.attributes.level == "error") is asked anew for each: millions of times a second,
// where HCL's own evaluation takes microseconds and garbage. [Compile] turns HCL's syntax tree into Go closures once, and what is
// the same for all events into constants; [Evaluator.Bool] runs them.
//
// Invariants:
//
//   - It is HCL, and no second language: what an expression comes to is what hclsyntax and cty would say of it, which the tests compare.
//     spec/expressions.md says where they differ.
//   - What HCL would report as an error while evaluating makes an expression fail for that event: the caller gets a [Failure], and never a
//     guess. What can be seen when the configuration is loaded is a diagnostic then.
//   - An expression is pure: the same event gives the same answer, on every machine and at any time.
//   - What one event can cost is bounded: in memory by maxText and maxElements, in time by the length of the event and of the expression. There are
//     no loops.
//   - A [Program] never changes and is shared; an [Evaluator] has the scratch memory and belongs to one goroutine.
package expr

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/penstock-io/penstock/spec/event"
)

// Want is what an expression must come to.
type Want uint8

// What it may be.
const (
	Bool Want = iota
	Text      // a string; numbers and bools are converted, as in a template
)

// Program is a compiled expression. It is never changed and may be shared.
type Program struct {
	run    node
	places []hcl.Range // of what can fail; the first is the whole expression
	answer value       // when constant
	fixed  bool
	loaded string
}

// Mentions says whether x is for events: whether it names event or batch. Everything else is evaluated when the configuration is loaded.
func Mentions(x hcl.Expression) bool {
	for _, t := range x.Variables() {
		if atEvents(t.RootName()) {
			return true
		}
	}
	return false
}

func atEvents(root string) bool { return root == "event" || root == "batch" }

// Compile makes a program of x, which may be in HCL's native or in its JSON form. What does not mention an event is evaluated now, in ctx,
// which may be nil. There is a Program if there is no error among the diagnostics; the Extra of each is a [Problem].
func Compile(x hcl.Expression, ctx *hcl.EvalContext, want Want) (*Program, hcl.Diagnostics) {
	tree, diags := parsed(x)
	if diags.HasErrors() {
		return nil, diags
	}
	c := compiler{ctx: ctx, places: []hcl.Range{tree.Range()}, mentions: mentions(tree)}
	o := c.want(c.node(tree), want)
	if c.diags.HasErrors() {
		return nil, c.diags
	}
	return &Program{run: o.run, places: c.places, answer: o.val, fixed: o.fixed, loaded: c.loaded.String()}, c.diags
}

// parsed returns the syntax tree of x. In JSON an expression is a string that holds a template; the others are constants.
func parsed(x hcl.Expression) (hclsyntax.Expression, hcl.Diagnostics) {
	native := hcl.UnwrapExpressionUntil(x, func(x hcl.Expression) bool {
		_, ok := x.(hclsyntax.Expression)
		return ok
	})
	if tree, ok := native.(hclsyntax.Expression); ok {
		return tree, nil
	}
	v, diags := x.Value(nil) // the string as it stands
	if diags.HasErrors() {
		return nil, diags
	}
	if v, _ := v.Unmark(); v.IsKnown() && !v.IsNull() && v.Type().FriendlyName() == "string" {
		start := x.Range().Start
		start.Byte++ // the quote
		start.Column++
		return hclsyntax.ParseTemplate([]byte(v.AsString()), x.Range().Filename, start)
	}
	return &hclsyntax.LiteralValueExpr{Val: v, SrcRange: x.Range()}, nil
}

// Constant returns the answer of a program that asks for a bool and says the same of every event.
func (p *Program) Constant() (answer, ok bool) {
	return p.fixed && p.answer.isTrue(), p.fixed && p.answer.kind == boolean
}

// Loaded is what variables and functions came to that the program speaks of, a line each: two programs of the same source do the same when it is the same.
func (p *Program) Loaded() string { return p.loaded }

// Evaluator returns something to run the program with. It is not safe for concurrent use.
func (p *Program) Evaluator() *Evaluator { return &Evaluator{program: p} }

// Evaluator runs a program, on one event after another.
type Evaluator struct {
	program *Program
	vm      vm
	failure Failure
}

// Failure says why an expression has no value for an event.
type Failure struct {
	At     hcl.Range // the part of the expression
	Reason string    // never something of the event
}

// Error gives place and reason.
// Error has the place as compilers write it, which editors and terminals follow: file:line:column.
func (f *Failure) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", f.At.Filename, f.At.Start.Line, f.At.Start.Column, f.Reason)
}

// Bool runs a program that was compiled for Bool. Its error is a *[Failure], which is valid until the next call; the answer is false then.
func (e *Evaluator) Bool(ev *event.Event) (bool, error) {
	v := e.eval(ev)
	if v.kind != boolean {
		return false, e.failed(v)
	}
	return v.n != 0, nil
}

// Text runs a program that was compiled for Text. What it returns is valid until the next call, and as long as the event. Its error
// is a *[Failure], which is valid until the next call.
func (e *Evaluator) Text(ev *event.Event) (string, error) {
	v := e.eval(ev)
	if v.kind != text {
		return "", e.failed(v)
	}
	return v.s, nil
}

func (e *Evaluator) eval(ev *event.Event) value {
	e.vm.event, e.vm.buf = ev, e.vm.buf[:0]
	v := e.program.run(&e.vm)
	e.vm.event = nil
	if cap(e.vm.buf) > keepText {
		e.vm.buf = nil // of one large event among small ones
	}
	return v
}

func (e *Evaluator) failed(v value) *Failure {
	if v.kind != failed {
		panic("BUG: a program came to what it was not compiled for")
	}
	e.failure = Failure{e.program.places[v.n>>8], reasons[v.n&0xff]}
	return &e.failure
}

// node is a compiled expression.
type node func(*vm) value

const (
	// maxText is how much text one evaluation may make, in bytes: four events of the largest size. What would be more fails.
	maxText = 4 * event.MaxBatch
	// keepText is how much scratch memory an evaluator keeps for the next event, in bytes: some usual bodies.
	keepText = 64 << 10
	// maxElements is how many elements a list may have that is made of an event: 40 bytes each.
	maxElements = 1 << 16
)

// vm is what a program runs in.
type vm struct {
	event *event.Event
	buf   []byte // text that was made of this event; it only grows, so that what lies in it stays
}

// room says whether n more bytes of text may be made.
func (v *vm) room(n int) bool { return n <= maxText-len(v.buf) }

// made returns what was appended to the scratch memory since it had from bytes.
func (v *vm) made(from int) value { return textOf(view(v.buf[from:])) }
