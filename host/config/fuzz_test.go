// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/rogpeppe/go-internal/txtar"
)

// seed adds the files of all cases whose names end so.
func seed(f *testing.F, suffix string) {
	f.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			if strings.HasSuffix(file.Name, suffix) {
				f.Add(file.Data)
			}
		}
	}
}

// sound checks what holds of all diagnostics, whatever was loaded.
func sound(t *testing.T, diags hcl.Diagnostics, files *Sources, complete bool) {
	t.Helper()
	if complete == diags.HasErrors() {
		t.Errorf("a result: %v; errors: %v", complete, diags)
	}
	for _, d := range diags {
		switch {
		case d.Subject == nil || d.Subject.Filename == "" || d.Subject.Start.Line < 1 || d.Subject.Start.Column < 1:
			t.Errorf("no place: %v", d)
		case codes[code(CodeOf(d))].title == "":
			t.Errorf("no code: %v", d)
		case d.Summary == "" || d.Detail == "":
			t.Errorf("no text: %v", d)
		}
	}
	WriteDiagnostics(io.Discard, diags, files, true, 80)
	if _, err := json.Marshal(DiagnosticsJSON(diags, files)); err != nil {
		t.Error(err)
	}
}

func fuzzLoad(f *testing.F, suffix string) {
	seed(f, suffix)
	o := testOptions(stdManifest(f), "/work")
	f.Fuzz(func(t *testing.T, src []byte) {
		name := filepath.Join(t.TempDir(), "a"+suffix)
		if err := os.WriteFile(name, src, 0o644); err != nil {
			t.Fatal(err)
		}
		c, files, diags := Load(name, o)
		sound(t, diags, files, c != nil)
		if c == nil {
			return
		}
		for _, component := range components(c) {
			if !json.Valid(component.Config) {
				t.Errorf("%s: %s", component.Address(), component.Config)
			}
			for _, d := range component.Dirs {
				if !filepath.IsAbs(d.Path) || filepath.Clean(d.Path) != d.Path {
					t.Errorf("%s is granted %q", component.Address(), d.Path)
				}
			}
		}
		if suffix == ".hcl" {
			sameAfterFormat(t, name, src, c, o)
		}
	})
}

func components(c *Config) (all []Component) {
	for _, s := range c.Sources {
		all = append(all, s.Component)
	}
	for _, s := range c.Sinks {
		all = append(all, s.Component)
	}
	return all
}

// sameAfterFormat: laying out a file does not change what it means, and is done after one time.
func sameAfterFormat(t *testing.T, name string, src []byte, c *Config, o Options) {
	t.Helper()
	formatted := Format(src)
	if err := os.WriteFile(name, formatted, 0o644); err != nil {
		t.Fatal(err)
	}
	again, _, diags := Load(name, o)
	if again == nil || dump(again) != dump(c) {
		t.Errorf("formatting changed it: %v\n%q\n%q", diags, src, formatted)
	}
	if twice := Format(formatted); !bytes.Equal(twice, formatted) {
		t.Logf("fmt is not done after one time:\n%q\n%q", formatted, twice) // the library's affair
	}
}

func FuzzLoad(f *testing.F) { fuzzLoad(f, ".hcl") }

func FuzzLoadJSON(f *testing.F) { fuzzLoad(f, ".hcl.json") }

func FuzzParseManifest(f *testing.F) {
	seed(f, "plugin.hcl")
	seed(f, ".wasm")
	std, err := os.ReadFile("testdata/std.hcl")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(std)
	f.Fuzz(func(t *testing.T, src []byte) {
		m, files, diags := ParseManifest(src, "plugin.hcl")
		sound(t, diags, files, len(m.Plugins) > 0)
		for _, p := range m.Plugins { // what is packed must load
			for _, a := range p.Arguments {
				compiled, err := compileArgument(a)
				if err != nil {
					t.Errorf("argument %q was accepted: %v", a.Name, err)
				}
				if compiled.typ.String() != a.Type {
					t.Errorf("the type %s of argument %q is written %s", a.Type, a.Name, compiled.typ)
				}
			}
		}
	})
}
