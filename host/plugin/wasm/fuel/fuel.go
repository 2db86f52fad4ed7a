// SPDX-License-Identifier: Apache-2.0

// Package fuel rewrites a WebAssembly module so that its host can end it, wherever it is.
//
// Machine code that loops cannot be interrupted from outside, and keeps the whole process from collecting garbage
// meanwhile. So the module itself comes back now and then. It gets
//
//   - a private counter of fuel. It goes down at the head of each loop, and at the entry of functions but for those that are short, have no loop and call
//     none that has, by about one for each [Unit] instructions that follow, and before each instruction that works on many bytes by their number.
//     When it is negative the import penstock.yield(depth i32) → i32 is called, and gives it new fuel;
//   - a private counter of depth, in so many functions that none can be inside itself without passing one of them. Over [Options.Depth] it makes them
//     yield too.
//
// What yield does is the host's: pass, wait, or trap. Nothing else changes for the module: its results and traps are the
// same, and its functions keep their names. What says which line of source a byte came from is left out, since it would lie.
//
// Invariants:
//   - No path through the code is longer than [Slice] units of fuel, and what a bounded piece of code takes, without a yield.
//   - The module is checked by whoever compiles it, after it was rewritten: what comes out of a module that is not valid is not valid
//     either, or does only what this package put in.
//   - The counters are globals that nothing exports, so that the module cannot reach them.
package fuel

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/penstock-io/penstock/host/plugin/wasm/internal/modfile"
)

// Version goes up when a module comes out otherwise than before, since what came out is kept.
const Version = 2

const (
	// Slice is how much fuel yield should give: about a million instructions, half a millisecond or so. It is what
	// the module begins with.
	Slice = 1 << 16
	// Unit is how many instructions, about, cost one of fuel.
	Unit = 16
	// bulkShift makes the cost of an instruction on n bytes: 64 take about as long as 16 instructions.
	bulkShift = 6
	// entryShift is the same for n entries of a table, of 8 bytes each.
	entryShift = 3
	// longBody is how many instructions a function may have, with those that it calls, before its entry is charged.
	longBody = 8 * Unit
	// maxParams and maxLocals are what browsers take of a function.
	maxParams = 1000
	maxLocals = 50_000
	// maxAllLocals is what the largest modules have several times over; a compiler has some bytes for each.
	maxAllLocals = 10_000_000
	// maxCost bounds what one place is charged, so that the counter cannot overflow.
	maxCost = 1 << 24
)

// ImportModule and ImportName are of the function that is called when fuel is out.
const (
	ImportModule = "penstock"
	ImportName   = "yield"
)

// Options say how a module is rewritten.
type Options struct {
	Depth int32 // how deep recursive functions may nest; more makes them yield with that depth
}

// ErrImportsYield: the module imports what only this package may put into it.
var ErrImportsYield = errors.New("it imports " + ImportModule + "." + ImportName + ", which only the host may insert")

// module is what must be known of a module to rewrite it.
type module struct {
	options  Options
	sections []modfile.Section
	types    []signature
	funcs    []uint32 // the type of each function, imported ones first
	imported uint32   // functions; also the index of yield, behind them
	globals  uint32   // the index of the counter of fuel; that of depth follows
	bodies   []function
	taken    map[uint32]bool // functions whose address is taken
	blocks   map[uint32]uint32
	added    []byte // types that are added, behind that of yield
	nAdded   uint32
}

// signature is a function type.
type signature struct {
	params  int
	results []byte
	key     string // equal for equal types
}

// Rewrite returns a copy of code that yields. It fails on what is not a module, on instructions that it does not
// know: those would not compile either, and as [Check] does.
func Rewrite(code []byte, o Options) ([]byte, error) {
	m, err := learn(code)
	if err != nil {
		return nil, err
	}
	m.options = o
	m.findRecursion()
	return m.write(len(code))
}

// Check says why a module should not be given to a compiler. One makes room for what a module says that it has, before it looks whether
// that is there: a few bytes can ask for gigabytes.
func Check(code []byte) error {
	m, err := learn(code)
	if err != nil {
		return err
	}
	if !m.namesReadable() {
		return fmt.Errorf("%w: its names", modfile.Err)
	}
	return nil
}

// learn reads a module.
func learn(code []byte) (*module, error) {
	m := &module{taken: map[uint32]bool{}, blocks: map[uint32]uint32{}}
	for s, err := range modfile.Sections(code) {
		if err != nil {
			return nil, err
		}
		m.sections = append(m.sections, s)
		if err := m.learn(s); err != nil {
			return nil, err
		}
	}
	if len(m.funcs) != int(m.imported)+len(m.bodies) {
		return nil, fmt.Errorf("%w: functions and their code differ in number", modfile.Err)
	}
	return m, nil
}

