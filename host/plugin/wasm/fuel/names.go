// SPDX-License-Identifier: Apache-2.0

package fuel

import (
	"strings"

	"github.com/penstock-io/penstock/host/plugin/wasm/internal/modfile"
)

// Parts of the custom section "name": the name of the module, and those in which functions have indexes.
const (
	nameModule    = 0
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
		part, ok := m.names(part, id)
		if !ok {
			part = []byte{0} // none
		}
		body = modfile.AppendSection(body, id, part)
	}
	if r.Bad { // nobody could have read them
		return nil
	}
	return modfile.AppendSection(nil, modfile.Custom, body)
}

// namesReadable says whether all of the names in a module can be read.
func (m *module) namesReadable() bool {
	for _, s := range m.sections {
		r := modfile.Reader{B: s.Body}
		if s.ID != modfile.Custom || string(r.Bytes()) != "name" {
			continue
		}
		for len(r.B) > 0 && !r.Bad {
			id, part := r.Byte(), r.Bytes()
			if _, ok := m.names(part, id); !ok {
				return false
			}
		}
		if r.Bad {
			return false
		}
	}
	return true
}

// names gives one part of the names as it should be: with functions shifted. false: it cannot be read.
func (m *module) names(part []byte, id byte) (out []byte, ok bool) {
	switch id {
	case nameModule:
		r := modfile.Reader{B: part}
		r.Bytes()
		return part, !r.Bad
	case nameFunctions, nameLocals, nameLabels:
		return m.shiftNames(part, id)
	}
	return part, true
}

// shiftNames shifts the functions in one part of the names.
func (m *module) shiftNames(part []byte, id byte) ([]byte, bool) {
	r := modfile.Reader{B: part}
	n := r.Count()
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
	return out, !r.Bad
}
