// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plugin/wasm"
	"github.com/penstock-io/penstock/plugins/native"
	"github.com/penstock-io/penstock/spec/pluginpb"
)

// data is the data directory of every agent here, one after the other, so that modules are compiled once.
var data string

func TestMain(m *testing.M) {
	if os.Getenv(pluginpb.CookieKey) != "" { // started by an agent here, as a child process
		native.Serve("std")
	}
	var err error
	if data, err = os.MkdirTemp("", "penstock-agent"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(data)
		os.Exit(code)
	}))
}

// patience is how long a test waits for what must happen; it only matters to one that fails.
const patience = 60 * time.Second

// faulty builds the module in testdata, once.
var faulty = sync.OnceValues(func() ([]byte, error) { return build("") })

// build builds the module in testdata in a mode of its processor "pass". Its manifest asks for more where the mode is "asks", and has another form of cursor where it is "form".
func build(mode string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "faulty")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "faulty.wasm")
	build := exec.Command("go", "build", "-trimpath", "-buildmode=c-shared", "-ldflags=-X main.mode="+mode, "-o", out, "./testdata/faulty")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if said, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, said)
	}
	code, err := os.ReadFile(out)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile("testdata/faulty/plugin.hcl")
	if err != nil {
		return nil, err
	}
	if mode == "form" {
		text = bytes.Replace(text, []byte("cursor_version = 1"), []byte("cursor_version = 2\n  reads = [1]"), 1)
	}
	if mode == "asks" {
		text = bytes.Replace(text, []byte("processor \"pass\" {"), []byte("processor \"pass\" {\n  need \"env\" \"home\" {\n    value = \"\\\"HOME\\\"\"\n  }"), 1)
	}
	manifest, _, diags := config.ParseManifest(text, "plugin.hcl")
	if diags.HasErrors() {
		return nil, diags
	}
	return wasm.Pack(code, manifest)
}

// rig is an agent that runs, in a directory of its own.
type rig struct {
	*Agent
	dir  string
	log  *bytes.Buffer
	stop func() error
}

// agentBlock is that of all pipelines here. A plugin that breaks at once has done so within the probation.
const agentBlock = `agent "test" {
  data_dir  = "DATA"
  probation = "150ms"
}
`

// write puts a pipeline in the place of the one before, as an editor does.
func write(t testing.TB, dir, pipeline string) {
	t.Helper()
	text := pipeline
	if !strings.Contains(pipeline, "agent \"test\"") {
		text = agentBlock + pipeline
	}
	text = strings.ReplaceAll(text, "DATA", data)
	file := filepath.Join(dir, "pipeline.hcl")
	if err := os.WriteFile(file+"~", []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+"~", file); err != nil {
		t.Fatal(err)
	}
}

// load reads a pipeline, as the command does.
func load(file string, look Look) (Setup, error) {
	modules := &Modules{Look: look, Serve: func(string) (path string, args []string, ok bool) {
		path, err := os.Executable()
		return path, nil, err == nil
	}}
	c, sources, diags := config.Load(file, modules.ConfigOptions(filepath.Dir(file)))
	if diags.HasErrors() {
		var said strings.Builder
		config.WriteDiagnostics(&said, diags, sources, false, 80)
		return Setup{}, &admin.Refusal{Code: admin.CodeMistakes, Message: said.String()}
	}
	return Setup{Config: c, Modules: modules, Sources: sources}, nil
}

// run starts an agent on a pipeline in which DIR stands for a directory that holds faulty.wasm.
func run(t testing.TB, dir, pipeline string, edit ...func(*Options)) rig {
	t.Helper()
	code, err := faulty()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(data, "channels")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "faulty.wasm"), code, 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "pipeline.hcl")
	write(t, dir, pipeline)
	setup, err := load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	log := new(bytes.Buffer)
	options := Options{
		Setup: setup, Load: func(_ string, _ admin.Variables, look Look, _ func(*config.Config) error) (Setup, error) {
			return load(file, look)
		}, Log: slog.New(slog.NewTextHandler(log, nil)), Listen: admin.Off,
	}
	for _, e := range edit {
		e(&options)
	}
	a, err := New(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	first := a.Status()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() {
		if err := stop(); err != nil && !errors.Is(err, ErrNotDrained) && !errors.Is(err, net.ErrClosed) { // those are for the test to judge, and goleak
			t.Error(err)
		}
		addsUp(t, first, a.Status())
		if t.Failed() {
			t.Logf("the agent says:\n%s", log)
		}
	})
	return rig{a, dir, log, stop}
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not: %s", what)
		}
	}
}

func (r rig) component(address string) admin.Component {
	for _, c := range r.Status().Components {
		if c.Address == address {
			return c
		}
	}
	return admin.Component{}
}

