// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// values is a block that was read: its arguments with their defaults, and the blocks within.
type values struct {
	labels []string
	label  []hcl.Range // where each label is
	at     hcl.Range   // the header
	args   map[string]setting
	inner  map[string][]*values
	body   hcl.Body // of a block whose content is the plugin's
	key    string   // of an instance of a block with for_each; "" else
	scope  *scope   // in which it was read
	broken bool     // something in it is wrong: what depends on it is not worth reporting
}

// setting is an argument's value.
type setting struct {
	value   any            // as a checker makes it; nil: not set, or wrong, or not known yet
	expr    hcl.Expression // nil: the default
	name    hcl.Range
	secrets []secretUse // that expr speaks of
	unknown bool        // something that it speaks of has no value, which was reported
}

// at returns where the value was written, or else the header of the block.
func (v *values) where(name string) hcl.Range {
	if s := v.args[name]; s.expr != nil {
		return s.expr.Range()
	}
	return v.at
}

func (v *values) isSet(name string) bool { return v.args[name].expr != nil }

func (v *values) text(name string) string {
	s, _ := v.args[name].value.(string)
	return s
}

func (v *values) yes(name string) bool {
	b, _ := v.args[name].value.(bool)
	return b
}

// number returns an integer, a size or a duration.
func (v *values) number(name string) int64 { return integer(v.args[name].value) }

// child returns the one block of that name within, or what its defaults make.
func (v *values) child(name string) *values {
	if blocks := v.inner[name]; len(blocks) > 0 {
		return blocks[0]
	}
	panic("BUG: no block " + name + " is declared here")
}

// decode reads what is in a block.
func (f *faults) decode(spec block, b *hcl.Block) *values {
	v := &values{labels: b.Labels, label: b.LabelRanges, at: b.DefRange, scope: f.scope, inner: make(map[string][]*values)}
	before := len(f.diags)
	if spec.free {
		v.body = b.Body
		return v
	}
	owner := spec.owner()
	content := f.content(spec, owner, b.Body)
	v.args = f.settings(spec.args, owner, content, b.DefRange)
	for _, inner := range spec.blocks {
		for _, found := range content.Blocks {
			if found.Type == inner.name {
				v.inner[inner.name] = append(v.inner[inner.name], f.decode(inner, found))
			}
		}
		f.single(inner, v, content.Blocks)
	}
	v.broken = f.diags[before:].HasErrors() || v.isUnknown()
	return v
}

// isUnknown says whether something in it has no value because of a mistake elsewhere.
func (v *values) isUnknown() bool {
	for _, s := range v.args {
		if s.unknown {
			return true
		}
	}
	for _, blocks := range v.inner {
		if slices.ContainsFunc(blocks, func(b *values) bool { return b.broken }) {
			return true
		}
	}
	return false
}

// owner is how a message calls the block.
func (b block) owner() string {
	if strings.ContainsAny(b.name[:1], "aeio") {
		return "An " + b.name + " block"
	}
	return "A " + b.name + " block"
}

// single reports a second block where there is but one, and puts the defaults where there is none.
func (f *faults) single(spec block, v *values, blocks hcl.Blocks) {
	if !spec.once {
		return
	}
	found := v.inner[spec.name]
	if len(found) == 0 {
		v.inner[spec.name] = []*values{defaultsOf(spec, v.at)}
		return
	}
	for _, b := range found[1:] {
		f.add("E1206", b.at, "There is one %s block at most, and it is at %s.", spec.name, place(found[0].at))
	}
}

// defaultsOf is a block that nobody wrote.
func defaultsOf(spec block, at hcl.Range) *values {
	v := &values{at: at, args: make(map[string]setting), inner: make(map[string][]*values)}
	for _, a := range spec.args {
		v.args[a.Name] = setting{value: a.def}
	}
	for _, inner := range spec.blocks {
		if inner.once {
			v.inner[inner.name] = []*values{defaultsOf(inner, at)}
		}
	}
	return v
}

// content is a body in its parts.
type content struct {
	*hcl.BodyContent
	meant []string // what mistyped names were probably meant to be: it is not reported as missing as well
}

