// SPDX-License-Identifier: Apache-2.0

package main

import (
	"go/ast"
	"go/types"
	"maps"
	"slices"
)

// words are what the sites of a package are known by.
type words struct {
	info    *types.Info
	syncing map[*types.Func]bool // functions that make something durable, or have it made so
	effects map[*types.Func]bool // functions whose order counts
	latches map[string]bool      // fields that keep a flag or an error
}

// syncRoots make something durable by themselves; so does whatever calls them.
var syncRoots = []string{"Sync", "Fdatasync", "Publish", "appender.Close", "Log.Close"}

// syncLater have it done by a timer.
var syncLater = []string{"Channel.touched", "Channel.flushAfter", "Channel.flushLater"}

// effectRoots change what is on disk, or tell somebody; so does whatever calls them.
var effectRoots = map[string][]string{
	"wal": {"Sync", "Fdatasync", "Publish", "Rename", "Remove", "WriteAt", "truncater.Truncate", "File.Truncate", "appender.Append", "appender.Close", "Log.WriteBatch", "Log.Close",
		"Channel.end", "Channel.stop", "Channel.publish", "Channel.fence", "ring.add", "Ledger.Commit", "Ledger.Finish", "Ledger.Cover", "Ledger.Rollback"},
	"pipeline": {"Channel.Cursor", "Tx.Put", "Tx.Submit", "Source.Ack", "Source.Read", "Reader.Take", "Sink.Write", "Lease.Commit", "Lease.Rollback",
		"Tx.Rollback", "Reader.Finish", "Pruner.Prune"},
	"channel": {"Ranges.Add", "Ranges.Remove"},
}

// learn finds out the words of a package, but for its latches.
func learn(p *pkg) words {
	info := p.info
	calls := map[*types.Func][]*types.Func{}
	for _, f := range p.files {
		for _, d := range f.tree.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			name := info.Defs[fn.Name].(*types.Func)
			ast.Inspect(fn.Body, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					if to := callee(info, call); to != nil {
						calls[name] = append(calls[name], to)
					}
				}
				return true
			})
		}
	}
	w := words{info: info, syncing: closure(calls, syncRoots), effects: closure(calls, effectRoots[p.name])}
	for f := range calls {
		if slices.Contains(syncLater, methodName(f)) {
			w.syncing[f] = true
		}
	}
	return w
}

// callee is the function or method that is called, nil when it is a value or a conversion.
func callee(info *types.Info, call *ast.CallExpr) *types.Func {
	var id *ast.Ident
	switch f := call.Fun.(type) {
	case *ast.Ident:
		id = f
	case *ast.SelectorExpr:
		id = f.Sel
	default:
		return nil
	}
	f, _ := info.Uses[id].(*types.Func)
	return f
}

// methodName is the name with the type that has the method: "Channel.flush".
func methodName(f *types.Func) string {
	recv := f.Signature().Recv()
	if recv == nil {
		return f.Name()
	}
	t := recv.Type()
	if p, ok := t.(*types.Pointer); ok {
		t = p.Elem()
	}
	if n, ok := t.(*types.Named); ok {
		return n.Obj().Name() + "." + f.Name()
	}
	return f.Name()
}

// closure adds to the roots what calls them, directly or not.
func closure(calls map[*types.Func][]*types.Func, roots []string) map[*types.Func]bool {
	all := map[*types.Func]bool{}
	in := func(f *types.Func) bool {
		return all[f] || slices.Contains(roots, f.Name()) || slices.Contains(roots, methodName(f))
	}
	for grown := true; grown; {
		grown = false
		for f, called := range calls {
			for _, to := range append(called, f) {
				if in(to) && (!all[to] || !all[f]) {
					all[to], all[f], grown = true, true, true
				}
			}
		}
	}
	return all
}

// returnsError says whether a function returns one error and nothing else.
func returnsError(f *types.Func) bool {
	r := f.Signature().Results()
	return r.Len() == 1 && types.Identical(r.At(0).Type(), types.Universe.Lookup("error").Type())
}

// flagFields lists the fields of a package that are bools or errors, and so could be latches.
func flagFields(info *types.Info) []string {
	fields := map[string]bool{}
	for _, obj := range info.Defs {
		v, ok := obj.(*types.Var)
		if !ok || !v.IsField() {
			continue
		}
		switch t := v.Type(); {
		case types.Identical(t, types.Typ[types.Bool]), types.Identical(t, types.Universe.Lookup("error").Type()):
			fields[v.Name()] = true
		}
	}
	return slices.Sorted(maps.Keys(fields))
}
