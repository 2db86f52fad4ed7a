// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestThePluginsKeepTheContract tries what comes with penstock, and each example, as their authors would: with `plugin test`. An example's own
// test may do that.
func TestThePluginsKeepTheContract(t *testing.T) {
	if testing.Short() && os.Getenv("CI") == "" {
		t.Skip("takes a minute")
	}
	t.Run("std", func(t *testing.T) {
		keepsTheContract(t, "../../plugins/bundle/modules/std.wasm", "../../plugins/std/"+trialsFile)
	})
	found, err := filepath.Glob("../../examples/*/plugin.hcl")
	if err != nil || len(found) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, manifest := range found {
		dir := filepath.Dir(manifest)
		if own, err := os.ReadFile(filepath.Join(dir, "test.txtar")); err == nil && strings.Contains(string(own), "exec penstock plugin test\n") {
			continue // against a server that the example brings
		}
		t.Run(filepath.Base(dir), func(t *testing.T) { keepsTheContract(t, exampleModule(t, dir), filepath.Join(dir, trialsFile)) })
	}
}

func keepsTheContract(t *testing.T, module, trials string) {
	t.Helper()
	code, out := does(t, "plugin", "test", module, "--file", trials)
	if code != 0 || !strings.Contains(out, " 0 failed") || strings.Contains(out, "Not tried") {
		t.Errorf("exit code %d: %s", code, out)
	}
}
