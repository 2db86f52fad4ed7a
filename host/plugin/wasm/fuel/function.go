// SPDX-License-Identifier: Apache-2.0

package fuel

import (
	"math"

	"github.com/penstock-io/penstock/host/plugin/wasm/internal/modfile"
)

// function is one function of the module: what is known of it, and how it is written anew.
type function struct {
	m     *module
	index uint32
	code  []byte // its locals and instructions

	locals    uint32 // parameters not included
	begin     int    // of the instructions, in code
	calls     []call
	indirect  []uint32 // types
	outer     int      // instructions outside of any loop
	within    []int    // instructions in each loop, and not in one inside it
	bulk      bool     // it has instructions on many bytes
	edits     []edit   // the instructions that do not stay as they are, in order
	recursive bool     // it counts depth: see findRecursion
	leads     bool     // a loop is entered first, whatever happens
	calling   bool     // it calls what is not free
	free      bool     // it is short, and so is what it calls: who calls it is charged for it
}

// call is of a function whose index is known.
type call struct {
	callee uint32
	loop   int // by number; -1: outside of any
}

// edit is an instruction that may not stay as it is.
type edit struct {
	instruction
	nested uint32 // blocks that are open around it
}

// survey walks the code once, says what it costs, and notes what is to be changed.
func (f *function) survey() error {
	r := modfile.Reader{B: f.code}
	total := uint64(0)
	groups := r.U32()
	for n := groups; n > 0 && !r.Bad; n-- {
		total += uint64(r.U32())
		r.Byte()
	}
	if r.Bad || total > math.MaxInt32 {
		return modfile.Err
	}
	f.locals, f.begin = uint32(total), len(f.code)-len(r.B)
	s := survey{function: f, walk: walker{code: f.code, at: f.begin}}
	return s.run()
}

// survey is a walk.
type survey struct {
	*function
	walk walker
	open []int // for each block that is open: its loop, by number, or that around it; -1 = none
	sure bool  // nothing so far could have passed over a loop that follows
}

func (s *survey) run() error {
	s.sure = true
	for {
		i, err := s.walk.next()
		if err == nil {
			err = s.bounds(&i)
		}
		if err != nil {
			return err
		}
		if changes(i.op) {
			s.edits = append(s.edits, edit{i, uint32(len(s.open))})
		}
		if s.count(&i) {
			break
		}
	}
	if s.walk.at != len(s.code) {
		return modfile.Err
	}
	return nil
}

// settle adds what is free in the functions that this one calls, and says whether this one is. Those have been settled, but for calls that
// close a cycle, to functions that are not free.
func (f *function) settle() {
	f.calling = len(f.indirect) > 0
	for _, c := range f.calls {
		switch callee := f.m.bodyOf(c.callee); {
		case callee == nil || !callee.free:
			f.calling = true
		case c.loop < 0:
			f.outer += callee.outer
		default:
			f.within[c.loop] += callee.outer
		}
	}
	f.free = !f.recursive && len(f.within) == 0 && !f.bulk && f.entry() == 0
}

// entry is what a call of the function costs, beside what is charged in its loops. Where it cannot but enter a loop first, that is enough: all functions
// of Go that call others begin so.
func (f *function) entry() int32 {
	if f.outer > longBody || f.calling && !f.leads {
		return costOf(f.outer)
	}
	return 0
}

// bounds refuses what would reach something that is added to the module.
func (s *survey) bounds(i *instruction) error {
	most := uint32(math.MaxUint32)
	switch i.op {
	case opLocalGet, opLocalSet, opLocalTee:
		most = uint32(s.m.typeOf(s.index).params) + s.locals
	case opGlobalGet, opGlobalSet:
		most = s.m.globals
	case opBlock, opLoop, opIf, opCallIndirect:
		most = uint32(len(s.m.types))
	}
	return within(i.imm, most, "an instruction")
}

func costOf(instructions int) int32 { return int32(min(1+instructions/Unit, maxCost)) }

// count adds one instruction, and says whether it was the last.
func (s *survey) count(i *instruction) (last bool) {
	in := -1
	if n := len(s.open); n > 0 {
		in = s.open[n-1]
	}
	if in < 0 {
		s.outer++
	} else {
		s.within[in]++
	}
	switch i.op {
	case opLoop:
		s.leads = s.leads || s.sure
		in = len(s.within)
		s.within = append(s.within, 0)
		s.open = append(s.open, in)
	case opBlock:
		s.open = append(s.open, in)
	case opIf:
		s.open = append(s.open, in)
		s.sure = false
	case opEnd:
		if len(s.open) == 0 {
			return true
		}
		s.open = s.open[:len(s.open)-1]
	case opBr, opBrIf, opBrTable, opReturn, opUnreachable:
		s.sure = false
	case opCall:
		s.calls, s.sure = append(s.calls, call{i.imm, in}), false
	case opCallIndirect:
		s.indirect, s.sure = append(s.indirect, i.imm), false
	case opRefFunc:
		s.m.taken[i.imm] = true
	default:
		s.bulk = s.bulk || i.op == opMemoryGrow || shiftOf(i.op) > 0
	}
	return false
}

