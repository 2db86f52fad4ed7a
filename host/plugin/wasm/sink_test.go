// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"errors"
	"slices"
	"testing"

	"github.com/penstock-io/penstock/host/plugin"
	. "github.com/penstock-io/penstock/host/plugin/wasm/internal/wasmtest"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

var deliverType = []byte{I64, I64, I32}

func someBatch(t testing.TB, bodies ...string) event.Batch {
	t.Helper()
	b, err := event.Copy(event.Heap{}, []byte(batch(bodies...)), event.DefaultBatch)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestASinkSeesTheBatchWithItsBaseAndRange(t *testing.T) {
	m := NewModule()
	m.Plugin(0)
	// It answers 0 when all is as expected, else the number of what is not. 0x45 is "not", 0x29 loads an i64.
	m.Export(abi.ExportDeliver, deliverType, one,
		Get(0), Const64(1000), Eq64(), Code{0x45}, If(Const(-101), Return()), // first
		Get(1), Const64(1005), Eq64(), Code{0x45}, If(Const(-102), Return()), // next
		Const(Arena+24), Code{0x29, 3, 0}, Const64(1001), Eq64(), Code{0x45}, If(Const(-103), Return()), // base
		Const(Arena+12), Load32(), Get(2), Sub(), If(Const(-104), Return()), // length
		Const(Arena+8), Load32(), Const(2), Sub(), If(Const(-105), Return()), // events
		Const(0))
	s := start(t, m, abi.Sink, nil)
	b := someBatch(t, "a", "bc").WithBase(1001)
	before := string(b.Bytes())
	if out, err := s.Sink.Write(t.Context(), event.Range{First: 1000, Next: 1005}, b); err != nil || len(out.Rejected) != 0 {
		t.Errorf("%+v, %v", out, err)
	}
	if string(b.Bytes()) != before {
		t.Error("the batch was changed: others read it too")
	}
}

func TestAnEmptyBatchIsDeliveredAsAHeader(t *testing.T) {
	m := NewModule()
	m.Plugin(0)
	m.Export(abi.ExportDeliver, deliverType, one, Get(2), Const(event.HeaderSize), Sub())
	s := start(t, m, abi.Sink, nil)
	if _, err := s.Sink.Write(t.Context(), event.Range{First: 1, Next: 2}, event.Batch{}); err != nil {
		t.Error(err)
	}
}

// rejecter is a sink that rejects the events 0 and 2 and answers code. Its last local sums what result answered.
func rejecter(code abi.Code) *Module {
	m := NewModule()
	result := m.Import(abi.ImportResult, four, one)
	text := m.Data("too long")
	m.Plugin(0)
	call := func(index int32) Code {
		return slices.Concat(Const(index), Const(int32(abi.EREJECT)), Const(text), Const(8), Call(result), Get(3), Add(), Set(3))
	}
	m.Export(abi.ExportDeliver, deliverType, one,
		call(0), call(2), call(-1), call(3), // the last two are not in the batch: -6 each
		Get(3), Const(12), Add(), If(Const(-99), Return()),
		Const(int32(code)))
	return m
}

func TestASinkRejectsByIndex(t *testing.T) {
	for _, c := range []struct {
		code     abi.Code
		rejected bool
	}{{abi.OK, false}, {abi.EREJECT, true}} {
		t.Run(c.code.String(), func(t *testing.T) {
			s := start(t, rejecter(c.code), abi.Sink, nil)
			out, err := s.Sink.Write(t.Context(), event.Range{First: 0, Next: 3}, someBatch(t, "a", "b", "c"))
			if errors.Is(err, plugin.ErrRejected) != c.rejected || err != nil && !c.rejected {
				t.Errorf("error %v", err)
			}
			want := []plugin.Rejection{{Index: 0, Code: abi.EREJECT, Reason: "too long"}, {Index: 2, Code: abi.EREJECT, Reason: "too long"}}
			if !slices.Equal(out.Rejected, want) {
				t.Errorf("rejected %+v", out.Rejected)
			}
		})
	}
}

func TestTheCodesOfASinkKeepTheirClass(t *testing.T) {
	for code, class := range map[abi.Code]abi.Class{
		abi.EAGAIN: abi.Retry, abi.EIO: abi.Retry, abi.EINVAL: abi.Config, abi.EACCES: abi.Config, abi.ETOOBIG: abi.Reject, -77: abi.Retry,
	} {
		m := NewModule()
		m.Plugin(0)
		m.Export(abi.ExportDeliver, deliverType, one, Const(int32(code)))
		s := start(t, m, abi.Sink, nil)
		_, err := s.Sink.Write(t.Context(), event.Range{First: 0, Next: 1}, someBatch(t, "a"))
		wantError(t, err, class, code.String())
	}
}

func TestASinkReportsInOpenWhatItHolds(t *testing.T) {
	m := NewModule()
	position := m.Import(abi.ImportPosition, []byte{I64, I64, I64}, one)
	m.Export(abi.ExportMarker, none, none)
	m.Export(abi.ExportAlloc, one, one, Const(Arena))
	m.Export(abi.ExportOpen, one, one,
		Const64(-2), Const64(10), Const64(20), Call(position),
		Const64(7), Const64(20), Const64(20), Call(position), Add(), // empty: -6
		Const(6), Add())
	m.Export(abi.ExportDeliver, deliverType, one, Const64(1), Const64(2), Const64(3), Call(position)) // not now: -6
	s := start(t, m, abi.Sink, nil)
	want := []plugin.Held{{Incarnation: 1<<64 - 2, Range: event.Range{First: 10, Next: 20}}}
	if !slices.Equal(s.Held, want) {
		t.Errorf("held %+v", s.Held)
	}
	_, err := s.Sink.Write(t.Context(), event.Range{First: 0, Next: 1}, someBatch(t, "a"))
	wantError(t, err, abi.Config)
}

func TestOnlyASinkThatExportsPruneIsAPruner(t *testing.T) {
	m := NewModule()
	m.Plugin(0)
	m.Export(abi.ExportDeliver, deliverType, one, Const(0))
	if _, ok := start(t, m, abi.Sink, nil).Sink.(plugin.Pruner); ok {
		t.Error("it does not export prune")
	}
	m.Export(abi.ExportPrune, []byte{I64}, one, Get(0), Wrap(), Const(43), Sub())
	p, ok := start(t, m, abi.Sink, nil).Sink.(plugin.Pruner)
	if !ok {
		t.Fatal("it exports prune")
	}
	if err := p.Prune(t.Context(), 43); err != nil {
		t.Error(err)
	}
	wantError(t, p.Prune(t.Context(), 42), abi.Retry, "EAGAIN")
}

func TestWhatAProcessorMakesKeepsTheNumbersOfWhatItWasMadeFrom(t *testing.T) {
	const second = event.HeaderSize + event.RecordSize + 1 + 20 // where the second event's delta lies
	for delta, ok := range map[int32]bool{0: true, 1: true, 2: false} {
		m := NewModule()
		emit := m.Import(abi.ImportEmit, two, []byte{I64})
		m.Plugin(0)
		m.Export(abi.ExportProcess, one, one,
			Const(Arena+24), Const64(0), Store64(), Const(Arena+second), Const(delta), Code{0x36, 0, 0}, // i32.store
			Const(Arena), Get(0), Call(emit), Wrap())
		s := start(t, m, abi.Processor, nil)
		out, _, err := s.Processor.Process(t.Context(), someBatch(t, "a", "b").WithBase(7))
		if !ok {
			wantError(t, err, abi.Config, "EINVAL")
			continue
		}
		if err != nil || out.Last() != 7+event.Offset(delta) {
			t.Errorf("the second event is number %d, %v", out.Last(), err)
		}
	}
}

func TestAProcessorMayRejectEventsByName(t *testing.T) {
	for code, want := range map[int32]error{0: nil, int32(abi.EREJECT): plugin.ErrRejected, int32(abi.ETOOBIG): plugin.ErrRejected} {
		m := NewModule()
		emit := m.Import(abi.ImportEmit, two, []byte{I64})
		result := m.Import(abi.ImportResult, []byte{I32, I32, I32, I32}, one)
		m.Plugin(0)
		m.Export(abi.ExportProcess, one, one,
			Const(1), Const(int32(abi.EREJECT)), Const(Arena), Const(4), Call(result), Drop(),
			Const(2), Const(int32(abi.EREJECT)), Const(Arena), Const(4), Call(result), Drop(), // there is no third event
			Const(Arena), Get(0), Call(emit), Drop(), Const(code))
		out, outcome, err := start(t, m, abi.Processor, nil).Processor.Process(t.Context(), someBatch(t, "a", "b"))
		if !errors.Is(err, want) || len(outcome.Rejected) != 1 || outcome.Rejected[0].Index != 1 || outcome.Rejected[0].Reason != "PSB1" {
			t.Errorf("code %d: %+v, %v", code, outcome, err)
		}
		if (err == nil) != (out.Len() == 2) {
			t.Errorf("code %d: %d events, %v", code, out.Len(), err)
		}
		out.Release()
	}
}

func TestAProcessorEmitsOnce(t *testing.T) {
	for name, c := range map[string]struct {
		times int
		code  int32
		class abi.Class
		want  string
	}{
		"one batch": {times: 1},
		"nothing":   {times: 0, class: abi.Fatal, want: "emitted 0 batches"},
		"two":       {times: 2, class: abi.Fatal, want: "emitted 2 batches"},
		"a failure": {times: 1, code: int32(abi.EINVAL), class: abi.Config, want: "EINVAL"},
	} {
		t.Run(name, func(t *testing.T) {
			m := NewModule()
			emit := m.Import(abi.ImportEmit, two, []byte{I64})
			m.Plugin(0)
			body := []Code{Const(Arena + 24), Const64(0), Store64()} // what goes out has base 0
			for range c.times {
				body = append(body, Const(Arena), Get(0), Call(emit), Drop())
			}
			m.Export(abi.ExportProcess, one, one, append(body, Const(c.code))...)
			s := start(t, m, abi.Processor, nil)
			out, _, err := s.Processor.Process(t.Context(), someBatch(t, "a", "b").WithBase(7))
			if c.want != "" {
				wantError(t, err, c.class, c.want)
				return
			}
			if err != nil || !slices.Equal(bodies(out), []string{"a", "b"}) {
				t.Errorf("%q, %v", bodies(out), err)
			}
			out.Release()
		})
	}
}

func TestWhatAnInstanceIsOpenedWithReachesTheGuest(t *testing.T) {
	m := NewModule()
	fail := m.Import(abi.ImportFail, []byte{I32, I32, I32, I32, I32, I32}, one)
	m.Export(abi.ExportMarker, none, none)
	m.Export(abi.ExportAlloc, one, one, Const(Arena))
	m.Export(abi.ExportOpen, one, one, // it answers with what it got
		Const(-6), Const(0), Const(0), Const(0), Const(Arena+4), Const(Arena), Load32(), Call(fail), Drop(), Const(-6))
	m.Export(abi.ExportDeliver, deliverType, one, Const(0))
	s := &setup{}
	err := s.tryOpen(t, m, abi.Sink, func(r *plugin.Request) {
		r.Config, r.Stream, r.Incarnations = nil, "u/1/2", []abi.Incarnation{{ID: 1<<64 - 1, First: 1 << 32}}
	})
	wantError(t, err, abi.Config, `"plugin":"test"`, `"kind":"sink"`, `"config":{}`, `"stream":"u/1/2"`, `"id":"18446744073709551615"`)

	r := s.request(abi.Sink)
	r.Plugin = "other"
	_, err = load(t, pack(t, m, abi.Sink)).Open(t.Context(), abi.Sink, r)
	wantError(t, err, abi.Config, `has no sink "other"`)
}