func TestAGuestThatTrapsInTheMiddleIsReplacedAndNothingIsLostOrRepeated(t *testing.T) {
	const count = 2000
	r := run(t, t.TempDir(), `
plugin "faulty" {
  source = "./faulty.wasm"
}
source "faulty" "traps" {
  into = channel.main
  config {
    count = 2000
    every = 620
  }
}
channel "wal" "main" {}
sink "file" "out" {
  from = channel.main
  config { path = "DIR/out.log" }
}
`)
	eventually(t, "everything delivered", func() bool { return r.component("sink.out").Events == count })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for i := range count {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	got, err := os.ReadFile(filepath.Join(r.dir, "out.log"))
	if err != nil || string(got) != want.String() {
		t.Errorf("came out: %d bytes, wanted %d; %v", len(got), want.Len(), err)
	}
	if n := strings.Count(r.log.String(), `msg="panic: breaking, as I was told"`); n != 3 {
		t.Errorf("the log tells of %d traps, there are 3", n)
	}
}

func TestAGuestThatBreaksAgainAndAgainIsHeldAndTheOthersGoOn(t *testing.T) {
	r := run(t, t.TempDir(), `
plugin "faulty" {
  source = "./faulty.wasm"
}
source "faulty" "broken" {
  into = channel.main
  config {
    count = 2000
    every = 1
  }
}
source "generate" "good" {
  into = channel.main
  config { count = 5000 }
}
channel "wal" "main" {}
sink "discard" "out" {
  from = channel.main
}
`)
	eventually(t, "held", func() bool { return r.component("source.broken").State == admin.Held })
	eventually(t, "the other one's events delivered", func() bool { return r.component("sink.out").Events >= 5000 })
	ready := r.Ready()
	if len(ready) != 1 || !strings.Contains(ready[0], "source.broken is held") || r.Live() != nil {
		t.Errorf("ready %q, live %v", ready, r.Live())
	}
}

func TestAFullChannelBlocksTheSourceAndMemoryStaysFlat(t *testing.T) {
	const capacity = 16 << 20
	r := run(t, t.TempDir(), `
plugin "faulty" {
  source = "./faulty.wasm"
  grant {
    dir "until" {
      path = "DIR"
    }
  }
}
source "generate" "in" {
  into = channel.main
  config { count = 200000 }
}
channel "wal" "main" {
  capacity = "16MiB"
}
sink "faulty" "out" {
  from = channel.main
  retry {
    min = "10ms"
    max = "20ms"
  }
  config { until = "DIR/up" }
}
`)
	full := func() bool { return r.Status().Channels[0].Bytes >= capacity }
	eventually(t, "full", full)
	tries := func(n uint64) {
		retries := r.component("sink.out").Retries
		eventually(t, "tried so often", func() bool { return r.component("sink.out").Retries > retries+n })
	}
	tries(20) // what made it full is counted a little later
	before := r.component("source.in").Events
	tries(100)
	s := r.Status()
	if s.Channels[0].Bytes > capacity+8<<20 || r.component("source.in").Events != before {
		t.Errorf("the source went on: %d bytes, %d events, then %d", s.Channels[0].Bytes, before, r.component("source.in").Events)
	}
	if used := r.channels()[0].pool.Used(); used > 64<<20 {
		t.Errorf("%d MiB of batches in memory", used>>20)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "up"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all delivered once the destination is up", func() bool { return r.component("sink.out").Events == 200000 })
}

func TestASecondAgentOnTheSameDataIsRefusedAndToldWhoHasIt(t *testing.T) {
	r := run(t, t.TempDir(), `
source "generate" "in" {
  into = channel.main
  config {
    count = 10
  }
}
channel "wal" "main" {}
sink "discard" "out" {
  from = channel.main
}
`)
	_, err := New(t.Context(), Options{Setup: Setup{Config: r.opts.Config}, Log: slog.New(slog.DiscardHandler), Listen: admin.Off})
	if !errors.Is(err, ErrEnvironment) || !strings.Contains(err.Error(), fmt.Sprint("pid ", os.Getpid())) {
		t.Errorf("error %v", err)
	}
	eventually(t, "the first unharmed", func() bool { return r.component("sink.out").Events == 10 })
}

func TestStepsThatDoNotExistCannotBeAimedAt(t *testing.T) {
	for _, when := range []string{"", "fsync", "fsync:0", "fsync:x", "nap:3"} {
		if _, err := KillAt(when); err == nil {
			t.Errorf("%q is taken", when)
		}
	}
	step, err := KillAt("fsync:1000000")
	if err != nil {
		t.Fatal(err)
	}
	step("fsync")
}
