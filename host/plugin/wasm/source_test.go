// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	. "github.com/penstock-io/penstock/host/plugin/wasm/internal/wasmtest"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// emitter is a source that emits a batch of three events in its first poll and has then finished.
func emitter(bytes string, more ...Code) *Module {
	m := NewModule()
	emit, _, _, _ := importer(m)
	polls := m.Global()
	at := m.Data(bytes)
	m.Plugin(0)
	body := []Code{
		GetGlobal(polls), Const64(1), Add64(), SetGlobal(polls),
		GetGlobal(polls), Const64(1), Eq64(),
		If(Const(at), Const(int32(len(bytes))), Call(emit), Wrap(), Set(3)),
	}
	body = append(body, more...)
	m.Export(abi.ExportPoll, three, one, append(body, Const(int32(abi.EOF)))...)
	return m
}

func TestWhatASourceEmitsIsReadInOrderAndThenItEnds(t *testing.T) {
	m := NewModule()
	emit, cursor, _, _ := importer(m)
	first, second := batch("a", "b", "c"), batch("d")
	at1, at2, key, value := m.Data(first), m.Data(second), m.Data("file"), m.Data("position")
	m.Plugin(0)
	m.Export(abi.ExportPoll, three, one,
		Const(at1), Const(int32(len(first))), Call(emit), Drop(),
		Const(key), Const(4), Const(value), Const(8), Call(cursor), Drop(),
		Const(key), Const(2), Const(0), Const(0), Call(cursor), Drop(),
		Const(at2), Const(int32(len(second))), Call(emit), Drop(),
		Const(at2), Const(int32(len(second))), Call(emit), Drop(),
		Const(int32(abi.EOF)))
	s := start(t, m, abi.Source, nil)
	for i, want := range []struct {
		bodies []string
		cursor event.Cursor
	}{{[]string{"a", "b", "c"}, nil}, {[]string{"d"}, event.Cursor{"file": []byte("position"), "fi": nil}}, {[]string{"d"}, nil}} {
		e, err := s.Source.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if e.Seq != uint64(i+1) || !slices.Equal(bodies(e.Batch), want.bodies) {
			t.Errorf("emission %d has seq %d and %q", i, e.Seq, bodies(e.Batch))
		}
		if len(e.Changed) != len(want.cursor) || string(e.Changed["file"]) != string(want.cursor["file"]) || len(e.Changed["fi"]) != 0 {
			t.Errorf("emission %d changes %q, want %q", i, e.Changed, want.cursor)
		}
		e.Batch.Release()
	}
	for range 2 {
		if _, err := s.Source.Read(t.Context()); !errors.Is(err, io.EOF) {
			t.Errorf("after the end: %v", err)
		}
	}
	if err := s.Source.Ack(t.Context(), 2, nil); err != nil {
		t.Errorf("ack without penstock_ack: %v", err)
	}
}

func TestAnEmittedBatchThatIsBrokenIsRefusedAndLogged(t *testing.T) {
	good := batch("a", "b", "c")
	broken := []byte(good)
	broken[32]++ // the first event's size
	for name, c := range map[string]struct {
		bytes string
		code  abi.Code
	}{
		"nothing wrong":       {good, 1},
		"wrong size":          {string(broken), abi.EINVAL},
		"cut short":           {good[:len(good)-1], abi.EINVAL},
		"not a batch":         {"hello", abi.EINVAL},
		"over the limit":      {batch(strings.Repeat("x", 2000)), abi.ETOOBIG},
		"more than limit say": {batch(strings.Repeat("x", 1000)), 1},
	} {
		t.Run(name, func(t *testing.T) {
			// The code that emit answered comes back as what poll returns, 100 less.
			m := emitter(c.bytes, Get(3), Const(100), Sub(), Return())
			s := start(t, m, abi.Source, func(r *plugin.Request) { r.Limits.BatchBytes = 1500 })
			e, err := s.Source.Read(t.Context())
			if c.code > 0 {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				e.Batch.Release()
				return
			}
			wantError(t, err, abi.Retry)
			if got := err.(*plugin.Error).Code + 100; got != c.code {
				t.Errorf("emit answered %s, want %s", got, c.code)
			}
			if c.code == abi.EINVAL && s.logs.count("not a batch") != 1 {
				t.Errorf("log: %s", &s.logs)
			}
		})
	}
}

