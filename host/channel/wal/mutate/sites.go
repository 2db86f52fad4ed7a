// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// The kinds of site.
const (
	kindSync  = "sync"  // a call that makes something durable
	kindCheck = "check" // a condition under which something is refused
	kindLatch = "latch" // where a flag or an error that is kept is set, or looked at
	kindOrder = "order" // two effects, one after the other
	kindLaw   = "law"   // an ordering that only a row describes, by text
)

var kinds = []string{kindSync, kindCheck, kindLatch, kindOrder, kindLaw}

// site is one place that keeps a promise, and how it is broken.
type site struct {
	kind string
	file *sourceFile
	fn   *ast.FuncDecl
	text string // what stands there, or what a row says of it
	how  string // the mutation, in words
	// insert is put into the code, with the number of the mutation for %d …
	insert insert
	// … or the function is copied, and this done to the copy.
	rewrite func(body string) string
}

// insert is text before and after a stretch of code.
type insert struct {
	from, to      token.Pos
	before, after string
}

// id names a site for as long as its code stays what it is, wherever it moves within its file.
func (s *site) id() string { return s.kind + " " + funcName(s.fn) + ": " + s.text }

func (s *site) where() string { return s.file.name + " " + s.id() }

func funcName(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	return receiverType(f) + "." + f.Name.Name
}

func receiverType(f *ast.FuncDecl) string {
	t := f.Recv.List[0].Type
	if p, ok := t.(*ast.StarExpr); ok {
		t = p.X
	}
	return t.(*ast.Ident).Name
}

// enumerate finds the sites of one file, in the order of the code, with distinct texts.
func enumerate(f *sourceFile, w words) []*site {
	var all []*site
	for _, d := range f.tree.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		e := &enumerator{file: f, fn: fn, words: w}
		e.syncs()
		e.flags()
		e.checks()
		e.orders()
		slices.SortStableFunc(e.found, func(a, b *site) int { return slices.Index(kinds, a.kind) - slices.Index(kinds, b.kind) })
		all = append(all, e.found...)
	}
	count := map[string]int{}
	for _, s := range all {
		id := s.id()
		if count[id]++; count[id] > 1 {
			s.text += fmt.Sprintf(" #%d", count[id])
		}
	}
	return all
}

// enumerator looks for the sites of one function.
type enumerator struct {
	words
	file  *sourceFile
	fn    *ast.FuncDecl
	found []*site
	taken []ast.Node // conditions that are sites already
}

func (e *enumerator) add(kind string, n ast.Node, how string, in insert) {
	e.found = append(e.found, &site{kind: kind, file: e.file, fn: e.fn, text: e.file.text(n), how: how, insert: in})
}

// around wraps a node.
func around(n ast.Node, before, after string) insert { return insert{n.Pos(), n.End(), before, after} }

// syncs finds the calls that make something durable, and can be left out.
func (e *enumerator) syncs() {
	ast.Inspect(e.fn.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ExprStmt:
			if call, ok := n.X.(*ast.CallExpr); ok && e.syncing[callee(e.info, call)] {
				e.add(kindSync, call, "it is left out", around(n, "if !mutant(%d) { ", " }"))
				return false
			}
		case *ast.DeferStmt, *ast.GoStmt:
			return false
		case *ast.CallExpr:
			if to := callee(e.info, n); e.syncing[to] && returnsError(to) {
				e.add(kindSync, n, "it is left out, and says nil", around(n, "leftOut(%d, func() error { return ", " })"))
			}
		}
		return true
	})
}

