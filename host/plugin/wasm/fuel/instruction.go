// SPDX-License-Identifier: Apache-2.0

package fuel

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/penstock-io/penstock/host/plugin/wasm/internal/modfile"
)

// Instructions that mean something here. Those with a prefix have it in their higher bits.
const (
	opUnreachable  = 0x00
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opLocalGet     = 0x20
	opLocalSet     = 0x21
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opMemoryGrow   = 0x40
	opI32Const     = 0x41
	opI32LtS       = 0x48
	opI32GtS       = 0x4a
	opI32Add       = 0x6a
	opI32Sub       = 0x6b
	opI32Or        = 0x72
	opI32ShrU      = 0x76
	opRefFunc      = 0xd2

	prefixMisc = 0xfc
	prefixSIMD = 0xfd

	opMemoryInit = prefixMisc<<8 | 8
	opMemoryCopy = prefixMisc<<8 | 10
	opMemoryFill = prefixMisc<<8 | 11
	opTableInit  = prefixMisc<<8 | 12
	opTableCopy  = prefixMisc<<8 | 14
	opTableGrow  = prefixMisc<<8 | 15
	opTableFill  = prefixMisc<<8 | 17
)

// form is what follows an instruction.
type form uint8

const (
	unknown   form = iota
	nothing        // nothing
	index          // one u32, which is noted
	twoIndex       // two u32, the first of which is noted
	number         // one signed number of up to 64 bits
	blockForm      // a block's type
	branches       // a vector of u32, and one more
	selection      // a vector of types
	memory         // alignment and offset
	memory1        // the same and a lane
	one            // so many bytes
	four
	eight
	sixteen
)

// spans of instructions of one form. The last that holds one counts.
var plainForms, miscForms, simdForms = forms([]span{
	{0x00, 0x01, nothing}, {0x02, 0x04, blockForm}, {0x05, 0x05, nothing}, {0x0b, 0x0b, nothing}, {0x0c, 0x0d, index},
	{0x0e, 0x0e, branches}, {0x0f, 0x0f, nothing}, {0x10, 0x10, index}, {0x11, 0x11, twoIndex}, {0x1a, 0x1b, nothing},
	{0x1c, 0x1c, selection}, {0x20, 0x26, index}, {0x28, 0x3e, memory}, {0x3f, 0x40, index}, {0x41, 0x42, number},
	{0x43, 0x43, four}, {0x44, 0x44, eight}, {0x45, 0xc4, nothing}, {0xd0, 0xd0, number}, {0xd1, 0xd1, nothing}, {0xd2, 0xd2, index},
}), forms([]span{
	{0, 7, nothing}, {8, 8, twoIndex}, {9, 9, index}, {10, 10, twoIndex}, {11, 11, index}, {12, 12, twoIndex}, {13, 13, index},
	{14, 14, twoIndex}, {15, 17, index},
}), forms([]span{
	{0, 11, memory}, {12, 13, sixteen}, {14, 20, nothing}, {21, 34, one}, {35, 83, nothing}, {84, 91, memory1}, {92, 93, memory}, {94, 255, nothing},
})

type span struct {
	from, to int
	form     form
}

func forms(spans []span) (table [256]form) {
	for _, s := range spans {
		for op := s.from; op <= s.to; op++ {
			table[op] = s.form
		}
	}
	return table
}

// instruction is one instruction as it stands in the code.
type instruction struct {
	op      uint32
	at, end int
	imm     uint32 // an index, where there is one
}

// walker goes through code. What it answers is right as far as its layout goes. Most of the time of a rewrite is spent here.
type walker struct {
	code []byte
	at   int
	bad  bool // something reaches beyond the end, or is longer than it may be
}

func (w *walker) next() (i instruction, err error) {
	i.at = w.at
	i.op = uint32(w.byte())
	form := plainForms[i.op]
	if i.op == prefixMisc || i.op == prefixSIMD {
		form = w.prefixed(&i)
	}
	switch form {
	case nothing:
	case index:
		i.imm = w.u32()
	default:
		i.imm = w.immediate(form)
	}
	if i.end = w.at; w.bad || form == unknown {
		return i, w.wrong(&i)
	}
	return i, nil
}

// prefixed reads the second part of an instruction that has two.
func (w *walker) prefixed(i *instruction) form {
	table := &miscForms
	if i.op == prefixSIMD {
		table = &simdForms
	}
	sub := w.u32()
	i.op = i.op<<8 | sub&0xff
	if sub >= uint32(len(table)) {
		return unknown
	}
	return table[sub]
}

func (w *walker) wrong(i *instruction) error {
	if w.bad {
		return modfile.Err
	}
	return fmt.Errorf("%w: it has the instruction %#x, which this host does not know", modfile.Err, i.op)
}

func (w *walker) byte() byte {
	if w.at >= len(w.code) {
		w.bad = true
		return 0
	}
	w.at++
	return w.code[w.at-1]
}

// u32 takes an unsigned number of at most 32 bits.
func (w *walker) u32() uint32 {
	if c := w.byte(); c < 0x80 {
		return uint32(c)
	}
	w.at--
	v, n := binary.Uvarint(w.code[w.at:min(w.at+longest32, len(w.code))])
	if n <= 0 || v > math.MaxUint32 {
		w.bad = true
		return 0
	}
	w.at += n
	return uint32(v)
}

func (w *walker) skip(n int) {
	if w.at += n; w.at > len(w.code) {
		w.at, w.bad = len(w.code), true
	}
}

// The longest numbers of 32 and 64 bits, in bytes.
const longest32, longest64 = 5, 10

// immediate passes over what follows an instruction, and returns the index in it.
func (w *walker) immediate(form form) (found uint32) {
	switch form {
	case twoIndex:
		found = w.u32()
		w.u32()
	case number:
		w.number()
	case blockForm:
		return w.blockType()
	case branches:
		for n := w.u32(); n > 0 && !w.bad; n-- {
			w.u32()
		}
		w.u32()
	case selection:
		w.skip(int(w.u32()))
	case memory:
		w.u32()
		w.u32()
	case memory1:
		w.u32()
		w.u32()
		w.byte()
	case one:
		w.skip(1)
	case four:
		w.skip(4)
	case eight:
		w.skip(8)
	case sixteen:
		w.skip(16)
	}
	return found
}

// number passes over a signed number.
func (w *walker) number() {
	for n := 0; w.byte() >= 0x80; n++ {
		if n == longest64 {
			w.bad = true
			return
		}
	}
}

// blockType takes the type of a block, and returns its index; 0 of those that have none.
func (w *walker) blockType() uint32 {
	const single, negative = 0x80, 0x40
	if w.at < len(w.code) && w.code[w.at] < single && w.code[w.at]&negative != 0 {
		w.at++
		return 0
	}
	return w.u32()
}
