// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/penstock-io/penstock/spec/abi"
)

// argument is an argument's declaration, ready to check values with.
type argument struct {
	abi.Argument
	typ     typ
	pattern *regexp.Regexp
	shown   string // in the reference, instead of the default
	def     any    // nil: none
}

// checker turns a value into what JSON holds: string, bool, json.Number, []any, map[string]any, with
// durations as nanoseconds and sizes as bytes (int64). It gathers everything that does not fit.
type checker struct {
	rules argument // enum, pattern, min and max of the leaves
	wrong []mismatch
}

// mismatch is one value, or a value within a value, that does not fit.
type mismatch struct {
	path cty.Path
	code code
	text string // a clause: "must be a string; this is a number"
}

func (c *checker) miss(code code, path cty.Path, format string, args ...any) any {
	c.wrong = append(c.wrong, mismatch{slices.Clone(path), code, fmt.Sprintf(format, args...)})
	return nil
}

// value checks v against t. The result is nil when it is null or does not fit.
func (c *checker) value(v cty.Value, t typ, path cty.Path) any {
	v, _ = v.UnmarkDeep()
	switch {
	case v.IsNull() && len(path) == 0:
		return nil // as HCL has it: null is as if the argument were not there
	case v.IsNull():
		return c.miss("E1301", path, "must be %s; this is null", t.noun())
	case !v.IsKnown():
		return c.miss("E1401", path, "cannot be known before the agent runs")
	}
	switch t.form {
	case formList:
		return c.list(v, t, path)
	case formMap:
		return c.dict(v, t, path)
	case formObject:
		return c.object(v, t, path)
	}
	return c.leaf(v, t, path)
}

func (c *checker) list(v cty.Value, t typ, path cty.Path) any {
	if ty := v.Type(); !ty.IsTupleType() && !ty.IsListType() && !ty.IsSetType() {
		return c.miss("E1301", path, "must be %s; this is %s", t.noun(), c.describe(v))
	}
	out := make([]any, 0, v.LengthInt())
	for i, e := range each(v) {
		out = append(out, c.value(e, *t.elem, append(path, cty.IndexStep{Key: cty.NumberIntVal(int64(i))})))
	}
	return out
}

// each numbers the elements of a list, tuple or set.
func each(v cty.Value) func(yield func(int, cty.Value) bool) {
	return func(yield func(int, cty.Value) bool) {
		i := 0
		for it := v.ElementIterator(); it.Next(); i++ {
			if _, e := it.Element(); !yield(i, e) {
				return
			}
		}
	}
}

func (c *checker) dict(v cty.Value, t typ, path cty.Path) any {
	if ty := v.Type(); !ty.IsMapType() && !ty.IsObjectType() {
		return c.miss("E1301", path, "must be %s; this is %s", t.noun(), c.describe(v))
	}
	out := make(map[string]any, v.LengthInt())
	for it := v.ElementIterator(); it.Next(); {
		k, e := it.Element()
		out[k.AsString()] = c.value(e, *t.elem, append(path, cty.IndexStep{Key: k}))
	}
	return out
}

func (c *checker) object(v cty.Value, t typ, path cty.Path) any {
	if ty := v.Type(); !ty.IsMapType() && !ty.IsObjectType() {
		return c.miss("E1301", path, "must be %s; this is %s", t.noun(), c.describe(v))
	}
	inner := checker{} // the rules speak of the leaves of lists and maps, not of attributes
	inner.rules.Sensitive = c.rules.Sensitive
	given := v.AsValueMap()
	out := make(map[string]any, len(t.fields))
	for _, f := range t.fields {
		e, ok := given[f.name]
		delete(given, f.name)
		if !ok || e.IsNull() {
			e = f.def
		}
		switch {
		case e != cty.NilVal:
			out[f.name] = inner.value(e, f.typ, append(path, cty.GetAttrStep{Name: f.name}))
		case !f.optional:
			c.miss("E1204", path, "needs %q, %s", f.name, f.typ.noun())
		}
	}
	for name := range given {
		c.miss("E1203", append(path, cty.GetAttrStep{Name: name}), "is not an attribute that is expected here.%s",
			didYouMean(name, t.fieldNames()))
	}
	c.wrong = append(c.wrong, inner.wrong...)
	return out
}

func (t typ) fieldNames() (names []string) {
	for _, f := range t.fields {
		names = append(names, f.name)
	}
	return names
}