// flags finds where a flag is set, and where a condition looks at one.
func (e *enumerator) flags() {
	e.assignments()
	conditions(e.fn.Body, func(cond ast.Expr) {
		ast.Inspect(cond, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncLit, *ast.CallExpr:
				return false
			case *ast.SelectorExpr:
				if e.latches[n.Sel.Name] && e.isBool(n) {
					e.look(n, "(!mutant(%d) && ", ")")
				}
			case *ast.BinaryExpr:
				x, ok := n.X.(*ast.SelectorExpr)
				if !ok || !e.latches[x.Sel.Name] || !isZero(n.Y) {
					return true
				}
				switch n.Op {
				case token.NEQ:
					e.look(n, "(!mutant(%d) && ", ")")
				case token.EQL:
					e.look(n, "(mutant(%d) || ", ")")
				}
			}
			return true
		})
	})
}

// look adds a condition that looks at a flag; a call to a method of that name is none.
func (e *enumerator) look(n ast.Expr, before, after string) {
	e.taken = append(e.taken, n)
	e.add(kindLatch, n, "it is not looked at", around(n, before, after))
}

func (e *enumerator) assignments() {
	inits := map[ast.Stmt]bool{} // they cannot be put into an if
	ast.Inspect(e.fn.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.IfStmt:
			inits[n.Init] = true
		case *ast.ForStmt:
			inits[n.Init], inits[n.Post] = true, true
		case *ast.SwitchStmt:
			inits[n.Init] = true
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE || !slices.ContainsFunc(n.Lhs, e.isLatch) {
				return true
			}
			if !inits[n] {
				e.add(kindLatch, n, "it stays as it is", around(n, "if !mutant(%d) { ", " }"))
			} else if len(n.Lhs) == 1 {
				e.add(kindLatch, n, "it stays as it is", around(n.Rhs[0], "kept(%d, "+e.file.text(n.Lhs[0])+", ", ")"))
			}
		}
		return true
	})
}

func (e *enumerator) isLatch(x ast.Expr) bool {
	sel, ok := x.(*ast.SelectorExpr)
	return ok && e.latches[sel.Sel.Name]
}

func (e *enumerator) isBool(x ast.Expr) bool {
	return types.Identical(e.info.Types[x].Type, types.Typ[types.Bool])
}

func isZero(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.Ident:
		return x.Name == "nil"
	case *ast.BasicLit:
		return x.Value == `""` || x.Value == "0"
	}
	return false
}

// conditions calls visit for each condition in a function: of if, for and case, and what a return says as one.
func conditions(body ast.Node, visit func(ast.Expr)) {
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.IfStmt:
			visit(n.Cond)
		case *ast.ForStmt:
			if n.Cond != nil {
				visit(n.Cond)
			}
		case *ast.SwitchStmt:
			for _, s := range n.Body.List {
				for _, x := range s.(*ast.CaseClause).List {
					if n.Tag == nil {
						visit(x)
					}
				}
			}
		case *ast.ReturnStmt:
			for _, x := range n.Results {
				switch x.(type) {
				case *ast.BinaryExpr, *ast.UnaryExpr:
					visit(x)
				}
			}
		}
		return true
	})
}

// checks finds the conditions under which something is refused, each part that is enough by itself or needed.
func (e *enumerator) checks() {
	ast.Inspect(e.fn.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.IfStmt:
			if e.refuses(n.Body.List) {
				e.parts(n.Cond, token.LOR)
			}
		case *ast.SwitchStmt:
			for _, s := range n.Body.List {
				c := s.(*ast.CaseClause)
				if n.Tag == nil && e.refuses(c.Body) {
					for _, x := range c.List {
						e.parts(x, token.LOR)
					}
				}
			}
		case *ast.ReturnStmt:
			if x := e.verdict(n); x != nil {
				e.parts(x, x.Op)
			}
		case *ast.BlockStmt:
			e.guards(n.List)
		}
		return true
	})
}

// verdict is what a function that returns one bool answers, where that has parts.
func (e *enumerator) verdict(n *ast.ReturnStmt) *ast.BinaryExpr {
	if len(n.Results) != 1 || !e.answersBool() {
		return nil
	}
	if x, ok := n.Results[0].(*ast.BinaryExpr); ok && (x.Op == token.LAND || x.Op == token.LOR) {
		return x
	}
	return nil
}

