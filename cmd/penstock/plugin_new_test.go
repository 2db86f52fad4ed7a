// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/penstock-io/penstock/host/address/addresstest"
	"github.com/penstock-io/penstock/plugins/skeleton"
	"github.com/penstock-io/penstock/spec/abi"
)

// TestAPluginInEachLanguage does what `plugin new` says comes next, in every language, for every kind and runtime; and then breaks the plugin, which its
// test must tell.
func TestAPluginInEachLanguage(t *testing.T) {
	kinds := []abi.Kind{abi.Source, abi.Processor, abi.Sink}
	for _, language := range skeleton.Languages() {
		for _, runtime := range skeleton.Runtimes(language) {
			for _, kind := range kinds {
				t.Run(language+" "+runtime+" "+string(kind), func(t *testing.T) {
					t.Parallel()
					newcomer{filepath.Join(t.TempDir(), "demo"), language, runtime, kind}.goes(t)
				})
			}
		}
	}
}

// newcomer is somebody who writes a plugin.
type newcomer struct {
	dir, language, runtime string
	kind                   abi.Kind
}

func (n newcomer) goes(t *testing.T) {
	if code, out := does(t, "plugin", "new", "--lang", n.language, "--runtime", n.runtime, "--kind", string(n.kind), n.dir); code != 0 {
		t.Fatal(out)
	}
	code, out := does(t, "plugin", "build", n.dir)
	if code == exitEnvironment && os.Getenv("CI") == "" {
		t.Skip("its compiler is not here: " + out)
	}
	module := filepath.Join(n.dir, "demo.wasm")
	if n.runtime == abi.RuntimeSubprocess {
		module = filepath.Join(n.dir, "demo")
	}
	if code != 0 || !strings.Contains(out, ": "+string(n.kind)+" demo, ") {
		t.Fatal(out)
	}
	if code, out := does(t, "plugin", "test", module); code != 0 || !strings.Contains(out, " 0 failed") || strings.Contains(out, "Not tried") {
		t.Error(out)
	}
	// Where it writes is below where its user is, which a test is not.
	if code, out := does(t, "validate", filepath.Join(n.dir, "pipeline.hcl")); code != 0 || strings.Count(out, "Warning") != strings.Count(out, "W3005") {
		t.Error(out)
	}
	if n.runtime == abi.RuntimeWasm { // an agent starts its own program to start a child, and this one is a test: testdata/script/plugin_new_child.txtar
		n.runs(t)
	}
	n.breaks(t, module)
}

// shows is what its pipeline shows soon.
var shows = map[abi.Kind]string{abi.Source: `(?m)^number 2$`, abi.Processor: `(?m)^.*7.*$`, abi.Sink: `(?m)^.*[0-9]$`}

// runs runs it until its events are on the screen. What the plugin run builds is what there is.
func (n newcomer) runs(t *testing.T) {
	shared, err := compiledOnce()
	if err == nil {
		err = os.CopyFS(filepath.Join(n.dir, workshopData, "cache"), os.DirFS(shared))
	}
	if err != nil {
		t.Fatal(err)
	}
	n.change(t, "pipeline.hcl", "127.0.0.1:5180", fmt.Sprint("127.0.0.1:", addresstest.FreePort(t)))
	ctx, stop := context.WithTimeout(t.Context(), 5*awaitLimit) // it is built once more
	defer stop()
	shown := &display{want: regexp.MustCompile(shows[n.kind]), seen: stop}
	var said bytes.Buffer
	code := run(ctx, []string{"plugin", "run", n.dir}, strings.NewReader(""), shown, &said)
	if !shown.want.Match(shown.text.Bytes()) {
		t.Errorf("exit code %d, the screen shows %q, and: %s", code, &shown.text, &said)
	}
}

// display stops what writes on it when it has seen what is wanted.
type display struct {
	want *regexp.Regexp
	seen context.CancelFunc
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *display) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(b)
	if s.want.Match(s.text.Bytes()) {
		s.seen()
	}
	return len(b), nil
}

