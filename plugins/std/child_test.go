// SPDX-License-Identifier: Apache-2.0

//go:build !wasip1

package main

import (
	"errors"
	"os"
	"testing"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/subprocess"
	"github.com/penstock-io/penstock/spec/pluginpb"
)

// TestMain serves the plugins where the test has started itself as a child process.
func TestMain(m *testing.M) {
	if os.Getenv(pluginpb.CookieKey) != "" {
		main()
	}
	os.Exit(m.Run())
}

// loadChild loads the plugins as they are built for this machine: this program, as its own child process.
func loadChild(tb testing.TB) plugin.Plugin {
	tb.Helper()
	src, err := os.ReadFile("plugin.hcl")
	if err != nil {
		tb.Fatal(err)
	}
	manifest, _, diags := config.ParseManifest(src, "plugin.hcl")
	if diags.HasErrors() {
		tb.Fatal(diags)
	}
	path, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	runtime, err := subprocess.New(subprocess.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	p, err := runtime.Load(tb.Context(), plugin.Ref{Name: "std", Path: path, Manifest: &manifest})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := errors.Join(p.Close(), runtime.Close()); err != nil {
			tb.Error(err)
		}
	})
	return p
}

// inBoth runs a test over the two builds of the module: to a pipeline there is no difference.
func inBoth(t *testing.T, test func(t *testing.T, p plugin.Plugin)) {
	t.Run("wasm", func(t *testing.T) { test(t, loadModule(t)) })
	t.Run("subprocess", func(t *testing.T) { test(t, loadChild(t)) })
}