func (e *enumerator) answersBool() bool {
	r := e.fn.Type.Results
	if r == nil {
		return false
	}
	return slices.ContainsFunc(r.List, func(f *ast.Field) bool { id, ok := f.Type.(*ast.Ident); return ok && id.Name == "bool" })
}

// guards finds "if it is right { return nil }; return the refusal".
func (e *enumerator) guards(list []ast.Stmt) {
	for i := 1; i < len(list); i++ {
		guard, ok := list[i-1].(*ast.IfStmt)
		last, isReturn := list[i].(*ast.ReturnStmt)
		if !ok || !isReturn || guard.Else != nil || !e.makesError(last) || len(guard.Body.List) != 1 {
			continue
		}
		if r, ok := guard.Body.List[0].(*ast.ReturnStmt); ok && !e.refuses(guard.Body.List) && len(r.Results) > 0 {
			e.parts(guard.Cond, token.LAND)
		}
	}
}

// parts adds each operand of a condition, which is taken out of it: || drops what is false, && what is true.
func (e *enumerator) parts(x ast.Expr, op token.Token) {
	if b, ok := x.(*ast.BinaryExpr); ok && b.Op == op {
		e.parts(b.X, op)
		e.parts(b.Y, op)
		return
	}
	if e.passesOn(x) || slices.ContainsFunc(e.taken, func(n ast.Node) bool { return x.Pos() <= n.Pos() && n.End() <= x.End() }) {
		return
	}
	e.taken = append(e.taken, x)
	if op == token.LAND {
		e.add(kindCheck, x, "it always holds", around(x, "(mutant(%d) || ", ")"))
		return
	}
	e.add(kindCheck, x, "it never refuses", around(x, "(!mutant(%d) && (", "))"))
}

// passesOn says whether a condition is only that something else failed.
func (e *enumerator) passesOn(x ast.Expr) bool {
	b, ok := x.(*ast.BinaryExpr)
	if !ok || !isZero(b.Y) {
		return false
	}
	id, ok := b.X.(*ast.Ident)
	return ok && strings.HasSuffix(strings.ToLower(id.Name), "err")
}

// refuses says whether one of the statements makes an error, or answers false.
func (e *enumerator) refuses(list []ast.Stmt) bool {
	for _, s := range list {
		switch s := s.(type) {
		case *ast.ReturnStmt:
			if e.makesError(s) || e.answersBool() && slices.ContainsFunc(s.Results, isFalse) {
				return true
			}
		case *ast.AssignStmt, *ast.ExprStmt:
			if e.makesError(s) {
				return true
			}
		}
	}
	return false
}

func isFalse(x ast.Expr) bool { id, ok := x.(*ast.Ident); return ok && id.Name == "false" }

// makers make errors, or end something because of one, where no sentinel is in sight.
var makers = []string{"fmt.Errorf", "errors.New", "panic", "(*" + wal + "scanner).damage", "(*" + wal + "Channel).inDoubt", "(*" + wal + "Channel).stop",
	wal + "prior", wal + "missing"}

const wal = "host/channel/wal."

// makesError says whether a sentinel, a new error, or a call that ends something is in n.
func (e *enumerator) makesError(n ast.Node) (found bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			found = found || isSentinel(n.Name)
		case *ast.CompositeLit:
			id, ok := n.Type.(*ast.Ident)
			found = found || ok && id.Name == "Damage"
		case *ast.CallExpr:
			name := called(n)
			if f := callee(e.info, n); f != nil {
				name = f.FullName()
			}
			found = found || slices.Contains(makers, name)
			if name == "errors.Is" || name == "errors.AsType" {
				return false // it only asks
			}
		}
		return true
	})
	return found
}

// called is the last name of what is called.
func called(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

func isSentinel(name string) bool {
	for _, prefix := range []string{"err", "Err"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok && rest != "" && rest[0] >= 'A' && rest[0] <= 'Z' && rest != "Is" && name != "Errorf" {
			return true
		}
	}
	return false
}
