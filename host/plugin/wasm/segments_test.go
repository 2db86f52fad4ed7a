// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/penstock-io/penstock/host/plugin/wasm/internal/modfile"
)

// memoryOf is what memory holds once the segments have been copied, in order.
func (list segments) memoryOf(n int) []byte {
	memory := make([]byte, n)
	for _, s := range list {
		copy(memory[s.at:s.end()], s.bytes)
	}
	return memory
}

func TestJoinedSegmentsMakeTheSameMemory(t *testing.T) {
	const memory = 4096
	r := rand.New(rand.NewPCG(1, 2))
	fewer := 0
	for range 5000 {
		var list segments
		at := 0
		for range r.IntN(40) {
			if at += r.IntN(2 * maxGap); r.IntN(8) == 0 {
				at = r.IntN(memory) // anywhere, also over what is there
			}
			b := bytes.Repeat([]byte{byte(1 + r.IntN(255))}, r.IntN(30))
			if at+len(b) > memory {
				break
			}
			list = append(list, segment{uint64(at), b})
			at += len(b)
		}
		want := list.memoryOf(memory)
		read, ok := segmentsOf(list.join().encode())
		if !ok || !bytes.Equal(read.memoryOf(memory), want) {
			t.Fatalf("%v became %v", list, read)
		}
		if len(read) < len(list) {
			fewer++
		}
	}
	if fewer < 4000 {
		t.Errorf("%d of 5000 became fewer", fewer)
	}
}

func TestSegmentsThatCannotBeJoinedStay(t *testing.T) {
	two := segments{{8, []byte("a")}, {9, []byte("b")}}.encode()
	section := func(id byte, body []byte) []byte { return modfile.AppendSection(nil, id, body) }
	memory := section(modfile.Memory, []byte{1, 0, 1})
	for says, c := range map[string]struct {
		sections []byte
		stays    bool
	}{
		"plain":                     {append(bytes.Clone(memory), section(modfile.Data, two)...), false},
		"memory of somebody else's": {section(modfile.Data, two), true},
		"segments have numbers":     {append(append(bytes.Clone(memory), section(modfile.DataCount, []byte{2})...), section(modfile.Data, two)...), true},
		"one is passive":            {append(bytes.Clone(memory), section(modfile.Data, append(append([]byte{3}, two[1:]...), 1, 1, 'x'))...), true},
	} {
		module := append([]byte(modfile.Preamble), c.sections...)
		got, err := joinSegments(module)
		if err != nil || bytes.Equal(got, module) != c.stays {
			t.Errorf("%s: %x became %x, %v", says, module, got, err)
		}
	}
}
