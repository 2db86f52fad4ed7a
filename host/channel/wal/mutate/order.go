// SPDX-License-Identifier: Apache-2.0

package main

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// orders finds the pairs of effects that follow one another in one list of statements, where nothing
// in the code but their order keeps them so: the second does not use what is declared from the first on.
func (e *enumerator) orders() {
	ast.Inspect(e.fn.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BlockStmt:
			e.pairs(n.List)
		case *ast.CaseClause:
			e.pairs(n.Body)
		case *ast.CommClause:
			e.pairs(n.Body)
		}
		return true
	})
}

func (e *enumerator) pairs(list []ast.Stmt) {
	first, name := -1, ""
	for i, s := range list {
		now := e.effect(s)
		if now == "" {
			continue
		}
		if first >= 0 && !uses(s, declared(list[first:i])) && e.movable(s) {
			e.pair(list[first], s, name, now)
		}
		first, name = i, now
		if _, ok := s.(*ast.ReturnStmt); ok {
			first = -1
		}
	}
}

// pair adds the order of two statements, which are swapped in a copy of the function.
func (e *enumerator) pair(a, b ast.Stmt, first, second string) {
	s := &site{kind: kindOrder, file: e.file, fn: e.fn, text: first + ", " + second, how: "the second comes first"}
	from, to, end := e.file.offset(a.Pos()), e.file.offset(b.Pos()), e.file.offset(b.End())
	body := e.file.offset(e.fn.Body.Pos())
	moved := string(e.file.data[to:end])
	if r, ok := b.(*ast.ReturnStmt); ok {
		moved = "if err := " + e.file.raw(r.Results[0]) + "; err != nil {\nreturn err\n}"
	}
	s.rewrite = func(text string) string {
		swapped := text[:from-body] + moved + "\n" + text[from-body:to-body]
		if _, ok := b.(*ast.ReturnStmt); ok {
			swapped += "\nreturn nil\n"
		}
		return swapped + text[end-body:]
	}
	e.found = append(e.found, s)
}

// movable says whether a statement means the same in another place: a return only where it is of one error.
func (e *enumerator) movable(s ast.Stmt) bool {
	r, ok := s.(*ast.ReturnStmt)
	return !ok || len(r.Results) == 1 && e.fn.Type.Results.NumFields() == 1 && isError(e.fn.Type.Results.List[0].Type)
}

func isError(x ast.Expr) bool { id, ok := x.(*ast.Ident); return ok && id.Name == "error" }

// effect is the name of the first effect within a statement, "" when there is none.
func (e *enumerator) effect(s ast.Stmt) (name string) {
	switch s.(type) {
	case *ast.DeferStmt, *ast.GoStmt, *ast.CaseClause, *ast.CommClause: // later, or one of them only
		return ""
	}
	ast.Inspect(s, func(n ast.Node) bool {
		if _, ok := n.(*ast.FuncLit); ok || name != "" {
			return false
		}
		if call, ok := n.(*ast.CallExpr); ok && e.effects[callee(e.info, call)] {
			name = called(call)
		}
		return true
	})
	return name
}

// declared are the names that statements bring into scope for what follows them.
func declared(list []ast.Stmt) (names []string) {
	for _, s := range list {
		switch s := s.(type) {
		case *ast.AssignStmt:
			if s.Tok == token.DEFINE {
				for _, x := range s.Lhs {
					names = append(names, x.(*ast.Ident).Name)
				}
			}
		case *ast.DeclStmt:
			ast.Inspect(s, func(n ast.Node) bool {
				if v, ok := n.(*ast.ValueSpec); ok {
					for _, id := range v.Names {
						names = append(names, id.Name)
					}
				}
				return true
			})
		}
	}
	return slices.DeleteFunc(names, func(n string) bool { return n == "_" })
}

func uses(s ast.Stmt, names []string) (found bool) {
	ast.Inspect(s, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && slices.Contains(names, id.Name) {
			found = true
		}
		return true
	})
	return found
}

// law makes the site of a row that says with its own words what comes before what, and what the code is without it.
func law(f *sourceFile, fn *ast.FuncDecl, text, before, after string) *site {
	s := &site{kind: kindLaw, file: f, fn: fn, text: text, how: "other text: see the row"}
	s.rewrite = func(body string) string {
		return strings.Replace(body, before, after, 1)
	}
	return s
}
