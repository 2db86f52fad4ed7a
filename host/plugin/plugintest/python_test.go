// SPDX-License-Identifier: Apache-2.0

package plugintest_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/plugintest"
	"github.com/penstock-io/penstock/host/plugin/subprocess"
	"github.com/penstock-io/penstock/host/plugin/toolchain"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// buildPython builds a folder with the SDK of this tree. Where there is no Python for it the test is left out, but for a machine that must have it.
func buildPython(t *testing.T, from string) string {
	t.Helper()
	dir := t.TempDir()
	for to, from := range map[string]string{"": from, "penstock": "../../../sdk/python/penstock"} {
		if err := os.CopyFS(filepath.Join(dir, to), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	project, err := toolchain.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "plugin")
	err = project.Build(t.Context(), out, os.Stderr)
	if missing, ok := errors.AsType[*toolchain.Missing](err); ok && os.Getenv("CI") != "true" {
		t.Skip(missing, missing.Install)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func loadProgram(t *testing.T, path string, m *abi.Manifest) plugin.Plugin {
	t.Helper()
	r, err := subprocess.New(subprocess.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return loaded(t, r, plugin.Ref{Name: m.Name, Path: path, Manifest: m})
}

func loadPython(t *testing.T) plugin.Plugin {
	t.Helper()
	return loadProgram(t, buildPython(t, "testdata/python"), &bothManifest)
}

// TestTheExampleOfThePythonSDK runs what its README shows, with the manifest that it shows.
func TestTheExampleOfThePythonSDK(t *testing.T) {
	readme, err := os.ReadFile("../../../sdk/python/README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(language string) []byte {
		_, after, _ := strings.Cut(string(readme), "```"+language+"\n")
		text, _, ok := strings.Cut(after, "```")
		if !ok {
			t.Fatalf("the README has no %s", language)
		}
		return []byte(text)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "plugin.py"), block("python"), 0o600); err != nil {
		t.Fatal(err)
	}
	m, _, diags := config.ParseManifest(block("hcl"), "plugin.hcl")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	config := func(string) (plugintest.Opening, error) { return plugintest.Opening{Config: `{"field":"user"}`}, nil }
	plugintest.Run(t, loadProgram(t, buildPython(t, dir), &m), plugintest.Case{
		Kind: abi.Processor, Name: "flatten", BadConfig: `{"field":"a b"}`, Setup: config, Input: []string{`{"user":7}`, `[]`}, Output: []string{`{"user":7}`},
	})
}

func TestAPluginInPythonKeepsTheContract(t *testing.T) {
	if testing.Short() {
		t.Skip("starts some fifty interpreters")
	}
	plugintest.Run(t, loadPython(t), bothCases()...)
}

// TestWhatAPluginInPythonRaises looks at what becomes of exceptions, and of a delivery that the host wants back.
func TestWhatAPluginInPythonRaises(t *testing.T) {
	p := loadPython(t)
	for _, c := range []struct {
		body  string
		class abi.Class
		code  abi.Code
		says  string
	}{
		{"retry", abi.Retry, abi.EAGAIN, "not now"},
		{"unreachable", abi.Retry, abi.EIO, "ConnectionRefusedError: nobody listens"},
		{"bug", abi.Fatal, 0, "IndexError: list index out of range"},
	} {
		t.Run(c.body, func(t *testing.T) {
			s := openSink(t, p)
			_, err := write(t.Context(), t, s, c.body)
			e, ok := errors.AsType[*plugin.Error](err)
			if !ok || e.Class != c.class || e.Code != c.code || !strings.Contains(e.Message, c.says) {
				t.Fatalf("%#v", err)
			}
			if c.body == "retry" && (e.Delay != 1500*time.Millisecond || e.Hint != "try later") {
				t.Errorf("delay %v, hint %q", e.Delay, e.Hint)
			}
		})
	}
	t.Run("reject", func(t *testing.T) {
		out, err := write(t.Context(), t, openSink(t, p), "good", "reject")
		if err != nil || len(out.Rejected) != 1 || out.Rejected[0].Index != 1 || out.Rejected[0].Reason != "as it says" {
			t.Errorf("%v %v", out, err)
		}
	})
	t.Run("hang", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		s, began := openSink(t, p), time.Now()
		if _, err := write(ctx, t, s, "hang"); err == nil || time.Since(began) > 20*time.Second { // it would sleep for a minute
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func openSink(t *testing.T, p plugin.Plugin) plugin.Sink {
	t.Helper()
	in, err := p.Open(t.Context(), abi.Sink, plugin.Request{Component: "sink.both", Plugin: "both", Instance: abi.Instance{Count: 1}, Buffers: event.Heap{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Sink.Close() })
	return in.Sink
}

func write(ctx context.Context, t *testing.T, s plugin.Sink, bodies ...string) (plugin.Outcome, error) {
	t.Helper()
	var b event.Builder
	for _, body := range bodies {
		if err := b.Append(event.Event{Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	batch, err := event.Parse(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return s.Write(ctx, event.Range{Next: event.Offset(len(bodies))}, batch)
}
