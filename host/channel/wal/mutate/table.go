// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"go/ast"
	"os"
	"strings"
)

// row is what the table says of one site.
type row struct {
	file   string // "wal/flush.go"
	id     string // of the site
	test   string // that catches the mutation: "[package.]Test[/subtest]"; "" = none does
	why    string // it cannot matter
	open   string // no test notices it yet, and what is known of that
	before string // code, of a law
	after  string
	line   int // in the table
}

// table is the file of rows.
type table struct {
	head  []string // its lines before the first row
	latch map[string]bool
	plain map[string]bool // fields that are no latches
	rows  []*row
	lost  map[*row]bool // laws whose code is not there
}

func readTable(path string) (*table, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the table: %w", err)
	}
	t := &table{latch: map[string]bool{}, plain: map[string]bool{}, lost: map[*row]bool{}}
	file := ""
	for i, line := range strings.Split(string(text), "\n") {
		name, isFile := strings.CutPrefix(line, "file ")
		if isFile {
			file = name
		}
		if file == "" {
			t.head = append(t.head, line)
		}
		switch {
		case isFile || line == "" || line[0] == '#':
		case line[0] == '\t' && len(t.rows) > 0:
			t.rows[len(t.rows)-1].say(line[1:])
		case file == "" && t.field(line):
		case file != "" && line[0] != '\t':
			t.rows = append(t.rows, &row{file: file, id: line, line: i + 1})
		default:
			return nil, fmt.Errorf("%s:%d: %q is neither a row nor a part of one", path, i+1, line)
		}
	}
	return t, nil
}

// field reads a line of the head that says which fields are latches, and which are not.
func (t *table) field(line string) bool {
	to := t.latch
	names, ok := strings.CutPrefix(line, "latch ")
	if !ok {
		if names, ok = strings.CutPrefix(line, "no latch "); !ok {
			return false
		}
		to = t.plain
		names, _, _ = strings.Cut(names, ":")
	}
	for _, name := range strings.Fields(names) {
		to[name] = true
	}
	return true
}

// say reads an indented line.
func (r *row) say(line string) {
	if why, ok := strings.CutPrefix(line, "cannot matter: "); ok {
		r.why = why
		return
	}
	if open, ok := strings.CutPrefix(line, "open: "); ok {
		r.open = open
		return
	}
	code := strings.TrimPrefix(line[1:], " ")
	switch line[0] {
	case '-':
		r.before += code + "\n"
	case '+':
		r.after += code + "\n"
	default:
		r.test = line
	}
}

// String is the row as it stands in the table.
func (r *row) String() string {
	var b strings.Builder
	fmt.Fprintln(&b, r.id)
	for line := range strings.Lines(r.before) {
		fmt.Fprintf(&b, "\t- %s", line)
	}
	for line := range strings.Lines(r.after) {
		fmt.Fprintf(&b, "\t+ %s", line)
	}
	switch {
	case r.why != "":
		fmt.Fprintf(&b, "\tcannot matter: %s\n", r.why)
	case r.open != "":
		fmt.Fprintf(&b, "\topen: %s\n", r.open)
	case r.test != "":
		fmt.Fprintf(&b, "\t%s\n", r.test)
	}
	return b.String()
}

// laws makes sites of the rows of a file that are known by their text only, and says which have no place any more.
func (t *table) laws(f *sourceFile) (all []*site, gone []error) {
	for _, r := range t.rows {
		rest, ok := strings.CutPrefix(r.id, kindLaw+" ")
		if !ok || r.file != f.name {
			continue
		}
		name, text, _ := strings.Cut(rest, ": ")
		fn := f.function(name)
		if fn == nil || strings.Count(f.raw(fn.Body), r.before) != 1 {
			gone = append(gone, fmt.Errorf("line %d of the table: the code of %q is not in %s once: say what it is now", r.line, r.id, r.file))
			t.lost[r] = true
			continue
		}
		all = append(all, law(f, fn, text, r.before, r.after))
	}
	return all, gone
}

func (f *sourceFile) function(name string) *ast.FuncDecl {
	for _, d := range f.tree.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil && funcName(fn) == name {
			return fn
		}
	}
	return nil
}

// mutation is a site with its row.
type mutation struct {
	*site
	row *row // nil: there is none
	n   int
}

// match puts rows to sites. Rows that have no site are left.
func (t *table) match(sites []*site) (all []*mutation, left []*row) {
	rows := map[string]*row{}
	for _, r := range t.rows {
		rows[r.file+" "+r.id] = r
	}
	for i, s := range sites {
		all = append(all, &mutation{site: s, row: rows[s.where()], n: i + 1})
		delete(rows, s.where())
	}
	for _, r := range t.rows {
		if rows[r.file+" "+r.id] == r && !t.lost[r] {
			left = append(left, r)
		}
	}
	return all, left
}

// write puts the table down again, its rows in the order of the code, and at the end those that have no place.
func (t *table) write(path string, all []*mutation) error {
	b := []byte(strings.TrimRight(strings.Join(t.head, "\n"), "\n") + "\n")
	file, placed := "", map[*row]bool{}
	for _, m := range all {
		if m.row == nil {
			continue
		}
		placed[m.row] = true
		if m.file.name != file {
			file = m.file.name
			b = fmt.Appendf(b, "\nfile %s\n\n", file)
		}
		b = append(b, m.row.String()...)
	}
	file = ""
	for _, r := range t.rows {
		if placed[r] {
			continue
		}
		if r.file != file {
			file = r.file
			b = fmt.Appendf(b, "\nfile %s\n\n", file)
		}
		b = append(b, r.String()...)
	}
	return os.WriteFile(path, b, 0o644)
}