// shiftOf says how the cost of an instruction follows from the number on top of the stack: 0 of those that cost nothing more.
func shiftOf(op uint32) int32 {
	switch op {
	case opMemoryInit, opMemoryCopy, opMemoryFill:
		return bulkShift
	case opTableInit, opTableCopy, opTableGrow, opTableFill:
		return entryShift
	}
	return 0
}

// write appends the code of the function as it will be.
func (f *function) write(dst []byte) []byte {
	w := writer{function: f, out: dst}
	if f.free {
		w.out = append(w.out, f.code[:f.begin]...)
		w.body()
		return w.out
	}
	r := modfile.Reader{B: f.code[:f.begin]}
	w.out = modfile.AppendU32(w.out, r.U32()+1)
	w.out = append(w.out, r.B...)
	w.out = append(w.out, 2, typeI32) // two locals more
	w.left = uint32(f.m.typeOf(f.index).params) + f.locals
	w.size = w.left + 1
	w.enter()
	w.body()
	if f.recursive {
		w.op(opGlobalGet, w.depth()).constant(1).op(opI32Sub).op(opGlobalSet, w.depth()).op(opEnd)
	}
	return w.out
}

// writer writes one function.
type writer struct {
	*function
	out  []byte
	left uint32 // local: the fuel that is left
	size uint32 // local: the number on which the cost of an instruction depends
	loop int    // that comes next
}

func (w *writer) fuel() uint32  { return w.m.globals }
func (w *writer) depth() uint32 { return w.m.globals + 1 }

// op appends an instruction with its indexes.
func (w *writer) op(op byte, imm ...uint32) *writer {
	w.out = append(w.out, op)
	for _, i := range imm {
		w.out = modfile.AppendU32(w.out, i)
	}
	return w
}

func (w *writer) constant(v int32) *writer {
	w.out = modfile.AppendS32(append(w.out, opI32Const), v)
	return w
}

// enter is what stands before the first instruction. A function that counts depth is all in a block, to the end of which a return jumps.
func (w *writer) enter() {
	cost := w.entry()
	if w.recursive {
		w.op(opGlobalGet, w.depth()).constant(1).op(opI32Add).op(opLocalTee, w.left).op(opGlobalSet, w.depth())
		w.op(opLocalGet, w.left).constant(w.m.options.Depth).op(opI32GtS)
	}
	if cost > 0 {
		w.charge(cost)
		w.op(opLocalGet, w.left).constant(0).op(opI32LtS)
	}
	if w.recursive && cost > 0 { // out of fuel, or too deep
		w.op(opI32Or)
	}
	if w.recursive || cost > 0 {
		w.yield()
	}
	if w.recursive {
		w.out = w.m.blockType(append(w.out, opBlock), w.m.funcs[w.index])
	}
}

// charge takes so much fuel, and leaves in a local what is left.
func (w *writer) charge(cost int32) {
	w.op(opGlobalGet, w.fuel()).constant(cost).op(opI32Sub).op(opLocalTee, w.left).op(opGlobalSet, w.fuel())
}

// chargeSize takes fuel for an instruction on as many things as the top of the stack says, and leaves that there.
func (w *writer) chargeSize(shift int32) {
	w.op(opLocalTee, w.size).op(opGlobalGet, w.fuel()).op(opLocalGet, w.size).constant(shift).op(opI32ShrU)
	w.op(opI32Sub).op(opLocalTee, w.left).op(opGlobalSet, w.fuel())
}

// check yields when no fuel is left.
func (w *writer) check() {
	w.op(opLocalGet, w.left).constant(0).op(opI32LtS)
	w.yield()
}

// yield calls the host if the top of the stack says so.
func (w *writer) yield() {
	const empty = 0x40
	w.op(opIf, empty).op(opGlobalGet, w.depth()).op(opCall, w.m.imported).op(opGlobalSet, w.fuel()).op(opEnd)
}

// body copies the instructions, with what is added.
func (w *writer) body() {
	copied := w.begin
	for n := range w.edits {
		e := &w.edits[n]
		if e.op == opReturn && !w.recursive {
			continue
		}
		w.out = append(w.out, w.code[copied:e.at]...)
		w.edit(e)
		copied = e.end
	}
	w.out = append(w.out, w.code[copied:]...)
}

// changes says whether an instruction may not stay as it is.
func changes(op uint32) bool {
	switch op {
	case opCall, opRefFunc, opLoop, opMemoryGrow, opReturn:
		return true
	}
	return shiftOf(op) > 0
}

// edit writes an instruction that does not stay as it is.
func (w *writer) edit(e *edit) {
	as := w.code[e.at:e.end]
	switch e.op {
	case opCall, opRefFunc:
		w.op(byte(e.op), w.m.shifted(e.imm))
	case opReturn: // from within the block that counts depth
		w.op(opBr, e.nested)
	case opLoop:
		w.out = append(w.out, as...)
		w.charge(costOf(w.within[w.loop]))
		w.check()
		w.loop++
	case opMemoryGrow: // the next check sees it
		w.charge(Unit)
		w.out = append(w.out, as...)
	default:
		w.chargeSize(shiftOf(e.op))
		w.check()
		w.out = append(w.out, as...)
	}
}