// content splits a body into arguments and blocks, and reports what does not belong.
func (f *faults) content(spec block, owner string, body hcl.Body) content {
	parts, diags := body.Content(spec.schema())
	c := content{BodyContent: parts}
	for _, d := range diags {
		switch {
		case d.Summary == "Unsupported argument", d.Summary == "Extraneous JSON object property":
			c.meant = append(c.meant, f.unknownArgument(spec, owner, *d.Subject, nameIn(d.Detail)))
		case d.Summary == "Unsupported block type":
			c.meant = append(c.meant, f.unknownBlock(spec, owner, *d.Subject, nameIn(d.Detail)))
		case strings.HasPrefix(d.Summary, "Duplicate"):
			f.add("E1102", *d.Subject, "%s", placed(d.Detail))
		case d.Summary == "Incorrect JSON value type":
			f.add("E1205", *d.Subject, "%s", d.Detail)
		default: // "Missing name for source", "Extraneous label for agent", "Missing block label"
			f.add("E1202", *d.Subject, "%s", spec.labelling(d))
		}
	}
	return c
}

// nameIn returns the first quoted word of a message.
func nameIn(detail string) string {
	_, rest, _ := strings.Cut(detail, `"`)
	name, _, _ := strings.Cut(rest, `"`)
	return name
}

// labelling says how the block is labelled that the library complains of.
func (b block) labelling(d *hcl.Diagnostic) string {
	i := slices.IndexFunc(b.blocks, func(inner block) bool { return strings.HasSuffix(d.Summary, " for "+inner.name) })
	if i < 0 {
		return d.Detail
	}
	inner := b.blocks[i]
	example := inner.name
	for _, label := range inner.labels {
		example += fmt.Sprintf(" %q", strings.ToUpper(label))
	}
	switch len(inner.labels) {
	case 0:
		return inner.owner() + " has no label: write " + example + " { … }."
	case 1:
		return inner.owner() + " has one label: write " + example + " { … }."
	}
	return fmt.Sprintf("%s has %d labels: write %s { … }.", inner.owner(), len(inner.labels), example)
}

// unknownArgument returns what was probably meant, or "".
func (f *faults) unknownArgument(spec block, owner string, at hcl.Range, name string) (meant string) {
	blocks := spec.blockNames()
	names := append(blocks, argumentNames(spec.args)...)
	switch {
	case slices.Contains(blocks, name):
		f.add("E1203", at, "In %s, %s is a block, not an argument: write %s { … }, without an equals sign.", lowerFirst(owner), name, name)
	case spec.name == "" && slices.Contains(laterBlocks, name):
		f.add("E1203", at, "This version of penstock has no %s yet.", name)
	case spec.name == groupReference && slices.Contains(ofTheMembers, name):
		f.add("E1203", at, "%s has no argument %q: each of its members says that, in its own sink block.", owner, name)
	default:
		f.add("E1203", at, "%s has no argument %q.%s", owner, name, didYouMean(name, names))
	}
	return nearest(name, names)
}

// unknownBlock returns what was probably meant, or "".
func (f *faults) unknownBlock(spec block, owner string, at hcl.Range, name string) (meant string) {
	args := argumentNames(spec.args)
	names := append(args, spec.blockNames()...)
	switch {
	case slices.Contains(args, name):
		f.add("E1201", at, "In %s, %s is an argument, not a block: write %s = …, with an equals sign.", lowerFirst(owner), name, name)
	case spec.name == "" && slices.Contains(laterBlocks, name):
		f.add("E1201", at, "This version of penstock has no %s blocks yet.", name)
	default:
		f.add("E1201", at, "%s has no %s block.%s", owner, name, didYouMean(name, names))
	}
	return nearest(name, names)
}

func (b block) blockNames() (names []string) {
	for _, inner := range b.blocks {
		names = append(names, inner.name)
	}
	return names
}