// mistakes are what somebody may do to the source: text, what it becomes, and the check that tells.
var mistakes = map[abi.Kind][3]string{
	abi.Source:    {`"number `, `"numbre `, "it brings"},
	abi.Processor: {"", "", "it makes of its input"}, // see opposites
	abi.Sink:      {"status >= 500", "status >= 600", "refuses for a while"},
}

// opposites have a processor keep what it should leave out.
var opposites = map[string][2]string{
	"go": {"bytes.Contains", "!bytes.Contains"}, "rust": {"w == self.word", "w != self.word"}, "c": {"!has_word", "has_word"},
	"zig": {"word) != null", "word) == null"}, "python": {"word in", "word not in"}, "assemblyscript": {"if (batch", "if (!batch"},
}

// breaks changes a line of the source, and looks that the plugin's test tells.
func (n newcomer) breaks(t *testing.T, module string) {
	source := map[string]string{"go": "main.go", "rust": "src/lib.rs", "c": "main.c", "zig": "main.zig", "assemblyscript": "main.ts", "python": "plugin.py"}[n.language]
	m := mistakes[n.kind]
	switch {
	case n.kind == abi.Processor:
		m[0], m[1] = opposites[n.language][0], opposites[n.language][1]
	case n.kind == abi.Sink && n.language == "python": // it writes to a file
		m = [3]string{"event.body +", "event.body[1:] +", "it stores"}
	case n.language == "go":
		m[0], m[1] = strings.Replace(m[0], "status", "answer.Status", 1), strings.Replace(m[1], "status", "answer.Status", 1)
	}
	n.change(t, source, m[0], m[1])
	if code, out := does(t, "plugin", "build", n.dir); code != 0 {
		t.Fatal(out)
	}
	if code, out := does(t, "plugin", "test", module, "--only", m[2]); code != exitFailed || !strings.Contains(out, "1 failed") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

// change replaces a text in one of the files, if it is there.
func (n newcomer) change(t *testing.T, file, old, text string) {
	path := filepath.Join(n.dir, file)
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, bytes.ReplaceAll(b, []byte(old), []byte(text)), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// does runs a command, and answers its exit code and all that it said.
func does(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var said bytes.Buffer
	code := run(t.Context(), args, strings.NewReader(""), &said, &said)
	return code, said.String()
}

// TestTheModulesOfAProgramAreThoseOfThisTree: what a new program in Go is built with is what the SDK is tested with here, by the same sums.
func TestTheModulesOfAProgramAreThoseOfThisTree(t *testing.T) {
	files, err := skeleton.Files(skeleton.Plugin{Name: "demo", Language: "go", Kind: abi.Source, Runtime: abi.RuntimeSubprocess})
	if err != nil {
		t.Fatal(err)
	}
	required := regexp.MustCompile(`(?m)^\t(\S+ v\S+)`)
	for mine, name := range map[string]string{"../../go.mod": "go.mod", "../../go.sum": "go.sum"} {
		tree, err := os.ReadFile(mine)
		if err != nil {
			t.Fatal(err)
		}
		have := strings.Split(string(tree), "\n")
		want := strings.Split(strings.TrimSpace(string(files[name])), "\n")
		if name == "go.mod" {
			have, want = required.FindAllString(string(tree), -1), required.FindAllString(string(files[name]), -1)
			if inner := required.FindAllString(string(files["penstock/go.mod"]), -1); !slices.Equal(inner, want) {
				t.Errorf("the SDK's go.mod requires %q, and the plugin's %q", inner, want)
			}
		}
		for _, line := range want {
			if !slices.Contains(have, line) {
				t.Errorf("%s of a new program has %q, which that of this tree has not: run `make skeleton`", name, line)
			}
		}
		if len(want) == 0 || !strings.Contains(strings.Join(want, "\n"), "google.golang.org/grpc") {
			t.Errorf("%s of a new program has no gRPC: %q", name, want)
		}
	}
	for name, at := range map[string]string{"penstock/sdk/child.go": "../../sdk/child.go", "penstock/spec/pluginpb/plugin.pb.go": "../../spec/pluginpb/plugin.pb.go"} {
		if tree, err := os.ReadFile(at); err != nil || !bytes.Equal(tree, files[name]) {
			t.Errorf("%s is not that of this tree: run `make skeleton` (%v)", name, err)
		}
	}
}
