// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/report"
	. "github.com/penstock-io/penstock/host/plugin/wasm/internal/wasmtest"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// counted is memory of which a test knows how much is out.
type counted struct{ out int }

func (c *counted) Get(n int) *event.Buffer {
	c.out++
	return event.NewBuffer(make([]byte, event.Headroom+n), n, func(*event.Buffer) { c.out-- })
}

func TestASourceThatTrapsIsDeadAndItsSuccessorWorks(t *testing.T) {
	m := NewModule()
	emit, _, _, _ := importer(m)
	polls := m.Global()
	bytes := batch("a")
	at := m.Data(bytes)
	m.Plugin(0)
	boom := m.Func(none, none, Trap())
	m.Export(abi.ExportAck, []byte{I64, I32}, none)
	m.Export(abi.ExportPoll, three, one,
		Const(at), Const(int32(len(bytes))), Call(emit), Drop(),
		GetGlobal(polls), Const64(1), Eq64(), If(Call(boom)), // in the second poll, after it has emitted
		GetGlobal(polls), Const64(1), Add64(), SetGlobal(polls),
		Const(0))
	p := load(t, pack(t, m, abi.Source))
	var pool counted
	for life := range 2 {
		s := &setup{}
		r := s.request(abi.Source)
		r.Buffers = &pool
		in, err := p.Open(t.Context(), abi.Source, r)
		if err != nil {
			t.Fatal(err)
		}
		e, err := in.Source.Read(t.Context())
		if err != nil {
			t.Fatalf("life %d: %v", life, err)
		}
		e.Batch.Release()
		for range 2 {
			_, err = in.Source.Read(t.Context())
			wantError(t, err, abi.Fatal, "the plugin broke in penstock_poll", "unreachable", ".$8()") // one more than in the module: yield is before it
		}
		wantError(t, in.Source.Ack(t.Context(), 1, nil), abi.Fatal)
		if pool.out != 0 {
			t.Errorf("%d batches of the dead are still held", pool.out)
		}
		if in.Source.(*source).mem.reserved != nil {
			t.Error("the memory of the dead is still mapped")
		}
		if err := in.Source.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestWhatWasEmittedAndNotReadIsFreedAtClose(t *testing.T) {
	m := NewModule()
	emit, _, _, _ := importer(m)
	bytes := batch("a")
	at := m.Data(bytes)
	m.Plugin(0)
	one3 := []Code{Const(at), Const(int32(len(bytes))), Call(emit), Drop()}
	m.Export(abi.ExportPoll, three, one, append(append(append(one3, one3...), one3...), Const(0))...)
	var pool counted
	s := &setup{}
	if err := s.tryOpen(t, m, abi.Source, func(r *plugin.Request) { r.Buffers = &pool }); err != nil {
		t.Fatal(err)
	}
	e, err := s.Source.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.close(t)
	if pool.out != 1 {
		t.Errorf("%d batches are held, the reader has one", pool.out)
	}
	e.Batch.Release()
}

func TestAGuestThatWantsTooMuchMemoryIsToldNoAndTheErrorNamesTheLimit(t *testing.T) {
	m := NewModule()
	m.Plugin(0)
	m.Export(abi.ExportPoll, three, one,
		Loop(Const(16), Grow(), Const(-1), Code{0x47}, Again()), // until it answers -1
		Trap())
	s := start(t, m, abi.Source, func(r *plugin.Request) { r.Limits.MemoryBytes = 8 << 20 })
	mem := s.Source.(*source).mem
	_, err := s.Source.Read(t.Context())
	wantError(t, err, abi.Fatal, "more memory than its limit of 8 MiB", "raise limits.memory")
	if mem.size > 8<<20 {
		t.Errorf("it got %d bytes", mem.size)
	}

	err = (&setup{}).tryOpen(t, m, abi.Source, func(r *plugin.Request) { r.Limits.MemoryBytes = 1 << 20 })
	wantError(t, err, abi.Config, "starts with 4.062 MiB of memory, over its limit of 1 MiB", "raise limits.memory")
}

func TestAGuestMayGrowToItsLimitAndItsMemoryDoesNotMove(t *testing.T) {
	m := NewModule()
	m.Plugin(0)
	m.Export(abi.ExportPoll, three, one,
		Const(1<<14-1-ArenaPages-1), Grow(), Drop(),
		Const(1<<30-65536-8), Const64(42), Store64(), // the last bytes of a GiB less a page
		Const(1), Grow(), Drop(),
		Const(1<<30-8), Const64(42), Store64(),
		Const(1), Grow())
	s := start(t, m, abi.Source, func(r *plugin.Request) { r.Limits.MemoryBytes = 1 << 30 })
	_, err := s.Source.Read(t.Context())
	wantError(t, err, abi.Retry, "EAGAIN") // -1, from the last grow
	if s.meter.memory != 1<<30 {
		t.Errorf("%d bytes are reported", s.meter.memory)
	}
}

func TestAnArenaThatIsNoneIsAnErrorOfThePlugin(t *testing.T) {
	for want, ptr := range map[string]int32{"no memory for": 0, "not in its memory": -16} {
		m := NewModule()
		m.Export(abi.ExportMarker, none, none)
		m.Export(abi.ExportAlloc, one, one, Const(ptr))
		m.Export(abi.ExportOpen, one, one, Const(0))
		m.Export(abi.ExportPoll, three, one, Const(0))
		wantError(t, (&setup{}).tryOpen(t, m, abi.Source, nil), abi.Fatal, want)
	}
}

func TestFailuresWhileAnInstanceStartsAreToldAndFreed(t *testing.T) {
	t.Run("open says no", func(t *testing.T) {
		m := NewModule().Plugin(int32(abi.EINVAL))
		m.Export(abi.ExportPoll, three, one, Const(0))
		wantError(t, (&setup{}).tryOpen(t, m, abi.Source, nil), abi.Config, "penstock_open", "EINVAL")
	})
	t.Run("initialize traps", func(t *testing.T) {
		m := NewModule().Plugin(0)
		m.Export(exportInitialize, none, none, Trap())
		m.Export(abi.ExportPoll, three, one, Const(0))
		wantError(t, (&setup{}).tryOpen(t, m, abi.Source, nil), abi.Fatal, "_initialize", "unreachable")
	})
	t.Run("the start function traps", func(t *testing.T) {
		m := NewModule().Plugin(0)
		m.Export(abi.ExportPoll, three, one, Const(0))
		m.Start(m.Func(none, none, Trap()))
		wantError(t, (&setup{}).tryOpen(t, m, abi.Source, nil), abi.Fatal, "unreachable")
	})
}

func TestAStartFunctionMayCallTheHost(t *testing.T) {
	m := NewModule()
	log := m.Import(abi.ImportLog, three, one)
	text := m.Data("good morning")
	m.Plugin(0)
	m.Export(abi.ExportPoll, three, one, Const(int32(abi.EOF)))
	m.Start(m.Func(none, none, Const(4), Const(text), Const(12), Call(log), Drop()))
	s := start(t, m, abi.Source, nil)
	if s.logs.count("WARN good morning") != 1 {
		t.Errorf("log: %s", &s.logs)
	}
}

// printer is a source that prints text to fd in its poll, and then does what more says.
func printer(fd int32, text string, more func(m *Module, exit uint32) []Code) *Module {
	m := NewModule()
	write := m.ImportFrom("wasi_snapshot_preview1", "fd_write", four, one)
	exit := m.ImportFrom("wasi_snapshot_preview1", "proc_exit", one, none)
	at := m.Data(text)
	vector := m.Data(string(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(at)), uint32(len(text)))))
	m.Plugin(0)
	m.Export(abi.ExportPoll, three, one,
		append([]Code{Const(fd), Const(vector), Const(1), Const(0), Call(write), Drop()}, more(m, exit)...)...)
	return m
}

