// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/pluginpb"
)

// both is the binary of the plugin in plugintest's testdata, shared the runtime of all tests that need none of their own.
var (
	both   string
	shared *Runtime
)

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "child" {
		os.Exit(childMain(os.Args[2]))
	}
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "subprocess")
	if err == nil {
		both = filepath.Join(dir, "both")
		var out []byte
		if out, err = exec.Command("go", "build", "-o", both, "../plugintest/testdata/both").CombinedOutput(); err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
	}
	if err == nil {
		shared, err = New(Options{})
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

// childMain is a child that does not keep the contract.
func childMain(how string) int {
	switch how {
	case "garbage":
		fmt.Println("Hello, I am a program like any other")
		time.Sleep(time.Hour)
	case "flood":
		line := strings.Repeat("x", 1<<20)
		for {
			fmt.Print(line)
		}
	case "silent":
		time.Sleep(time.Hour)
	case "version":
		fmt.Printf("1|7|unix|%s/s|grpc|\n", os.Getenv(pluginpb.SocketDirKey))
		time.Sleep(time.Hour)
	case "elsewhere":
		fmt.Printf(pluginpb.Handshake, 1, "/tmp/control.sock")
		time.Sleep(time.Hour)
	case "agent": // it opens a sink that starts something, and says what processes there are
		if err := agentMain(os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	case "faithless":
		if err := faithlessMain(os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	case "bare", "bare-tls":
		if err := bareMain(os.Args[3], how == "bare-tls"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	case "stranger":
		conn, err := net.Dial("unix", os.Args[3])
		if err == nil {
			_, err = conn.Read(make([]byte, 1)) // a server of gRPC speaks first
		}
		if err == nil {
			fmt.Println("served")
		} else {
			fmt.Println("refused")
		}
	case "dies":
		fmt.Fprintln(os.Stderr, "I cannot go on")
		return 4
	default:
		return isolationMain(how)
	}
	return 0
}

func agentMain(command []string) error {
	r, err := New(Options{})
	if err != nil {
		return err
	}
	p, err := r.Load(context.Background(), plugin.Ref{Path: command[0], Args: command, Manifest: &manifest})
	if err != nil {
		return err
	}
	s := setup{config: `{"trouble":"spawn in write"}`}
	in, err := p.Open(context.Background(), abi.Sink, s.request(abi.Sink))
	if err != nil {
		return err
	}
	if len(command) > 1 { // it does not spawn
		fmt.Println(pidOf(in.Sink), pidOf(in.Sink))
		time.Sleep(time.Hour)
	}
	var w event.Builder
	if err := w.Append(event.Event{}); err != nil {
		return err
	}
	_, err = in.Sink.Write(context.Background(), event.Range{Next: 1}, w.Batch())
	var grandchild, child int
	if _, scanErr := fmt.Sscanf(fmt.Sprint(err), "spawned %d of %d", &grandchild, &child); scanErr != nil {
		return errors.Join(err, scanErr)
	}
	fmt.Println(child, grandchild)
	time.Sleep(time.Hour)
	return nil
}

var manifest = abi.Manifest{Name: "both", Version: "1.0.0", Plugins: []abi.Plugin{
	{Kind: abi.Source, Name: "both", Replay: "cursor"}, {Kind: abi.Sink, Name: "both", Effects: "none"}, {Kind: abi.Processor, Name: "both"},
}}

func load(tb testing.TB, path string, args ...string) *Plugin {
	tb.Helper()
	p, err := shared.Load(tb.Context(), plugin.Ref{Name: "both", Path: path, Args: args, Manifest: &manifest})
	if err != nil {
		tb.Fatal(err)
	}
	return p.(*Plugin)
}

// setup is what an instance of a test is opened with, and what came of it.
type setup struct {
	config string
	change func(*plugin.Request)
	logs   logs
	meter  meter
}

func (s *setup) request(kind abi.Kind) plugin.Request {
	if s.config == "" {
		s.config = "{}"
	}
	r := plugin.Request{
		Component: string(kind) + ".test", Plugin: "both", Config: json.RawMessage(s.config), Instance: abi.Instance{Count: 1},
		Log: slog.New(&s.logs), Metrics: &s.meter,
	}
	if s.change != nil {
		s.change(&r)
	}
	return r
}

func (s *setup) open(tb testing.TB, kind abi.Kind) (plugin.Instance, error) {
	tb.Helper()
	in, err := load(tb, both).Open(tb.Context(), kind, s.request(kind))
	if err == nil {
		tb.Cleanup(func() {
			if err := errors.Join(closeOf(in)...); err != nil && !tb.Failed() {
				tb.Logf("close: %v", err)
			}
		})
	}
	return in, err
}

func (s *setup) sink(tb testing.TB) plugin.Sink {
	tb.Helper()
	in, err := s.open(tb, abi.Sink)
	if err != nil {
		tb.Fatal(err)
	}
	return in.Sink
}

func (s *setup) source(tb testing.TB) plugin.Source {
	tb.Helper()
	in, err := s.open(tb, abi.Source)
	if err != nil {
		tb.Fatal(err)
	}
	return in.Source
}

func closeOf(in plugin.Instance) (errs []error) {
	if in.Source != nil {
		errs = append(errs, in.Source.Close())
	}
	if in.Sink != nil {
		errs = append(errs, in.Sink.Close())
	}
	if in.Processor != nil {
		errs = append(errs, in.Processor.Close())
	}
	return errs
}

// pidOf is the process of an instance.
func pidOf(in any) int {
	switch i := in.(type) {
	case *sink:
		return i.process.cmd.Process.Pid
	case *source:
		return i.process.cmd.Process.Pid
	case *processor:
		return i.process.cmd.Process.Pid
	}
	panic("BUG: no instance of this package")
}

func batch(tb testing.TB, bodies ...string) event.Batch {
	tb.Helper()
	var w event.Builder
	for _, body := range bodies {
		if err := w.Append(event.Event{Body: []byte(body)}); err != nil {
			tb.Fatal(err)
		}
	}
	b, err := event.Parse(slices.Clone(w.Bytes()))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func bodies(b event.Batch) (all []string) {
	for _, e := range b.All() {
		all = append(all, string(e.Body))
	}
	return all
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

func (l *logs) has(part string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.lines, func(line string) bool { return strings.Contains(line, part) })
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

// meter counts.
type meter struct {
	mu       sync.Mutex
	reported map[string]float64
	calls    int
	memory   uint64
	denied   map[string]int
}

func (m *meter) Plugin(_ string, _ int, name string, value float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reported == nil {
		m.reported = map[string]float64{}
	}
	m.reported[name] += value
}

func (m *meter) Call(string, time.Duration, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
}

func (m *meter) Memory(_ string, bytes uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.memory = bytes
}

func (m *meter) Denied(_, capability string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.denied == nil {
		m.denied = map[string]int{}
	}
	m.denied[capability]++
}
