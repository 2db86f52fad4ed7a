// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/penstock-io/penstock/host/expr"
)

func TestFunctionsComeToWhatTheReferenceSays(t *testing.T) {
	for text, want := range map[string]string{
		`base64decode(base64encode("ä"))`: `"ä"`,
		`base64decode("/w==")`:            "",
		`endswith("a.log", ".log")`:       "true", `startswith("a.log", ".log")`: "false", `strcontains("abc", "b")`: "true",
		`format("%s-%02d", "a", 7)`: `"a-07"`, `join("-", ["a", "b"], ["c"])`: `"a-b-c"`, `indent(2, "a\nb")`: `"a\n  b"`,
		`length("äb")`: "2", `length([1, 2, 3])`: "3", `length({ a = 1 })`: "1",
		`replace("a.b.c", ".", "-")`: `"a-b-c"`, `replace("a1b22", "/[0-9]+/", "#")`: `"a#b#"`,
		`sha256("a")`:                `"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"`,
		`try(parseint("x", 10), 7)`:  "7",
		`can(parseint("x", 10))`:     "false",
		`matches("^[a-z]+$", "abc")`: "true", `matches("^[a-z]+$", "ab1")`: "false", `matches("(", "a")`: "",
		`strlen("äb")`:                                   "2",
		`lookup({ a = 1 }, "b", 2)`:                      "2",
		`merge({ a = 1 }, { b = 2 }).b`:                  "2",
		`jsondecode(jsonencode({ a = [1] })).a`:          "[1]",
		`sort(["b", "a"])[0]`:                            `"a"`,
		`[for p in setproduct(["a"], [1, 2]) : p[1]][1]`: "2",
	} {
		expr, diags := hclsyntax.ParseExpression([]byte(text), "x", hcl.InitialPos)
		if diags.HasErrors() {
			t.Fatal(text, diags)
		}
		v, diags := expr.Value((*scope)(nil).context())
		if diags.HasErrors() {
			if want != "" {
				t.Errorf("%s: %v", text, diags)
			}
			continue
		}
		wanted, _ := hclsyntax.ParseExpression([]byte(want), "x", hcl.InitialPos)
		w, _ := wanted.Value(nil)
		if !v.RawEquals(w) {
			t.Errorf("%s is %#v, not %s", text, v, want)
		}
	}
}

// TestExpressionsOverEventsCallNothingElse keeps the two sets of functions in step: whatever an event's expression calls is there when a
// configuration is loaded, and spec/expressions.md lists what is there alone.
func TestExpressionsOverEventsCallNothingElse(t *testing.T) {
	page, err := os.ReadFile(specDir + "expressions.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "<!-- when loaded alone -->\n")
	list, _, _ := strings.Cut(rest, "\n\n")
	var got, want []string
	for _, m := range regexp.MustCompile("`([a-z0-9]+)`").FindAllStringSubmatch(list, -1) {
		got = append(got, m[1])
	}
	for name := range functions {
		if !slices.Contains(expr.Functions(), name) {
			want = append(want, name)
		}
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("spec/expressions.md lists %v;\nthere are %v", got, want)
	}
	for _, name := range expr.Functions() {
		if _, ok := functions[name]; !ok {
			t.Errorf("%s is for events alone", name)
		}
	}
}

// TestLittleDoesNotBecomeMuch: no configuration takes all memory, or for ever.
func TestLittleDoesNotBecomeMuch(t *testing.T) {
	var doubled strings.Builder
	doubled.WriteString("locals {\n  l0 = \"aaaaaaaaaaaaaaaa\"\n")
	for i := range 60 {
		fmt.Fprintf(&doubled, "  l%d = \"${local.l%d}${local.l%d}\"\n", i+1, i, i)
	}
	var calls strings.Builder
	calls.WriteString("function \"f0\" {\n  params = [x]\n  result = x\n}\n")
	for i := range 60 {
		fmt.Fprintf(&calls, "function \"f%d\" {\n  params = [x]\n  result = f%d(x) + f%d(x)\n}\n", i+1, i, i)
	}
	for name, c := range map[string]struct{ text, code string }{
		"locals that double":                   {doubled.String() + "}\n", "E1003"},
		"functions that call each other twice": {calls.String() + "locals {\n  x = f60(1)\n}\n", "E1401"},
		"a function that doubles":              {"function \"d\" {\n  params = [x]\n  result = \"${x}${x}\"\n}\nlocals {\n  x = " + strings.Repeat("d(", 60) + `"aaaa"` + strings.Repeat(")", 60) + "\n}\n", "E1401"},
		"a wide format":                        {"locals {\n  x = format(\"%1000000000s\", \"a\")\n}\n", "E1401"},
		"a long separator":                     {"locals {\n  x = join(format(\"%9999s\", \"\"), range(1000))\n}\n", "E1401"},
		"a replacement of each letter":         {"locals {\n  a = format(\"%9999s\", \"\")\n  x = replace(local.a, \" \", local.a)\n}\n", "E1401"},
		"a deep indentation":                   {"locals {\n  x = indent(1000000000, \"a\\nb\")\n}\n", "E1401"},
		"all combinations":                     {"locals {\n  x = setproduct(range(1000), range(1000), range(1000))\n}\n", "E1401"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, o := write(t, map[string]string{"a.hcl": small + c.text})
			start := time.Now()
			_, _, diags := Load(dir, o)
			if got := codesOf(diags); !slices.Contains(got, c.code) {
				t.Errorf("got %v", diags)
			}
			if took := time.Since(start); took > 20*time.Second { // of what would take years
				t.Errorf("it took %v", took)
			}
		})
	}
}
