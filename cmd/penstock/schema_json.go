// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strconv"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/penstock-io/penstock/spec/abi"
)

// Patterns of what a user writes for the types that JSON does not have.
const (
	durationPattern = `^(0|[0-9]+(\.[0-9]+)?d|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`
	sizePattern     = `^(0|[0-9]+(\.[0-9]+)?\s*([KMGT]i|[kKMGT])?B)$`
)

// jsonSchema describes a plugin's config block in JSON Schema 2020-12, as it is written in .hcl.json.
func jsonSchema(p abi.Plugin) map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, arg := range p.Arguments {
		properties[arg.Name] = argumentSchema(arg)
		if arg.Required {
			required = append(required, arg.Name)
		}
	}
	return map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"title":   string(p.Kind) + " " + p.Name, "description": p.Doc,
		"type": "object", "properties": properties, "required": required, "additionalProperties": false,
	}
}

func argumentSchema(arg abi.Argument) map[string]any {
	s := typeSchema(arg.Type)
	leaf := s
	for leaf["items"] != nil { // rules speak of the elements of a list
		leaf = leaf["items"].(map[string]any)
	}
	if len(arg.Enum) > 0 {
		leaf["enum"] = arg.Enum
	}
	if arg.Pattern != "" {
		leaf["pattern"] = "^(?:" + arg.Pattern + ")$"
	}
	if leaf["type"] == "number" || leaf["type"] == "integer" {
		if arg.Min != nil {
			leaf["minimum"] = *arg.Min
		}
		if arg.Max != nil {
			leaf["maximum"] = *arg.Max
		}
	}
	if arg.Doc != "" {
		s["description"] = arg.Doc
	}
	if len(arg.Default) > 0 {
		s["default"] = arg.Default
	}
	if arg.Deprecated != "" {
		s["deprecated"] = true
	}
	if arg.Sensitive {
		s["writeOnly"] = true
	}
	return s
}

// typeSchema turns a type in HCL syntax into a schema. What it does not know allows anything: the
// host checks it in any case.
func typeSchema(text string) map[string]any {
	expr, diags := hclsyntax.ParseExpression([]byte(text), "type", hcl.InitialPos)
	if diags.HasErrors() {
		return map[string]any{}
	}
	return exprSchema(expr)
}

func exprSchema(expr hclsyntax.Expression) map[string]any {
	switch e := expr.(type) {
	case *hclsyntax.ScopeTraversalExpr:
		return leafSchema(e.Traversal.RootName())
	case *hclsyntax.FunctionCallExpr:
		return callSchema(e)
	}
	return map[string]any{}
}

func leafSchema(name string) map[string]any {
	switch name {
	case "string":
		return map[string]any{"type": "string"}
	case "number":
		return map[string]any{"type": "number"}
	case "integer":
		return map[string]any{"type": "integer"}
	case "bool":
		return map[string]any{"type": "boolean"}
	case "duration":
		return map[string]any{"type": "string", "pattern": durationPattern}
	case "size":
		return map[string]any{"type": "string", "pattern": sizePattern}
	}
	return map[string]any{}
}

func callSchema(e *hclsyntax.FunctionCallExpr) map[string]any {
	if len(e.Args) == 0 {
		return map[string]any{}
	}
	switch e.Name {
	case "list", "set":
		return map[string]any{"type": "array", "items": exprSchema(e.Args[0])}
	case "map":
		return map[string]any{"type": "object", "additionalProperties": exprSchema(e.Args[0])}
	case "object":
		return objectSchema(e.Args[0])
	case "optional":
		return exprSchema(e.Args[0])
	}
	return map[string]any{}
}

func objectSchema(expr hclsyntax.Expression) map[string]any {
	obj, ok := expr.(*hclsyntax.ObjectConsExpr)
	if !ok {
		return map[string]any{"type": "object"}
	}
	properties, required := map[string]any{}, []string{}
	for _, item := range obj.Items {
		name := hcl.ExprAsKeyword(item.KeyExpr)
		properties[name] = exprSchema(item.ValueExpr)
		if call, ok := item.ValueExpr.(*hclsyntax.FunctionCallExpr); !ok || call.Name != "optional" {
			required = append(required, name)
		}
	}
	return map[string]any{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
}

// amount writes a bound in the unit of the argument's type.
func amount(typ string, f float64) string {
	switch typ {
	case "duration":
		return time.Duration(f).String()
	case "size":
		return size(uint64(f))
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}