// lowerFirst puts "A sink block" into the middle of a sentence.
func lowerFirst(s string) string {
	if len(s) == 0 {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}

func argumentNames(args []argument) (names []string) {
	for _, a := range args {
		names = append(names, a.Name)
	}
	return names
}

// settings checks the arguments that were written, and adds the defaults of those that were not.
func (f *faults) settings(decls []argument, owner string, c content, at hcl.Range) map[string]setting {
	out := make(map[string]setting, len(decls))
	for _, a := range decls {
		attr, written := c.Attributes[a.Name]
		if !written {
			switch {
			case slices.Contains(c.meant, a.Name):
			case a.Required && a.typ.form == formReference:
				f.add("E1204", at, "%s needs the argument %q: write %s = %s.NAME.", owner, a.Name, a.Name, a.Type)
			case a.Required:
				f.add("E1204", at, "%s needs the argument %q: %s.", owner, a.Name, a.typ.noun())
			}
			out[a.Name] = setting{value: a.def}
			continue
		}
		out[a.Name] = f.setting(a, owner, attr)
	}
	return out
}

func (f *faults) setting(a argument, owner string, attr *hcl.Attribute) setting {
	s := setting{expr: attr.Expr, name: attr.NameRange}
	if a.typ.form == formReference || a.typ.form == formRaw {
		return s
	}
	if a.Deprecated != "" {
		f.add("W4002", attr.NameRange, "The argument %q will go: %s", a.Name, a.Deprecated)
	}
	found, ok := f.secretsIn(attr.Expr)
	if !ok || len(found) > 0 {
		return f.hide(a, s, found)
	}
	v, ok := f.evaluate(attr.Expr)
	if s.unknown = !ok; !ok {
		return s
	}
	if v.ContainsMarked() && !a.Sensitive {
		f.add("E5005", attr.Expr.Range(), "The argument %q is one that is shown, in logs and to whoever asks for the configuration: it takes nothing that is sensitive.", a.Name)
		return s
	}
	c := checker{rules: a}
	s.value = c.value(v, a.typ, nil)
	for _, m := range c.wrong {
		name := strconv.Quote(a.Name)
		if len(m.path) > 0 {
			name = a.Name + pathText(m.path)
		}
		f.add(m.code, locate(attr.Expr, m.path), "The argument %s %s%s", name, stop(m.text), asList(a, v, m))
	}
	if s.value == nil && len(c.wrong) == 0 { // null
		if a.Required {
			f.add("E1204", attr.Range, "%s needs the argument %q: null is as if it were not there.", owner, a.Name)
		}
		s = setting{value: a.def}
	}
	return s
}

// asList suggests brackets around a string where a list of strings is wanted.
func asList(a argument, v cty.Value, m mismatch) string {
	if len(m.path) > 0 || a.Sensitive || v.ContainsMarked() || a.typ.form != formList || a.typ.elem.form != formString || v.Type() != cty.String {
		return ""
	}
	return fmt.Sprintf(" Did you mean [%s]?", quote(v.AsString()))
}

// stop ends a sentence, unless it has ended.
func stop(s string) string {
	if strings.HasSuffix(s, "?") || strings.HasSuffix(s, ".") {
		return s
	}
	return s + "."
}

// locate finds the part of an expression that the path leads to, as far as it is written out.
func locate(expr hcl.Expression, path cty.Path) hcl.Range {
	at := expr.Range()
	for _, step := range path {
		expr = part(expr, step)
		if expr == nil {
			return at
		}
		at = expr.Range()
	}
	return at
}

func part(expr hcl.Expression, step cty.PathStep) hcl.Expression {
	key := cty.NilVal
	switch step := step.(type) {
	case cty.GetAttrStep:
		key = cty.StringVal(step.Name)
	case cty.IndexStep:
		key = step.Key
	}
	if key.Type() == cty.Number {
		items, diags := hcl.ExprList(expr)
		if i, _ := key.AsBigFloat().Int64(); !diags.HasErrors() && i < int64(len(items)) {
			return items[i]
		}
		return nil
	}
	pairs, diags := hcl.ExprMap(expr)
	if diags.HasErrors() {
		return nil
	}
	for _, pair := range pairs {
		if k, diags := pair.Key.Value(nil); !diags.HasErrors() && k.Type() == cty.String && k.IsKnown() && !k.IsNull() && k.RawEquals(key) {
			return pair.Value
		}
	}
	return nil
}

// place writes a position for a sentence.
func place(r hcl.Range) string { return fmt.Sprintf("%s line %d", r.Filename, r.Start.Line) }
