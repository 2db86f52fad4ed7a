// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// moduleSources are the folders that the module of builtin plugins is made of.
var moduleSources = []string{"../../plugins/std", "../../sdk", "../../spec/abi", "../../spec/event"}

// newerThanModule names a source of the builtin plugins that was written after their module was built, "" when there is none: a test
// that runs an agent would not see the change, and fail in a way that says nothing of it.
func newerThanModule() string {
	module, err := os.Stat("../../plugins/bundle/modules/std.wasm")
	if err != nil {
		return ""
	}
	for _, dir := range moduleSources {
		if name := newerIn(dir, module.ModTime()); name != "" {
			return strings.TrimPrefix(name, "../../")
		}
	}
	return ""
}

// newerIn names a file in dir that goes into a module and was written after that time.
func newerIn(dir string, built time.Time) (newer string) {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if path == "../../sdk/client" { // for applications
			return fs.SkipDir
		}
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") || filepath.Ext(path) != ".go" && d.Name() != "plugin.hcl" {
			return err
		}
		info, err := d.Info()
		if err == nil && info.ModTime().After(built) {
			newer = path
			return fs.SkipAll
		}
		return err
	})
	if err != nil {
		return "" // it is a hint
	}
	return newer
}

func TestASourceThatIsNewerThanTheModuleIsFound(t *testing.T) {
	dir := t.TempDir()
	built := time.Now()
	for name, want := range map[string]bool{"a.go": true, "plugin.hcl": true, "a_test.go": false, "README.md": false} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, after := range []bool{false, true} {
			at := built.Add(-time.Hour)
			if after {
				at = built.Add(time.Hour)
			}
			if err := os.Chtimes(path, at, at); err != nil {
				t.Fatal(err)
			}
			if got := newerIn(dir, built); (got != "") != (want && after) {
				t.Errorf("%s written after it, %v: %q", name, after, got)
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}
