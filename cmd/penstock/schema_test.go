// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-io/penstock/spec/abi"
)

func TestTypesBecomeJSONSchema(t *testing.T) {
	for typ, want := range map[string]string{
		"string":                              `{"type":"string"}`,
		"number":                              `{"type":"number"}`,
		"integer":                             `{"type":"integer"}`,
		"bool":                                `{"type":"boolean"}`,
		"list(string)":                        `{"items":{"type":"string"},"type":"array"}`,
		"map(number)":                         `{"additionalProperties":{"type":"number"},"type":"object"}`,
		"list(map(bool))":                     `{"items":{"additionalProperties":{"type":"boolean"},"type":"object"},"type":"array"}`,
		"object({a=string,b=optional(bool)})": `{"additionalProperties":false,"properties":{"a":{"type":"string"},"b":{"type":"boolean"}},"required":["a"],"type":"object"}`,
		"of a later version":                  `{}`,
		"later(string)":                       `{}`,
		"list()":                              `{}`,
		"((":                                  `{}`,
	} {
		got, err := json.Marshal(typeSchema(typ))
		if err != nil || string(got) != want {
			t.Errorf("%s: %s (%v), want %s", typ, got, err, want)
		}
	}
}

func testPlugin() described {
	least := 1.0
	return described{"builtin:std", abi.Plugin{
		Kind: abi.Source, Name: "file", Doc: "Follows files. In detail.", Replay: "cursor",
		Arguments: []abi.Argument{
			{Name: "paths", Type: "list(string)", Required: true, Pattern: "/.*", Doc: "What to follow: globs | paths."},
			{Name: "start", Type: "string", Enum: []string{"beginning", "end"}, Default: json.RawMessage(`"beginning"`)},
			{Name: "every", Type: "number", Min: &least, Deprecated: "use start", Sensitive: true},
			{Name: "wait", Type: "duration", Min: &least},
		},
		Needs: []abi.Need{{Handle: "paths", Kind: "dir", Value: "config.paths", Access: "read"}},
	}}
}

func TestAPluginsSchemaHasItsRules(t *testing.T) {
	got, err := json.Marshal(jsonSchema(testPlugin().Plugin)["properties"])
	if err != nil {
		t.Fatal(err)
	}
	want := `{"every":{"deprecated":true,"minimum":1,"type":"number","writeOnly":true},` +
		`"paths":{"description":"What to follow: globs | paths.","items":{"pattern":"^(?:/.*)$","type":"string"},"type":"array"},` +
		`"start":{"default":"beginning","enum":["beginning","end"],"type":"string"},` +
		`"wait":{"pattern":` + quoteJSON(durationPattern) + `,"type":"string"}}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func quoteJSON(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func TestAPluginIsShownToPeopleAndInMarkdown(t *testing.T) {
	var text, md bytes.Buffer
	testPlugin().print(newTerminal(&text))
	testPlugin().markdown(newTerminal(&md))
	for _, want := range []string{"source \"file\"", "(replay: cursor)", "paths = list(string)   required", "one of beginning, end", "at least 1ns", `needs dir "paths" = config.paths, to read`} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, text.String())
		}
	}
	for _, want := range []string{"## source `file`", "| `paths` | `list(string)` | required, matches /.* | What to follow: globs \\| paths. |"} {
		if !strings.Contains(md.String(), want) {
			t.Errorf("the Markdown lacks %q:\n%s", want, md.String())
		}
	}
}

func TestKindAndNameAreToldApart(t *testing.T) {
	for _, c := range []struct {
		args []string
		kind abi.Kind
		name string
		ok   bool
	}{
		{nil, "", "", true},
		{[]string{"source"}, abi.Source, "", true},
		{[]string{"source", "file"}, abi.Source, "file", true},
		{[]string{"file"}, "", "file", true},
		{[]string{"file", "source"}, "", "", false},
	} {
		kind, name, err := schemaArgs(c.args)
		if kind != c.kind || name != c.name || (err == nil) != c.ok {
			t.Errorf("%q: kind %q, name %q, %v", c.args, kind, name, err)
		}
	}
}

func TestJSONSchemaTakesWhatPipelineFilesDo(t *testing.T) {
	for pattern, cases := range map[string]map[string]bool{
		durationPattern: {"0": true, "200ms": true, "1m30s": true, "1.5s": true, "7d": true, "7d1h": false, "5": false, "-1s": false, "": false},
		sizePattern: {"0": true, "0B": true, "4MiB": true, "1.5GiB": true, "100MB": true, "10kB": true, "10KB": true, "1 TiB": true,
			"10K": false, "10": false, "10kiB": false, "": false, "-1B": false},
	} {
		for text, want := range cases {
			if got := regexp.MustCompile(pattern).MatchString(text); got != want {
				t.Errorf("%s takes %q: %v, want %v", pattern, text, got, want)
			}
		}
	}
}

func TestAnArgumentWithoutRulesHasNoBlanksBehindIt(t *testing.T) {
	var text bytes.Buffer
	described{"builtin:std", abi.Plugin{Kind: abi.Sink, Name: "x", Arguments: []abi.Argument{{Name: "a", Type: "string"}}}}.print(newTerminal(&text))
	if !strings.Contains(text.String(), "  a = string\n") {
		t.Errorf("%q", text.String())
	}
}
