// SPDX-License-Identifier: Apache-2.0

package config

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/dynblock"
	"github.com/zclconf/go-cty/cty"

	"github.com/penstock-io/penstock/spec/abi"
)

// An argument of a plugin that is an object, or a list of objects, may be written as a block, or as several: and then dynamic blocks can make them.

const dynamicBlock = "dynamic"

// asBlock says whether an argument may be written as a block.
func (a argument) asBlock() bool {
	return a.typ.form == formObject || a.typ.form == formList && a.typ.elem.form == formObject
}

// configLanguage is the language of a plugin's config.
func configLanguage(args []argument) block {
	b := block{name: "config", args: args}
	for _, a := range args {
		if a.asBlock() {
			b.blocks = append(b.blocks, block{name: a.Name, free: true})
		}
	}
	return b
}

// expand makes blocks of dynamic ones, and arguments of blocks; ok is false when it is not known which blocks there are, which was reported.
func (f *faults) expand(args []argument, owner string, body hcl.Body) (c content, ok bool) {
	language := configLanguage(args)
	if len(language.blocks) == 0 {
		return f.content(language, owner, body), true
	}
	if !f.dynamics(language, owner, body) {
		return content{BodyContent: &hcl.BodyContent{}}, false
	}
	c = f.content(language, owner, dynblock.Expand(body, f.scope.context()))
	for _, a := range args {
		if blocks := c.Blocks.OfType(a.Name); len(blocks) > 0 {
			c = f.blocksAsArgument(a, c, blocks)
		}
	}
	return c, true
}

// dynamics checks what dynamic blocks are repeated for, in our words.
func (f *faults) dynamics(language block, owner string, body hcl.Body) bool {
	found, _, _ := body.PartialContent(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: dynamicBlock, LabelNames: []string{"block"}}}})
	ok := true
	for _, b := range found.Blocks {
		if names := language.blockNames(); !slices.Contains(names, b.Labels[0]) {
			f.add("E1201", b.LabelRanges[0], "%s has no %s block that could be repeated.%s", owner, b.Labels[0], thereIs(b.Labels[0], names))
			ok = false
			continue
		}
		head, _, _ := b.Body.PartialContent(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: forEachArgument.name}}})
		attr := head.Attributes[forEachArgument.name]
		if attr == nil {
			f.add("E1204", b.DefRange, "A dynamic block needs the argument \"for_each\": what there is to be a block of.")
			ok = false
			continue
		}
		v, known := f.evaluate(attr.Expr)
		switch {
		case !known:
			ok = false
		case v.ContainsMarked():
			f.add("E5005", attr.Expr.Range(), "How many blocks there are is shown: it takes nothing that is sensitive.")
			ok = false
		case v.IsNull() || !v.IsKnown() || !v.CanIterateElements():
			f.add("E1209", attr.Expr.Range(), "for_each of a dynamic block is a list, or a map.")
			ok = false
		case v.LengthInt() > maxInstances:
			f.add("E1209", attr.Expr.Range(), "There would be %d blocks; %d are the most.", v.LengthInt(), maxInstances)
			ok = false
		}
	}
	return ok
}

// blocksAsArgument makes one argument of blocks. Where one of them is wrong, the argument is not missed.
func (f *faults) blocksAsArgument(a argument, c content, blocks hcl.Blocks) content {
	e := &blockExpr{list: a.typ.form == formList, at: blocks[0].DefRange}
	before := len(f.diags)
	first, written := c.Attributes[a.Name]
	switch {
	case written:
		f.add("E1102", blocks[0].DefRange, "%s is an argument at %s already, and here a block.", a.Name, place(first.Range))
	case !e.list && len(blocks) > 1:
		f.add("E1206", blocks[1].DefRange, "%s is given once, and is at %s already.", a.Name, place(blocks[0].DefRange))
	}
	inner := block{name: a.Name}
	for _, name := range a.typ.leaf().fieldNames() {
		inner.args = append(inner.args, argument{Argument: abi.Argument{Name: name}})
	}
	for _, b := range blocks {
		attrs := f.content(inner, inner.owner(), b.Body).Attributes
		e.items = append(e.items, objectExpr{inOrder(attrs), b.DefRange})
	}
	if f.diags[before:].HasErrors() {
		delete(c.Attributes, a.Name)
		c.meant = append(c.meant, a.Name)
		return c
	}
	c.Attributes[a.Name] = &hcl.Attribute{Name: a.Name, Expr: e, Range: e.at, NameRange: e.at}
	return c
}

// blockExpr is blocks as an expression: an object, or a list of them.
type blockExpr struct {
	list  bool
	items []objectExpr
	at    hcl.Range
}

var (
	_ hcl.Expression = (*blockExpr)(nil)
	_ hcl.Expression = objectExpr{}
)

// Value implements [hcl.Expression].
func (e *blockExpr) Value(ctx *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	if !e.list {
		return e.items[0].Value(ctx)
	}
	var all []cty.Value
	var diags hcl.Diagnostics
	for _, item := range e.items {
		v, more := item.Value(ctx)
		all, diags = append(all, v), append(diags, more...)
	}
	return cty.TupleVal(all), diags
}

// Variables implements [hcl.Expression].
func (e *blockExpr) Variables() (all []hcl.Traversal) {
	for _, item := range e.items {
		all = append(all, item.Variables()...)
	}
	return all
}

// ExprList is asked for by [hcl.ExprList], ExprMap by [hcl.ExprMap]: to find the place of a part.
func (e *blockExpr) ExprList() (all []hcl.Expression) {
	if !e.list {
		return nil
	}
	for _, item := range e.items {
		all = append(all, item)
	}
	return all
}

// ExprMap is of an object alone.
func (e *blockExpr) ExprMap() []hcl.KeyValuePair {
	if e.list {
		return nil
	}
	return e.items[0].ExprMap()
}

// Range implements [hcl.Expression], and so does StartRange.
func (e *blockExpr) Range() hcl.Range      { return e.at }
func (e *blockExpr) StartRange() hcl.Range { return e.at }

// objectExpr is the arguments of one block.
type objectExpr struct {
	attrs []*hcl.Attribute
	at    hcl.Range
}

// Value implements [hcl.Expression].
func (e objectExpr) Value(ctx *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	all := make(map[string]cty.Value, len(e.attrs))
	var diags hcl.Diagnostics
	for _, a := range e.attrs {
		v, more := a.Expr.Value(ctx)
		all[a.Name], diags = v, append(diags, more...)
	}
	return cty.ObjectVal(all), diags
}

// Variables implements [hcl.Expression].
func (e objectExpr) Variables() (all []hcl.Traversal) {
	for _, a := range e.attrs {
		all = append(all, a.Expr.Variables()...)
	}
	return all
}

// ExprMap finds the place of a part.
func (e objectExpr) ExprMap() (all []hcl.KeyValuePair) {
	for _, a := range e.attrs {
		all = append(all, hcl.KeyValuePair{Key: hcl.StaticExpr(cty.StringVal(a.Name), a.NameRange), Value: a.Expr})
	}
	return all
}

// Range implements [hcl.Expression], and so does StartRange.
func (e objectExpr) Range() hcl.Range      { return e.at }
func (e objectExpr) StartRange() hcl.Range { return e.at }
