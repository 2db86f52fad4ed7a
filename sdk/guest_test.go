// SPDX-License-Identifier: Apache-2.0

package sdk_test

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/sdk/sdktest"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// source is a source whose every call is a function.
type source struct {
	open func(*sdk.Open) error
	poll func(*sdk.Poll) error
	ack  func(uint64, error)
}

func (s *source) Open(o *sdk.Open) error {
	if s.open == nil {
		return nil
	}
	return s.open(o)
}
func (s *source) Poll(p *sdk.Poll) error { return s.poll(p) }
func (s *source) Ack(seq uint64, err error) {
	if s.ack != nil {
		s.ack(seq, err)
	}
}

func opened(t testing.TB, s *source) *sdktest.Source {
	t.Helper()
	return sdktest.OpenSource(t, func() sdk.Source { return s }, nil)
}

func add(p *sdk.Poll, bodies ...string) error {
	for _, b := range bodies {
		if err := p.Append(event.Event{Body: []byte(b)}); err != nil {
			return err
		}
	}
	return nil
}

func TestBatchGoesOutWithItsCursorWhenPollReturns(t *testing.T) {
	var acked []uint64
	s := opened(t, &source{
		poll: func(p *sdk.Poll) error {
			return errors.Join(add(p, "a", "b"), p.SetCursor("at", []byte("2")), p.SetCursor("gone", nil))
		},
		ack: func(seq uint64, err error) { acked = append(acked, seq) },
	})
	s.Cursor["gone"] = []byte("1")
	for range 2 {
		if _, err := s.Poll(); err != nil {
			t.Fatal(err)
		}
	}
	s.Commit()
	if got := sdktest.Bodies(s.Events); !slices.Equal(got, []string{"a", "b", "a", "b"}) {
		t.Errorf("events are %q", got)
	}
	if len(s.Cursor) != 1 || string(s.Cursor["at"]) != "2" {
		t.Errorf("cursor is %q", s.Cursor)
	}
	if !slices.Equal(acked, []uint64{1, 2}) {
		t.Errorf("acknowledged %v", acked)
	}
}

func TestBatchWhoseCursorWasRefusedDoesNotGoOut(t *testing.T) {
	s := opened(t, &source{poll: func(p *sdk.Poll) error {
		return errors.Join(add(p, "a"), p.SetCursor(strings.Repeat("k", abi.MaxKey+1), []byte("1")))
	}})
	for range 2 {
		if got, err := s.Poll(); err == nil || len(got) != 0 {
			t.Errorf("%d events went out, %v", len(got), err)
		}
	}
	if len(s.Events) != 0 {
		t.Errorf("events are %q", sdktest.Bodies(s.Events))
	}
}

func TestFullBatchTakesNoMore(t *testing.T) {
	s := opened(t, &source{poll: func(p *sdk.Poll) error {
		for n := 0; ; n++ {
			if err := add(p, strings.Repeat("x", 100)); errors.Is(err, sdk.ErrFull) {
				return nil
			} else if err != nil || n > 1000 {
				return fmt.Errorf("after %d: %w", n, err)
			}
		}
	}})
	for _, c := range []struct{ events, bytes, want int }{{7, 1 << 20, 7}, {100, 1000, 7}} { // 32 + 7 × 124 ≤ 1000
		s.MaxEvents, s.MaxBytes = c.events, c.bytes
		got, err := s.Poll()
		if err != nil || len(got) != c.want {
			t.Errorf("%d events in %d bytes: %d came, %v", c.events, c.bytes, len(got), err)
		}
	}
}

func TestSeveralBatchesInOnePoll(t *testing.T) {
	var seqs []uint64
	s := opened(t, &source{poll: func(p *sdk.Poll) error {
		for _, b := range []string{"a", "b"} {
			seq, err := p.Flush()
			if err := errors.Join(err, add(p, b)); err != nil {
				return err
			}
			seqs = append(seqs, seq)
		}
		return nil
	}})
	if got, err := s.Poll(); err != nil || len(got) != 2 {
		t.Fatalf("%v, %v", got, err)
	}
	if !slices.Equal(seqs, []uint64{0, 1}) {
		t.Errorf("flush answered %v", seqs)
	}
}

