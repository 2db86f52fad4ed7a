// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
)

// show writes the first diagnostic of a file that is about what stands in it.
func show(t *testing.T, src string, color bool, width int) string {
	t.Helper()
	_, files, diags := ParseManifest([]byte(src), "plugin.hcl")
	var out bytes.Buffer
	i := slices.IndexFunc(diags, func(d *hcl.Diagnostic) bool { return CodeOf(d) != "E1204" })
	WriteDiagnostics(&out, diags[i:i+1], files, color, width)
	return out.String()
}

func TestTheCaretStandsUnderTheMistake(t *testing.T) {
	for name, c := range map[string]struct{ src, want string }{
		"spaces":        {"   nam = 1\n", "  1:    nam = 1\n        ^^^\n"},
		"tabs":          {"\t\tnam = 1\n", "  1: \t\tnam = 1\n     \t\t^^^\n"},
		"accents":       {"/* e\u0301é */ nam = 1\n", "  1: /* e\u0301é */ nam = 1\n              ^^^\n"},
		"carriage":      {"nam = 1\r\n", "  1: nam = 1\n     ^^^\n"},
		"no newline":    {"nam = 1", "  1: nam = 1\n     ^^^\n"},
		"control codes": {"/* \x1b[31m */ nam = 1\n", "  1: /* \uFFFD[31m */ nam = 1\n                 ^^^\n"},
	} {
		if got := show(t, c.src, false, 0); !strings.Contains(got, c.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

func TestALongLineIsCutAroundTheMistake(t *testing.T) {
	src := "/* " + strings.Repeat("ü", 5000) + " */ nam = \"" + strings.Repeat("x", 5000) + "\"\n"
	for line := range strings.SplitSeq(show(t, src, false, 0), "\n") {
		if n := utf8.RuneCountInString(line); n > mostLine+10 {
			t.Errorf("a line of %d: %s", n, line)
		}
		if !utf8.ValidString(line) {
			t.Errorf("a rune was cut: %q", line)
		}
	}
}

func TestTextFillsTheWidthOfTheTerminal(t *testing.T) {
	const src = "need \"dir\" \"x\" {\n}\n"
	for _, width := range []int{1, 40, 60, 76, 200} {
		for line := range strings.SplitSeq(show(t, src, false, width), "\n") {
			if n := len(line); n > max(width, leastWidth) && !strings.HasPrefix(line, "  on ") { // a place is not broken: terminals link it
				t.Errorf("at %d a line of %d: %s", width, n, line)
			}
		}
	}
	head, _, _ := strings.Cut(show(t, src, false, 200), "\n")
	if len(head) != defaultWidth || !strings.HasSuffix(head, "[E1201]") {
		t.Errorf("on a wide terminal the code stands at %d: %s", len(head), head)
	}
}

func TestColourIsThereOnlyWhenAskedFor(t *testing.T) {
	const src = "nam = 1\n"
	if got := show(t, src, false, 0); strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
	got := show(t, src, true, 0)
	if !strings.Contains(got, red+"Error"+reset) || !strings.Contains(got, bold+"^^^"+reset) {
		t.Errorf("%q", got)
	}
	stripped := strings.NewReplacer(red, "", bold, "", reset, "").Replace(got)
	if stripped != show(t, src, false, 0) {
		t.Errorf("colour moves the text:\n%s", stripped)
	}
}

func TestADiagnosticWithoutSourcesIsStillWritten(t *testing.T) {
	var out bytes.Buffer
	at := hcl.Range{Filename: "gone.hcl", Start: hcl.Pos{Line: 7, Column: 3, Byte: 1 << 30}}
	WriteDiagnostics(&out, hcl.Diagnostics{{Severity: hcl.DiagWarning, Summary: "Odd", Detail: "It is odd.", Subject: &at}, {Summary: "No place"}}, nil, false, 0)
	if got := out.String(); !strings.Contains(got, "Warning: Odd") || !strings.Contains(got, "  It is odd.") || !strings.Contains(got, "No place") {
		t.Errorf("got %s", got)
	}
	if got := DiagnosticsJSON(hcl.Diagnostics{{Summary: "No place"}}, nil); got[0].Summary != "No place" {
		t.Errorf("got %+v", got)
	}
}

func TestProgramsGetCodeAndRange(t *testing.T) {
	_, files, diags := ParseManifest([]byte("name = \"x\"\nversion = \"1.0.0\"\nsink \"s\" {\n  dok = 1\n}\n"), "plugin.hcl")
	doc, err := json.Marshal(DiagnosticsJSON(diags, files))
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"code":"E1203","severity":"error","summary":"Unsupported argument","detail":"A sink block has no argument \"dok\". Did you mean \"doc\"?",` +
		`"block":"sink \"s\"","range":{"filename":"plugin.hcl","start":{"line":4,"column":3,"byte":42},"end":{"line":4,"column":6,"byte":45}},` +
		`"snippet":{"context":"sink \"s\"","code":"  dok = 1","start_line":4,"highlight_start_offset":2,"highlight_end_offset":5,"values":[]}}]`
	if string(doc) != want {
		t.Errorf("got  %s\nwant %s", doc, want)
	}
	if got := DiagnosticsJSON(nil, nil); got == nil {
		t.Error("no diagnostics are null in JSON, and not []")
	}
}

func TestEachCodeIsExplained(t *testing.T) {
	for _, c := range Codes() {
		text, ok := Explain(strings.ToLower(c))
		if !ok || !strings.HasPrefix(text, c+": ") || len(text) < 120 {
			t.Errorf("%s: %q", c, text)
		}
		for line := range strings.SplitSeq(text, "\n") {
			if utf8.RuneCountInString(line) > 104 {
				t.Errorf("%s has a line of %d", c, len(line))
			}
		}
	}
	if _, ok := Explain("E9999"); ok {
		t.Error("a code that is not there was explained")
	}
}

func TestTheNearestNameIsSuggestedAndNothingFar(t *testing.T) {
	names := []string{"table", "url", "batch", "file", "from"}
	for wrote, want := range map[string]string{
		"tabel": "table", "tables": "table", "TABLE": "table", "bacth": "batch", "flie": "file", "form": "from",
		"ur": "url", "x": "", "connection": "", "fromage": "", "": "",
	} {
		if got := nearest(wrote, names); got != want {
			t.Errorf("%q suggests %q, want %q", wrote, got, want)
		}
	}
}