func TestOnePollEmitsNoMoreThanIsBounded(t *testing.T) {
	m := NewModule()
	emit, _, _, _ := importer(m)
	bytes := batch("x")
	at := m.Data(bytes)
	m.Plugin(0)
	m.Export(abi.ExportPoll, three, one,
		Loop(Const(at), Const(int32(len(bytes))), Call(emit), Wrap(), Set(3), Get(3), Const(0), Code{0x4a}, Again()), // while > 0
		Get(3))
	s := start(t, m, abi.Source, nil)
	for i := range maxEmissions {
		e, err := s.Source.Read(t.Context())
		if err != nil {
			t.Fatalf("emission %d: %v", i, err)
		}
		e.Batch.Release()
	}
	_, err := s.Source.Read(t.Context())
	wantError(t, err, abi.Retry, "EAGAIN")
}

func TestAnErrorOfASourceCarriesWhatItSaid(t *testing.T) {
	m := NewModule()
	_, _, fail, _ := importer(m)
	path, text := m.Data("paths"), m.Data("no such file\ncreate it")
	m.Plugin(0)
	polls := m.Global()
	says := slices.Concat(Const(int32(abi.EINVAL)), Const(1500), Const(path), Const(5), Const(text), Const(22), Call(fail), Drop())
	m.Export(abi.ExportPoll, three, one,
		GetGlobal(polls), Const64(1), Add64(), SetGlobal(polls),
		GetGlobal(polls), Const64(1), Eq64(), If(says, Const(int32(abi.EINVAL)), Return()),
		GetGlobal(polls), Const64(2), Eq64(), If(says, Const(0), Return()), // says something, and then it went well
		Const(int32(abi.ENOENT)))
	s := start(t, m, abi.Source, nil)
	_, err := s.Source.Read(t.Context())
	wantError(t, err, abi.Config, "no such file (EINVAL)", "config.paths", "; create it")
	if e := err.(*plugin.Error); e.Delay != 1500*time.Millisecond {
		t.Errorf("delay %v", e.Delay)
	}
	_, err = s.Source.Read(t.Context())
	wantError(t, err, abi.Retry, "penstock_poll answered without saying why", "ENOENT")
}

func TestCursorEntriesOverALimitAreRefused(t *testing.T) {
	m := NewModule()
	_, cursor, _, _ := importer(m)
	m.Plugin(0)
	call := func(klen, vlen int32) Code {
		return slices.Concat(Const(0), Const(klen), Const(0), Const(vlen), Call(cursor))
	}
	m.Export(abi.ExportPoll, three, one,
		call(abi.MaxKey+1, 1), call(1, abi.MaxValue+1), Add(), // -8 -8
		call(0, 1), Add(), // -6
		call(abi.MaxKey, abi.MaxValue), Add(), // 0
		Const(0), Const(8), Const(-8), Const(9), Call(cursor), Add(), // -6: not in memory
		Const(-100), Add())
	s := start(t, m, abi.Source, nil)
	_, err := s.Source.Read(t.Context())
	wantError(t, err, abi.Retry)
	if got := err.(*plugin.Error).Code; got != -128 {
		t.Errorf("the codes add up to %d, want -28", got+100)
	}
}

// sleeper is a source that sleeps for a minute in each poll, unless woken, and counts its acks in its emissions.
func sleeper() *Module {
	m := NewModule()
	emit, _, _, sleep := importer(m)
	acks := m.Global()
	bytes := batch("acked")
	at := m.Data(bytes)
	m.Plugin(0)
	m.Export(abi.ExportAck, []byte{I64, I32}, none, Get(0), SetGlobal(acks))
	m.Export(abi.ExportPoll, three, one,
		GetGlobal(acks), Const64(7), Eq64(),
		If(Const(at), Const(int32(len(bytes))), Call(emit), Drop(), Const(0), Return()),
		Const(60_000), Call(sleep))
	return m
}