func TestErrorComesAfterTheEventsItCameWith(t *testing.T) {
	for _, c := range []struct {
		err  error
		code abi.Code
	}{
		{sdk.Done, abi.EOF},
		{errors.New("odd"), abi.EAGAIN},
		{sdk.Retry(errors.New("busy"), time.Minute), abi.EAGAIN},
		{sdk.ConfigError("a.b", "is wrong"), abi.EINVAL},
		{fmt.Errorf("open: %w", fs.ErrNotExist), abi.ENOENT},
		{fmt.Errorf("open: %w", fs.ErrPermission), abi.EACCES},
		{fmt.Errorf("append: %w", sdk.ErrTooBig), abi.ETOOBIG},
	} {
		sent := false
		s := opened(t, &source{poll: func(p *sdk.Poll) error {
			if sent {
				return add(p, "after")
			}
			sent = true
			return errors.Join(add(p, "before"), c.err)
		}})
		if got, err := s.Poll(); err != nil || len(got) != 1 {
			t.Errorf("%v: the first poll gives %v, %v", c.err, got, err)
		}
		_, err := s.Poll()
		if c.code == abi.EOF {
			if _, again := s.Poll(); !errors.Is(err, sdk.Done) || !errors.Is(again, sdk.Done) {
				t.Errorf("a finished source answers %v, %v", err, again)
			}
			continue
		}
		e, ok := errors.AsType[*sdk.Error](err)
		if !ok || e.Code != c.code || !strings.Contains(e.Error(), c.err.Error()) {
			t.Errorf("%v: the second poll gives %v, want code %v", c.err, err, c.code)
			continue
		}
		if want, ok := errors.AsType[*sdk.Error](c.err); ok && (e.Path != want.Path || e.Delay != want.Delay) {
			t.Errorf("%v: path %q, delay %v", c.err, e.Path, e.Delay)
		}
		if got, err := s.Poll(); err != nil || len(got) != 1 {
			t.Errorf("%v: the third poll gives %v, %v", c.err, got, err)
		}
	}
}

func TestInterruptionIsNoError(t *testing.T) {
	s := opened(t, &source{poll: func(p *sdk.Poll) error { return errors.Join(add(p, "a"), sdk.ErrInterrupted) }})
	for range 2 {
		if got, err := s.Poll(); err != nil || len(got) != 1 {
			t.Fatalf("%v, %v", got, err)
		}
	}
}

func TestRefusedBatchEndsTheInstance(t *testing.T) {
	emits, fails := 0, 0
	host := sdk.Host{
		Emit: func([]byte) int64 {
			if emits++; emits == 2 {
				return int64(abi.ETOOBIG)
			}
			return int64(emits)
		},
		Fail: func(abi.Code, time.Duration, string, string) { fails++ },
	}
	g := sdk.NewGuest(map[string]sdk.Plugin{"p": {Source: func() sdk.Source {
		return &source{poll: func(p *sdk.Poll) error { return add(p, "a") }}
	}}}, host)
	openGuest(t, g, abi.OpenRequest{Plugin: "p", Kind: abi.Source})
	for i, want := range []abi.Code{abi.OK, abi.ETOOBIG, abi.ETOOBIG} {
		if code := g.Poll(10, 1000, 0); code != want {
			t.Errorf("poll %d answers %v, want %v: a batch after a refused one would leave a hole", i, code, want)
		}
	}
	if emits != 2 || fails != 2 {
		t.Errorf("%d emits, %d failures told", emits, fails)
	}
}

func openGuest(t testing.TB, g *sdk.Guest, req abi.OpenRequest) {
	t.Helper()
	doc, err := req.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	copy(g.Alloc(len(doc)), doc)
	if code := g.Open(len(doc)); code != abi.OK {
		t.Fatalf("open answers %v", code)
	}
}

