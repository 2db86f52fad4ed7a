// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"fmt"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/wasm/internal/modfile"
)

// maxTables is how many tables a module may have: compilers make one.
const maxTables = 16

// boundTables returns a copy of module whose tables grow to so many entries at most. They lie on the heap of the process, and nothing
// else bounds them: to table.grow the guest gets -1, as for memory.
func boundTables(module []byte, entries uint32) ([]byte, error) {
	out := make([]byte, 0, len(module)+maxTables*5)
	out = append(out, modfile.Preamble...)
	for s, err := range modfile.Sections(module) {
		if err != nil {
			return nil, err
		}
		if s.ID != modfile.Table {
			out = append(out, s.Raw...)
			continue
		}
		body, err := boundTable(s.Body, entries)
		if err != nil {
			return nil, err
		}
		out = modfile.AppendSection(out, modfile.Table, body)
	}
	return out, nil
}

// boundTable does so with one section of tables: for each a type of reference, flags, the least and, where the flags say so, the most.
func boundTable(section []byte, entries uint32) (body []byte, err error) {
	const hasMax = 1
	r := modfile.Reader{B: section}
	n := r.U32()
	if n > maxTables {
		return nil, fmt.Errorf("it has %d tables, and %d are the most", n, maxTables)
	}
	body = modfile.AppendU32(body, n)
	for range n {
		kind, flags := r.Byte(), r.Byte()
		least, most := r.U32(), entries
		if flags&hasMax != 0 {
			most = min(most, r.U32())
		}
		switch {
		case flags > hasMax || r.Bad:
			return nil, modfile.Err
		case least > entries:
			return nil, fmt.Errorf("it starts with a table of %d entries, over limits.%s of %d; raise that if it is right", least, plugin.LimitTable, entries)
		}
		body = append(body, kind, hasMax)
		body = modfile.AppendU32(modfile.AppendU32(body, least), most)
	}
	if r.Bad || len(r.B) > 0 {
		return nil, modfile.Err
	}
	return body, nil
}
