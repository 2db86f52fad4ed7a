// SPDX-License-Identifier: Apache-2.0

//go:build !wasip1

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/wasm"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// A collection of garbage that has begun ends, although the host leaves a guest no time between its calls: until then each store of a
// pointer takes a multiple of its time.
func TestAGuestInGoCollectsItsGarbage(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and compiles a Go guest")
	}
	in := openGuest(t, "collect")
	defer in.Source.Close()
	for range 20000 {
		e, err := in.Source.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var d event.Decoder
		d.Reset(e.Batch)
		collected := d.Next() && string(d.Body()) != "0"
		e.Batch.Release()
		if collected {
			return
		}
	}
	t.Error("after 20000 calls the guest is still collecting")
}

// openGuest builds the source of that name in testdata, and opens it.
func openGuest(t *testing.T, name string) plugin.Instance {
	t.Helper()
	out := filepath.Join(t.TempDir(), name+".wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-o", out, "./testdata/"+name)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	code, err := os.ReadFile(out)
	if err == nil {
		code, err = wasm.Pack(code, abi.Manifest{Name: name, Version: "1.0.0", Plugins: []abi.Plugin{{Kind: abi.Source, Name: name, Replay: "none"}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	runtime, err := wasm.New(wasm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := runtime.Load(t.Context(), plugin.Ref{Name: name, Source: out, Code: code})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(p.Close(), runtime.Close()); err != nil {
			t.Error(err)
		}
	})
	in, err := p.Open(t.Context(), abi.Source, plugin.Request{
		Component: "source.test", Plugin: name, Instance: abi.Instance{Count: 1}, Stream: "test", Incarnations: []abi.Incarnation{{ID: 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return in
}
