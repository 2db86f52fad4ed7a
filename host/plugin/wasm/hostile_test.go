// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	. "github.com/penstock-io/penstock/host/plugin/wasm/internal/wasmtest"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// hostile are guests that take all that they may have, and more. Each is a source whose poll does not end by itself.
var hostile = []struct {
	says   string
	module func() *Module
	denied string // what counts it; "" = nothing does, as nothing but time is taken
	ends   string // what is said when it is ended
}{
	{"a loop without an end", func() *Module { return pollOf(forever()) }, plugin.LimitCall, "used more than 50ms of processor time"},
	{"a recursion without an end", func() *Module {
		const self = 3
		m := NewModule().Plugin(0)
		m.Export(abi.ExportPoll, three, one, Get(0), Get(1), Get(2), Call(self), Const(1), Add())
		return m
	}, plugin.LimitDepth, "nest more than 32768 deep"},
	{"a bomb of memory", func() *Module {
		return pollOf(Loop(Const(16), Grow(), Const(-1), Code{0x47}, Again()), forever(fill(4<<20)))
	}, plugin.LimitMemory, "used more than 50ms"},
	{"a bomb of tables", func() *Module {
		m := pollOf(forever(GrowTable(1000), Drop()))
		m.Tables = []uint32{1}
		return m
	}, "", "used more than 50ms"},
	{"batches over the size", func() *Module { return emitsForever(batch(strings.Repeat("x", 100_000))) }, plugin.LimitBatch, "used more than 50ms"},
	{"batches that are none", func() *Module { return emitsForever(strings.Repeat("PSB1 and then nothing that holds together ", 10)) }, abi.ImportEmit, "used more than 50ms"},
	{"a flood of logs", func() *Module {
		m := NewModule()
		log := m.Import(abi.ImportLog, three, one)
		text := m.Data("help")
		m.Plugin(0)
		m.Export(abi.ExportPoll, three, one, forever(Const(8), Const(text), Const(4), Call(log), Drop()), Const(0))
		return m
	}, plugin.LimitLogRate, "used more than 50ms"},
	{"calls that were not granted", func() *Module {
		m := NewModule()
		secret := m.Import(abi.ImportSecret, four, one)
		m.Plugin(0)
		m.Export(abi.ExportPoll, three, one, forever(Const(0), Const(4), Const(0), Const(0), Call(secret), Drop()), Const(0))
		return m
	}, abi.ImportSecret, "used more than 50ms"},
	{"a flood of open handles", func() *Module {
		m := NewModule()
		open := m.Import(abi.ImportNetOpen, three, one)
		name := m.Data("out")
		m.Plugin(0)
		m.Export(abi.ExportPoll, three, one, forever(Const(name), Const(3), Const(1000), Call(open), Drop()), Const(0))
		return m
	}, plugin.LimitHandles, "used more than 50ms"},
}

// emitsForever emits the same bytes without an end.
func emitsForever(bytes string) *Module {
	m := NewModule()
	emit, _, _, _ := importer(m)
	at := m.Data(bytes)
	m.Plugin(0)
	m.Export(abi.ExportPoll, three, one, forever(Const(at), Const(int32(len(bytes))), Call(emit), Drop()), Const(0))
	return m
}

// hostileRequest bounds a hostile guest as a pipeline file would.
func hostileRequest(tb testing.TB, s *setup) plugin.Request {
	r := s.request(abi.Source)
	r.Limits = plugin.Limits{MemoryBytes: 16 << 20, BatchBytes: 64 << 10, Handles: 8, Call: 50 * time.Millisecond}
	r.Grants.Dial = map[string]plugin.Dialer{"out": func(context.Context) (net.Conn, error) {
		mine, theirs := net.Pipe()
		tb.Cleanup(func() { _ = theirs.Close() })
		return mine, nil
	}}
	return r
}

