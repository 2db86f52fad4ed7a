// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

func TestASourceIsAskedBatchByBatch(t *testing.T) {
	s := setup{config: `{"count":20}`}
	src := s.source(t)
	var got []string
	for seq := uint64(1); ; seq++ {
		e, err := src.Read(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || e.Seq != seq {
			t.Fatalf("batch %d: %v, %v", seq, e.Seq, err)
		}
		got = append(got, bodies(e.Batch)...)
		if at := string(e.Changed["next"]); at != fmt.Sprint(len(got)) {
			t.Errorf("after %d events the cursor is %s", len(got), at)
		}
		e.Batch.Release()
		if err := src.Ack(t.Context(), seq, nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(got) != 20 || got[19] != "event 19" {
		t.Errorf("read %q", got)
	}
	if _, err := src.Read(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

func TestAReadThatEndsLosesNoBatch(t *testing.T) {
	s := setup{config: `{"count":7,"trouble":"sleep in poll"}`}
	src := s.source(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := src.Read(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if err := src.Ack(t.Context(), 0, nil); err != nil { // which wakes the source
		t.Error(err)
	}
	if err := src.Close(); err != nil {
		t.Errorf("close of a source that sleeps: %v", err)
	}
}

func TestWhatAnInstanceSaysIsPassedOn(t *testing.T) {
	s := setup{config: `{"count":14,"trouble":"print in poll"}`}
	src := s.source(t)
	for range 2 {
		e, err := src.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		e.Batch.Release()
	}
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`INFO opened trouble="print in poll"`, "INFO said to standard output stream=stdout", "INFO said to standard error stream=stderr",
	} {
		if !s.logs.has(want) {
			t.Errorf("%q is not in the log:\n%s", want, s.logs.String())
		}
	}
	s.meter.mu.Lock()
	defer s.meter.mu.Unlock()
	if s.meter.reported["opened"] != 1 || s.meter.reported["sent"] != 14 || s.meter.calls != 2 {
		t.Errorf("%v and %d calls are counted", s.meter.reported, s.meter.calls)
	}
}

func TestALogThatFloodsIsBounded(t *testing.T) {
	s := setup{config: `{"count":7000,"trouble":"print in poll"}`, change: func(r *plugin.Request) { r.Limits.LogRate = 5 }}
	src := s.source(t)
	for range 100 {
		e, err := src.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		e.Batch.Release()
	}
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}
	s.logs.mu.Lock()
	defer s.logs.mu.Unlock()
	said := slices.DeleteFunc(slices.Clone(s.logs.lines), func(l string) bool { return !strings.Contains(l, " said to ") })
	if len(said) == 0 || len(said) > 40 || s.meter.denied[plugin.LimitLogRate] < 100 {
		t.Errorf("%d of 200 lines are logged, %d are counted as over the limit", len(said), s.meter.denied[plugin.LimitLogRate])
	}
}

func TestGrantedOutputIsNotLogged(t *testing.T) {
	var out strings.Builder
	s := setup{config: `{"count":7,"trouble":"print in poll"}`, change: func(r *plugin.Request) { r.Stdout = &out }}
	src := s.source(t)
	if _, err := src.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}
	if out.String() != "said to standard output\n" || s.logs.has("said to standard output") {
		t.Errorf("printed %q", out.String())
	}
}

func TestErrorsCarryClassHintAndDelay(t *testing.T) {
	s := setup{config: `{"trouble":"retry in write"}`}
	k := s.sink(t)
	_, err := k.Write(t.Context(), event.Range{Next: 1}, batch(t, "a"))
	e, ok := errors.AsType[*plugin.Error](err)
	if !ok || e.Class != abi.Retry || e.Message != "not now" || e.Hint != "come again" || e.Delay != 5*time.Second {
		t.Errorf("%+v", e)
	}
	other := setup{config: `{"count":"many"}`} // the first may log still
	_, err = other.open(t, abi.Sink)
	if e, ok := errors.AsType[*plugin.Error](err); !ok || e.Class != abi.Config || e.Path != "count" {
		t.Errorf("%+v", e)
	}
	_, err = load(t, both).Open(t.Context(), abi.Sink, plugin.Request{Plugin: "other"})
	if plugin.ClassOf(err) != abi.Config {
		t.Errorf("a plugin that is not there: %v", err)
	}
}

func TestASinkRejectsEventsByTheirPlace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out")
	s := setup{config: `{"refuse":"bad","file":"` + file + `"}`}
	k := s.sink(t)
	out, err := k.Write(t.Context(), event.Range{First: 10, Next: 13}, batch(t, "a", "bad", "c").WithBase(10))
	if want := []plugin.Rejection{{Index: 1, Code: abi.EREJECT, Reason: "is refused"}}; err != nil || !slices.Equal(out.Rejected, want) {
		t.Errorf("%+v, %v", out, err)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "a\nc\n" {
		t.Errorf("stored %q, %v", got, err)
	}
}

func TestAProcessorKeepsOffsetsAndRejects(t *testing.T) {
	s := setup{config: `{"refuse":"bad"}`}
	in, err := s.open(t, abi.Processor)
	if err != nil {
		t.Fatal(err)
	}
	got, out, err := in.Processor.Process(t.Context(), batch(t, "a", "bad", "c").WithBase(70))
	if err != nil || len(out.Rejected) != 1 || out.Rejected[0].Index != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	defer got.Release()
	if want := []string{"A", "C"}; !slices.Equal(bodies(got), want) || got.Base() != 70 || got.Last() != 72 {
		t.Errorf("made %q from %d to %d", bodies(got), got.Base(), got.Last())
	}
}

func TestAnOpenThatIsToEndEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	s := setup{config: `{"trouble":"hang in open"}`}
	_, err := load(t, both).Open(ctx, abi.Sink, s.request(abi.Sink))
	if err == nil {
		t.Error("it was opened")
	}
}

func TestSocketsLieWhereTheirPathsAreShortEnough(t *testing.T) {
	deep := filepath.Join(t.TempDir(), strings.Repeat("long/", 30))
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", deep)
	r, err := New(Options{Dir: filepath.Join(deep, "children")})
	if err != nil {
		t.Fatal(err)
	}
	p, err := r.Load(t.Context(), plugin.Ref{Path: both, Manifest: &manifest})
	if err != nil {
		t.Fatal(err)
	}
	in, err := p.Open(t.Context(), abi.Sink, new(setup).request(abi.Sink))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(in.Sink.Close(), r.Close()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(r.sockets); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", r.sockets, err)
	}
}
