// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"

	"github.com/penstock-io/penstock/spec/abi"
)

// write makes a directory of files, and returns options that know the builtin plugins.
func write(t testing.TB, files map[string]string) (string, Options) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, testOptions(stdManifest(t), dir)
}

const small = `
source "generate" "load" {
  into = channel.main
}
channel "wal" "main" {}
sink "discard" "out" {
  from = channel.main
}
`

// codesOf lists what was found.
func codesOf(diags hcl.Diagnostics) (found []string) {
	for _, d := range diags {
		found = append(found, CodeOf(d))
	}
	return found
}

func TestMistakesComeInTheSameOrderEachTime(t *testing.T) {
	var text strings.Builder
	text.WriteString(small + "source \"file\" \"f\" {\n  into = channel.main\n  config {\n")
	for i := range 20 {
		fmt.Fprintf(&text, "    wrong%02d = %d\n", 19-i, i)
	}
	text.WriteString("  }\n}\n")
	dir, o := write(t, map[string]string{"b.hcl": text.String(), "a.hcl": "nonsense = 1\nother = 2\n"})
	var first string
	for range 20 {
		_, files, diags := Load(dir, o)
		var out bytes.Buffer
		WriteDiagnostics(&out, diags, files, false, 0)
		if first == "" {
			first = out.String()
		}
		if out.String() != first {
			t.Fatal("another order")
		}
		if !slices.IsSortedFunc(diags, func(a, b *hcl.Diagnostic) int {
			return strings.Compare(fmt.Sprintf("%s %8d", a.Subject.Filename, a.Subject.Start.Byte), fmt.Sprintf("%s %8d", b.Subject.Filename, b.Subject.Start.Byte))
		}) {
			t.Fatal("not in the order of the files")
		}
		if len(diags) != 2+20+1 {
			t.Fatalf("%d mistakes", len(diags))
		}
	}
}

func TestWhatIsSecretIsNeverShown(t *testing.T) {
	dir, o := write(t, map[string]string{"a.hcl": strings.ReplaceAll(small, `"generate"`, `"generate" "x" {
  into = channel.main
  config {
    enum    = join("", ["hun", "ter2"])
    pattern = join("", ["hun", "ter2"])
    list    = join("", ["hun", "ter2"])
    wait    = join("", ["hun", "ter2"])
    pin     = length("hunter") * 1000 + 42
    object  = { wait = join("", ["hun", "ter2"]) }
  }
}
source "discard"`)})
	secret := abi.Plugin{Kind: abi.Source, Name: "generate", Arguments: []abi.Argument{
		{Name: "enum", Type: "string", Enum: []string{"a"}, Sensitive: true},
		{Name: "pattern", Type: "string", Pattern: "[0-9]", Sensitive: true},
		{Name: "list", Type: "list(string)", Sensitive: true},
		{Name: "wait", Type: "duration", Sensitive: true},
		{Name: "pin", Type: "number", Max: new(1.0), Sensitive: true},
		{Name: "object", Type: "object({ wait = duration })", Sensitive: true},
	}}
	o.Manifest = func(PluginRef) (abi.Manifest, error) { return abi.Manifest{Plugins: []abi.Plugin{secret}}, nil }
	_, _, diags := Load(dir, o)
	if len(diags) < 6 {
		t.Fatalf("got %v", codesOf(diags))
	}
	for _, d := range diags {
		if strings.Contains(d.Detail, "hunter2") || strings.Contains(d.Detail, "6042") {
			t.Errorf("%s shows it: %s", CodeOf(d), d.Detail)
		}
	}
}

func TestALoadWithoutAnyOptionsSaysWhatItCannotDo(t *testing.T) {
	dir, _ := write(t, map[string]string{"a.hcl": small + "plugin \"x\" {\n  source = \"builtin:x\"\n}\n"})
	if _, _, diags := Load("", Options{}); !slices.Equal(codesOf(diags), []string{"E1002"}) || diags[0].Subject.Filename != "." {
		t.Errorf("got %v", diags)
	}
	c, _, diags := Load(dir, Options{})
	if c != nil || !slices.Contains(codesOf(diags), "E4001") || !slices.Contains(codesOf(diags), "E4002") {
		t.Errorf("got %v, %v", c, codesOf(diags))
	}
}

