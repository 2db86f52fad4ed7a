// SPDX-License-Identifier: Apache-2.0

package tidy

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	module           = "github.com/penstock-io/penstock/"
	root             = "../.."
	license          = "// SPDX-License-Identifier: Apache-2.0\n"
	maxFileLines     = 600
	maxFunctionLines = 70
	maxMethods       = 4
)

// mayImport says for each folder what of ours its packages may import; the longest prefix counts.
// A folder may always import what lies below itself. Tests are free, but for what forbidden says.
var mayImport = map[string][]string{
	"spec":               {"spec"},
	"sdk":                {"spec", "sdk"},
	"plugins":            {"spec", "sdk"},
	"plugins/bundle":     {},
	"plugins/skeleton":   {"spec/abi"},
	"plugins/native":     {"sdk", "plugins", "spec"},
	"plugins/std/module": {"spec", "sdk", "plugins/std"}, // what there is, under its names

	"plugins/exec":         {"spec", "sdk", "plugins/std/stream="},
	"plugins/std/tcp":      {"spec", "sdk", "plugins/std/filesink/line=", "plugins/std/stream="},
	"plugins/std/syslog":   {"spec", "sdk", "plugins/std/stream="},
	"plugins/std/udp":      {"spec", "sdk", "plugins/std/stream="},
	"plugins/std/tail":     {"spec", "sdk", "plugins/std/textfile="},
	"plugins/std/spool":    {"spec", "sdk", "plugins/std/textfile="},
	"plugins/std/httpsink": {"spec", "sdk", "plugins/std/filesink/line="}, // events as text are the same everywhere

	"host/channel":  {"spec"},
	"host/channel/": {"spec", "host/channel="},
	"host/address":  {"spec/abi"},
	"host/plugin":   {"spec", "host/address"},
	"host/plugin/":  {"spec", "host/plugin=", "host/address"},

	"host/plugin/exchange":   {"spec", "host/plugin=", "host/plugin/report="},
	"host/plugin/wasm":       {"spec", "host/plugin=", "host/plugin/report=", "host/plugin/socket=", "host/plugin/exchange=", "host/plugin/promise="},
	"host/plugin/subprocess": {"spec", "host/plugin=", "host/plugin/report=", "host/plugin/socket=", "host/plugin/exchange=", "host/plugin/promise="},

	"plugins/kafka/kafkatest": {"spec", "sdk", "host/address/addresstest="}, // of tests alone

	"host/plugin/plugintest": {"spec", "host/plugin=", "host/plugin/endpoint=", "host/address"},

	"host/plugin/wasm/fuel": {"host/plugin/wasm/internal/modfile="},

	"host/expr":     {"spec"},
	"host/flume":    {"host/config="}, // lays out what it writes
	"host/config":   {"spec", "host/expr", "host/address", "host/guarantee="},
	"host/pipeline": {"spec", "host/channel=", "host/plugin="},
	"host/plan":     {"spec/abi", "host/config=", "host/guarantee="},
	"host/graph":    {"host/config="},
	"host/lsp":      {"spec/abi", "host/config=", "host/expr="},
	"host/dead":     {"spec", "host/channel=", "host/pipeline="},
	"host/admin":    {"spec", "host/channel=", "host/plugin=", "host/guarantee=", "host/dead="},
	"host/agent":    {"spec", "host", "plugins/bundle"},
	"host/watch":    {},
	"host/tidy":     {},

	"host/hop":      {"spec"},
	"host/hop/link": {"spec", "host/hop=", "host/plugin=", "host/address"},

	"host/guarantee":      {},
	"host/pipeline/group": {"host/channel=", "host/pipeline=", "spec/event"},

	"host/rehearsal": {"spec", "host/channel=", "host/plugin=", "host/config=", "host/admin=", "host/agent="}, // runs agents on fixtures
	"cmd":            {"spec", "host", "plugins/bundle", "plugins/native", "plugins/skeleton", "sdk/client="},
	"examples":       {"spec", "sdk"},
}

// neverNamed are package names that say nothing.
var neverNamed = []string{"util", "utils", "common", "helpers", "helper", "base", "shared", "types", "manager", "misc"}

type source struct {
	dir, name string // dir relative to the root, slash-separated
	file      *ast.File
	fset      *token.FileSet
	text      []byte
}

func (s source) test() bool { return strings.HasSuffix(s.name, "_test.go") }

func (s source) pos(n ast.Node) string { return path.Join(s.dir, s.name) + s.line(n) }

func (s source) line(n ast.Node) string {
	p := s.fset.Position(n.Pos())
	return strings.TrimPrefix(p.String(), p.Filename)
}

// sources parses every Go file of the tree that people wrote.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "vendor" || (strings.ContainsAny(d.Name()[:1], "._") && p != root)) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, p, text, parser.ParseComments)
		if err != nil {
			return err
		}
		if ast.IsGenerated(file) {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(p))
		if err != nil {
			return err
		}
		all = append(all, source{filepath.ToSlash(rel), filepath.Base(p), file, fset, text})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("found %d Go files below %s: looking in the wrong place", len(all), root)
	}
	return all
}

