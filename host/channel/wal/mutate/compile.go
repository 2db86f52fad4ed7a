// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/types"
	"strconv"
	"strings"
)

// sift takes out the swaps that do not compile: of those the compiler keeps the order. Any other mutation that does not
// compile is an error.
func sift(p *pkg, all []*mutation) (kept []*mutation, swaps int, err error) {
	wrong := map[int]error{}
	var loose []error
	var trees []*ast.File
	texts := map[string]string{"zz_mutant.go": switches(p, all)}
	for _, f := range p.files {
		texts[f.path] = instrument(f, all)
	}
	for name, text := range texts {
		tree, err := parser.ParseFile(p.fset, name, text, parser.SkipObjectResolution)
		if err != nil {
			return nil, 0, fmt.Errorf("a mutation is no Go: %w", err)
		}
		trees = append(trees, tree)
	}
	config := types.Config{Importer: p.imports, Error: func(err error) {
		if n := copyAt(trees, err); n > 0 {
			wrong[n] = err
		} else {
			loose = append(loose, err)
		}
	}}
	_, _ = config.Check(p.dir, p.fset, trees, nil) // it has told all errors
	if len(loose) > 0 {
		return nil, 0, fmt.Errorf("a mutation does not compile: %w", errors.Join(loose...))
	}
	for _, m := range all {
		switch {
		case wrong[m.n] == nil:
			kept = append(kept, m)
		case m.kind == kindOrder && m.row == nil:
			swaps++
		default:
			return nil, 0, fmt.Errorf("%s: does not compile: %w", m.where(), wrong[m.n])
		}
	}
	return kept, swaps, nil
}

// copyAt is the number of the mutation in whose copy of a function an error is, 0 when it is in none.
func copyAt(trees []*ast.File, err error) int {
	at, ok := errors.AsType[types.Error](err)
	if !ok {
		return 0
	}
	for _, t := range trees {
		for _, d := range t.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Pos() <= at.Pos && at.Pos < fn.End() {
				_, number, _ := strings.Cut(fn.Name.Name, "__")
				n, _ := strconv.Atoi(number)
				return n
			}
		}
	}
	return 0
}
