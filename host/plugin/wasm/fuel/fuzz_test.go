// SPDX-License-Identifier: Apache-2.0

package fuel_test

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/penstock-io/penstock/host/plugin/wasm/fuel"
	. "github.com/penstock-io/penstock/host/plugin/wasm/internal/wasmtest"
)

const (
	// maxFuzzed bounds the modules that are mutated, and the seeds among those of the suite of the specification.
	maxFuzzed = 1 << 10
	// seeds is how many of the suite's modules the mutator begins with: each is run whenever the tests are.
	seeds = 200
	// maxCalls is how many functions of a module are called.
	maxCalls = 8
	// longest is how long a module may run to be looked at; when it was rewritten it has much longer, since a machine may be busy.
	longest, much = 50 * time.Millisecond, 20 * time.Second
)

// FuzzRewrite runs the functions of modules that a mutator makes, as they are and rewritten, and compares what they answer, how they trap, and
// what is in their memory then.
func FuzzRewrite(f *testing.F) {
	f.Add(looping().Bytes(), uint32(3))
	m := NewModule()
	m.Export("f", one, one, Get(0), If(Get(0), Const(1), Sub(), Call(0), Return()), Const(7))
	f.Add(m.Bytes(), uint32(5))
	for _, code := range suiteModules(f) {
		f.Add(code, uint32(7))
	}
	f.Fuzz(func(t *testing.T, code []byte, arg uint32) {
		if len(code) > maxFuzzed {
			return
		}
		out, err := fuel.Rewrite(code, fuel.Options{Depth: testDepth})
		if err != nil { // the compiler may take gigabytes for what it says
			return
		}
		plain, perr := outcome(t, code, arg, longest)
		if errors.Is(perr, errNever) || errors.Is(perr, errDeep) || perr != nil && strings.Contains(perr.Error(), "custom") { // which may be left out
			return
		}
		got, gerr := outcome(t, out, arg, much)
		if errors.Is(gerr, errDeep) {
			return
		}
		if (perr == nil) != (gerr == nil) || !slices.Equal(plain, got) {
			t.Fatalf("plain %v %v, rewritten %v %v", plain, perr, got, gerr)
		}
	})
}

// suiteModules are small modules of the specification's suite, from all of its parts.
func suiteModules(tb testing.TB) (codes [][]byte) {
	files, err := filepath.Glob(filepath.Join(suite(tb), "v2", "testdata", "*.wasm"))
	if err != nil || len(files) == 0 {
		tb.Fatalf("no suite: %v", err)
	}
	var small []string
	for _, file := range files {
		if info, err := os.Stat(file); err == nil && info.Size() <= maxFuzzed {
			small = append(small, file)
		}
	}
	for i := 0; i < len(small); i += max(1, len(small)/seeds) {
		code, err := os.ReadFile(small[i])
		if err != nil {
			tb.Fatal(err)
		}
		codes = append(codes, code)
	}
	return codes
}

var errNever = errors.New("it may not end")

// outcome calls functions of a module in the interpreter, one after the other, and says what came of each. The error is that of its start.
func outcome(t *testing.T, code []byte, arg uint32, within time.Duration) (said []string, err error) {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	const pages = 100 // of memory
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCloseOnContextDone(true).WithMemoryLimitPages(pages))
	defer r.Close(context.Background())
	host(t, r)
	m, err := r.InstantiateWithConfig(ctx, code, wazero.NewModuleConfig().WithName("m").WithStartFunctions())
	if err != nil {
		return nil, ended(ctx, err)
	}
	functions := m.ExportedFunctionDefinitions()
	for i, name := range slices.Sorted(maps.Keys(functions)) {
		params, results := functions[name].ParamTypes(), functions[name].ResultTypes()
		if i == maxCalls || !numbers(params) || !numbers(results) {
			break
		}
		args := slices.Repeat([]uint64{uint64(arg)}, len(params))
		got, err := m.ExportedFunction(name).Call(ctx, args...)
		if why := ended(ctx, err); errors.Is(why, errNever) || errors.Is(why, errDeep) {
			return nil, why
		}
		said = append(said, fmt.Sprint(name, got, trap(err)))
	}
	if mem := m.Memory(); !reflect.ValueOf(mem).IsNil() { // wazero has one that is nil within where there is none
		view, _ := mem.Read(0, mem.Size())
		said = append(said, fmt.Sprint(mem.Size(), crc32.ChecksumIEEE(view)))
	}
	return said, nil
}

// ended is err, or why there is nothing to compare: time was up, or calls were nested too deep, which is another depth in each of the two.
func ended(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return errNever
	case err != nil && strings.Contains(err.Error(), "stack overflow"):
		return errDeep
	}
	return err
}

// trap is how a call ended, without where: functions have other numbers.
func trap(err error) string {
	if err == nil {
		return ""
	}
	head, _, _ := strings.Cut(err.Error(), "\n")
	return head
}

// numbers says whether wazero takes and gives values of the types as one word each, and prints none of them as an address.
func numbers(types []api.ValueType) bool {
	return !slices.ContainsFunc(types, func(ty api.ValueType) bool {
		return !slices.Contains([]api.ValueType{api.ValueTypeI32, api.ValueTypeI64, api.ValueTypeF32, api.ValueTypeF64}, ty)
	})
}