func TestConfigDecodesDurationsAndSizes(t *testing.T) {
	var cfg struct {
		Wait time.Duration `json:"wait"`
		Size int64         `json:"size"`
	}
	var path string
	host := sdk.Host{Fail: func(_ abi.Code, _ time.Duration, p, _ string) { path = p }}
	open := func(config string) abi.Code {
		s := &source{open: func(o *sdk.Open) error { return o.Config(&cfg) }}
		g := sdk.NewGuest(map[string]sdk.Plugin{"p": {Source: func() sdk.Source { return s }}}, host)
		doc, err := abi.OpenRequest{Plugin: "p", Kind: abi.Source, Config: []byte(config)}.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		copy(g.Alloc(len(doc)), doc)
		return g.Open(len(doc))
	}
	if code := open(`{"wait":1500,"size":1099511627776,"unknown":{}}`); code != abi.OK || cfg.Wait != 1500 || cfg.Size != 1<<40 {
		t.Errorf("config is %+v, %v", cfg, code)
	}
	if code := open(`{"size":"big"}`); code != abi.EINVAL || path != "size" {
		t.Errorf("a string for a size answers %v at %q", code, path)
	}
}

func TestLogLinesHaveMessageAndAttributes(t *testing.T) {
	s := opened(t, &source{open: func(o *sdk.Open) error {
		o.Log.With("with", 1).WithGroup("g").Warn("what happened", "key", "a b", "msg", "own")
		o.Log.Info("plain")
		o.Counter("n").Add(2)
		o.Counter("n").Add(3)
		o.Gauge("g").Set(4)
		return nil
	}})
	if want := []string{`WARN what happened with=1 g.key="a b" g.msg=own`, "INFO plain"}; !slices.Equal(s.Logs, want) {
		t.Errorf("log is %q, want %q", s.Logs, want)
	}
	if s.Metrics["n"] != 5 || s.Metrics["g"] != 4 {
		t.Errorf("metrics are %v", s.Metrics)
	}
}

// sink is a sink whose write is a function.
type sink func(r event.Range, b event.Batch, d *sdk.Delivery) error

func (s sink) Open(o *sdk.Open) error {
	return o.Held(1<<63, event.Range{First: 5, Next: 9})
}
func (s sink) Write(r event.Range, b event.Batch, d *sdk.Delivery) error { return s(r, b, d) }

func TestDeliveryArrivesAsItWasSent(t *testing.T) {
	var got []string
	k := sdktest.OpenSink(t, func() sdk.Sink {
		return sink(func(r event.Range, b event.Batch, d *sdk.Delivery) error {
			got = append(got, r.String())
			i := 0
			for at, e := range b.All() {
				got = append(got, fmt.Sprintf("%d %s", at, e.Body))
				if string(e.Body) == "bad" {
					return errors.Join(d.Reject(i, errors.New("is bad")), sdk.Reject(errors.New("nothing applied")))
				}
				i++
			}
			return nil
		})
	}, nil)
	if err := k.Send("a", "b"); err != nil {
		t.Fatal(err)
	}
	err := k.Send("c", "bad")
	if e, ok := errors.AsType[*sdk.Error](err); !ok || e.Code != abi.EREJECT || !slices.Equal(k.Rejected, []int{1}) {
		t.Errorf("rejected %v with %v", k.Rejected, err)
	}
	if want := []string{"[0,2)", "0 a", "1 b", "[2,4)", "2 c", "3 bad"}; !slices.Equal(got, want) {
		t.Errorf("delivered %q, want %q", got, want)
	}
	if want := []sdktest.Held{{Incarnation: 1 << 63, Range: event.Range{First: 5, Next: 9}}}; !slices.Equal(k.Held, want) {
		t.Errorf("held is %v", k.Held)
	}
}

// doubler is a processor that makes two of each event but the empty ones, of which it makes none.
type doubler struct{}

func (doubler) Open(*sdk.Open) error { return nil }
func (doubler) Process(b event.Batch, out *sdk.Output) error {
	for at, e := range b.All() {
		for range min(len(e.Body), 2) {
			if err := out.Append(at, e); err != nil {
				return err
			}
		}
	}
	return nil
}

