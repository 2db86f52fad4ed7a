// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/plugins/skeleton"
)

// TestAPluginInEachLanguage does what `plugin new` says comes next, in every language and for every kind.
func TestAPluginInEachLanguage(t *testing.T) {
	for _, language := range skeleton.Languages() {
		for _, kind := range skeleton.Kinds(language) {
			t.Run(language+" "+string(kind), func(t *testing.T) {
				t.Chdir(t.TempDir())
				does(t, "plugin", "new", "--lang", language, "--kind", string(kind), "demo")
				t.Chdir("demo")
				code, out := does(t, "plugin", "build")
				if code == exitEnvironment && os.Getenv("CI") == "" {
					t.Skip("its compiler is not here: " + out)
				}
				if code != 0 {
					t.Fatal(out)
				}
				if code, out := does(t, "plugin", "test"); code != 0 || !strings.Contains(out, " 0 failed") || strings.Contains(out, "Not tried") {
					t.Error(out)
				}
				if code, out := does(t, "validate", "pipeline.hcl"); code != 0 || strings.Contains(out, "Warning") {
					t.Error(out)
				}
				if modules, err := filepath.Glob("*.wasm"); err != nil || len(modules) != 1 {
					t.Errorf("%v %v", modules, err)
				}
			})
		}
	}
}

// does runs a command, and answers its exit code and all that it said.
func does(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var said bytes.Buffer
	code := run(t.Context(), args, strings.NewReader(""), &said, &said)
	return code, said.String()
}
