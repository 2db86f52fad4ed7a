// SPDX-License-Identifier: Apache-2.0

package fuel_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/penstock-io/penstock/host/plugin/wasm/fuel"
	"github.com/penstock-io/penstock/host/plugin/wasm/internal/modfile"
	. "github.com/penstock-io/penstock/host/plugin/wasm/internal/wasmtest"
)

var one = []byte{I32}

// counted runs f of a module with an argument, and says what it answered and how often it yielded.
func counted(t testing.TB, code []byte, name string, args ...uint64) (result []uint64, yields int, err error) {
	ctx := t.Context()
	r := wazero.NewRuntime(ctx)
	defer r.Close(context.Background())
	yield := api.GoModuleFunc(func(_ context.Context, _ api.Module, stack []uint64) {
		if int32(stack[0]) > testDepth {
			panic(errDeep)
		}
		yields++
		stack[0] = fuel.Slice
	})
	_, err = r.NewHostModuleBuilder(fuel.ImportModule).NewFunctionBuilder().WithGoModuleFunction(yield, []api.ValueType{api.ValueTypeI32}, []api.ValueType{api.ValueTypeI32}).
		Export(fuel.ImportName).Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	m, err := r.Instantiate(ctx, code)
	if err != nil {
		t.Fatal(err)
	}
	result, err = m.ExportedFunction(name).Call(ctx, args...)
	return result, yields, err
}