func allowed(dir, imported string) bool {
	if imported == dir || strings.HasPrefix(imported, dir+"/") {
		return true
	}
	best, rules := "", []string(nil)
	for prefix, r := range mayImport {
		if (dir == prefix || strings.HasPrefix(dir, strings.TrimSuffix(prefix, "/")+"/")) && len(prefix) > len(best) {
			if strings.HasSuffix(prefix, "/") && dir+"/" == prefix {
				continue
			}
			best, rules = prefix, r
		}
	}
	return slices.ContainsFunc(rules, func(r string) bool {
		if exact, ok := strings.CutSuffix(r, "="); ok {
			return imported == exact
		}
		return imported == r || strings.HasPrefix(imported, r+"/")
	})
}

func TestImportsPointOneWay(t *testing.T) {
	for _, s := range sources(t) {
		for _, imp := range s.file.Imports {
			p, ours := strings.CutPrefix(strings.Trim(imp.Path.Value, `"`), module)
			if !ours {
				continue
			}
			sdkAndHost := strings.HasPrefix(s.dir, "sdk") && strings.HasPrefix(p, "host") || strings.HasPrefix(s.dir, "host") && strings.HasPrefix(p, "sdk")
			if sdkAndHost || !s.test() && !allowed(s.dir, p) {
				t.Errorf("%s: %s may not import %s", s.pos(imp), s.dir, p)
			}
		}
	}
}

func TestTheImportRulesCanFail(t *testing.T) {
	for _, c := range []struct {
		dir, imported string
		want          bool
	}{
		{"spec/event", "host/channel", false},
		{"sdk", "spec/event", true},
		{"sdk", "host/plugin", false},
		{"host/channel", "host/plugin", false},
		{"host/channel/wal", "host/channel", true},
		{"host/channel/wal", "host/channel/memory", false},
		{"host/channel/wal", "host/channel/wal/store", true},
		{"host/plugin/wasm", "host/channel", false},
		{"host/pipeline", "host/channel", true},
		{"host/pipeline", "host/channel/wal", false},
		{"host/config", "host/plugin", false},
		{"host/agent", "host/channel/wal", true},
		{"plugins/std", "host/plugin", false},
	} {
		if got := allowed(c.dir, c.imported); got != c.want {
			t.Errorf("%s imports %s: allowed = %v", c.dir, c.imported, got)
		}
	}
}

func TestEveryFileCarriesItsLicenceAndIsNotTooLong(t *testing.T) {
	for _, s := range sources(t) {
		if !bytes.HasPrefix(s.text, []byte(license)) {
			t.Errorf("%s/%s: does not begin with %q", s.dir, s.name, strings.TrimSpace(license))
		}
		if n := bytes.Count(s.text, []byte("\n")); n > maxFileLines {
			t.Errorf("%s/%s: %d lines, at most %d", s.dir, s.name, n, maxFileLines)
		}
	}
}

func TestFunctionsFitOnAScreenAndInterfacesAreNarrow(t *testing.T) {
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
				if n := s.lines(f) - s.tableLines(f); n > maxFunctionLines {
					t.Errorf("%s: %s has %d lines, at most %d", s.pos(f), f.Name.Name, n, maxFunctionLines)
				}
				if f.Name.Name == "init" && f.Recv == nil && (strings.HasPrefix(s.dir, "host") || strings.HasPrefix(s.dir, "cmd")) {
					t.Errorf("%s: init hides what depends on what; call it by name", s.pos(f))
				}
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if i, ok := n.(*ast.InterfaceType); ok && i.Methods.NumFields() > maxMethods {
				t.Errorf("%s: an interface of %d methods, at most %d", s.pos(i), i.Methods.NumFields(), maxMethods)
			}
			return true
		})
	}
}

func (s source) lines(n ast.Node) int {
	return s.fset.Position(n.End()).Line - s.fset.Position(n.Pos()).Line + 1
}

// tableLines counts the lines of f that are literals of slices and maps: tables of cases.
func (s source) tableLines(f *ast.FuncDecl) int {
	n := 0
	ast.Inspect(f.Body, func(node ast.Node) bool {
		c, ok := node.(*ast.CompositeLit)
		if !ok {
			return true
		}
		switch c.Type.(type) {
		case *ast.ArrayType, *ast.MapType:
			n += s.lines(c)
			return false
		}
		return true
	})
	return n
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	said := map[string]bool{}
	for _, s := range sources(t) {
		name := s.file.Name.Name
		if slices.Contains(neverNamed, name) {
			t.Errorf("%s: a package named %s says nothing", s.dir, name)
		}
		if s.test() {
			continue
		}
		doc := s.file.Doc.Text()
		said[s.dir] = said[s.dir] || strings.HasPrefix(doc, "Package "+name+" ") || name == "main" && strings.HasPrefix(doc, "Command ")
	}
	for dir, ok := range said {
		if !ok {
			t.Errorf("%s: no package comment", dir)
		}
	}
}
