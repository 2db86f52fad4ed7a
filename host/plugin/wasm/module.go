// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/penstock-io/penstock/spec/abi"
)

// MaxModule is the largest module in bytes that is looked at: a Go guest has 2 to 4 MiB, and nothing comes near this.
const MaxModule = 256 << 20

// ErrNoManifest is wrapped when a module has no section abi.ManifestSection.
var ErrNoManifest = errors.New("module has no manifest")

// preamble begins every module of the core binary format: magic, then version 1.
const preamble = "\x00asm\x01\x00\x00\x00"

// Identifiers of sections in the binary format.
const (
	sectionCustom = 0
	sectionImport = 2
)

var errSection = errors.New("not a WebAssembly module: cut short or damaged")

// section is one section of a module, as it lies there.
type section struct {
	id   byte
	body []byte // a custom section's begins with its name
	raw  []byte // id and size included
}

// sections yields the sections of module in order, and an error last if it cannot be walked.
func sections(module []byte) iter.Seq2[section, error] {
	return func(yield func(section, error) bool) {
		rest, ok := bytes.CutPrefix(module, []byte(preamble))
		if !ok || len(module) > MaxModule {
			yield(section{}, errSection)
			return
		}
		for len(rest) > 0 {
			r := reader{b: rest[1:]}
			body := r.bytes()
			if r.bad {
				yield(section{}, errSection)
				return
			}
			n := len(rest) - len(r.b)
			if !yield(section{rest[0], body, rest[:n]}, nil) {
				return
			}
			rest = rest[n:]
		}
	}
}

// ManifestOf reads the manifest in module, without compiling or running it. It does not look at anything else.
func ManifestOf(module []byte) (abi.Manifest, error) {
	for s, err := range sections(module) {
		if err != nil {
			return abi.Manifest{}, err
		}
		if doc, ok := manifestIn(s); ok {
			return abi.ParseManifest(doc)
		}
	}
	return abi.Manifest{}, fmt.Errorf("%w; write one into it with `penstock plugin pack`", ErrNoManifest)
}

func manifestIn(s section) (doc []byte, ok bool) {
	if s.id != sectionCustom {
		return nil, false
	}
	r := reader{b: s.body}
	name := r.bytes()
	return r.b, !r.bad && string(name) == abi.ManifestSection
}

// Pack returns a copy of module that holds m as its manifest, and no other. The manifest comes last,
// so that the digest of the code before it can be compared between builds.
func Pack(module []byte, m abi.Manifest) ([]byte, error) {
	doc, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	out := make([]byte, 0, len(module)+len(doc)+64)
	out = append(out, preamble...)
	for s, err := range sections(module) {
		if err != nil {
			return nil, err
		}
		if _, old := manifestIn(s); !old {
			out = append(out, s.raw...)
		}
	}
	body := binary.AppendUvarint(nil, uint64(len(abi.ManifestSection)))
	body = append(body, abi.ManifestSection...)
	body = append(body, doc...)
	out = append(out, sectionCustom)
	out = binary.AppendUvarint(out, uint64(len(body)))
	return append(out, body...), nil
}

// Kinds of import in the binary format.
const (
	importFunc   = 0
	importTable  = 1
	importMemory = 2
	importGlobal = 3
)

// imported is one entry of a module's import section.
type imported struct {
	module, name string
	kind         byte
}

func (i imported) String() string { return i.module + "." + i.name }

// importsOf lists what module imports. It is read before compiling, so that a refusal is quick and names the import.
func importsOf(module []byte) ([]imported, error) {
	var list []imported
	for s, err := range sections(module) {
		if err != nil {
			return nil, err
		}
		if s.id != sectionImport {
			continue
		}
		r := reader{b: s.body}
		for n := r.u32(); n > 0 && !r.bad; n-- {
			i := imported{module: string(r.bytes()), name: string(r.bytes()), kind: r.byte()}
			r.skipImportType(i.kind)
			list = append(list, i)
		}
		if r.bad {
			return nil, errSection
		}
	}
	return list, nil
}

// reader walks the binary format. After anything out of bounds bad is set, and all else answers zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) u64() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) u32() uint32 { return uint32(r.u64()) }

func (r *reader) bytes() []byte {
	n := r.u64()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) skipImportType(kind byte) {
	switch kind {
	case importFunc:
		r.u32()
	case importTable:
		r.byte()
		r.skipLimits()
	case importMemory:
		r.skipLimits()
	case importGlobal:
		r.byte()
		r.byte()
	default:
		r.bad = true
	}
}

func (r *reader) skipLimits() {
	const hasMax = 1
	flags := r.byte()
	r.u64()
	if flags&hasMax != 0 {
		r.u64()
	}
}