func TestAGuestThatExitsTellsItsLastWords(t *testing.T) {
	m := printer(2, "panic: out of cheese\n\ngoroutine 1:\nmore\n", func(_ *Module, exit uint32) []Code {
		return []Code{Const(2), Call(exit), Const(0)}
	})
	s := start(t, m, abi.Source, nil)
	for range 2 {
		_, err := s.Source.Read(t.Context())
		wantError(t, err, abi.Fatal, "broke in penstock_poll: it exited with code 2: panic: out of cheese")
	}
	if s.logs.count("INFO goroutine 1: stream=stderr") != 1 || s.logs.count("more") != 1 {
		t.Errorf("log: %s", &s.logs)
	}
}

func TestAGuestThatTrapsTellsItsLastWordsBeforeTheStack(t *testing.T) {
	for text, want := range map[string]string{
		"thread '<unnamed>' panicked at src/lib.rs:7:9:\nout of cheese\nnote: run with `RUST_BACKTRACE=1`\n": "penstock_poll: thread '<unnamed>' panicked at src/lib.rs:7:9: out of cheese: wasm error: unreachable at .",
		"": "penstock_poll: wasm error: unreachable at .",
	} {
		s := start(t, printer(2, text, func(*Module, uint32) []Code { return []Code{Trap()} }), abi.Source, nil)
		_, err := s.Source.Read(t.Context())
		wantError(t, err, abi.Fatal, want)
	}
}

