// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// form is the outermost part of a type.
type form uint8

const (
	formString form = iota
	formNumber
	formInteger
	formBool
	formDuration
	formSize
	formList
	formMap
	formObject
	// The rest are of the host's own tables: what is not evaluated but read as it stands.
	formReference // channel.main
	formRaw       // kept as an expression
)

// typ is the type of an argument: HCL's type syntax, with duration and size beside it.
type typ struct {
	form   form
	elem   *typ    // of a list or map
	fields []field // of an object, as written
}

type field struct {
	name     string
	typ      typ
	optional bool
	def      cty.Value // cty.NilVal: none
}

var plainTypes = map[string]form{
	"string": formString, "number": formNumber, "integer": formInteger, "bool": formBool,
	"duration": formDuration, "size": formSize,
}

// String writes the type as a manifest has it, on one line.
func (t typ) String() string {
	switch t.form {
	case formList:
		return "list(" + t.elem.String() + ")"
	case formMap:
		return "map(" + t.elem.String() + ")"
	case formObject:
		fields := make([]string, len(t.fields))
		for i, f := range t.fields {
			fields[i] = f.String()
		}
		return "object({ " + strings.Join(fields, ", ") + " })"
	}
	for word, f := range plainTypes {
		if f == t.form {
			return word
		}
	}
	return nouns[t.form].one
}

// String writes the field of an object: name = optional(string, "x").
func (f field) String() string {
	switch {
	case f.def != cty.NilVal:
		return f.name + " = optional(" + f.typ.String() + ", " + string(hclwrite.TokensForValue(f.def).Bytes()) + ")"
	case f.optional:
		return f.name + " = optional(" + f.typ.String() + ")"
	}
	return f.name + " = " + f.typ.String()
}

// noun says in words what a value of the type is.
func (t typ) noun() string {
	switch t.form {
	case formList:
		return "a list of " + t.elem.plural()
	case formMap:
		return "a map of " + t.elem.plural()
	case formObject:
		return "an object"
	}
	return nouns[t.form].one
}

func (t typ) plural() string {
	switch t.form {
	case formList:
		return "lists of " + t.elem.plural()
	case formMap:
		return "maps of " + t.elem.plural()
	}
	return nouns[t.form].many
}

var nouns = map[form]struct{ one, many string }{
	formString:    {"a string", "strings"},
	formNumber:    {"a number", "numbers"},
	formInteger:   {"a whole number", "whole numbers"},
	formBool:      {"true or false", "bools"},
	formDuration:  {`a duration such as "200ms"`, "durations"},
	formSize:      {`a size such as "4MiB"`, "sizes"},
	formObject:    {"an object", "objects"},
	formReference: {"a reference", "references"},
	formRaw:       {"an expression", "expressions"},
}

// leaf is the type at the bottom of lists and maps: what enum, pattern, min and max speak of.
func (t typ) leaf() typ {
	for t.form == formList || t.form == formMap {
		t = *t.elem
	}
	return t
}

// parseTypeText reads a type from a manifest.
func parseTypeText(text string) (typ, error) {
	expr, err := parseExpression(text, "type")
	if err != nil {
		return typ{}, err
	}
	return parseType(expr, maxTypeDepth)
}

// parseType reads a type from an expression.
func parseType(expr hcl.Expression, depth int) (typ, error) {
	if depth == 0 {
		return typ{}, fmt.Errorf("types are nested more than %d deep", maxTypeDepth)
	}
	if word := hcl.ExprAsKeyword(expr); word != "" {
		return plainType(word)
	}
	call, diags := hcl.ExprCall(expr)
	if diags.HasErrors() || len(call.Arguments) != 1 {
		return typ{}, errors.New("this is not a type; write one like string, list(string) or object({ name = string })")
	}
	switch call.Name {
	case "list", "map":
		elem, err := parseType(call.Arguments[0], depth-1)
		if err != nil {
			return typ{}, err
		}
		return typ{form: map[string]form{"list": formList, "map": formMap}[call.Name], elem: &elem}, nil
	case "object":
		return parseObject(call.Arguments[0], depth-1)
	}
	return typ{}, fmt.Errorf("there is no type %s(…); there are list, map and object", call.Name)
}

func plainType(word string) (typ, error) {
	if f, ok := plainTypes[word]; ok {
		return typ{form: f}, nil
	}
	names := []string{"list(string)", "map(string)"}
	for name := range plainTypes {
		names = append(names, name)
	}
	return typ{}, fmt.Errorf("there is no type %s.%s", word, didYouMean(word, names))
}

func parseObject(expr hcl.Expression, depth int) (typ, error) {
	pairs, diags := hcl.ExprMap(expr)
	if diags.HasErrors() {
		return typ{}, errors.New("an object lists its attributes: object({ name = string, size = optional(number) })")
	}
	t := typ{form: formObject}
	seen := make(map[string]bool)
	for _, pair := range pairs {
		f := field{name: hcl.ExprAsKeyword(pair.Key)}
		if f.name == "" || seen[f.name] {
			return typ{}, errors.New("each attribute of an object has a name of its own")
		}
		seen[f.name] = true
		if err := f.parse(pair.Value, depth); err != nil {
			return typ{}, err
		}
		t.fields = append(t.fields, f)
	}
	return t, nil
}

// parse reads string, optional(string) or optional(string, "default").
func (f *field) parse(expr hcl.Expression, depth int) (err error) {
	call, diags := hcl.ExprCall(expr)
	if diags.HasErrors() || call.Name != "optional" {
		f.typ, err = parseType(expr, depth)
		return err
	}
	if n := len(call.Arguments); n != 1 && n != 2 {
		return errors.New("optional takes a type, and a default if there is one")
	}
	f.optional = true
	if f.typ, err = parseType(call.Arguments[0], depth); err != nil || len(call.Arguments) == 1 {
		return err
	}
	def, diags := call.Arguments[1].Value(nil)
	if diags.HasErrors() {
		return fmt.Errorf("the default of %s must be a plain value", f.name)
	}
	c := checker{}
	if c.value(def, f.typ, nil); len(c.wrong) > 0 {
		return fmt.Errorf("the default of %s: %s", f.name, c.wrong[0].text)
	}
	f.def = def
	return nil
}

// parseExpression parses an expression that did not come from a pipeline file, and so has not been
// through the checks that bound one.
func parseExpression(text, what string) (hclsyntax.Expression, error) {
	if err := boundSource([]byte(text), what); err != nil {
		return nil, err
	}
	expr, diags := hclsyntax.ParseExpression([]byte(text), what, hcl.InitialPos)
	if diags.HasErrors() {
		return nil, errors.New(strings.TrimSuffix(sentence(diags[0]), "."))
	}
	return expr, nil
}
