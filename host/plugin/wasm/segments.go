// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"slices"

	"github.com/penstock-io/penstock/host/plugin/wasm/internal/modfile"
)

const (
	// maxGap is how many zeros may be written between two data segments to make one of them: not much more than what a segment takes in the
	// module, and far less than what it takes in memory.
	maxGap = 64
	// maxJoined is how many segments may be left. Where there would be more, they are left as they are: each is compared with those before it.
	maxJoined = 256
)

// joinSegments returns a copy of module in which data segments that follow each other are one. The linker of Go makes a new one wherever it finds
// eight zeros, some sixty thousand of them, and the engine keeps each, and evaluates where it begins, at each load and in each instance.
// What an instance's memory holds when it begins is the same: memory that a module makes for itself is zero before.
func joinSegments(module []byte) ([]byte, error) {
	out := append(make([]byte, 0, len(module)), modfile.Preamble...)
	own, counted := false, false
	for s, err := range modfile.Sections(module) {
		if err != nil {
			return nil, err
		}
		own = own || s.ID == modfile.Memory
		counted = counted || s.ID == modfile.DataCount // then instructions may name segments
		if s.ID == modfile.Data && own && !counted {
			if list, ok := segmentsOf(s.Body); ok {
				out = modfile.AppendSection(out, modfile.Data, list.join().encode())
				continue
			}
		}
		out = append(out, s.Raw...)
	}
	return out, nil
}

// segment is one that is copied to a fixed place of memory when an instance begins.
type segment struct {
	at    uint64
	bytes []byte
}

func (s segment) end() uint64 { return s.at + uint64(len(s.bytes)) }

type segments []segment

const (
	opI32Const = 0x41
	opEnd      = 0x0b
)

// segmentsOf reads a data section, if there are none but plain ones in it.
func segmentsOf(section []byte) (list segments, ok bool) {
	r := modfile.Reader{B: section}
	r.Vector(func() {
		if r.U32() != 0 || r.Byte() != opI32Const {
			r.Bad = true // of another kind, or somewhere else
			return
		}
		at := uint32(r.S32())
		r.Bad = r.Byte() != opEnd || r.Bad
		list = append(list, segment{uint64(at), r.Bytes()})
	})
	return list, !r.Bad && len(r.B) == 0
}

// join joins segments of which one begins where the one before it ends, or a little later and nothing was written between them.
func (list segments) join() segments {
	var joined segments
	for _, s := range list {
		if n := len(joined) - 1; n >= 0 && s.at >= joined[n].end() && s.at-joined[n].end() <= maxGap && !joined[:n].touch(joined[n].end(), s.at) {
			last := &joined[n]
			last.bytes = append(last.bytes, make([]byte, s.at-last.end())...)
			last.bytes = append(last.bytes, s.bytes...)
			continue
		}
		if len(joined) == maxJoined {
			return list
		}
		joined = append(joined, segment{s.at, slices.Clip(s.bytes)})
	}
	return joined
}

// touch says whether one of the segments lies between two places.
func (list segments) touch(from, to uint64) bool {
	return slices.ContainsFunc(list, func(s segment) bool { return s.at < to && s.end() > from })
}

func (list segments) encode() []byte {
	out := modfile.AppendU32(nil, uint32(len(list)))
	for _, s := range list {
		out = modfile.AppendS32(append(out, 0, opI32Const), int32(uint32(s.at)))
		out = modfile.AppendBytes(append(out, opEnd), s.bytes)
	}
	return out
}