func TestTheStackOfATrapIsBounded(t *testing.T) {
	long := errors.New("wasm error: unreachable\nwasm stack trace:\n\t" + strings.Repeat("é", maxTrace) + "()\n\tnext()")
	if at := whereabouts(long); len(at) > maxTrace+10 || !utf8.ValidString(at) || !strings.HasSuffix(at, "é…") {
		t.Errorf("%d bytes, which end in %q", len(at), at[len(at)-10:])
	}
}

func TestStandardOutputIsTheLogUnlessItIsGranted(t *testing.T) {
	end := func(*Module, uint32) []Code { return []Code{Const(int32(abi.EOF))} }
	for _, granted := range []bool{false, true} {
		var out strings.Builder
		s := start(t, printer(1, "one\ntwo\n", end), abi.Source, func(r *plugin.Request) {
			if granted {
				r.Stdout = &out
			}
		})
		if _, err := s.Source.Read(t.Context()); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if logged := s.logs.count("two stream=stdout") == 1; logged == granted || (out.String() == "one\ntwo\n") != granted {
			t.Errorf("granted %v: log %q, standard output %q", granted, &s.logs, out.String())
		}
	}
}

func TestALongLineOnStandardErrorIsCut(t *testing.T) {
	var l logs
	w := &report.Lines{Log: report.NewLog(slogOf(&l)), Stream: "stderr"}
	for range 20 {
		if n, err := w.Write([]byte(strings.Repeat("x", 1000))); n != 1000 || err != nil {
			t.Fatal(n, err)
		}
	}
	_, _ = w.Write([]byte("\nnext\n"))
	if l.count("next") != 1 || len(l.lines) != 2 || len(l.lines[0]) > abi.MaxText+100 {
		t.Errorf("%d lines, the first of %d bytes", len(l.lines), len(l.lines[0]))
	}
}

