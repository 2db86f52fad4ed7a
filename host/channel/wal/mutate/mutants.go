// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// All mutations are compiled into one program, which does what it always does until the environment
// names one of them: so a row takes as long as its test, and not as long as a compiler.

// switchboard is a file that is added to each package. MUTATION is the number of the one that is on; MUTATION_REACHED
// names a file that is told the numbers of all places that were come to.
const switchboard = `package %s

import (
	"os"
	"strconv"
	"sync/atomic"
)

var (
	theMutation, _ = strconv.Atoi(os.Getenv("MUTATION"))
	reachedFile    = os.Getenv("MUTATION_REACHED")
	wasReached     [%d]atomic.Bool
)

// mutant says whether the mutation with that number is on.
func mutant(n int) bool {
	if reachedFile != "" && wasReached[n].CompareAndSwap(false, true) {
		if f, err := os.OpenFile(reachedFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err == nil {
			_, _ = f.WriteString(strconv.Itoa(n) + "\n")
			_ = f.Close()
		}
	}
	return n == theMutation
}

func leftOut(n int, f func() error) error {
	if mutant(n) {
		return nil
	}
	return f()
}

func kept[T any](n int, old, now T) T {
	if mutant(n) {
		return old
	}
	return now
}

var _, _ = leftOut, kept[int]
`

func switches(p *pkg, all []*mutation) string {
	most := 0
	for _, m := range all {
		most = max(most, m.n)
	}
	return fmt.Sprintf(switchboard, p.name, most+1)
}

// change is text that is put in before a byte of a file. What is wrapped is wrapped again by what is larger.
type change struct {
	at, partner int // partner: where what is wrapped ends, or begins
	closes      bool
	n           int
	text        string
}

func compareChanges(a, b change) int {
	sign := 1
	if a.closes {
		sign = -1
	}
	closesFirst := 0
	if a.closes != b.closes {
		closesFirst = sign
	}
	return cmp.Or(cmp.Compare(a.at, b.at), closesFirst, cmp.Compare(b.partner, a.partner), sign*cmp.Compare(a.n, b.n))
}

// instrument gives the text of a file with all its mutations in it.
func instrument(f *sourceFile, all []*mutation) string {
	var changes []change
	var copies strings.Builder
	for _, m := range all {
		if m.file != f {
			continue
		}
		if m.rewrite == nil {
			from, to := f.offset(m.insert.from), f.offset(m.insert.to)
			changes = append(changes, change{from, to, false, m.n, fmt.Sprintf(m.insert.before, m.n)}, change{to, from, true, m.n, m.insert.after})
			continue
		}
		text, call := m.copy()
		copies.WriteString("\n" + text + "\n")
		at := f.offset(m.fn.Body.Lbrace) + 1
		changes = append(changes, change{at, at, false, m.n, fmt.Sprintf(" if mutant(%d) { %s }; ", m.n, call)})
	}
	slices.SortStableFunc(changes, compareChanges)
	var b strings.Builder
	last := 0
	for _, c := range changes {
		b.Write(f.data[last:c.at])
		b.WriteString(c.text)
		last = c.at
	}
	b.Write(f.data[last:])
	return b.String() + copies.String()
}

// copyName is the name of the copy of a function that a mutation has for itself.
func copyName(name string, n int) string { return fmt.Sprintf("%s__%d", name, n) }

// copy is the function as the mutation has it, and the statement that calls it instead.
func (m *mutation) copy() (text, call string) {
	f, fn := m.file, m.fn
	name := copyName(fn.Name.Name, m.n)
	head := string(f.data[f.offset(fn.Pos()):f.offset(fn.Name.Pos())])
	signature := string(f.data[f.offset(fn.Name.End()):f.offset(fn.Body.Pos())])
	call = name
	if fn.Recv != nil {
		call = fn.Recv.List[0].Names[0].Name + "." + name
	}
	call += "(" + strings.Join(arguments(fn), ", ") + ")"
	if fn.Type.Results.NumFields() > 0 {
		call = "return " + call
	} else {
		call += "; return"
	}
	return head + name + signature + m.rewrite(f.raw(fn.Body)), call
}

func arguments(fn *ast.FuncDecl) (names []string) {
	for _, p := range fn.Type.Params.List {
		for _, id := range p.Names {
			name := id.Name
			if _, ok := p.Type.(*ast.Ellipsis); ok {
				name += "..."
			}
			names = append(names, name)
		}
	}
	return names
}

// overlay writes the mutated files of all packages into a folder, and what tells Go to build them instead.
func overlay(folder string, packages []*pkg, all []*mutation) (path string, err error) {
	replace := map[string]string{}
	put := func(p *pkg, original, text string) error {
		name := filepath.Join(folder, p.name+"-"+filepath.Base(original))
		replace[original] = name
		return os.WriteFile(name, []byte(text), 0o600)
	}
	for _, p := range packages {
		for _, f := range p.files {
			if err := put(p, f.path, instrument(f, all)); err != nil {
				return "", err
			}
		}
		if err := put(p, filepath.Join(filepath.Dir(p.files[0].path), "zz_mutant.go"), switches(p, all)); err != nil {
			return "", err
		}
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path = filepath.Join(folder, "overlay.json")
	return path, os.WriteFile(path, data, 0o600)
}

// line is where the mutation is in its file, or the function that it is in.
func (m *mutation) line() int {
	at := m.fn.Pos()
	if m.rewrite == nil {
		at = m.insert.from
	}
	return m.file.fset.Position(at).Line
}
