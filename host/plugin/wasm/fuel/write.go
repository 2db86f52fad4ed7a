// SPDX-License-Identifier: Apache-2.0

package fuel

import (
	"bytes"
	"fmt"

	"github.com/penstock-io/penstock/host/plugin/wasm/internal/modfile"
)

// place is the order in which sections stand.
var place = map[byte]int{
	modfile.Type: 1, modfile.Import: 2, modfile.Function: 3, modfile.Table: 4, modfile.Memory: 5, modfile.Global: 6, modfile.Export: 7,
	modfile.Start: 8, modfile.Element: 9, modfile.DataCount: 10, modfile.CodeID: 11, modfile.Data: 12,
}

// yieldType is (i32) → i32.
var yieldType = []byte{0x60, 1, typeI32, 1, typeI32}

const typeI32 = 0x7f

// write puts the module together again.
func (m *module) write(size int) ([]byte, error) {
	code := m.code() // first: it finds out which types it needs
	out := append(make([]byte, 0, size+size/2), modfile.Preamble...)
	missing := []byte{modfile.Type, modfile.Import, modfile.Global}
	add := func(before int) error { // what is not there, and must stand before that place
		for len(missing) > 0 && place[missing[0]] < before {
			body, err := m.section(modfile.Section{ID: missing[0], Body: []byte{0}})
			if err != nil {
				return err
			}
			out = modfile.AppendSection(out, missing[0], body)
			missing = missing[1:]
		}
		return nil
	}
	for _, s := range m.sections {
		if s.ID == modfile.Custom {
			out = append(out, m.custom(s)...)
			continue
		}
		if err := add(place[s.ID]); err != nil {
			return nil, err
		}
		if len(missing) > 0 && s.ID == missing[0] {
			missing = missing[1:]
		}
		body := code
		if s.ID != modfile.CodeID {
			var err error
			if body, err = m.section(s); err != nil {
				return nil, err
			}
		}
		out = modfile.AppendSection(out, s.ID, body)
	}
	return out, add(len(place) + 1)
}

// section gives the new body of a section other than code.
func (m *module) section(s modfile.Section) ([]byte, error) {
	r := &modfile.Reader{B: s.Body}
	switch s.ID {
	case modfile.Type:
		return extended(r, append(bytes.Clone(yieldType), m.added...), 1+m.nAdded), nil
	case modfile.Import:
		entry := modfile.AppendBytes(nil, []byte(ImportModule))
		entry = modfile.AppendBytes(entry, []byte(ImportName))
		entry = append(entry, modfile.FuncKind)
		return extended(r, modfile.AppendU32(entry, uint32(len(m.types))), 1), nil
	case modfile.Global:
		return m.globalSection(r)
	case modfile.Export:
		return m.exports(r)
	case modfile.Start:
		f := r.U32()
		return append(modfile.AppendU32(nil, m.shifted(f)), r.B...), bad(r)
	case modfile.Element:
		return m.elements(r)
	}
	return s.Body, nil
}

func bad(r *modfile.Reader) error {
	if r.Bad {
		return modfile.Err
	}
	return nil
}

// extended appends n entries to a vector.
func extended(r *modfile.Reader, entries []byte, n uint32) []byte {
	out := modfile.AppendU32(nil, r.U32()+n)
	return append(append(out, r.B...), entries...)
}

// globalSection adds the two counters, and shifts functions in what globals begin with.
func (m *module) globalSection(r *modfile.Reader) ([]byte, error) {
	n := r.Count()
	out := modfile.AppendU32(nil, n+2)
	for ; n > 0 && !r.Bad; n-- {
		out = append(out, r.Byte(), r.Byte())
		var err error
		if out, err = m.expression(out, r); err != nil {
			return nil, err
		}
	}
	if r.Bad || len(r.B) > 0 {
		return nil, modfile.Err
	}
	for _, begin := range []int32{Slice, 0} {
		out = append(out, typeI32, 1, opI32Const)
		out = append(modfile.AppendS32(out, begin), opEnd)
	}
	return out, nil
}