func TestALogFloodIsCutAndCounted(t *testing.T) {
	m := NewModule()
	log := m.Import(abi.ImportLog, three, one)
	sleep := m.Import(abi.ImportSleep, one, one)
	text := m.Data("help")
	m.Plugin(0)
	m.Export(abi.ExportPoll, three, one,
		Const(1000), Set(3),
		Loop(Const(8), Const(text), Const(4), Call(log), Drop(), Get(3), Const(1), Sub(), Set(3), Get(3), Again()),
		Const(50), Call(sleep), Drop(),
		Const(-4), Const(text), Const(4), Call(log), Drop(),
		Const(int32(abi.EOF)))
	p := load(t, pack(t, m, abi.Source))
	synctest.Test(t, func(t *testing.T) {
		s := &setup{}
		in, err := p.Open(t.Context(), abi.Source, s.request(abi.Source))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.Source.Read(t.Context()); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if s.logs.count("ERROR help") != report.Burst*abi.DefaultLogRate || s.logs.count("DEBUG help") != 1 || s.logs.count("suppressed lines=800") != 1 {
			t.Errorf("%d lines, the last of %s", len(s.logs.lines), s.logs.lines[len(s.logs.lines)-2:])
		}
		if err := in.Source.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestMetricsAreCountedAndBounded(t *testing.T) {
	var out meter
	in := &instance{plugin: &Plugin{metrics: report.NewMetrics()}, metrics: &out, component: "source.x", log: report.NewLog(slogOf(&logs{})), names: abi.DefaultMetrics}
	mem := &fakeMemory{}
	tell := func(kind int, name string, value float64) abi.Code {
		stack := []uint64{uint64(kind), 0, uint64(len(name)), encodeF64(value)}
		copy(mem.b[:], name)
		metric(in, mem, stack)
		return abi.Code(int32(stack[0]))
	}
	for _, c := range []struct {
		kind  int
		name  string
		value float64
		want  abi.Code
	}{
		{abi.MetricCounter, "lines_total", 2, abi.OK}, {abi.MetricCounter, "lines_total", 3, abi.OK},
		{abi.MetricGauge, "lag", 7, abi.OK}, {abi.MetricGauge, "lag", 5, abi.OK},
		{abi.MetricGauge, "lines_total", 1, abi.EINVAL}, {2, "other", 1, abi.EINVAL},
		{abi.MetricCounter, "lines_total", -1, abi.EINVAL},
		{abi.MetricGauge, "", 1, abi.EINVAL}, {abi.MetricGauge, "9lives", 1, abi.EINVAL}, {abi.MetricGauge, "a-b", 1, abi.EINVAL},
		{abi.MetricGauge, strings.Repeat("a", report.MaxMetricName+1), 1, abi.EINVAL},
	} {
		if got := tell(c.kind, c.name, c.value); got != c.want {
			t.Errorf("metric %d %q %v: %s, want %s", c.kind, c.name, c.value, got, c.want)
		}
	}
	if out.values["lines_total"] != 5 || out.values["lag"] != 5 || len(out.values) != 2 {
		t.Errorf("values %v", out.values)
	}
	for i := range abi.DefaultMetrics {
		want := abi.OK
		if i >= abi.DefaultMetrics-2 {
			want = abi.ETOOBIG
		}
		if got := tell(abi.MetricGauge, "m"+strings.Repeat("x", i%50)+string(rune('a'+i/50)), 1); got != want {
			t.Errorf("metric %d: %s", i, got)
		}
	}
}

func TestASleepThroughWASIEndsSoonWhenAnAckWaits(t *testing.T) {
	m := NewModule()
	poll := m.ImportFrom("wasi_snapshot_preview1", "poll_oneoff", four, one)
	acks := m.Global()
	subscription := make([]byte, 48)
	binary.LittleEndian.PutUint64(subscription[24:], uint64(time.Minute)) // userdata, clock, id, then the timeout
	at := m.Data(string(subscription))
	m.Plugin(0)
	m.Export(abi.ExportAck, []byte{I64, I32}, none, Const64(1), SetGlobal(acks))
	m.Export(abi.ExportPoll, three, one,
		GetGlobal(acks), Const64(1), Eq64(), If(Const(int32(abi.EOF)), Return()),
		Const(at), Const(Arena), Const(1), Const(Arena+64), Call(poll), Drop(),
		Const(0))
	p := load(t, pack(t, m, abi.Source))
	synctest.Test(t, func(t *testing.T) {
		s := &setup{}
		in, err := p.Open(t.Context(), abi.Source, s.request(abi.Source))
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		acked := make(chan error)
		go func() {
			time.Sleep(time.Second)
			acked <- in.Source.Ack(t.Context(), 1, nil)
		}()
		if _, err := in.Source.Read(t.Context()); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		if took := time.Since(began); took > time.Second+2*nap {
			t.Errorf("it slept for %v", took)
		}
		if err := errors.Join(<-acked, in.Source.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestAnErrorSaysWhatHappenedToAFileThoughTheGuestCannotKnow(t *testing.T) {
	in := &instance{inside: abi.ExportDeliver, log: report.NewLog(slog.New(slog.DiscardHandler))}
	in.failure = failure{said: true, text: "write /a/out: I/O error\nmake room"}
	in.fileFailed("/a/out", &fs.PathError{Op: "write", Path: "/a/out", Err: syscall.ENOSPC})
	err := in.failed(abi.EIO)
	if want := "write /a/out: I/O error: no space left on device (EIO); make room"; err.Error() != want || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v, want %s", err, want)
	}
}