// leaf checks a value that has no parts, and then the rules.
func (c *checker) leaf(v cty.Value, t typ, path cty.Path) any {
	switch t.form {
	case formDuration:
		return c.unit(v, path, "E1305", `must be a duration such as "200ms" or "1m30s"; this is %s`, func(s string) (int64, error) {
			d, err := parseDuration(s)
			return int64(d), err
		})
	case formSize:
		return c.unit(v, path, "E1306", `must be a size such as "512KiB" or "4MiB"; this is %s`, parseSize)
	}
	want := map[form]cty.Type{formString: cty.String, formNumber: cty.Number, formInteger: cty.Number, formBool: cty.Bool}[t.form]
	got, err := convert.Convert(v, want)
	if err != nil {
		return c.miss("E1301", path, "must be %s; this is %s", t.noun(), c.describe(v))
	}
	switch t.form {
	case formBool:
		return got.True()
	case formString:
		return c.text(got.AsString(), path)
	}
	return c.number(got, t, path)
}

func (c *checker) unit(v cty.Value, path cty.Path, code code, text string, parse func(string) (int64, error)) any {
	if v.Type() != cty.String {
		hint := ""
		if v.Type() == cty.Number {
			hint = ": say in which unit"
		}
		return c.miss(code, path, text+"%s", c.describe(v), hint)
	}
	n, err := parse(v.AsString())
	if err != nil {
		return c.miss(code, path, text, c.describe(v))
	}
	if !c.bounds(float64(n), path) {
		return nil
	}
	return n
}

func (c *checker) number(v cty.Value, t typ, path cty.Path) any {
	big := v.AsBigFloat()
	f, _ := big.Float64()
	switch {
	case math.IsInf(f, 0):
		return c.miss("E1303", path, "is too large a number")
	case !c.bounds(f, path):
		return nil
	}
	if i, exact := big.Int64(); exact == 0 {
		return json.Number(strconv.FormatInt(i, 10))
	}
	if t.form == formInteger {
		return c.miss("E1301", path, "must be a whole number; this is %s", c.describe(v))
	}
	return json.Number(strconv.FormatFloat(f, 'g', -1, 64))
}

func (c *checker) text(s string, path cty.Path) any {
	if enum := c.rules.Enum; len(enum) > 0 && !slices.Contains(enum, s) {
		return c.miss("E1302", path, "must be %s%s.%s", oneOf(enum), c.butIs(s), didYouMean(s, enum))
	}
	if c.rules.pattern != nil && !c.rules.pattern.MatchString(s) {
		return c.miss("E1304", path, "must match %s%s", c.rules.Pattern, c.butIs(s))
	}
	return s
}

// butIs tells what was written, unless nobody may see it.
func (c *checker) butIs(s string) string {
	if c.rules.Sensitive {
		return ""
	}
	return "; this is " + quote(s)
}

func (c *checker) bounds(f float64, path cty.Path) bool {
	leaf := c.rules.typ.leaf()
	switch {
	case c.rules.Min != nil && f < *c.rules.Min:
		c.miss("E1303", path, "must be at least %s%s", leaf.amount(*c.rules.Min), c.butIsAmount(f))
	case c.rules.Max != nil && f > *c.rules.Max:
		c.miss("E1303", path, "must be at most %s%s", leaf.amount(*c.rules.Max), c.butIsAmount(f))
	default:
		return true
	}
	return false
}

func (c *checker) butIsAmount(f float64) string {
	if c.rules.Sensitive {
		return ""
	}
	return "; this is " + c.rules.typ.leaf().amount(f)
}

// amount writes a number in the unit of the type.
func (t typ) amount(f float64) string {
	switch t.form {
	case formDuration:
		return formatDuration(time.Duration(f))
	case formSize:
		return formatSize(int64(f))
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// describe says what a value is, in words, and shows it when anyone may see it.
func (c *checker) describe(v cty.Value) string {
	ty := v.Type()
	switch {
	case c.rules.Sensitive:
		return "a " + ty.FriendlyName()
	case ty == cty.String:
		return "the string " + quote(v.AsString())
	case ty == cty.Number:
		f, _ := v.AsBigFloat().Float64()
		return "the number " + strconv.FormatFloat(f, 'g', 12, 64)
	case ty == cty.Bool:
		return strconv.FormatBool(v.True())
	case ty.IsTupleType(), ty.IsListType(), ty.IsSetType():
		return "a list"
	}
	return "an object"
}

// quote shows a string, cut when it is long.
func quote(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return strconv.Quote(s)
}

// pathText writes where in an argument a value is: "[1].name".
func pathText(path cty.Path) string {
	var s strings.Builder
	for _, step := range path {
		switch step := step.(type) {
		case cty.GetAttrStep:
			s.WriteString("." + step.Name)
		case cty.IndexStep:
			if step.Key.Type() == cty.Number {
				s.WriteString("[" + step.Key.AsBigFloat().Text('f', 0) + "]")
				continue
			}
			fmt.Fprintf(&s, "[%q]", step.Key.AsString())
		}
	}
	return s.String()
}

// integer returns a whole number, size or duration that a checker made; 0 for nil.
func integer(v any) int64 {
	switch v := v.(type) {
	case int64:
		return v
	case json.Number:
		n, _ := v.Int64() // the checker has made sure
		return n
	}
	return 0
}
