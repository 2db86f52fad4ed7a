// SPDX-License-Identifier: Apache-2.0

// Package modfile reads and writes the binary form of WebAssembly modules.
//
// It knows how a module is laid out, and nothing of what it means: that is for wazero to check, which compiles it.
package modfile

import (
	"bytes"
	"errors"
	"iter"
	"math"

	"github.com/penstock-io/penstock/spec/abi"
)

// MaxSize is the largest module in bytes that is looked at.
const MaxSize = abi.MaxModule

// MaxEntries is how many entries a vector of a module may have, as in browsers: a reader makes room for as many as a module says.
const MaxEntries = 1_000_000

// Preamble begins every module of the core binary format: magic, then version 1.
const Preamble = "\x00asm\x01\x00\x00\x00"

// Identifiers of sections.
const (
	Custom    = 0
	Type      = 1
	Import    = 2
	Function  = 3
	Table     = 4
	Memory    = 5
	Global    = 6
	Export    = 7
	Start     = 8
	Element   = 9
	CodeID    = 10
	Data      = 11
	DataCount = 12
)

// Kinds of import and export.
const (
	FuncKind   = 0
	TableKind  = 1
	MemoryKind = 2
	GlobalKind = 3
)

// Err is what a module answers that cannot be walked.
var Err = errors.New("not a WebAssembly module: cut short or damaged")

// Section is one section of a module, as it lies there.
type Section struct {
	ID   byte
	Body []byte // a custom section's begins with its name
	Raw  []byte // id and size included
}

// Sections yields the sections of module in order, and an error last if it cannot be walked.
func Sections(module []byte) iter.Seq2[Section, error] {
	return func(yield func(Section, error) bool) {
		rest, ok := bytes.CutPrefix(module, []byte(Preamble))
		if !ok || len(module) > MaxSize {
			yield(Section{}, Err)
			return
		}
		for len(rest) > 0 {
			r := Reader{B: rest[1:]}
			body := r.Bytes()
			if r.Bad {
				yield(Section{}, Err)
				return
			}
			n := len(rest) - len(r.B)
			if !yield(Section{rest[0], body, rest[:n]}, nil) {
				return
			}
			rest = rest[n:]
		}
	}
}

// Reader takes values off the front of B. After anything out of bounds Bad is set, and all else answers zero.
type Reader struct {
	B   []byte
	Bad bool
}

func (r *Reader) fail() { r.Bad, r.B = true, nil }

// Byte takes one byte.
func (r *Reader) Byte() byte {
	if len(r.B) == 0 {
		r.fail()
		return 0
	}
	c := r.B[0]
	r.B = r.B[1:]
	return c
}

// U32 takes an unsigned number of at most 32 bits.
func (r *Reader) U32() uint32 {
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		c := r.Byte()
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			if v > math.MaxUint32 {
				r.fail()
				return 0
			}
			return uint32(v)
		}
	}
	r.fail()
	return 0
}

// S32 takes a signed number of at most 32 bits.
func (r *Reader) S32() int32 {
	var v int64
	for shift := 0; shift < 35; {
		c := r.Byte()
		v |= int64(c&0x7f) << shift
		shift += 7
		if c < 0x80 {
			if v = v << (64 - shift) >> (64 - shift); v != int64(int32(v)) {
				r.fail()
				return 0
			}
			return int32(v)
		}
	}
	r.fail()
	return 0
}

// Bytes takes what is preceded by its length. It aliases B.
func (r *Reader) Bytes() []byte {
	n := r.U32()
	if uint64(n) > uint64(len(r.B)) {
		r.fail()
		return nil
	}
	v := r.B[:n]
	r.B = r.B[n:]
	return v
}

// Count takes the number of entries of a vector: [MaxEntries] at most, and no more than there are bytes.
func (r *Reader) Count() uint32 {
	n := r.U32()
	if n > MaxEntries || uint64(n) > uint64(len(r.B)) {
		r.fail()
		return 0
	}
	return n
}

// Vector calls f for each entry of a vector. f takes it off r.
func (r *Reader) Vector(f func()) {
	for n := r.Count(); n > 0 && !r.Bad; n-- {
		f()
	}
}

// Imported is one entry of a module's import section.
type Imported struct {
	Module, Name string
	Kind         byte
}

// String is how errors name it.
func (i Imported) String() string { return i.Module + "." + i.Name }

// Imported takes one entry of an import section.
func (r *Reader) Imported() Imported {
	i := Imported{Module: string(r.Bytes()), Name: string(r.Bytes()), Kind: r.Byte()}
	switch i.Kind {
	case FuncKind:
		r.U32()
	case TableKind:
		r.Byte()
		r.Limits()
	case MemoryKind:
		r.Limits()
	case GlobalKind:
		r.Byte()
		r.Byte()
	default:
		r.fail()
	}
	return i
}

// Limits passes over the bounds of a table or memory.
func (r *Reader) Limits() {
	const hasMax = 1
	flags := r.Byte()
	r.U32()
	if flags&hasMax != 0 {
		r.U32()
	}
}

// Imports lists what module imports, in order.
func Imports(module []byte) ([]Imported, error) {
	var list []Imported
	for s, err := range Sections(module) {
		if err != nil {
			return nil, err
		}
		if s.ID != Import {
			continue
		}
		r := Reader{B: s.Body}
		r.Vector(func() { list = append(list, r.Imported()) })
		if r.Bad {
			return nil, Err
		}
	}
	return list, nil
}

// AppendU32 appends an unsigned number.
func AppendU32(dst []byte, v uint32) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

// AppendS32 appends a signed number.
func AppendS32(dst []byte, v int32) []byte {
	for v < -64 || v > 63 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v)&0x7f)
}

// AppendBytes appends b with its length before it.
func AppendBytes(dst, b []byte) []byte {
	return append(AppendU32(dst, uint32(len(b))), b...)
}

// AppendSection appends a section.
func AppendSection(dst []byte, id byte, body []byte) []byte {
	return AppendBytes(append(dst, id), body)
}