func TestAnAckEndsTheSleepOfASource(t *testing.T) {
	p := load(t, pack(t, sleeper(), abi.Source))
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
			acked <- in.Source.Ack(context.Background(), 7, nil)
		}()
		e, err := in.Source.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("the ack came through after %v", took)
		}
		e.Batch.Release()
		if err := <-acked; err != nil {
			t.Error(err)
		}
		if err := in.Source.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestTheEndOfItsContextEndsARead(t *testing.T) {
	p := load(t, pack(t, sleeper(), abi.Source))
	synctest.Test(t, func(t *testing.T) {
		s := &setup{}
		in, err := p.Open(t.Context(), abi.Source, s.request(abi.Source))
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := in.Source.Read(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if err := in.Source.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestCloseEndsARead(t *testing.T) {
	p := load(t, pack(t, sleeper(), abi.Source))
	synctest.Test(t, func(t *testing.T) {
		s := &setup{}
		in, err := p.Open(t.Context(), abi.Source, s.request(abi.Source))
		if err != nil {
			t.Fatal(err)
		}
		read := make(chan error)
		go func() {
			_, err := in.Source.Read(context.Background())
			read <- err
		}()
		time.Sleep(time.Second)
		if err := in.Source.Close(); err != nil {
			t.Error(err)
		}
		wantError(t, <-read, abi.Fatal, "has been closed")
		if err := in.Source.Ack(t.Context(), 1, nil); err == nil {
			t.Error("an ack after close is taken")
		}
		if err := in.Source.Close(); err != nil {
			t.Errorf("closed twice: %v", err)
		}
	})
}

func TestASourceThatHasNothingIsPolledLessAndLess(t *testing.T) {
	m := NewModule()
	polls := m.Global()
	m.Plugin(0)
	m.Export(abi.ExportPoll, three, one, GetGlobal(polls), Const64(1), Add64(), SetGlobal(polls), Const(0))
	p := load(t, pack(t, m, abi.Source))
	synctest.Test(t, func(t *testing.T) {
		s := &setup{}
		in, err := p.Open(t.Context(), abi.Source, s.request(abi.Source))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := in.Source.Read(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		read := make(chan time.Time)
		go func() {
			_, _ = in.Source.Read(context.Background())
			read <- time.Now()
		}()
		time.Sleep(90 * time.Millisecond) // 27 ms into a wait of 50
		synctest.Wait()
		closed := time.Now()
		// 1 2 4 8 16 32 and then 50 ms: six polls in the first 63 ms, 20 a second after that; alloc and open are calls too.
		if n := s.meter.calls - 2; n < 200 || n > 215 {
			t.Errorf("polled %d times in 10 s", n)
		}
		if err := in.Source.Close(); err != nil {
			t.Error(err)
		}
		if ended := <-read; ended != closed {
			t.Errorf("the read ended %v after the close", ended.Sub(closed))
		}
	})
}

func TestAckTellsTheGuestWhatBecameOfABatch(t *testing.T) {
	m := NewModule()
	seq, code := m.Global(), m.Global()
	m.Plugin(0)
	m.Export(abi.ExportAck, []byte{I64, I32}, none, Get(0), SetGlobal(seq), Get(1), Code{0xac}, SetGlobal(code)) // sign-extend
	m.Export(abi.ExportPoll, three, one, GetGlobal(code), GetGlobal(seq), Const64(-1000), Code{0x7e}, Add64(), Wrap())
	s := start(t, m, abi.Source, nil)
	for _, c := range []struct {
		seq  uint64
		err  error
		want abi.Code
	}{
		{1, nil, -1000},
		{2, errors.New("disk full"), -2000 + abi.EAGAIN},
		{3, &plugin.Error{Code: abi.ETOOBIG}, -3000 + abi.ETOOBIG},
	} {
		if err := s.Source.Ack(t.Context(), c.seq, c.err); err != nil {
			t.Fatal(err)
		}
		_, err := s.Source.Read(t.Context())
		if e, ok := errors.AsType[*plugin.Error](err); !ok || e.Code != c.want {
			t.Errorf("ack(%d, %v): %v, want code %d", c.seq, c.err, err, c.want)
		}
	}
}

func TestIdleIsCalledAtMostOnceASecond(t *testing.T) {
	m := NewModule()
	_, _, _, sleep := importer(m)
	idles := m.Global()
	m.Plugin(0)
	m.Export(abi.ExportIdle, none, one, GetGlobal(idles), Const64(1), Add64(), SetGlobal(idles), Const(0))
	m.Export(abi.ExportPoll, three, one,
		GetGlobal(idles), Const64(5), Eq64(), If(Const(int32(abi.EOF)), Return()),
		Const(100), Call(sleep))
	p := load(t, pack(t, m, abi.Source))
	synctest.Test(t, func(t *testing.T) {
		s := &setup{}
		in, err := p.Open(t.Context(), abi.Source, s.request(abi.Source))
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := in.Source.Read(t.Context()); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		if took := time.Since(began); took != 4*time.Second {
			t.Errorf("five idle calls took %v", took)
		}
		if err := in.Source.Close(); err != nil {
			t.Error(err)
		}
	})
}
