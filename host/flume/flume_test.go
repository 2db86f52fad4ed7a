// SPDX-License-Identifier: Apache-2.0

package flume

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/rogpeppe/go-internal/txtar"
	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

var update = flag.Bool("update", false, "write what comes out into testdata")

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/magiconair/properties.(*lexer).emit")) // see parse
}

// TestGolden converts "flume.conf" of each archive; a comment "agent NAME" names the agent. "want.hcl" is the pipeline file, "parts" what is said of
// each part, and what `penstock validate` says of the file.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			r := convert(t, archive)
			got := []txtar.File{archive.Files[0], {Name: "want.hcl", Data: []byte(r.HCL)}, {Name: "parts", Data: []byte(told(t, r))}}
			if diff := cmp.Diff(archive.Files, got); diff != "" && !*update {
				t.Fatalf("it is not what it was (run with -update if it is better):\n%s", diff)
			}
			archive.Files = got
			if err := os.WriteFile(file, txtar.Format(archive), 0o644); *update && err != nil {
				t.Fatal(err)
			}
		})
	}
}

func convert(t *testing.T, archive *txtar.Archive) *Result {
	t.Helper()
	agent := ""
	if _, name, ok := strings.Cut(string(archive.Comment), "agent "); ok {
		agent, _, _ = strings.Cut(name, "\n")
	}
	r, err := Convert(archive.Files[0].Data, "flume.conf", agent)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// told checks what must hold of every result, and writes what is said of it.
func told(t *testing.T, r *Result) string {
	t.Helper()
	var s strings.Builder
	for _, p := range r.Parts {
		fmt.Fprintf(&s, "%s %s (%s): %s → %s\n", p.Kind, p.Name, p.Type, p.Status, strings.Join(p.Became, ", "))
	}
	if laid := string(config.Format([]byte(r.HCL))); laid != r.HCL {
		t.Errorf("not laid out as fmt does:\n%s", cmp.Diff(r.HCL, laid))
	}
	diags, shown := validate(t, r.HCL)
	if r.Count(Missing) == 0 && diags.HasErrors() {
		t.Errorf("everything has an equivalent, and yet it is not valid:\n%s", shown)
	}
	if todo := strings.Contains(r.HCL, "\n# TODO "); todo != (r.Count(Missing) > 0) {
		t.Errorf("%d parts are missing; the file has TODO: %v", r.Count(Missing), todo)
	}
	codes := []string{}
	for _, d := range diags {
		codes = append(codes, config.CodeOf(d))
	}
	fmt.Fprintf(&s, "penstock validate: %v\n", codes)
	return s.String()
}

func validate(t *testing.T, text string) (hcl.Diagnostics, string) {
	t.Helper()
	_, diags, shown := load(t, text)
	return diags, shown
}

func load(t *testing.T, text string) (*config.Config, hcl.Diagnostics, string) {
	t.Helper()
	builtin := map[string]abi.Manifest{}
	for _, module := range []string{"std", "kafka", "exec"} {
		src, err := os.ReadFile("../../plugins/" + module + "/plugin.hcl")
		if err != nil {
			t.Fatal(err)
		}
		m, _, diags := config.ParseManifest(src, "plugin.hcl")
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		builtin[module] = m
	}
	file := filepath.Join(t.TempDir(), "pipeline.hcl")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, sources, diags := config.Load(file, config.Options{
		Manifest: func(ref config.PluginRef) (abi.Manifest, error) {
			return builtin[strings.TrimPrefix(ref.Source, "builtin:")], nil
		},
		Native: func(module string) bool { return module != "std" },
		Builtin: func(kind abi.Kind, name string) (string, bool) {
			for module, m := range builtin {
				if _, ok := m.Find(kind, name); ok {
					return module, true
				}
			}
			return "", false
		},
	})
	var out bytes.Buffer
	config.WriteDiagnostics(&out, diags, sources, false, 0)
	return c, diags, out.String()
}

// TestNothingIsPassedOver looks for every property of the cases in what became of it: as a comment, or as an argument whose value it has.
func TestNothingIsPassedOver(t *testing.T) {
	const unheardOf = "unheardOf"
	files, _ := filepath.Glob("testdata/*.txtar")
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		typed := regexp.MustCompile(`(?m)^(\S+)\.type\s*=.*$`)
		text := typed.ReplaceAllString(string(archive.Files[0].Data), "$0\n$1."+unheardOf+" = 7\n")
		typedParts := len(typed.FindAllString(text, -1))
		agents := Agents([]byte(text))
		found := 0
		for _, agent := range agents {
			r, err := Convert([]byte(text), "flume.conf", agent)
			if err != nil {
				t.Fatal(err)
			}
			found += strings.Count(r.HCL, unheardOf)
		}
		if want := strings.Count(text, unheardOf); found != want || typedParts == 0 {
			t.Errorf("%s: %d of %d unknown properties are told of", file, found, want)
		}
	}
}

