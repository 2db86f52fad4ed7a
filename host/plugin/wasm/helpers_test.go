// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tetratelabs/wazero/api"
	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/host/plugin"
	. "github.com/penstock-io/penstock/host/plugin/wasm/internal/wasmtest"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// shared is the runtime of all tests that need none of their own.
var shared *Runtime

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "wasm")
	if err == nil {
		shared, err = New(Options{CacheDir: dir})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	err = errors.Join(shared.Close(), os.RemoveAll(dir), goleak.Find())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// logs is a logger that remembers.
type logs struct {
	mu    sync.Mutex
	lines []string
}

func (l *logs) Enabled(context.Context, slog.Level) bool { return true }
func (l *logs) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logs) WithGroup(string) slog.Handler            { return l }
func (l *logs) Handle(_ context.Context, r slog.Record) error {
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	return nil
}

func (l *logs) count(part string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

// meter is a plugin.Metrics that remembers.
type meter struct {
	mu     sync.Mutex
	values map[string]float64
	calls  int
	cpu    time.Duration
	memory uint64
	denies map[string]int
}

func (m *meter) Plugin(component string, kind int, name string, value float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values == nil {
		m.values = map[string]float64{}
	}
	if kind == abi.MetricCounter {
		value += m.values[name]
	}
	m.values[name] = value
}

func (m *meter) Call(_ string, _, cpu time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	m.cpu += cpu
}

func (m *meter) Memory(_ string, bytes uint64) { m.mu.Lock(); defer m.mu.Unlock(); m.memory = bytes }

func (m *meter) Denied(_, capability string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.denies == nil {
		m.denies = map[string]int{}
	}
	m.denies[capability]++
}

func (m *meter) denied(capability string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.denies[capability]
}

// setup is one plugin with one instance, and what it said.
type setup struct {
	plugin.Instance
	logs  logs
	meter meter
}

// pack makes code of a module, whose manifest says that it has one plugin of each kind, named "test".
func pack(tb testing.TB, m *Module, kinds ...abi.Kind) []byte {
	tb.Helper()
	manifest := abi.Manifest{Name: "test", Version: "1.0.0"}
	for _, k := range kinds {
		manifest.Plugins = append(manifest.Plugins, abi.Plugin{Kind: k, Name: "test"})
	}
	code, err := Pack(m.Bytes(), manifest)
	if err != nil {
		tb.Fatal(err)
	}
	return code
}

func load(tb testing.TB, code []byte) plugin.Plugin {
	tb.Helper()
	p, err := shared.Load(tb.Context(), plugin.Ref{Name: "test", Source: "test.wasm", Code: code})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := p.Close(); err != nil {
			tb.Error(err)
		}
	})
	return p
}

// request is what instances are opened with, unless a test changes it.
func (s *setup) request(kind abi.Kind) plugin.Request {
	return plugin.Request{
		Component: string(kind) + ".test", Plugin: "test", Config: json.RawMessage(`{}`), Buffers: event.Heap{},
		Log: slog.New(&s.logs), Metrics: &s.meter,
	}
}

// tryOpen opens an instance of a module that has one plugin.
func (s *setup) tryOpen(tb testing.TB, m *Module, kind abi.Kind, change func(*plugin.Request)) error {
	tb.Helper()
	r := s.request(kind)
	if change != nil {
		change(&r)
	}
	var err error
	s.Instance, err = load(tb, pack(tb, m, kind)).Open(tb.Context(), kind, r)
	return err
}

func start(tb testing.TB, m *Module, kind abi.Kind, change func(*plugin.Request)) *setup {
	tb.Helper()
	s := &setup{}
	if err := s.tryOpen(tb, m, kind, change); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.close(tb) })
	return s
}

func (s *setup) close(tb testing.TB) {
	var err error
	switch {
	case s.Source != nil:
		err = s.Source.Close()
	case s.Sink != nil:
		err = s.Sink.Close()
	case s.Processor != nil:
		err = s.Processor.Close()
	}
	if err != nil {
		tb.Errorf("close: %v", err)
	}
}

// batch encodes events with these bodies.
func batch(bodies ...string) string {
	var b event.Builder
	for _, body := range bodies {
		if err := b.Append(event.Event{Body: []byte(body)}); err != nil {
			panic(err)
		}
	}
	return string(b.Bytes())
}

func bodies(b event.Batch) (list []string) {
	for _, e := range b.All() {
		list = append(list, string(e.Body))
	}
	return list
}

// wantError checks the class of err and that its text has every part.
func wantError(tb testing.TB, err error, class abi.Class, parts ...string) {
	tb.Helper()
	e, ok := errors.AsType[*plugin.Error](err)
	if !ok {
		tb.Fatalf("error is %v, want a *plugin.Error", err)
	}
	if e.Class != class {
		tb.Errorf("class of %q is %s, want %s", err, e.Class, class)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			tb.Errorf("error %q does not say %q", err, p)
		}
	}
}

// Types of functions of the ABI, for wasmtest.
var (
	none  []byte
	one   = []byte{I32}
	two   = []byte{I32, I32}
	three = []byte{I32, I32, I32}
	four  = []byte{I32, I32, I32, I32}
)

// importer adds imports of the ABI to a module.
func importer(m *Module) (emit, cursor, fail, sleep uint32) {
	emit = m.Import(abi.ImportEmit, two, []byte{I64})
	cursor = m.Import(abi.ImportCursor, four, one)
	fail = m.Import(abi.ImportFail, []byte{I32, I32, I32, I32, I32, I32}, one)
	sleep = m.Import(abi.ImportSleep, one, one)
	return emit, cursor, fail, sleep
}

func slogOf(l *logs) *slog.Logger { return slog.New(l) }

func encodeF64(v float64) uint64 { return api.EncodeF64(v) }

// fakeMemory is guest memory for imports that are called without a guest.
type fakeMemory struct {
	api.Memory
	b [256]byte
}

func (m *fakeMemory) Read(at, n uint32) ([]byte, bool) {
	if uint64(at)+uint64(n) > uint64(len(m.b)) {
		return nil, false
	}
	return m.b[at : at+n], true
}