func TestAPluginThatIsNotBuiltIsReportedWhereItIsNamed(t *testing.T) {
	dir, o := write(t, map[string]string{"a.hcl": small})
	o.Manifest = func(PluginRef) (abi.Manifest, error) {
		return abi.Manifest{}, fmt.Errorf("the module std is not in this binary; run make plugins")
	}
	_, _, diags := Load(dir, o)
	if got := codesOf(diags); !slices.Equal(got, []string{"E4002", "E4002"}) {
		t.Fatalf("got %v", got)
	}
	if at := diags[0].Subject; at.Start.Line != 2 || at.Start.Column != 8 || !strings.Contains(diags[0].Detail, "run make plugins") {
		t.Errorf("at %v: %s", at, diags[0].Detail)
	}
}

func TestTheRevisionIsThatOfTheContents(t *testing.T) {
	revision := func(files map[string]string) string {
		dir, o := write(t, files)
		c, _, diags := Load(dir, o)
		if c == nil {
			t.Fatal(diags)
		}
		return c.Revision
	}
	a := revision(map[string]string{"a.hcl": small})
	if len(a) != 64 || a != revision(map[string]string{"a.hcl": small}) {
		t.Error("the same files elsewhere have another revision")
	}
	if a == revision(map[string]string{"a.hcl": small + "\n"}) {
		t.Error("another content has the same revision")
	}
	if a == revision(map[string]string{"a.hcl": small, "b.hcl": ""}) {
		t.Error("one file more has the same revision")
	}
}

func TestWhatEditorsLeaveBehindIsNotRead(t *testing.T) {
	dir, o := write(t, map[string]string{"a.hcl": small, ".a.hcl.swp": "{", ".hidden.hcl": "{", "#a.hcl": "{", "a.hcl~": "{", "x.test.hcl": "{", "README.md": "{"})
	if err := os.Mkdir(filepath.Join(dir, "d.hcl"), 0o755); err != nil {
		t.Fatal(err)
	}
	c, files, diags := Load(dir, o)
	if c == nil || len(files.Names()) != 1 {
		t.Errorf("read %v: %v", files.Names(), diags)
	}
}

func TestLinksToFilesAreFollowed(t *testing.T) {
	dir, o := write(t, map[string]string{"..data": small}) // as a mounted configuration map has it
	if err := os.Symlink("..data", filepath.Join(dir, "a.hcl")); err != nil {
		t.Fatal(err)
	}
	if c, _, diags := Load(dir, o); c == nil {
		t.Error(diags)
	}
}

func TestAFileThatCannotBeReadIsNamed(t *testing.T) {
	dir, o := write(t, map[string]string{"b.hcl": small})
	if err := os.Symlink("a.hcl", filepath.Join(dir, "a.hcl")); err != nil { // a link to itself stops root as well
		t.Fatal(err)
	}
	if _, _, diags := Load(dir, o); !slices.Equal(codesOf(diags), []string{"E1001"}) {
		t.Error(diags)
	}
}

func TestWhatIsOverALimitIsRefusedBeforeItIsParsed(t *testing.T) {
	deep := strings.Repeat("(", 1<<15)
	for name, text := range map[string]string{
		"parentheses":      "a = " + deep,
		"brackets":         "a = " + strings.Repeat("[", 1<<15),
		"blocks":           strings.Repeat("a {\n", 1<<15),
		"interpolations":   "a = " + strings.Repeat(`"${`, 1<<15),
		"negations":        "a = " + strings.Repeat("!", 1<<15) + "true",
		"minuses":          "a = " + strings.Repeat("- ", 1<<15) + "1",
		"sums":             "a = 1" + strings.Repeat("+1", 1<<15),
		"conditionals":     "a = " + strings.Repeat("true ? ", 1<<15),
		"traversals":       "a = a" + strings.Repeat(".a", 1<<15),
		"directives":       "a = \"" + strings.Repeat("%{if true}", 1<<15) + "\"",
		"a huge number":    "a = 1E+000099999999",
		"a huge file":      strings.Repeat("#\n", 1<<20),
		"JSON:brackets":    `{"a": ` + strings.Repeat("[", 1<<15),
		"JSON:objects":     strings.Repeat(`{"a":`, 1<<15),
		"JSON:templates":   `{"channel": {"wal": {"main": {"capacity": "${` + deep + `}"}}}}`,
		"JSON:huge number": `{"channel": {"wal": {"main": {"max_events": 1e99999999}}}}`,
		"JSON:huge file":   strings.Repeat(" ", 1<<21),
	} {
		t.Run(name, func(t *testing.T) {
			file := "a.hcl"
			if strings.HasPrefix(name, "JSON:") {
				file = "a.hcl.json"
			}
			dir, o := write(t, map[string]string{file: text})
			if _, _, diags := Load(dir, o); !slices.Equal(codesOf(diags), []string{"E1003"}) {
				t.Errorf("got %d: %v", len(diags), slices.Compact(codesOf(diags)))
			}
		})
	}
}

