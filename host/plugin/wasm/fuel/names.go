// SPDX-License-Identifier: Apache-2.0

package fuel

import (
	"strings"

	"github.com/penstock-io/penstock/host/plugin/wasm/internal/modfile"
)

// Parts of the custom section "name" in which functions have indexes.
const (
	nameFunctions = 1
	nameLocals    = 2
	nameLabels    = 3
)

// custom gives a custom section as it should be: names for functions that were shifted, and nothing that says where in the
// code something is.
func (m *module) custom(s modfile.Section) []byte {
	r := modfile.Reader{B: s.Body}
	name := string(r.Bytes())
	switch {
	case strings.HasPrefix(name, ".debug_"), name == "sourceMappingURL", strings.HasPrefix(name, "reloc."), name == "linking":
		return nil
	case name != "name":
		return s.Raw
	}
	body := modfile.AppendBytes(nil, []byte(name))
	for len(r.B) > 0 && !r.Bad {
		id, part := r.Byte(), r.Bytes()
		if nameFunctions <= id && id <= nameLabels {
			part = m.shiftNames(part, id)
		}
		body = modfile.AppendSection(body, id, part)
	}
	if r.Bad { // nobody could have read them
		return nil
	}
	return modfile.AppendSection(nil, modfile.Custom, body)
}

// shiftNames shifts the functions in one part of the names. What cannot be read is left out.
func (m *module) shiftNames(part []byte, id byte) []byte {
	r := modfile.Reader{B: part}
	n := r.U32()
	out := modfile.AppendU32(nil, n)
	for ; n > 0 && !r.Bad; n-- {
		out = modfile.AppendU32(out, m.shifted(r.U32()))
		before := r.B
		if id == nameFunctions {
			r.Bytes()
		} else {
			r.Vector(func() { r.U32(); r.Bytes() })
		}
		out = append(out, before[:len(before)-len(r.B)]...)
	}
	if r.Bad {
		return []byte{0}
	}
	return out
}