// A plugin that breaks every rule is ended in its budget with a word about what it did, and what runs beside it hardly notices.
func TestAHostileGuestIsEndedAndOthersKeepTheirSpeed(t *testing.T) {
	// Alone on two processors the others keep nearly all; the bar is what also holds where a test shares them with other tests.
	const bar = 0.4
	fast := newForwarder(t)
	for _, h := range hostile {
		t.Run(h.says, func(t *testing.T) {
			p := load(t, pack(t, h.module(), abi.Source))
			var s setup
			var ratio float64
			var err error
			for range 3 { // what else runs on the machine only takes away
				if ratio, err = beside(t, fast, p, func() plugin.Request { return hostileRequest(t, &s) }); ratio >= bar {
					break
				}
			}
			wantError(t, err, abi.Fatal, h.ends)
			if h.denied != "" && s.meter.denied(h.denied) == 0 {
				t.Errorf("denied: %v, want %s", s.meter.denies, h.denied)
			}
			t.Logf("the other keeps %.2f of its speed", ratio)
			if ratio < bar {
				t.Errorf("the other keeps %.2f of its speed", ratio)
			}
		})
	}
}

// forwarder moves batches from a guest to a guest.
type forwarder struct {
	from plugin.Source
	to   plugin.Sink
}

func newForwarder(tb testing.TB) forwarder {
	m := NewModule()
	emit, _, _, _ := importer(m)
	bytes := benchBatch()
	at := m.Data(bytes)
	m.Plugin(0)
	m.Export(abi.ExportPoll, three, one, Const(at), Const(int32(len(bytes))), Call(emit), Wrap())
	from := start(tb, m, abi.Source, func(r *plugin.Request) { r.Metrics, r.Buffers = nil, &pool{} }).Source
	m = NewModule().Plugin(0)
	m.Export(abi.ExportDeliver, deliverType, one, Const(0))
	return forwarder{from, start(tb, m, abi.Sink, bare).Sink}
}

// run is how many batches it moves in so long.
func (f forwarder) run(tb testing.TB, d time.Duration) (n float64) {
	for end := time.Now().Add(d); time.Now().Before(end); n++ {
		e, err := f.from.Read(tb.Context())
		if err == nil {
			_, err = f.to.Write(tb.Context(), event.Range{Next: event.Offset(e.Batch.Len())}, e.Batch)
			e.Batch.Release()
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	return n
}

// beside is how much of its speed the forwarder keeps while instances of p are opened and ended one after the other, and the error of the
// last of them: medians of slices with and without, taken in turn.
func beside(tb testing.TB, f forwarder, p plugin.Plugin, request func() plugin.Request) (ratio float64, last error) {
	const rounds, slice = 7, 60 * time.Millisecond
	const again = 10 * time.Millisecond // a tenth of what a pipeline waits at least before it opens another instance
	var with, without []float64
	for range rounds {
		without = append(without, f.run(tb, slice))
		stop, ended := make(chan struct{}), make(chan error, 1)
		go func() {
			for {
				time.Sleep(again)
				in, err := p.Open(tb.Context(), abi.Source, request())
				if err == nil {
					_, err = in.Source.Read(tb.Context())
					_ = in.Source.Close() // it is dead
				}
				select {
				case <-stop:
					ended <- err
					return
				default:
				}
			}
		}()
		with = append(with, f.run(tb, slice))
		close(stop)
		last = <-ended
	}
	slices.Sort(with)
	slices.Sort(without)
	return with[rounds/2] / without[rounds/2], last
}

// BenchmarkBesideAHostileGuest shows what others keep of their speed.
func BenchmarkBesideAHostileGuest(b *testing.B) {
	f := newForwarder(b)
	for _, h := range hostile {
		b.Run(strings.ReplaceAll(h.says, " ", "_"), func(b *testing.B) {
			p := load(b, pack(b, h.module(), abi.Source))
			var s setup
			var kept []float64
			for b.Loop() {
				ratio, _ := beside(b, f, p, func() plugin.Request { return hostileRequest(b, &s) })
				kept = append(kept, ratio)
			}
			slices.Sort(kept)
			b.ReportMetric(kept[len(kept)/2], "kept")
		})
	}
}