func rewrite(t testing.TB, code []byte) []byte {
	t.Helper()
	out, err := fuel.Rewrite(code, fuel.Options{Depth: testDepth})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// looping is a function that goes round its loop as often as its argument says, with body in it.
func looping(body ...Code) *Module {
	m := NewModule()
	m.Export("f", one, one, Loop(append(body, Get(0), Const(1), Sub(), Set(0), Get(0), Again())...), Get(0))
	return m
}

func TestALoopYieldsOnceForEachSlice(t *testing.T) {
	_, yields, err := counted(t, rewrite(t, looping().Bytes()), "f", 10*fuel.Slice)
	if err != nil || yields < 9 || yields > 11 {
		t.Errorf("10 slices of turns yield %d times: %v", yields, err)
	}
}

func TestALongBodyCostsMore(t *testing.T) {
	long := slices.Repeat([]Code{Get(0), Drop()}, 10*fuel.Unit) // 20 units
	_, yields, err := counted(t, rewrite(t, looping(long...).Bytes()), "f", fuel.Slice)
	if err != nil || yields < 18 || yields > 24 {
		t.Errorf("a slice of turns of 20 units yields %d times: %v", yields, err)
	}
}

func TestAnInstructionOnManyBytesCostsByTheirNumber(t *testing.T) {
	fill := Code{}
	for _, c := range []Code{Const(0), Const(0), Const(1 << 20), {0xfc, 11, 0}} {
		fill = append(fill, c...)
	}
	_, yields, err := counted(t, rewrite(t, looping(fill).Bytes()), "f", 64)
	if err != nil || yields < 12 || yields > 18 { // 64 MiB in 64 bytes a unit are 16 slices
		t.Errorf("64 times a mebibyte yields %d times: %v", yields, err)
	}
}

// Neither a loop nor recursion is in it, and it takes 2^30 calls all the same.
func TestCallsWithoutALoopYield(t *testing.T) {
	m := NewModule()
	f := m.Func(none, none, Const(0), Drop())
	for range 22 {
		f = m.Func(none, none, Call(f), Call(f))
	}
	m.Export("f", one, one, Call(f), Get(0))
	if _, yields, err := counted(t, rewrite(t, m.Bytes()), "f", 1); err != nil || yields < 20 {
		t.Errorf("4 million calls yield %d times: %v", yields, err)
	}
}

var none []byte

func TestRecursionYieldsWhereItIsTooDeep(t *testing.T) {
	m := NewModule()
	m.Export("f", one, one, Get(0), If(Get(0), Const(1), Sub(), Call(0), Return()), Const(7))
	code := rewrite(t, m.Bytes())
	if got, _, err := counted(t, code, "f", testDepth-2); err != nil || got[0] != 7 {
		t.Errorf("as deep as it may be: %v %v", got, err)
	}
	if _, _, err := counted(t, code, "f", testDepth+10); !errors.Is(err, errDeep) {
		t.Errorf("deeper: %v", err)
	}
}

func TestRecursionThroughOthersYieldsWhereItIsTooDeep(t *testing.T) {
	const n = 3
	m := NewModule()
	for i := range n { // each calls the next, and the last the first
		m.Export(string(rune('f'+i)), one, one, Get(0), If(Get(0), Const(1), Sub(), Call(uint32((i+1)%n)), Return()), Const(7))
	}
	code := rewrite(t, m.Bytes())
	if got, _, err := counted(t, code, "f", testDepth-2); err != nil || got[0] != 7 {
		t.Errorf("as deep as it may be: %v %v", got, err)
	}
	if _, _, err := counted(t, code, "f", n*(testDepth+10)); !errors.Is(err, errDeep) {
		t.Errorf("deeper: %v", err)
	}
}

func TestADepthIsGivenBackHoweverAFunctionReturns(t *testing.T) {
	m := NewModule()
	// f(n) calls itself once with 0, by one of two ways out, n times over.
	m.Export("f", one, one,
		Get(0), Code{0x45}, If(Const(1), Return()), // f(0) is 1, by return
		Loop(Const(0), Call(0), Drop(), Get(0), Const(1), Sub(), Set(0), Get(0), Again()),
		Const(2)) // else by the end
	if got, _, err := counted(t, rewrite(t, m.Bytes()), "f", 10*testDepth); err != nil || got[0] != 2 {
		t.Errorf("%v %v", got, err)
	}
}

func TestAModuleCannotReachWhatIsAddedToIt(t *testing.T) {
	own := NewModule()
	g := own.Global()
	own.Export("f", one, one, Get(0))
	if _, err := fuel.Rewrite(own.Bytes(), fuel.Options{Depth: 1}); err != nil {
		t.Fatal(err)
	}
	for says, body := range map[string]Code{
		"the fuel":             append(GetGlobal(g+1), 0xa7),
		"the depth":            append(GetGlobal(g+2), 0xa7),
		"a local":              Get(3), // one parameter, two of its own
		"a type":               {0x02, 0x05, 0x0b, 0x41, 0},
		"a function behind it": append(Call(5), Const(0)...),
	} {
		m := NewModule()
		m.Global()
		m.Export("f", one, one, body)
		code, err := fuel.Rewrite(m.Bytes(), fuel.Options{Depth: 1})
		if err == nil {
			r := wazero.NewRuntime(t.Context())
			_, err = r.CompileModule(t.Context(), code)
			r.Close(t.Context())
		}
		if err == nil {
			t.Errorf("it can reach %s", says)
		}
	}
}

func TestAModuleThatImportsYieldIsRefused(t *testing.T) {
	m := NewModule()
	m.ImportFrom(fuel.ImportModule, fuel.ImportName, one, one)
	if _, err := fuel.Rewrite(m.Bytes(), fuel.Options{}); !errors.Is(err, fuel.ErrImportsYield) {
		t.Error(err)
	}
}

func TestNamesStayAndLinesGo(t *testing.T) {
	m := NewModule()
	m.Export("f", one, one, Trap())
	code := custom(m.Bytes(), ".debug_line", []byte("lies"))
	code = custom(code, "mine", []byte("kept"))
	code = custom(code, "name", []byte{1, 8, 1, 0, 5, 'c', 'r', 'a', 's', 'h'})
	out := rewrite(t, code)
	if strings.Contains(string(out), "lies") || !strings.Contains(string(out), "kept") {
		t.Error("custom sections are not as they should be")
	}
	if _, _, err := counted(t, out, "f", 1); err == nil || !strings.Contains(err.Error(), ".crash(") {
		t.Errorf("a trap says %v", err)
	}
}

func custom(code []byte, name string, body []byte) []byte {
	return modfile.AppendSection(code, modfile.Custom, append(modfile.AppendBytes(nil, []byte(name)), body...))
}

func TestWhatIsNoModuleIsAnError(t *testing.T) {
	code := looping().Bytes()
	for n := range code {
		_, _ = fuel.Rewrite(code[:n], fuel.Options{}) // must not panic
		bad := slices.Clone(code)
		bad[n] ^= 0xff
		_, _ = fuel.Rewrite(bad, fuel.Options{})
	}
	if _, err := fuel.Rewrite([]byte("hello"), fuel.Options{}); !errors.Is(err, modfile.Err) {
		t.Error(err)
	}
}

// What was rewritten is kept on disk under its version, so that a change of what comes out needs another.
func TestWhatComesOutIsThatOfItsVersion(t *testing.T) {
	m := looping(Const(0), Const(0), Const(64), Code{0xfc, 11, 0}, Const(1), Grow(), Drop())
	m.Export("deep", one, one, Get(0), If(Get(0), Const(1), Sub(), Call(1), Return()), Get(0), Call(0))
	sum := sha256.Sum256(rewrite(t, m.Bytes()))
	if got := hex.EncodeToString(sum[:8]); fuel.Version != 2 || got != "96a1ef2bb83546b1" {
		t.Errorf("version %d comes out as %s: where that is what was meant, raise fuel.Version, and write both here", fuel.Version, got)
	}
}