func TestProcessorKeepsOffsets(t *testing.T) {
	var emitted []byte
	host := sdk.Host{Emit: func(b []byte) int64 { emitted = slices.Clone(b); return 1 }}
	g := sdk.NewGuest(map[string]sdk.Plugin{"p": {Processor: func() sdk.Processor { return doubler{} }}}, host)
	openGuest(t, g, abi.OpenRequest{Plugin: "p", Kind: abi.Processor})
	var w event.Builder
	for _, body := range []string{"a", "", "bb"} {
		if err := w.Append(event.Event{Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	data := w.Bytes()
	event.PutBase(data, 70)
	copy(g.Alloc(len(data)), data)
	if code := g.Process(len(data)); code != abi.OK {
		t.Fatal(code)
	}
	b, err := event.Parse(emitted)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for at, e := range b.WithBase(70).All() {
		got = append(got, fmt.Sprintf("%d %s", at, e.Body))
	}
	if want := []string{"70 a", "72 bb", "72 bb"}; !slices.Equal(got, want) {
		t.Errorf("processed into %q, want %q", got, want)
	}
}

func TestCallsThatMakeNoSenseAreAnswered(t *testing.T) {
	g := sdk.NewGuest(map[string]sdk.Plugin{"p": {Source: func() sdk.Source { return &source{} }}},
		sdk.Host{Fail: func(abi.Code, time.Duration, string, string) {}})
	if g.Alloc(-1) != nil || g.Alloc(1<<30) != nil {
		t.Error("alloc gives more than its limit")
	}
	if g.Open(1<<20) >= 0 || g.Open(-1) >= 0 || g.Poll(1, 1, 0) != abi.ENOSYS || g.Deliver(event.Range{}, 32) != abi.ENOSYS {
		t.Error("a call before open, or with no request, is taken")
	}
	doc, err := abi.OpenRequest{Plugin: "q", Kind: abi.Sink}.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	copy(g.Alloc(len(doc)), doc)
	if code := g.Open(len(doc)); code != abi.ENOSYS {
		t.Errorf("a plugin that is not there: %v", code)
	}
	openGuest(t, g, abi.OpenRequest{Plugin: "p", Kind: abi.Source})
	if g.Deliver(event.Range{}, 32) != abi.ENOSYS || g.Close() != abi.OK || g.Poll(1, 1, 0) != abi.ENOSYS {
		t.Error("a call of another kind, or after close, is taken")
	}
}

func TestNothingIsAllocatedForABatch(t *testing.T) {
	emitted := 0
	host := sdk.Host{
		Emit:   func(b []byte) int64 { emitted += len(b); return 1 },
		Cursor: func(string, []byte) abi.Code { return abi.OK },
		Now:    func() int64 { return 0 },
	}
	e := event.Event{Body: make([]byte, 256), Attributes: []event.Attribute{{Key: "k", Value: []byte("v")}}}
	at := []byte("123")
	g := sdk.NewGuest(map[string]sdk.Plugin{"p": {
		Source: func() sdk.Source {
			return &source{poll: func(p *sdk.Poll) error {
				for range 64 {
					if err := p.Append(e); err != nil {
						return err
					}
				}
				return p.SetCursor("at", at)
			}}
		},
		Sink: func() sdk.Sink { return new(counting) },
	}}, host)
	openGuest(t, g, abi.OpenRequest{Plugin: "p", Kind: abi.Source})
	if n := testing.AllocsPerRun(100, func() { g.Poll(64, 1<<20, 0) }); n != 0 {
		t.Errorf("a poll allocates %v times", n)
	}
	var w event.Builder
	for w.Append(e) == nil && w.Len() < 64 {
	}
	data := w.Bytes()
	k := sdk.NewGuest(map[string]sdk.Plugin{"p": {Sink: func() sdk.Sink { return new(counting) }}}, host)
	openGuest(t, k, abi.OpenRequest{Plugin: "p", Kind: abi.Sink})
	if n := testing.AllocsPerRun(100, func() {
		copy(k.Alloc(len(data)), data)
		k.Deliver(event.Range{Next: 64}, len(data))
	}); n != 0 {
		t.Errorf("a delivery allocates %v times", n)
	}
}

// counting is a sink that counts bytes.
type counting struct {
	decoder event.Decoder
	n       int
}

func (c *counting) Open(*sdk.Open) error { return nil }
func (c *counting) Write(_ event.Range, b event.Batch, _ *sdk.Delivery) error {
	for _, e := range c.decoder.All(b) {
		c.n += len(e.Body)
	}
	return nil
}
