// SPDX-License-Identifier: Apache-2.0

// Package wasmtest assembles small WebAssembly modules for tests: guests that trap, spin, lie and
// flood, which no toolchain would build, from the Go tool alone.
//
//	m := wasmtest.NewModule()
//	log := m.Import("log", []byte{I32, I32, I32}, []byte{I32})
//	text := m.Data("hello")
//	m.Export("penstock_poll", []byte{I32, I32, I32}, []byte{I32},
//		Const(0), Const(text), Const(5), Call(log), Drop(), Const(0))
package wasmtest

import (
	"encoding/binary"
	"slices"
)

// Types of values.
const (
	I32 byte = 0x7f
	I64 byte = 0x7e
	F64 byte = 0x7c
)

const (
	pageSize = 64 << 10
	// Arena is where Plugin's penstock_alloc puts everything: data lies below.
	Arena = pageSize
	// ArenaPages is how long it is.
	ArenaPages = 64
)

// Code is one instruction, or several.
type Code []byte

// Module is a module in the making. Imports come before anything else is added.
type Module struct {
	types   []byte
	ntypes  uint32
	imports []byte
	nimport uint32
	funcs   [][2]uint32 // type, and where the body lies
	bodies  [][]byte
	globals int
	exports []byte
	nexport uint32
	data    []byte
	start   *uint32

	// Pages is how much memory it starts with; 0 is none. MaxPages is what it declares, 0 nothing.
	Pages, MaxPages uint32
	// Tables is how many entries each of its tables has, of functions.
	Tables []uint32
	// MemoryName is what the memory is exported as; "" not at all.
	MemoryName string
}

// NewModule begins a module with one page for data and the arena.
func NewModule() *Module {
	return &Module{Pages: 1 + ArenaPages, MemoryName: "memory", data: []byte{0, 0, 0, 0, 0, 0, 0, 0}}
}

// Plugin adds what every plugin must have: the marker, an alloc that answers Arena, and an open that answers code.
func (m *Module) Plugin(code int32) *Module {
	m.Export("penstock_abi_1", nil, nil)
	m.Export("penstock_alloc", []byte{I32}, []byte{I32}, Const(Arena))
	m.Export("penstock_open", []byte{I32}, []byte{I32}, Const(code))
	return m
}

// Import adds a function of module "penstock" and answers its index.
func (m *Module) Import(name string, params, results []byte) uint32 {
	return m.ImportFrom("penstock", name, params, results)
}

// ImportFrom adds a function of any module and answers its index.
func (m *Module) ImportFrom(module, name string, params, results []byte) uint32 {
	const function = 0
	m.imports = append(appendName(appendName(m.imports, module), name), function)
	m.imports = binary.AppendUvarint(m.imports, uint64(m.addType(params, results)))
	m.nimport++
	return m.nimport - 1
}

// ImportGlobal adds an import that is not a function.
func (m *Module) ImportGlobal(module, name string) {
	m.imports = append(appendName(appendName(m.imports, module), name), 3, I32, 0)
	m.nimport++ // breaks the indices of functions: for modules that are refused
}

// Global adds an i64 variable and answers its index. It begins at 0.
func (m *Module) Global() uint32 {
	m.globals++
	return uint32(m.globals - 1)
}

// Data puts s into memory and answers where.
func (m *Module) Data(s string) int32 {
	at := len(m.data)
	m.data = append(m.data, s...)
	m.data = append(m.data, make([]byte, -len(m.data)&7)...)
	return int32(at)
}

// Func adds a function with two locals of type i32 beside its parameters, and answers its index.
func (m *Module) Func(params, results []byte, body ...Code) uint32 {
	code := []byte{1, 2, I32}
	for _, c := range body {
		code = append(code, c...)
	}
	m.bodies = append(m.bodies, append(code, 0x0b))
	m.funcs = append(m.funcs, [2]uint32{m.addType(params, results), uint32(len(m.bodies) - 1)})
	return m.nimport + uint32(len(m.funcs)-1)
}

// Export adds a function under a name, and answers its index.
func (m *Module) Export(name string, params, results []byte, body ...Code) uint32 {
	const function = 0
	f := m.Func(params, results, body...)
	m.exports = append(appendName(m.exports, name), function)
	m.exports = binary.AppendUvarint(m.exports, uint64(f))
	m.nexport++
	return f
}

// Start makes f run when the module is instantiated.
func (m *Module) Start(f uint32) { m.start = &f }

// Bytes encodes the module.
func (m *Module) Bytes() []byte {
	b := []byte("\x00asm\x01\x00\x00\x00")
	b = m.appendDeclarations(b)
	if m.start != nil {
		b = appendSection(b, 8, binary.AppendUvarint(nil, uint64(*m.start)))
	}
	code := binary.AppendUvarint(nil, uint64(len(m.bodies)))
	for _, body := range m.bodies {
		code = append(binary.AppendUvarint(code, uint64(len(body))), body...)
	}
	b = appendSection(b, 10, code)
	if m.Pages > 0 {
		data := append([]byte{1, 0}, Const(0)...)
		data = binary.AppendUvarint(append(data, 0x0b), uint64(len(m.data)))
		b = appendSection(b, 11, append(data, m.data...))
	}
	return b
}