// expression copies a constant expression, with functions shifted.
func (m *module) expression(dst []byte, r *modfile.Reader) ([]byte, error) {
	w := walker{code: r.B}
	for {
		i, err := w.next()
		if err != nil {
			return nil, err
		}
		if i.op == opGlobalGet {
			if err := within(i.imm, m.globals, "a constant"); err != nil {
				return nil, err
			}
		}
		if i.op == opRefFunc {
			m.taken[i.imm] = true
			dst = modfile.AppendU32(append(dst, opRefFunc), m.shifted(i.imm))
			continue
		}
		dst = append(dst, w.code[i.at:i.end]...)
		if i.op == opEnd {
			r.B = r.B[i.end:]
			return dst, nil
		}
	}
}

func (m *module) exports(r *modfile.Reader) ([]byte, error) {
	n := r.Count()
	out := modfile.AppendU32(nil, n)
	for ; n > 0 && !r.Bad; n-- {
		out = modfile.AppendBytes(out, r.Bytes())
		kind, index := r.Byte(), r.U32()
		switch kind {
		case modfile.FuncKind:
			index = m.shifted(index)
		case modfile.GlobalKind:
			if err := within(index, m.globals, "an export"); err != nil {
				return nil, err
			}
		}
		out = modfile.AppendU32(append(out, kind), index)
	}
	if len(r.B) > 0 {
		return nil, modfile.Err
	}
	return out, bad(r)
}

// elements writes the element section anew, and notes whose address is taken.
func (m *module) elements(r *modfile.Reader) ([]byte, error) {
	const ( // bits of an entry's flags
		passive    = 1
		explicit   = 2 // a table index, or a kind, is there
		expression = 4
	)
	n := r.Count()
	out := modfile.AppendU32(nil, n)
	var err error
	for ; n > 0 && !r.Bad; n-- {
		flags := r.U32()
		if flags > passive|explicit|expression {
			return nil, fmt.Errorf("%w: an element of a kind that is not known", modfile.Err)
		}
		out = modfile.AppendU32(out, flags)
		if flags&passive == 0 {
			if flags&explicit != 0 {
				out = modfile.AppendU32(out, r.U32())
			}
			if out, err = m.expression(out, r); err != nil {
				return nil, err
			}
		}
		if flags&(passive|explicit) != 0 {
			out = append(out, r.Byte())
		}
		entries := r.Count()
		out = modfile.AppendU32(out, entries)
		for ; entries > 0 && !r.Bad; entries-- {
			if flags&expression != 0 {
				if out, err = m.expression(out, r); err != nil {
					return nil, err
				}
				continue
			}
			f := r.U32()
			m.taken[f] = true
			out = modfile.AppendU32(out, m.shifted(f))
		}
	}
	if len(r.B) > 0 {
		return nil, modfile.Err
	}
	return out, bad(r)
}

// code gives the new code section.
func (m *module) code() []byte {
	size := 0
	for i := range m.bodies {
		size += len(m.bodies[i].code)
	}
	out := modfile.AppendU32(make([]byte, 0, size+size/2), uint32(len(m.bodies)))
	var body []byte
	for i := range m.bodies {
		body = m.bodies[i].write(body[:0])
		out = modfile.AppendBytes(out, body)
	}
	return out
}

// blockType encodes the type of a block that leaves what a function of that type returns.
func (m *module) blockType(dst []byte, typ uint32) []byte {
	const empty = 0x40
	results := m.types[typ].results
	switch len(results) {
	case 0:
		return append(dst, empty)
	case 1:
		return append(dst, results[0])
	}
	index, ok := m.blocks[typ]
	if !ok {
		index = uint32(len(m.types)) + 1 + m.nAdded
		m.blocks[typ] = index
		m.nAdded++
		m.added = modfile.AppendBytes(append(m.added, yieldType[0], 0), results)
	}
	return modfile.AppendS32(dst, int32(index))
}
