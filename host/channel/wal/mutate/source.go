// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// pkg is a package whose sites are looked for.
type pkg struct {
	name    string
	dir     string   // below the root of the tree
	only    []string // files that count; nil: all
	files   []*sourceFile
	fset    *token.FileSet
	info    *types.Info
	imports types.Importer
}

// packages are those that keep the promises of a durable channel.
func packages() []*pkg {
	return []*pkg{
		{name: "wal", dir: "host/channel/wal"},
		{name: "channel", dir: "host/channel", only: []string{"ledger.go"}},
		{name: "pipeline", dir: "host/pipeline", only: []string{"source.go", "sink.go", "process.go", "reject.go", "suspect.go", "dead.go", "relay.go", "origin.go", "stream.go"}},
	}
}

// sourceFile is one file of Go.
type sourceFile struct {
	pkg  *pkg
	name string // package and file: "wal/flush.go"
	path string
	data []byte
	fset *token.FileSet
	tree *ast.File
}

// load parses and checks the files that this system builds, and keeps those that count.
func (p *pkg) load(root string) error {
	dir := filepath.Join(root, p.dir)
	list, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list the code: %w", err)
	}
	p.fset = token.NewFileSet()
	for _, e := range list {
		base := e.Name()
		if ok, err := build.Default.MatchFile(dir, base); err != nil || !ok || strings.HasSuffix(base, "_test.go") || !strings.HasSuffix(base, ".go") {
			continue
		}
		f := &sourceFile{pkg: p, name: path.Join(p.name, base), path: filepath.Join(dir, base), fset: p.fset}
		if f.data, err = os.ReadFile(f.path); err != nil {
			return fmt.Errorf("read the code: %w", err)
		}
		if f.tree, err = parser.ParseFile(p.fset, f.path, f.data, parser.SkipObjectResolution); err != nil {
			return fmt.Errorf("read the code: %w", err)
		}
		p.files = append(p.files, f)
	}
	exports, err := compiled(root, p.dir)
	if err != nil {
		return err
	}
	p.imports = importer.ForCompiler(p.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	p.info = &types.Info{Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}, Types: map[ast.Expr]types.TypeAndValue{}}
	var trees []*ast.File
	for _, f := range p.files {
		trees = append(trees, f.tree)
	}
	if _, err := (&types.Config{Importer: p.imports}).Check(p.dir, p.fset, trees, p.info); err != nil {
		return fmt.Errorf("check the code: %w", err)
	}
	return nil
}

// counts says whether the sites of a file are looked for.
func (p *pkg) counts(f *sourceFile) bool {
	return p.only == nil || slices.Contains(p.only, path.Base(f.path))
}

// compiled has Go compile what a package and the switchboard import, and says where what that exports is.
func compiled(root, dir string) (map[string]string, error) {
	cmd := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", "./"+dir, "os", "strconv", "sync/atomic")
	cmd.Dir, cmd.Stderr = root, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("compile what %s imports: %w", dir, err)
	}
	exports := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if name, file, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			exports[name] = file
		}
	}
	return exports, nil
}

func (f *sourceFile) offset(p token.Pos) int { return f.fset.Position(p).Offset }

// raw is the text of a node as it stands.
func (f *sourceFile) raw(n ast.Node) string {
	return string(f.data[f.offset(n.Pos()):f.offset(n.End())])
}

// maxText bounds the text of a site in its id: what is longer is told apart by its beginning, or by a number.
const maxText = 100

// text is that of a node on one line.
func (f *sourceFile) text(n ast.Node) string {
	s := []rune(strings.Join(strings.Fields(f.raw(n)), " "))
	if len(s) > maxText {
		return string(s[:maxText]) + "…"
	}
	return string(s)
}