func TestNoMoreMistakesAreShownThanAnyoneReads(t *testing.T) {
	var many strings.Builder
	for i := range MaxDiagnostics + 7 {
		fmt.Fprintf(&many, "x%d = 1\n", i)
	}
	dir, o := write(t, map[string]string{"a.hcl": many.String()})
	_, _, diags := Load(dir, o)
	if last := diags[len(diags)-1]; len(diags) != MaxDiagnostics+1 || CodeOf(last) != "E1003" || !strings.Contains(last.Detail, " 7 more") {
		t.Errorf("%d are shown, the last: %v", len(diags), last)
	}
}

func TestTooManyFilesAreRefused(t *testing.T) {
	files := make(map[string]string)
	for i := range MaxFiles + 1 {
		files[fmt.Sprintf("%d.hcl", i)] = ""
	}
	dir, o := write(t, files)
	if _, _, diags := Load(dir, o); !slices.Equal(codesOf(diags), []string{"E1003"}) {
		t.Errorf("got %v", codesOf(diags))
	}
}

func TestAPluginInItsManifestOnlyNeedsWhatItIsAskedFor(t *testing.T) {
	dir, o := write(t, map[string]string{"a.hcl": strings.Replace(small, `sink "discard" "out" {`, "sink \"file\" \"out\" {\n  config { path = \"/srv/x.log\" }", 1)})
	c, _, diags := Load(dir, o)
	if c == nil {
		t.Fatal(diags)
	}
	if dirs := c.Sources[0].Dirs; len(dirs) != 0 {
		t.Errorf("the source was granted %v", dirs)
	}
	if dirs := c.Sinks[0].Dirs; !slices.Equal(dirs, []Dir{{"/srv", true}}) {
		t.Errorf("the sink was granted %v", dirs)
	}
	if !json.Valid(c.Sinks[0].Config) {
		t.Errorf("config: %s", c.Sinks[0].Config)
	}
}

func TestGrantsAreNotComputedFromHalfAConfig(t *testing.T) {
	dir, o := write(t, map[string]string{
		"a.hcl": strings.Replace(small, `"generate" "load" {`, "\"mine\" \"load\" {\n  config { path = [] }", 1) + "plugin \"mine\" {\n  source = \"./x.wasm\"\n}\n",
		"x.wasm": `{"name": "x", "version": "1", "plugins": [{"kind": "source", "name": "x", "arguments": [{"name": "path", "type": "string", "default": "/x/y"}],
			"needs": [{"kind": "stdout", "handle": "out"}]}]}`,
	})
	if _, _, diags := Load(dir, o); !slices.Equal(codesOf(diags), []string{"E1301"}) {
		t.Errorf("got %v", diags)
	}
}

func TestWholeNumbersKeepEveryDigit(t *testing.T) {
	const big = "9007199254740993" // 2^53 + 1, which a float64 has not
	dir, o := write(t, map[string]string{
		"a.hcl": strings.Replace(small, `"generate" "load" {`, "\"mine\" \"load\" {\n  config { set = "+big+" }", 1) + "plugin \"mine\" {\n  source = \"./x.wasm\"\n}\n",
		"x.wasm": `{"name": "x", "version": "1", "plugins": [{"kind": "source", "name": "x", "arguments": [{"name": "set", "type": "integer"},
			{"name": "default", "type": "number", "default": ` + big + `}]}]}`,
	})
	c, _, diags := Load(dir, o)
	if c == nil {
		t.Fatal(diags)
	}
	if want := `{"default":` + big + `,"set":` + big + `}`; string(c.Sources[0].Config) != want {
		t.Errorf("got %s, want %s", c.Sources[0].Config, want)
	}
}

func TestTheExamplesOfTheReferenceAreRight(t *testing.T) {
	src, err := os.ReadFile(specDir + "hcl.md")
	if err != nil {
		t.Fatal(err)
	}
	var examples []string
	for _, part := range strings.Split(string(src), "```hcl\n")[1:] {
		text, _, _ := strings.Cut(part, "```")
		examples = append(examples, text)
	}
	if len(examples) != 2 {
		t.Fatalf("%d examples", len(examples))
	}
	dir, o := write(t, map[string]string{"a.hcl": examples[0]})
	if _, _, diags := Load(dir, o); len(diags) > 0 {
		t.Error(diags)
	}
	if _, _, diags := ParseManifest([]byte(examples[1]), "plugin.hcl"); len(diags) > 0 {
		t.Error(diags)
	}
	for _, example := range examples {
		if got := string(Format([]byte(example))); got != example {
			t.Errorf("an example is not laid out as fmt does:\n%s", got)
		}
	}
}

