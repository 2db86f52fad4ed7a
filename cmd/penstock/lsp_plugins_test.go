// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/plugins/bundle"
	"github.com/penstock-io/penstock/spec/abi"
)

func TestAnEditorReadsAModuleAgainWhenItWasBuiltAgain(t *testing.T) {
	code, err := bundle.Module("std")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "own.wasm")
	ref := config.PluginRef{Name: "own", Source: path, ModuleBytes: abi.DefaultModule, TableEntries: abi.DefaultTable}
	built := time.Now().Truncate(time.Second)
	put := func(text []byte, at time.Time) {
		t.Helper()
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	p := newEditedPlugins()
	ask := func() error { _, err := p.options(".").Manifest(ref); return err }
	if ask() == nil {
		t.Error("there is no such file")
	}
	put(code, built)
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	put(make([]byte, len(code)), built) // nothing tells that it is another one: it is not looked at
	if err := ask(); err != nil {
		t.Errorf("it was read again, though it seems the same: %v", err)
	}
	put(make([]byte, len(code)), built.Add(time.Second))
	if ask() == nil {
		t.Error("it was built again, and not read")
	}
	put(code, built.Add(2*time.Second))
	if err := ask(); err != nil {
		t.Errorf("it was mended: %v", err)
	}
	other := ref
	other.SHA256 = "00"
	if _, err := p.options(".").Manifest(other); err == nil {
		t.Error("a digest that it does not have was taken for another's")
	}
}

// BenchmarkAKeyInAnEditor is what is done when somebody has typed, in a configuration of 500 blocks.
func BenchmarkAKeyInAnEditor(b *testing.B) {
	dir := b.TempDir()
	var text strings.Builder
	for i := range 166 {
		fmt.Fprintf(&text, "source \"generate\" \"g%d\" { into = channel.c%d }\nchannel \"wal\" \"c%d\" { capacity = \"64MiB\" }\n", i, i, i)
		fmt.Fprintf(&text, "sink \"discard\" \"d%d\" {\n  from = channel.c%d\n  batch { events = 500 }\n}\n", i, i)
	}
	if err := os.WriteFile(filepath.Join(dir, "a.hcl"), []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	p := newEditedPlugins()
	for b.Loop() {
		o := p.options(dir)
		o.DiskFree = func(string) (uint64, error) { return 1 << 50, nil } // whatever this machine has
		if _, _, diags := config.Load(dir, o); diags.HasErrors() {
			b.Fatal(diags)
		}
	}
}