func TestWhichAgent(t *testing.T) {
	const two = "a.sources = r\nb.sinks = k\nb.sinks.k.type = null\n"
	for _, c := range []struct{ text, agent, want string }{
		{two, "", "which agent: f configures a, b"},
		{two, "c", `which agent: f has no "c", but a, b`},
		{"x = 1\n", "", "f configures no agent of Flume: it has no property NAME.sources, NAME.channels or NAME.sinks"},
		{"a.sources = \\uZZZZ\n", "", "read f: "},
	} {
		_, err := Convert([]byte(c.text), "f", c.agent)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%q of %q: %v, want %s", c.agent, c.text, err, c.want)
		}
	}
	if _, err := Convert([]byte(two), "f", ""); !errors.Is(err, ErrAgent) {
		t.Errorf("%v is not ErrAgent", err)
	}
}

func TestExpressions(t *testing.T) {
	for _, c := range []struct{ re, want string }{
		{`.*\.log`, "*.log"}, {`.*log.*`, "*log*"}, {`access.log`, "access.log"}, {`^.*$`, "*"}, {`app-\d+`, ""}, {`(a|b).log`, ""}, {`.+`, "?*"}, {"", ""},
	} {
		if got, _ := globOf(c.re); got != c.want {
			t.Errorf("globOf(%q) = %q, want %q", c.re, got, c.want)
		}
	}
	for _, c := range []struct{ re, want string }{
		{`(\d+):([a-z(]+)\((x)`, `(?P<a>\d+):(?P<b>[a-z(]+)\((x)`}, {`(?:x)(y)(z)`, `(?:x)(?P<a>y)(?P<b>z)`}, {`(x)`, ""},
	} {
		if got, _ := nameGroups(c.re, []string{"a", "b"}); got != c.want {
			t.Errorf("nameGroups(%q) = %q, want %q", c.re, got, c.want)
		}
	}
	if got := replacement(`$1x\$ \\ $12`); got != `${1}x$$ \ ${12}` {
		t.Errorf("replacement: %q", got)
	}
	for _, c := range []struct{ command, want string }{
		{"tail -F /var/log/secure", "[/var/log/secure]"}, {"/usr/bin/tail -n +0 -F a b", "[a b]"}, {"tail -F a | grep b", "[]"}, {"vmstat 1", "[]"}, {"tail -F $X", "[]"},
	} {
		if got := fmt.Sprint(tailed(c.command)); got != c.want {
			t.Errorf("tailed(%q) = %s, want %s", c.command, got, c.want)
		}
	}
}

func FuzzConvert(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.txtar")
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(archive.Files[0].Data)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, agent := range Agents(text) {
			r, err := Convert(text, "f", agent)
			if err != nil {
				continue // said
			}
			if _, diags := hclsyntax.ParseConfig([]byte(r.HCL), "f.hcl", hcl.InitialPos); diags.HasErrors() {
				t.Fatalf("%v:\n%s", diags, r.HCL)
			}
		}
	})
}

// Where Flume's selector puts an event: into the channels that its value is mapped to, or else the default ones, and into the optional ones of its value.
func TestARouteDealsAsTheSelectorDid(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/multiplexing.txtar")
	if err != nil {
		t.Fatal(err)
	}
	c, diags, shown := load(t, convert(t, archive).HCL)
	if c == nil {
		t.Fatal(diags, shown)
	}
	attribute := func(key, value string) event.Event {
		return event.Event{Attributes: []event.Attribute{{Key: key, Value: []byte(value)}}}
	}
	for _, test := range []struct {
		route, what string
		event       event.Event
		want        string
	}{
		{"r1", "a value that is mapped", attribute("state", "CZ"), "c1"},
		{"r1", "one that is mapped to two", attribute("state", "US"), "c2 c4"},
		{"r1", "another", attribute("state", "DE"), "c4"},
		{"r1", "none", event.Event{}, "c4"},
		{"net", "a value that is mapped", attribute("syslog.severity", "alert"), "urgent"},
		{"net", "one that is optional beside the default", attribute("syslog.severity", "err"), "calm audit"},
		{"net", "another", attribute("syslog.severity", "info"), "calm"},
		{"net", "none", event.Event{}, "calm"},
		{"web", "a value that is mapped", event.Event{Body: []byte(`{"headers":{"x-kind":"b"}}`)}, "w1"},
		{"web", "another", event.Event{Body: []byte(`{"headers":{"x-kind":"z"}}`)}, ""},
		{"web", "none", event.Event{Body: []byte(`{"headers":{},"body":"x"}`)}, ""},
		{"plain", "a value that is mapped", attribute("level", "high"), "high"},
		{"plain", "another", attribute("level", "low"), "rest"},
		{"plain", "none", event.Event{}, "rest"},
	} {
		route := c.Route(test.route)
		var got []string
		for _, of := range route.Cases {
			yes, err := of.Default && got == nil, error(nil)
			if !of.Default {
				yes, err = of.When.Evaluator().Bool(&test.event)
			}
			if err != nil {
				t.Errorf("route %s, %s: %v", test.route, test.what, err)
			}
			if yes {
				got = append(got, of.Name)
			}
		}
		if s := strings.Join(got, " "); s != test.want || len(got) > 1 && !route.All {
			t.Errorf("route %s, %s: it goes to %q (all: %v), want %q", test.route, test.what, s, route.All, test.want)
		}
	}
}
