// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/penstock-io/penstock/spec/abi"
)

func TestTypesAreThoseOfHCLWithDurationAndSize(t *testing.T) {
	for text, want := range map[string]string{
		"string": "a string", "number": "a number", "integer": "a whole number", "bool": "true or false",
		"duration": `a duration such as "200ms"`, "size": `a size such as "4MiB"`,
		"list(string)": "a list of strings", "map(list(size))": "a map of lists of sizes",
		"object({})": "an object", "list(object({ a = string, b = optional(number), c = optional(size, \"1KiB\") }))": "a list of objects",
	} {
		got, err := parseTypeText(text)
		if err != nil || got.noun() != want {
			t.Errorf("%s is %s, %v; want %s", text, got.noun(), err, want)
		}
		if written := strings.Replace(got.String(), "{  }", "{}", 1); written != text {
			t.Errorf("%s is written %s", text, written)
		}
	}
	for _, text := range []string{
		"", "strng", "any", "set(string)", "list", "list()", "list(string, string)", "map(x)", `"string"`, "string string", "object(string)",
		"object({ a })", "object({ a = x })", "object({ a = string, a = string })", "object({ a = optional() })", "object({ a = optional(x) })",
		"object({ a = optional(string, string) })", "object({ a = optional(number, \"x\") })", "tuple([string])", "(((", "channel", "list(expression)",
		strings.Repeat("list(", 20) + "string" + strings.Repeat(")", 20), strings.Repeat("(", 1<<15),
	} {
		if got, err := parseTypeText(text); err == nil {
			t.Errorf("%.40s was taken for %s", text, got.noun())
		}
	}
}

func TestAValueBecomesWhatThePluginReads(t *testing.T) {
	for _, c := range []struct{ typ, value, want string }{
		{"string", `"a"`, `"a"`},
		{"string", `5`, `"5"`},
		{"string", `true`, `"true"`},
		{"string", `upper("a${1 + 1}")`, `"A2"`},
		{"number", `1.5`, `1.5`},
		{"number", `"1.5"`, `1.5`},
		{"number", `1e30`, `1e+30`},
		{"integer", `9007199254740993`, `9007199254740993`},
		{"bool", `"true"`, `true`},
		{"duration", `"1m30s"`, `90000000000`},
		{"size", `"1.5KiB"`, `1536`},
		{"list(size)", `["1KiB", "1B"]`, `[1024,1]`},
		{"list(string)", `[]`, `[]`},
		{"list(string)", `[for s in ["a", "b"] : upper(s)]`, `["A","B"]`},
		{"map(duration)", `{ a = "1s", "b c" = "1ms" }`, `{"a":1000000000,"b c":1000000}`},
		{"object({ a = string, b = optional(size), c = optional(duration, \"1s\") })", `{ a = "x", b = null }`, `{"a":"x","c":1000000000}`},
		{"list(object({ n = integer }))", `[{ n = 1 }, { n = "2" }]`, `[{"n":1},{"n":2}]`},
	} {
		typ, err := parseTypeText(c.typ)
		if err != nil {
			t.Fatal(err)
		}
		check := checker{}
		got, err := json.Marshal(check.value(evaluate(t, c.value), typ, nil))
		if err != nil || string(got) != c.want || len(check.wrong) > 0 {
			t.Errorf("%s of %s is %s, %v, %v; want %s", c.value, c.typ, got, check.wrong, err, c.want)
		}
	}
}

func evaluate(t *testing.T, text string) cty.Value {
	t.Helper()
	expr, diags := hclsyntax.ParseExpression([]byte(text), "x", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	v, diags := expr.Value((*scope)(nil).context())
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return v
}

func TestADeclarationThatDoesNotHoldTogetherSaysWhichPart(t *testing.T) {
	for _, c := range []struct {
		part string
		decl abi.Argument
	}{
		{"type", abi.Argument{Type: "strng"}},
		{"enum", abi.Argument{Type: "number", Enum: []string{"1"}}},
		{"pattern", abi.Argument{Type: "string", Pattern: "("}},
		{"pattern", abi.Argument{Type: "size", Pattern: "x"}},
		{"default", abi.Argument{Type: "size", Default: json.RawMessage(`1`)}},
		{"default", abi.Argument{Type: "string", Default: json.RawMessage(`{`)}},
		{"default", abi.Argument{Type: "string", Enum: []string{"a"}, Default: json.RawMessage(`"b"`)}},
		{"default", abi.Argument{Type: "number", Max: new(1.0), Default: json.RawMessage(`2`)}},
	} {
		_, err := compileArgument(c.decl)
		if wrong, ok := err.(*declError); !ok || wrong.part != c.part {
			t.Errorf("%+v: %v, want a wrong %s", c.decl, err, c.part)
		}
	}
}

func TestRulesHoldForEachElement(t *testing.T) {
	a, err := compileArgument(abi.Argument{Type: "map(list(string))", Pattern: "[a-z]+"})
	if err != nil {
		t.Fatal(err)
	}
	check := checker{rules: a}
	check.value(evaluate(t, `{ x = ["ok", "NO"], y = ["ok!"] }`), a.typ, nil)
	if len(check.wrong) != 2 || pathText(check.wrong[0].path) != `["x"][1]` || pathText(check.wrong[1].path) != `["y"][0]` {
		t.Errorf("got %v", check.wrong)
	}
}
