// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/host/channel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type fakeAgent struct {
	status Status
	live   error
	ready  []string
}

func (a *fakeAgent) Status() Status  { return a.status }
func (a *fakeAgent) Live() error     { return a.live }
func (a *fakeAgent) Ready() []string { return a.ready }

func options(t *testing.T, agent Agent) Options {
	reg, _ := newTestMetrics()
	return Options{
		Agent: agent, Metrics: reg, Listen: "127.0.0.1:0", DataDir: t.TempDir(),
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

// start serves until the test ends, and says at what address.
func start(t *testing.T, opts Options) *Server {
	t.Helper()
	s, err := Listen(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func fetch(t *testing.T, url, host string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestHealthSaysWhatTheAgentSays(t *testing.T) {
	agent := &fakeAgent{}
	s := start(t, options(t, agent))
	base := "http://" + s.Addr()
	for _, path := range []string{"/livez", "/readyz"} {
		if code, body := fetch(t, base+path, ""); code != 200 || !strings.Contains(body, `"ok": true`) {
			t.Errorf("%s of a sound agent: %d %s", path, code, body)
		}
	}
	agent.live, agent.ready = errors.New("channel.main has stopped"), []string{"sink.orders is held: no such table"}
	if code, body := fetch(t, base+"/livez", ""); code != 503 || !strings.Contains(body, "channel.main has stopped") {
		t.Errorf("/livez: %d %s", code, body)
	}
	if code, body := fetch(t, base+"/readyz", ""); code != 503 || !strings.Contains(body, "sink.orders is held: no such table") {
		t.Errorf("/readyz: %d %s", code, body)
	}
}

func TestMetricsAndProfilesAreServedOnLoopback(t *testing.T) {
	s := start(t, options(t, &fakeAgent{}))
	base := "http://" + s.Addr()
	if code, body := fetch(t, base+"/metrics", ""); code != 200 || !strings.Contains(body, `penstock_build_info{goversion=`) ||
		!strings.Contains(body, "go_goroutines") {
		t.Errorf("/metrics: %d %.200s", code, body)
	}
	if code, body := fetch(t, base+"/debug/pprof/", ""); code != 200 || !strings.Contains(body, "goroutine") {
		t.Errorf("/debug/pprof/: %d %.200s", code, body)
	}
	if code, body := fetch(t, base+"/", ""); code != 200 || !strings.Contains(body, "/readyz") {
		t.Errorf("/: %d %.200s", code, body)
	}
	if code, _ := fetch(t, base+"/nothing", ""); code != 404 {
		t.Errorf("/nothing: %d, want 404", code)
	}
}

func TestAWebPageWithANameOfItsOwnIsRefused(t *testing.T) {
	s := start(t, options(t, &fakeAgent{}))
	for host, want := range map[string]int{
		"evil.example:7420": 403, "evil.example": 403, "10.0.0.1": 403, "localhost.evil.example": 403,
		"localhost:7420": 200, "127.0.0.1": 200, "[::1]:80": 200, "[::1]": 200,
	} {
		if code, _ := fetch(t, "http://"+s.Addr()+"/debug/pprof/cmdline", host); code != want {
			t.Errorf("Host %q: %d, want %d", host, code, want)
		}
	}
}

func TestTheControlSocketAnswersTheStatus(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	want := Status{
		Agent: "web-01", Version: "1.2.3", PID: 7, Started: now, DataDir: "/d",
		Components: []Component{{Address: "source.shop", Kind: "source", State: Running, Since: now, Events: 5}},
		Channels: []Channel{ChannelStatus("channel.main", "wal", channel.Stats{
			Events: 5, Oldest: now.Add(-time.Second), Stopped: errors.New("disk"), ShortOfDisk: "1 MiB is free",
			Readers: map[string]channel.ReaderInfo{"sink.b": {Low: 1 << 32}, "sink.a": {Waiting: 2, Leased: 1}},
		}, now)},
	}
	opts := options(t, &fakeAgent{status: want})
	opts.Listen = Off
	s := start(t, opts)
	if s.Addr() != "" {
		t.Errorf("listens on %s, want nothing", s.Addr())
	}
	got, err := Ask(t.Context(), opts.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if c := got.Channels[0]; c.OldestSeconds != 1 || c.Stopped != "disk" || c.ShortOfDisk != "1 MiB is free" || c.Readers[0].Name != "sink.a" {
		t.Errorf("channel says %+v", c)
	}
}

func TestAskSaysThatThereIsNoAgent(t *testing.T) {
	dir := t.TempDir()
	if _, err := Ask(t.Context(), dir); !errors.Is(err, ErrNoAgent) {
		t.Errorf("no socket: %v, want ErrNoAgent", err)
	}
	leaveStale(t, filepath.Join(dir, socketName))
	if _, err := Ask(t.Context(), dir); !errors.Is(err, ErrNoAgent) {
		t.Errorf("stale socket: %v, want ErrNoAgent", err)
	}
}

func TestAnAddressThatOthersReachIsRefused(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:7420", ":7420", "10.1.2.3:7420", "[::]:7420", "web-01:7420"} {
		opts := options(t, &fakeAgent{})
		opts.Listen = addr
		if _, err := Listen(opts); !errors.Is(err, ErrExposed) {
			t.Errorf("%s: %v, want ErrExposed", addr, err)
		}
	}
	if err := CheckListen("7420"); err == nil || errors.Is(err, ErrExposed) {
		t.Errorf("7420: %v, want a word on how to write it", err)
	}
	for _, addr := range []string{"127.0.0.1:0", "localhost:0", "[::1]:0", "127.3.2.1:0", Off, ""} {
		if err := CheckListen(addr); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestAPortThatIsTakenIsSaidSo(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	opts := options(t, &fakeAgent{})
	opts.Listen = l.Addr().String()
	if _, err := Listen(opts); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "--http") {
		t.Errorf("%v, want ErrInUse and what to do", err)
	}
}

func TestASecondServerOnOneDirectoryIsRefused(t *testing.T) {
	opts := options(t, &fakeAgent{})
	start(t, opts)
	if _, err := Listen(opts); !errors.Is(err, ErrInUse) {
		t.Errorf("%v, want ErrInUse", err)
	}
}

func TestTheSocketIsForItsOwnerAloneAndReplacesAStaleOne(t *testing.T) {
	opts := options(t, &fakeAgent{})
	path := filepath.Join(opts.DataDir, socketName)
	leaveStale(t, path)
	s, err := Listen(opts)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("mode %v, want nothing for others", info.Mode())
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there after Close: %v", err)
	}
}

func TestAFileInTheSocketsPlaceIsNotRemoved(t *testing.T) {
	opts := options(t, &fakeAgent{})
	path := filepath.Join(opts.DataDir, socketName)
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(opts); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("%v, want that it is not a socket", err)
	}
	if b, _ := os.ReadFile(path); !bytes.Equal(b, []byte("mine")) {
		t.Error("the file was changed")
	}
}

func TestALongPathFallsBackToTheRuntimeDirectory(t *testing.T) {
	runtime, err := os.MkdirTemp("/tmp", "") // t.TempDir has too long a name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(runtime) })
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	opts := options(t, &fakeAgent{status: Status{Agent: "far"}})
	opts.DataDir = filepath.Join(opts.DataDir, strings.Repeat("long/", 25))
	path, err := SocketPath(opts.DataDir)
	if err != nil || !strings.HasPrefix(path, runtime) || len(path) > maxSocketPath {
		t.Fatalf("socket at %s (%v), want it in %s", path, err, runtime)
	}
	start(t, opts)
	if got, err := Ask(t.Context(), opts.DataDir); err != nil || got.Agent != "far" {
		t.Errorf("asked: %+v, %v", got, err)
	}
}

func TestAFallbackDirectoryThatOthersWriteIsRefused(t *testing.T) {
	runtime := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	open := filepath.Join(runtime, "penstock")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := listenSocket(filepath.Join(open, "x.sock")); err == nil || !strings.Contains(err.Error(), "open to others") {
		t.Errorf("%v, want a refusal", err)
	}
}

func TestAStrangerIsTurnedAway(t *testing.T) {
	opts := options(t, &fakeAgent{})
	var logged bytes.Buffer
	opts.Log = slog.New(slog.NewJSONHandler(&logged, nil))
	s, err := Listen(opts)
	if err != nil {
		t.Fatal(err)
	}
	turns := 0
	s.socket.(*peerListener).allowed = func(c net.Conn) (bool, error) {
		if turns++; turns == 1 {
			return false, errors.New("process 9 runs as user 33")
		}
		return peerAllowed(c)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	if _, err := Ask(t.Context(), opts.DataDir); err == nil {
		t.Error("a stranger was answered")
	}
	if _, err := Ask(t.Context(), opts.DataDir); err != nil {
		t.Errorf("the owner after a stranger: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	var line struct{ Level, Err string }
	if err := json.Unmarshal(logged.Bytes(), &line); err != nil || line.Err != "process 9 runs as user 33" {
		t.Errorf("logged %s", logged.Bytes())
	}
}

// leaveStale leaves a socket as an agent that was killed does.
func leaveStale(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAnAgentThatDoesNotAnswerYetIsToldFromNone(t *testing.T) {
	dir := t.TempDir()
	path, err := SocketPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path) // as of an agent that starts
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Ask(ctx, dir); !errors.Is(err, ErrSilent) {
		t.Errorf("%v, want ErrSilent", err)
	}
}
