// SPDX-License-Identifier: Apache-2.0

package fuel_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/plugin/wasm/fuel"
	"github.com/penstock-io/penstock/host/plugin/wasm/internal/modfile"
)

// A compiler makes room for what a module says that it has. So what says too much is refused before it is compiled, also where nothing is rewritten.
func TestAModuleThatSaysItHasMoreThanItIsRefused(t *testing.T) {
	const huge = "\xff\xff\xff\xff\x0f"
	section := func(id byte, body string) []byte {
		return modfile.AppendSection([]byte(modfile.Preamble), id, []byte(body))
	}
	function := "\x01\x60\x00\x00" // one type, of no parameters and no results
	withCode := func(body string) []byte {
		b := modfile.AppendSection(section(modfile.Type, function), modfile.Function, []byte("\x01\x00"))
		return modfile.AppendSection(b, modfile.CodeID, modfile.AppendBytes([]byte{1}, []byte(body)))
	}
	many := string(modfile.AppendU32(nil, modfile.MaxEntries+1))
	names := func(part string) []byte {
		return section(modfile.Custom, string(append(modfile.AppendBytes(nil, []byte("name")), part...)))
	}
	for what, code := range map[string][]byte{
		"types":           section(modfile.Type, huge),
		"parameters":      section(modfile.Type, "\x01\x60"+huge+"\x00"),
		"results":         section(modfile.Type, "\x01\x60\x00"+huge),
		"1001 parameters": section(modfile.Type, "\x01\x60\xe9\x07"+string(bytes.Repeat([]byte{0x7f}, 1001))+"\x00"),
		"imports":         section(modfile.Import, huge),
		"functions":       section(modfile.Function, huge),
		"a million types": section(modfile.Type, many+string(bytes.Repeat([]byte("\x60\x00\x00"), modfile.MaxEntries+1))),
		"tables":          section(modfile.Table, huge),
		"memories":        section(modfile.Memory, huge),
		"globals":         section(modfile.Global, huge),
		"exports":         section(modfile.Export, huge),
		"an export":       section(modfile.Export, "\x01"+huge),
		"elements":        section(modfile.Element, huge),
		"an element":      section(modfile.Element, "\x01\x00\x41\x00\x0b"+huge),
		"bodies":          section(modfile.CodeID, huge),
		"locals":          withCode("\x01" + huge + "\x7f\x0b"),
		"many locals":     withCode("\x01\xd1\x86\x03\x7f\x0b"), // 50001
		"data":            section(modfile.Data, huge),
		"a datum":         section(modfile.Data, "\x01\x00\x41\x00\x0b"+huge),
		"a passive datum": section(modfile.Data, "\x01\x01"+huge),
		"a custom name":   section(modfile.Custom, huge),
		"a module's name": names("\x00\x05" + huge),
		"function names":  names("\x01\x05" + huge),
		"local names":     names("\x02\x07\x01\x00" + huge),
	} {
		if err := fuel.Check(code); err == nil {
			t.Errorf("%s: it may be compiled", what)
		}
		out, err := fuel.Rewrite(code, fuel.Options{Depth: testDepth})
		if err == nil && (!strings.Contains(what, "name") || bytes.Contains(out, []byte(huge))) { // names that nobody can read are left out
			t.Errorf("%s: it is rewritten, and says so still", what)
		}
	}
	for what, code := range map[string][]byte{
		"locals":           withCode("\x01\xd0\x86\x03\x7f\x0b"), // 50000
		"1000 parameters":  section(modfile.Type, "\x01\x60\xe8\x07"+string(bytes.Repeat([]byte{0x7f}, 1000))+"\x00"),
		"a passive datum":  section(modfile.Data, "\x01\x01\x02ab"),
		"a padded section": append([]byte(modfile.Preamble), modfile.Type, 0x84, 0x80, 0x80, 0x80, 0x00, 1, 0x60, 0, 0),
		"padded names":     names("\x01\x85\x80\x00\x01\x00\x02ab"),
		"a module's name":  names("\x00\x03\x02ab"),
	} {
		if err := fuel.Check(code); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// What is in all functions together counts too: a few bytes each could ask for gigabytes.
func TestLocalsOfAllFunctionsHaveABound(t *testing.T) {
	module := func(functions int) []byte {
		b := modfile.AppendSection([]byte(modfile.Preamble), modfile.Type, []byte("\x01\x60\x00\x00"))
		n := modfile.AppendU32(nil, uint32(functions))
		b = modfile.AppendSection(b, modfile.Function, append(slices.Clone(n), make([]byte, functions)...))
		body := modfile.AppendBytes(nil, []byte("\x01\xd0\x86\x03\x7f\x0b"))
		return modfile.AppendSection(b, modfile.CodeID, append(n, bytes.Repeat(body, functions)...))
	}
	if err := fuel.Check(module(200)); err != nil {
		t.Error(err)
	}
	if err := fuel.Check(module(201)); err == nil {
		t.Error("ten million and more may be compiled")
	}
}
