// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/plugin"
	. "github.com/penstock-io/penstock/host/plugin/wasm/internal/wasmtest"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// loopOf runs body as often as the first parameter says.
func loopOf(body ...Code) Code {
	return Loop(append(body, Get(0), Const(1), Sub(), Set(0), Get(0), Again())...)
}

// looper is a source whose poll runs body as often as it is asked for events.
func looper(m *Module, body ...Code) *Module {
	m.Plugin(0)
	m.Export(abi.ExportPoll, three, one, loopOf(body...), Const(0))
	return m
}

// measured begins to measure a benchmark of batches of 64 events; what it answers reports events a second, and events for each second of this
// thread's processor time, which counts on a machine that has other things to do.
func measured(b *testing.B) func() {
	runtime.LockOSThread()
	before := threadTime()
	return func() {
		defer runtime.UnlockOSThread()
		events := 64 * float64(b.N)
		b.ReportMetric(events/b.Elapsed().Seconds(), "events/s")
		b.ReportMetric(events/(threadTime()-before).Seconds(), "events/cpu-s")
	}
}

func bare(r *plugin.Request) { r.Metrics = nil }

// BenchmarkCall is one call into a guest that does nothing.
func BenchmarkCall(b *testing.B) {
	in := start(b, looper(NewModule()), abi.Source, bare).Source.(*source)
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := in.run(ctx, &in.guest.alloc, 1); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkImport is one call from a guest into the host that does next to nothing.
func BenchmarkImport(b *testing.B) {
	m := NewModule()
	position := m.Import(abi.ImportPosition, []byte{I64, I64, I64}, one)
	in := start(b, looper(m, Const64(0), Const64(0), Const64(0), Call(position), Drop()), abi.Source, bare).Source.(*source)
	b.ReportAllocs()
	b.ResetTimer()
	const most = 1 << 20 // in one call, which may not take a second
	for n := b.N; n > 0; n -= most {
		if _, err := in.run(b.Context(), &in.guest.poll, uint64(min(n, most)), 0, 0); err != nil {
			b.Fatal(err)
		}
	}
}

// pool is [event.Buffers] that keeps one buffer.
type pool struct{ free *event.Buffer }

func (p *pool) Get(n int) *event.Buffer {
	if b := p.free; b != nil && b.Cap() >= n {
		p.free = nil
		b.Reset(n)
		return b
	}
	return event.NewBuffer(make([]byte, event.Headroom+n+4096), n, func(b *event.Buffer) { p.free = b })
}

// benchBatch is 64 events of 256 bytes.
func benchBatch() string {
	return batch(slices.Repeat([]string{strings.Repeat("x", 256)}, 64)...)
}

// BenchmarkForward is the host's part of the way of a batch of 64 events from a source to a sink: out of
// one guest with copy, sum and check, and into another.
func BenchmarkForward(b *testing.B) {
	src, dst := forwardingPair(b)
	ctx := b.Context()
	b.ReportAllocs()
	done := measured(b)
	for b.Loop() {
		e, err := src.Read(ctx)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := dst.Write(ctx, event.Range{First: 0, Next: 64}, e.Batch); err != nil {
			b.Fatal(err)
		}
		e.Batch.Release()
	}
	done()
}

// forwardingPair is a source in a guest, of the same batch again and again, and a sink in another.
func forwardingPair(b *testing.B) (plugin.Source, plugin.Sink) {
	m := NewModule()
	emit, _, _, _ := importer(m)
	bytes := benchBatch()
	at := m.Data(bytes)
	m.Plugin(0)
	m.Export(abi.ExportPoll, three, one, Const(at), Const(int32(len(bytes))), Call(emit), Wrap())
	src := start(b, m, abi.Source, func(r *plugin.Request) { r.Metrics, r.Buffers = nil, &pool{} }).Source
	m = NewModule().Plugin(0)
	m.Export(abi.ExportDeliver, deliverType, one, Const(0))
	dst := start(b, m, abi.Sink, bare).Sink
	return src, dst
}

// BenchmarkForwardInGo is a batch of 64 events through a processor written in Go: into the guest, event by event into another batch there, and out
// again. keep copies events whole, rebuild encodes them anew.
func BenchmarkForwardInGo(b *testing.B) {
	code, err := goEcho()
	if err != nil {
		b.Fatal(err)
	}
	p, batch := load(b, code), someBatch(b, slices.Repeat([]string{strings.Repeat("x", 256)}, 64)...)
	for _, mode := range []string{"keep", "rebuild"} {
		b.Run(mode, func(b *testing.B) { forward(b, echo(b, p, mode), batch) })
	}
}

// forward measures batches through a processor.
func forward(b *testing.B, in *processor, batch event.Batch) {
	b.ReportAllocs()
	done := measured(b)
	for b.Loop() {
		out, _, err := in.Process(b.Context(), batch)
		if err != nil {
			b.Fatal(err)
		}
		out.Release()
	}
	done()
}

// BenchmarkForwardInSDK is the same through the SDKs of other languages.
func BenchmarkForwardInSDK(b *testing.B) {
	batch := someBatch(b, slices.Repeat([]string{strings.Repeat("x", 256)}, 64)...)
	for _, sdk := range sdks {
		for _, mode := range []string{"keep", "rebuild"} {
			b.Run(sdk.language+"/"+mode, func(b *testing.B) { forward(b, echo(b, load(b, built(b, sdk.echo)), mode), batch) })
		}
	}
}

// BenchmarkInstantiateSDK is Open and Close of a guest in each of these languages: what it takes to replace one that broke.
func BenchmarkInstantiateSDK(b *testing.B) {
	for _, sdk := range sdks {
		b.Run(sdk.language, func(b *testing.B) {
			p, s := load(b, built(b, sdk.echo)), &setup{}
			r := s.request(abi.Source)
			r.Plugin = "echo"
			for b.Loop() {
				in, err := p.Open(b.Context(), abi.Source, r)
				if err != nil {
					b.Fatal(err)
				}
				if err := in.Source.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkInstantiateGo is Open and Close of a Go guest.
func BenchmarkInstantiateGo(b *testing.B) {
	code, err := goGuest()
	if err != nil {
		b.Fatal(err)
	}
	p, s := load(b, code), &setup{}
	for b.Loop() {
		in, err := p.Open(b.Context(), abi.Source, s.request(abi.Source))
		if err != nil {
			b.Fatal(err)
		}
		if err := in.Source.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLoadGo is loading a Go guest whose code is in the cache, in a runtime that has not seen it.
func BenchmarkLoadGo(b *testing.B) {
	code, err := goGuest()
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	for first := true; first || b.Loop(); first = false {
		r, err := New(Options{CacheDir: dir})
		if err != nil {
			b.Fatal(err)
		}
		p, err := r.Load(b.Context(), plugin.Ref{Name: "go", Code: code})
		if err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(p.Close(), r.Close()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkInstantiate is Open and Close of a small guest with 4 MiB of memory.
func BenchmarkInstantiate(b *testing.B) {
	p := load(b, pack(b, looper(NewModule()), abi.Source))
	s := &setup{}
	b.ReportAllocs()
	for b.Loop() {
		in, err := p.Open(b.Context(), abi.Source, s.request(abi.Source))
		if err != nil {
			b.Fatal(err)
		}
		if err := in.Source.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
