// SPDX-License-Identifier: Apache-2.0

package fuel_test

import (
	"context"
	"os"
	"testing"

	"github.com/tetratelabs/wazero"

	"github.com/penstock-io/penstock/host/plugin/wasm/fuel"
	. "github.com/penstock-io/penstock/host/plugin/wasm/internal/wasmtest"
)

// BenchmarkRewrite is rewriting the module of the standard plugins, which a Go compiler made.
func BenchmarkRewrite(b *testing.B) {
	code, err := os.ReadFile("../../../../plugins/bundle/modules/std.wasm")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(code)))
	b.ReportAllocs()
	for b.Loop() {
		out, err := fuel.Rewrite(code, fuel.Options{Depth: 1})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(out))/float64(len(code)), "size")
	}
}

// BenchmarkCost is what counting costs code that does little else: a loop over bytes, the worst there is, one with a longer body, and
// calls of a small function.
func BenchmarkCost(b *testing.B) {
	load := Code{0x2d, 0, 0} // i32.load8_u
	add := func(times int) (body []Code) {
		for range times {
			body = append(body, Get(1), Get(0), load, Add(), Set(1))
		}
		return body
	}
	calls := NewModule()
	small := calls.Func(one, one, Get(0), Const(7), Add())
	calls.Export("f", one, one, Loop(Get(1), Call(small), Set(1), Get(0), Const(1), Sub(), Set(0), Get(0), Again()), Get(1))
	for _, c := range []struct {
		name string
		code []byte
	}{{"bytes", looping(add(1)...).Bytes()}, {"longer", looping(add(8)...).Bytes()}, {"calls", calls.Bytes()}} {
		b.Run(c.name+"/plain", func(b *testing.B) { turns(b, c.code) })
		b.Run(c.name+"/rewritten", func(b *testing.B) { turns(b, rewrite(b, c.code)) })
	}
}

// turns runs f of a module for so many turns of its loop, within its memory.
func turns(b *testing.B, code []byte) {
	const most = 1 << 20
	r := wazero.NewRuntime(b.Context())
	defer r.Close(context.Background())
	host(b, r)
	m, err := r.Instantiate(b.Context(), code)
	if err != nil {
		b.Fatal(err)
	}
	f := m.ExportedFunction("f")
	b.ResetTimer()
	for n := b.N; n > 0; n -= most {
		if _, err := f.Call(b.Context(), uint64(min(n, most))); err != nil {
			b.Fatal(err)
		}
	}
}
