// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	. "github.com/penstock-io/penstock/host/plugin/wasm/internal/wasmtest"
	"github.com/penstock-io/penstock/spec/abi"
)

// tableBomb is a source whose poll makes its table larger until it cannot, and answers how large it is.
func tableBomb(start uint32) *Module {
	m := NewModule().Plugin(0)
	m.Tables = []uint32{start}
	m.Export(abi.ExportPoll, three, one, Loop(GrowTable(1000), Const(-1), Code{0x47}, Again()), TableSize())
	return m
}

func TestATableGrowsToItsLimitAndNoFurther(t *testing.T) {
	for _, limit := range []uint32{0, 5000} {
		p, err := shared.Load(t.Context(), plugin.Ref{Name: "test", Code: pack(t, tableBomb(10), abi.Source), Table: limit})
		if err != nil {
			t.Fatal(err)
		}
		s := &setup{}
		if s.Instance, err = p.Open(t.Context(), abi.Source, s.request(abi.Source)); err != nil {
			t.Fatal(err)
		}
		in := s.Source.(*source)
		got, err := in.run(t.Context(), &in.guest.poll, 0, 0, 0)
		if want := max(limit, 5000) / 1000 * 1000; limit != 0 && got != abi.Code(want-990) || limit == 0 && (got < abi.DefaultTable-1000 || got > abi.DefaultTable) || err != nil {
			t.Errorf("with a limit of %d it has %d entries, %v", limit, got, err)
		}
		s.close(t)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestAModuleThatBeginsOverALimitIsRefusedWithItsName(t *testing.T) {
	many := tableBomb(1)
	many.Tables = make([]uint32, maxTables+1)
	for _, c := range []struct {
		says string
		ref  plugin.Ref
	}{
		{"it starts with a table of 131073 entries, over limits.table of 131072", plugin.Ref{Code: pack(t, tableBomb(abi.DefaultTable+1), abi.Source)}},
		{"over limits.table of 9", plugin.Ref{Code: pack(t, tableBomb(10), abi.Source), Table: 9}},
		{"it has 17 tables", plugin.Ref{Code: pack(t, many, abi.Source)}},
		{"bytes, over limits.module_size of 100 bytes", plugin.Ref{Code: pack(t, tableBomb(10), abi.Source), Module: 100}},
	} {
		p, err := shared.Load(t.Context(), c.ref)
		if err == nil {
			_ = p.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v does not say %s", err, c.says)
		}
	}
}

// turns is a source whose poll loops as often as it is asked for events.
func turns() *Module { return looper(NewModule()) }

func TestATrustedModuleIsNotRewrittenAndNotEnded(t *testing.T) {
	code := pack(t, turns(), abi.Source)
	for _, trusted := range []bool{false, true} {
		p, err := shared.Load(t.Context(), plugin.Ref{Name: "test", Code: code, Trusted: trusted})
		if err != nil {
			t.Fatal(err)
		}
		s := &setup{}
		r := s.request(abi.Source)
		r.Limits.Call = 10 * time.Millisecond
		if s.Instance, err = p.Open(t.Context(), abi.Source, r); err != nil {
			t.Fatal(err)
		}
		in := s.Source.(*source)
		_, err = in.run(t.Context(), &in.guest.poll, 100_000_000, 0, 0) // well over 20 ms
		if ended := err != nil; ended == trusted {
			t.Errorf("trusted %v: %v", trusted, err)
		}
		s.close(t)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestAGuestOverItsShareIsKeptWaiting(t *testing.T) {
	const share = 0.1
	s := start(t, turns(), abi.Source, func(r *plugin.Request) { r.Limits.Share, r.Limits.Call = share, time.Minute })
	in := s.Source.(*source)
	began := time.Now()
	for s.meter.cpu < 200*time.Millisecond { // twice what it may save up
		if _, err := in.run(t.Context(), &in.guest.poll, 10_000_000, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	took, cpu := time.Since(began), s.meter.cpu
	if least := time.Duration((cpu.Seconds() - share - 0.05) / share * float64(time.Second)); took < least {
		t.Errorf("it had %v of processor time within %v, its share is %v", cpu, took, share)
	}
	if s.meter.denied(plugin.LimitShare) == 0 || s.logs.count("limits.cpu_share") != 1 {
		t.Errorf("denied %v, log:\n%s", s.meter.denies, &s.logs)
	}
}

func TestAGuestThatIsKeptWaitingIsClosedAtOnce(t *testing.T) {
	s := start(t, pollOf(forever()), abi.Source, func(r *plugin.Request) { r.Limits.Share, r.Limits.Call = 0.01, 50*time.Millisecond })
	in := s.Source.(*source)
	ended := make(chan error, 1)
	go func() {
		_, err := s.Source.Read(t.Context())
		ended <- err
	}()
	for end := time.Now().Add(10 * time.Second); s.meter.denied(plugin.LimitShare) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it is not kept waiting")
		}
	}
	began := time.Now()
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	wantError(t, <-ended, abi.Fatal, "used more than 50ms")
	if took := time.Since(began); took > 2*time.Second { // its debt would keep it for some seconds
		t.Errorf("it took %v", took)
	}
}

func TestTheProcessorTimeOfAPluginIsCountedAndItsSleepIsNot(t *testing.T) {
	m := NewModule()
	sleep := m.Import(abi.ImportSleep, one, one)
	looper(m, Get(1), If(Get(1), Call(sleep), Drop()))
	s := start(t, m, abi.Source, func(r *plugin.Request) { r.Limits.Call = time.Minute })
	in := s.Source.(*source)
	poll := func(times, ms uint64) {
		t.Helper()
		if _, err := in.run(t.Context(), &in.guest.poll, times, ms, 0); err != nil {
			t.Fatal(err)
		}
	}
	s.meter.cpu = 0
	spent := threadTimeOf(func() { poll(100_000_000, 0) })
	if got := s.meter.cpu; got < spent*8/10 || got > spent*12/10 {
		t.Errorf("%v were counted, it had %v", got, spent)
	}
	s.meter.cpu = 0
	poll(5, 20)
	if got := s.meter.cpu; got > 20*time.Millisecond {
		t.Errorf("%v were counted of a guest that slept for 100ms", got)
	}
}

// Whatever is refused is counted under the name by which a pipeline file raises it, or of the import.
func TestEveryRefusalIsCountedUnderItsName(t *testing.T) {
	emits := func(bytes string) *Module {
		m := NewModule()
		emit, _, _, _ := importer(m)
		at := m.Data(bytes)
		m.Plugin(0)
		m.Export(abi.ExportPoll, three, one, Const(at), Const(int32(len(bytes))), Call(emit), Drop(), Const(int32(abi.EOF)))
		return m
	}
	const self = 3
	recursion := NewModule().Plugin(0)
	recursion.Export(abi.ExportPoll, three, one, Get(0), Get(1), Get(2), Call(self), Const(1), Add())
	for _, c := range []struct {
		capability string
		module     *Module
		limits     plugin.Limits
		says       string // in the log, or "" where the error says it
		fails      string // in the error, "" where it is the end
	}{
		{plugin.LimitMemory, pollOf(Const(1000), Grow(), Drop()), plugin.Limits{MemoryBytes: 8 << 20}, "limit=limits.memory what=it asked for more than 8 MiB", "*"},
		{plugin.LimitMemory, pollOf(Const(1000), Grow(), Drop(), Trap()), plugin.Limits{MemoryBytes: 8 << 20}, "limit=limits.memory", "more memory than its limit of 8 MiB"},
		{plugin.LimitCall, pollOf(forever()), plugin.Limits{Call: 10 * time.Millisecond}, "", "or raise limits.cpu"},
		{plugin.LimitDepth, recursion, plugin.Limits{}, "", "nest more than 32768 deep"},
		{plugin.LimitBatch, emits(batch(strings.Repeat("x", 3000))), plugin.Limits{BatchBytes: 2048}, "a larger batch than it was asked for bytes=3", ""},
		{abi.ImportEmit, emits("this is no batch, whatever it says of itself"), plugin.Limits{}, "emitted what is not a batch", ""},
	} {
		t.Run(c.capability, func(t *testing.T) {
			s := start(t, c.module, abi.Source, func(r *plugin.Request) { r.Limits = c.limits })
			in := s.Source.(*source)
			err := in.poll(t.Context())
			switch {
			case c.fails != "" && c.fails != "*":
				wantError(t, err, abi.Fatal, c.fails)
			case c.fails == "" && !errors.Is(in.then, io.EOF), err != nil:
				t.Errorf("%v, %v", err, in.then)
			}
			if s.meter.denied(c.capability) != 1 || len(s.meter.denies) != 1 {
				t.Errorf("denied: %v", s.meter.denies)
			}
			if s.logs.count(c.says) == 0 && c.says != "" {
				t.Errorf("the log does not say %s:\n%s", c.says, &s.logs)
			}
		})
	}
}

func TestAFloodOfLogsIsCountedAndItsLimitIsNamed(t *testing.T) {
	m := NewModule()
	log := m.Import(abi.ImportLog, three, one)
	text := m.Data("help")
	looper(m, Const(8), Const(text), Const(4), Call(log), Drop())
	s := start(t, m, abi.Source, func(r *plugin.Request) { r.Limits.LogRate = 1 })
	in := s.Source.(*source)
	for range 2 {
		if _, err := in.run(t.Context(), &in.guest.poll, 100, 0, 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1100 * time.Millisecond)
	}
	if _, err := in.run(t.Context(), &in.guest.poll, 1, 0, 0); err != nil {
		t.Fatal(err)
	}
	if n := s.meter.denied(plugin.LimitLogRate); n < 190 || n > 199 {
		t.Errorf("%d lines were denied of 201", n)
	}
	if s.logs.count("more than limits.log_rate allows") == 0 || s.logs.count("limit_per_second=1") == 0 {
		t.Errorf("log:\n%s", &s.logs)
	}
}

func TestATableKeepsWhatItSaysOfItsMost(t *testing.T) {
	for _, c := range []struct{ have, want []byte }{
		{[]byte{1, 0x70, 0, 5}, []byte{1, 0x70, 1, 5, 100}},
		{[]byte{1, 0x70, 1, 5, 50}, []byte{1, 0x70, 1, 5, 50}},
		{[]byte{2, 0x6f, 1, 0, 101, 0x70, 0, 100}, []byte{2, 0x6f, 1, 0, 100, 0x70, 1, 100, 100}},
		{[]byte{1, 0x70, 2, 5, 50}, nil},
		{[]byte{1, 0x70, 1, 5}, nil},
		{[]byte{1, 0x70, 0, 5, 0}, nil},
		{[]byte{1, 0x70, 0, 101}, nil},
	} {
		got, err := boundTable(c.have, 100)
		if string(got) != string(c.want) || (err != nil) != (c.want == nil) {
			t.Errorf("%v becomes %v, %v, want %v", c.have, got, err, c.want)
		}
	}
}