func (m *Module) appendDeclarations(b []byte) []byte {
	b = appendSection(b, 1, append(binary.AppendUvarint(nil, uint64(m.ntypes)), m.types...))
	b = appendSection(b, 2, append(binary.AppendUvarint(nil, uint64(m.nimport)), m.imports...))
	funcs := binary.AppendUvarint(nil, uint64(len(m.funcs)))
	for _, f := range m.funcs {
		funcs = binary.AppendUvarint(funcs, uint64(f[0]))
	}
	b = appendSection(b, 3, funcs)
	if len(m.Tables) > 0 {
		tables := binary.AppendUvarint(nil, uint64(len(m.Tables)))
		for _, n := range m.Tables {
			tables = binary.AppendUvarint(append(tables, 0x70, 0), uint64(n))
		}
		b = appendSection(b, 4, tables)
	}
	exports, n := slices.Clone(m.exports), m.nexport
	if m.Pages > 0 {
		memory := binary.AppendUvarint([]byte{1, 0}, uint64(m.Pages))
		if m.MaxPages > 0 {
			memory = binary.AppendUvarint(binary.AppendUvarint([]byte{1, 1}, uint64(m.Pages)), uint64(m.MaxPages))
		}
		b = appendSection(b, 5, memory)
		if m.MemoryName != "" {
			exports, n = append(appendName(exports, m.MemoryName), 2, 0), n+1
		}
	}
	globals := binary.AppendUvarint(nil, uint64(m.globals))
	for range m.globals {
		globals = append(append(append(globals, I64, 1), Const64(0)...), 0x0b)
	}
	b = appendSection(b, 6, globals)
	return appendSection(b, 7, append(binary.AppendUvarint(nil, uint64(n)), exports...))
}

func (m *Module) addType(params, results []byte) uint32 {
	m.types = binary.AppendUvarint(append(m.types, 0x60), uint64(len(params)))
	m.types = binary.AppendUvarint(append(m.types, params...), uint64(len(results)))
	m.types = append(m.types, results...)
	m.ntypes++
	return m.ntypes - 1
}

func appendName(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendSection(b []byte, id byte, body []byte) []byte {
	return append(binary.AppendUvarint(append(b, id), uint64(len(body))), body...)
}

// appendSigned encodes v as LEB128, signed.
func appendSigned(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func op(code byte, v uint32) Code { return binary.AppendUvarint([]byte{code}, uint64(v)) }

// Const pushes an i32.
func Const(v int32) Code { return appendSigned([]byte{0x41}, int64(v)) }

// Const64 pushes an i64.
func Const64(v int64) Code { return appendSigned([]byte{0x42}, v) }

// Call calls a function.
func Call(f uint32) Code { return op(0x10, f) }

// Get pushes a local or parameter.
func Get(i uint32) Code { return op(0x20, i) }

// Set pops into a local or parameter.
func Set(i uint32) Code { return op(0x21, i) }

// GetGlobal pushes a variable.
func GetGlobal(i uint32) Code { return op(0x23, i) }

// SetGlobal pops into a variable.
func SetGlobal(i uint32) Code { return op(0x24, i) }

// Drop pops.
func Drop() Code { return Code{0x1a} }

// Trap breaks the guest.
func Trap() Code { return Code{0x00} }

// Return returns what is on the stack.
func Return() Code { return Code{0x0f} }

// Grow grows memory by the pages popped, and pushes the old size or -1.
func Grow() Code { return Code{0x40, 0} }

// GrowTable adds so many null entries to the first table, and answers how many it had, or -1.
func GrowTable(n int32) Code {
	return append(append(Code{0xd0, 0x70}, Const(n)...), 0xfc, 15, 0)
}

// TableSize answers how many entries the first table has.
func TableSize() Code { return Code{0xfc, 16, 0} }

// Add adds two i32.
func Add() Code { return Code{0x6a} }

// Add64 adds two i64.
func Add64() Code { return Code{0x7c} }

// Sub subtracts two i32.
// Sub subtracts two i32.
func Sub() Code { return Code{0x6b} }

// Wrap makes an i32 of an i64.
func Wrap() Code { return Code{0xa7} }

// Eq64 compares two i64.
func Eq64() Code { return Code{0x51} }

// Store64 pops an i64 and an address, and stores it there.
func Store64() Code { return Code{0x37, 3, 0} }

// Load32 pops an address and pushes the i32 there.
func Load32() Code { return Code{0x28, 2, 0} }

// If runs body when the i32 popped is not 0.
func If(body ...Code) Code { return block(0x04, body) }

// Loop runs body, again after each [Again] in it.
func Loop(body ...Code) Code { return block(0x03, body) }

// Again goes back to the head of the loop around if the i32 popped is not 0.
func Again() Code { return Code{0x0d, 0} }

func block(code byte, body []Code) Code {
	const noResult = 0x40
	return append(append(Code{code, noResult}, slices.Concat(body...)...), 0x0b)
}