// learn takes from a section what the others need.
func (m *module) learn(s modfile.Section) error {
	r := &modfile.Reader{B: s.Body}
	var err error
	switch s.ID {
	case modfile.Type:
		err = m.learnTypes(r)
	case modfile.Import:
		err = m.learnImports(r)
	case modfile.Function:
		r.Vector(func() {
			m.funcs = append(m.funcs, r.U32())
			err = cmp.Or(err, within(m.funcs[len(m.funcs)-1], uint32(len(m.types)), "a function"))
		})
	case modfile.Table:
		r.Vector(func() { r.Byte(); r.Limits() })
	case modfile.Memory:
		r.Vector(r.Limits)
	case modfile.Export:
		_, err = m.exports(r)
	case modfile.Global:
		m.globals += (&modfile.Reader{B: s.Body}).U32()
		_, err = m.globalSection(r)
	case modfile.Element:
		_, err = m.elements(r)
	case modfile.CodeID:
		err = m.learnCode(r)
	case modfile.Data:
		err = m.learnData(r)
	case modfile.Custom:
		if r.Bytes(); r.Bad {
			return modfile.Err
		}
		return nil
	default:
		return nil
	}
	if err == nil && (r.Bad || len(r.B) > 0) {
		err = modfile.Err
	}
	return err
}

func (m *module) learnTypes(r *modfile.Reader) error {
	const funcForm = 0x60
	var err error
	r.Vector(func() {
		before := r.B
		if r.Byte() != funcForm {
			r.Bad, err = true, fmt.Errorf("%w: type %d is not of a function", modfile.Err, len(m.types))
			return
		}
		params := r.Bytes()
		results := r.Bytes()
		if max(len(params), len(results)) > maxParams {
			r.Bad, err = true, fmt.Errorf("type %d has more than %d parameters or results", len(m.types), maxParams)
			return
		}
		m.types = append(m.types, signature{len(params), results, string(before[:len(before)-len(r.B)])})
	})
	return err
}

func (m *module) learnImports(r *modfile.Reader) error {
	var err error
	r.Vector(func() {
		before := r.B
		i := r.Imported()
		switch i.Kind {
		case modfile.FuncKind:
			m.funcs = append(m.funcs, typeOfImport(before))
			m.imported++
		case modfile.GlobalKind:
			m.globals++
		}
		if i.Module == ImportModule && i.Name == ImportName {
			err = ErrImportsYield
		}
	})
	return err
}

// typeOfImport is the type of the function whose import stands at the beginning of b.
func typeOfImport(b []byte) uint32 {
	r := modfile.Reader{B: b}
	r.Bytes()
	r.Bytes()
	r.Byte()
	return r.U32()
}

func (m *module) learnCode(r *modfile.Reader) error {
	var err error
	var locals uint64
	r.Vector(func() {
		f := function{m: m, index: m.imported + uint32(len(m.bodies)), code: r.Bytes()}
		if err == nil && !r.Bad {
			err = f.survey()
		}
		if locals += uint64(f.locals); err == nil && (f.locals > maxLocals || locals > maxAllLocals) {
			err = fmt.Errorf("function %d has %d local variables, of which there may be %d, and %d in all functions", f.index, f.locals, maxLocals, maxAllLocals)
		}
		m.bodies = append(m.bodies, f)
	})
	return err
}

// learnData walks over the data, of which nothing is needed.
func (m *module) learnData(r *modfile.Reader) error {
	const ( // what an entry may be
		active   = 0
		passive  = 1
		explicit = 2 // as active, with the number of a memory
	)
	var err error
	r.Vector(func() {
		kind := r.U32()
		if kind > explicit || err != nil {
			r.Bad = true
			return
		}
		if kind == explicit {
			r.U32()
		}
		if kind != passive {
			_, err = m.expression(nil, r)
		}
		r.Bytes()
	})
	return err
}

// shifted is the index of a function once yield stands behind the imported ones.
func (m *module) shifted(f uint32) uint32 {
	if f >= m.imported {
		return f + 1
	}
	return f
}

// within refuses an index of something that the module does not have.
func within(index, most uint32, what string) error {
	if index >= most {
		return fmt.Errorf("%w: %s refers to number %d of %d", modfile.Err, what, index, most)
	}
	return nil
}

// typeOf is the type of a function; of one that is not there, which does not compile, an empty one.
func (m *module) typeOf(f uint32) signature {
	if int(f) < len(m.funcs) && int(m.funcs[f]) < len(m.types) {
		return m.types[m.funcs[f]]
	}
	return signature{}
}

// bodyOf is a function of the module itself, or nil.
func (m *module) bodyOf(f uint32) *function {
	if f < m.imported || int(f-m.imported) >= len(m.bodies) {
		return nil
	}
	return &m.bodies[f-m.imported]
}