func TestAManifestSurvivesItsJSON(t *testing.T) {
	m := stdManifest(t)
	doc, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	again, err := abi.ParseManifest(doc)
	if err != nil {
		t.Fatal(err)
	}
	file, _ := again.Find(abi.Source, "file")
	for _, a := range file.Arguments {
		if a.Name == "max_line" && (string(a.Default) != `"1MiB"` || *a.Min != 1024 || a.Type != "size") {
			t.Errorf("max_line is %+v, default %s", a, a.Default)
		}
	}
	if len(file.Arguments) != 8 || file.Needs[0].Value != "config.paths" || file.Replay != "cursor" || file.Reads[0] != 1 {
		t.Errorf("got %+v", file)
	}
}

// fiveHundred is a configuration of 500 blocks, as one that was generated has them: variables, locals, for_each, config that is computed.
func fiveHundred() string {
	var text strings.Builder
	text.WriteString("variable \"root\" {\n  default = \"/var/log\"\n}\n")
	for i := range 49 {
		fmt.Fprintf(&text, "locals {\n  dir%d = \"${var.root}/%d\"\n}\n", i, i)
	}
	for i := range 150 {
		fmt.Fprintf(&text, "source \"file\" \"s%d\" {\n  into = channel.c%d\n  config { paths = [\"${local.dir%d}/app%d/*.log\", lower(\"/X%d\")] }\n}\n", i, i, i%49, i, i)
		fmt.Fprintf(&text, "channel \"wal\" \"c%d\" {\n  capacity = \"64MiB\"\n}\n", i)
		fmt.Fprintf(&text, "sink \"file\" \"k%d\" {\n  from = channel.c%d\n  batch {\n    events = 5000\n    wait = \"200ms\"\n  }\n  config { path = \"/srv/%d.log\" }\n}\n", i, i, i)
	}
	return text.String()
}

// BenchmarkLoad500Blocks is what `penstock validate` takes beside the start of its process.
func BenchmarkLoad500Blocks(b *testing.B) {
	dir, o := write(b, map[string]string{"a.hcl": fiveHundred()})
	for b.Loop() {
		if c, _, diags := Load(dir, o); c == nil || len(c.Sources) != 150 {
			b.Fatal(diags)
		}
	}
}

func TestWhereTheDataIsIsKnownThoughThereAreMistakesElsewhere(t *testing.T) {
	const agent = "agent \"a\" {\n  data_dir = \"/data\"\n}\n"
	const half = "sink \"file\" \"x\" {\n  from = channel.\n"
	for name, c := range map[string]struct{ text, want string }{
		"none at all":                            {agent + small, "/data"},
		"a reference that leads nowhere":         {agent + small + "sink \"discard\" \"b\" {\n  from = channel.man\n}\n", "/data"},
		"a variable without a value":             {agent + small + "variable \"v\" {}\n", "/data"},
		"another argument of the agent":          {"agent \"a\" {\n  data_dir = \"/data\"\n  drain_timeout = \"soon\"\n}\n" + small, "/data"},
		"half of a block":                        {agent + small + half, "/data"},
		"half of a block, before the agent":      {half + agent + small, ""},
		"half of the agent":                      {small + "agent \"a\" {\n  data_dir = \"/da", ""},
		"a data_dir that has no value":           {"agent \"a\" {\n  data_dir = var.none\n}\n" + small, ""},
		"a data_dir that is written wrong":       {"agent \"a\" {\n  datadir = \"/data\"\n}\n" + small, ""},
		"an agent block that is written wrong":   {"agnet \"a\" {\n  data_dir = \"/data\"\n}\n" + small, ""},
		"two agents":                             {agent + agent + small, ""},
		"no agent, and half of a block":          {small + half, ""},
		"an expression, beside half of a block":  {"agent \"a\" {\n  data_dir = var.d\n}\n" + small + half, ""},
		"a relative path, beside half of a file": {"agent \"a\" {\n  data_dir = \"d\"\n}\n" + small + half, "DIR/d"},
	} {
		dir, o := write(t, map[string]string{"a.hcl": c.text})
		_, files, diags := Load(dir, o)
		if got, want := files.DataDir(), strings.Replace(c.want, "DIR", dir, 1); got != want {
			t.Errorf("%s: %q, want %q (%v)", name, got, want, diags)
		}
	}
}
