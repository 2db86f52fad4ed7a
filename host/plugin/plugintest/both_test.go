// SPDX-License-Identifier: Apache-2.0

package plugintest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/plugintest"
	"github.com/penstock-io/penstock/host/plugin/subprocess"
	"github.com/penstock-io/penstock/host/plugin/wasm"
	"github.com/penstock-io/penstock/spec/abi"
)

var bothManifest = abi.Manifest{Name: "both", Version: "1.0.0", Plugins: []abi.Plugin{
	{Kind: abi.Source, Name: "both", Replay: "cursor"}, {Kind: abi.Sink, Name: "both", Effects: "none"}, {Kind: abi.Processor, Name: "both"},
}}

// TestOneSourceKeepsTheContractInBothRuntimes runs the same cases over two builds of testdata/both.
func TestOneSourceKeepsTheContractInBothRuntimes(t *testing.T) {
	for name, load := range map[string]func(t *testing.T) plugin.Plugin{"subprocess": loadSubprocess, "wasm": loadWasm} {
		t.Run(name, func(t *testing.T) {
			if name == "wasm" && testing.Short() {
				t.Skip("builds and compiles a Go guest")
			}
			plugintest.Run(t, load(t), bothCases()...)
		})
	}
}

// bothCases are those of a plugin of each kind that does what testdata/both does.
func bothCases() []plugintest.Case {
	return []plugintest.Case{
		{
			Kind: abi.Source, Name: "both", Events: 40, BadConfig: `{"count":"many"}`,
			Setup: func(string) (plugintest.Opening, error) { return plugintest.Opening{Config: `{"count":40}`}, nil },
		},
		{
			Kind: abi.Sink, Name: "both", BadConfig: `{"file":1}`,
			Setup: func(dir string) (plugintest.Opening, error) {
				return plugintest.Opening{Config: fmt.Sprintf(`{"file":%q}`, dir+"/out"), Dirs: []plugin.Dir{{Path: dir, Write: true}}}, nil
			},
			Stored: func(dir string) ([]string, error) {
				b, err := os.ReadFile(dir + "/out")
				return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n"), err
			},
		},
		{Kind: abi.Processor, Name: "both", Input: []string{"a", "b"}, Output: []string{"A", "B"}},
	}
}

func build(t *testing.T, env []string, args ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "both")
	c := exec.Command("go", append(append([]string{"build", "-o", out}, args...), "./testdata/both")...)
	c.Env = append(os.Environ(), env...)
	if text, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return out
}

func loadSubprocess(t *testing.T) plugin.Plugin {
	path := build(t, nil)
	r, err := subprocess.New(subprocess.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return loaded(t, r, plugin.Ref{Name: "both", Path: path, Manifest: &bothManifest})
}

func loadWasm(t *testing.T) plugin.Plugin {
	code, err := os.ReadFile(build(t, []string{"GOOS=wasip1", "GOARCH=wasm"}, "-buildmode=c-shared", "-ldflags=-s"))
	if err == nil {
		code, err = wasm.Pack(code, bothManifest)
	}
	if err != nil {
		t.Fatal(err)
	}
	r, err := wasm.New(wasm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return loaded(t, r, plugin.Ref{Name: "both", Code: code})
}

func loaded(t *testing.T, r plugin.Runtime, ref plugin.Ref) plugin.Plugin {
	t.Helper()
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	p, err := r.Load(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}
