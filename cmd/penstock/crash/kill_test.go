// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/agent"
)

var (
	kills = flag.Int("kills", 6, "how often the agent is killed")
	lines = flag.Int("lines", 100_000, "how many lines are written meanwhile")
	seed  = flag.Uint64("seed", 0, "of everything that is random; 0 = draw one")
)

var binary string // the agent under test

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "penstock-crash")
	if err == nil {
		binary = filepath.Join(dir, "penstock")
		build := exec.Command("go", "build", "-o", binary, "../")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		err = build.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "build the agent:", err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// wanted are the steps in which the agent must have been killed at least once.
var wanted = []string{"put", "fsync", "roll", "unlink", "take", "write"}

// rig is an agent that tails a log into a file, and what is around it.
type rig struct {
	t        *testing.T
	dir, cfg string
	page     *os.File // the step file
	rng      *rand.Rand
	said     tail
	byStep   map[string]int
}

func newRig(t *testing.T) *rig {
	t.Helper()
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("seed %d, %d kills, %d lines (again: go test -run '%s$' ./cmd/penstock/crash -args -seed=%d -kills=%d -lines=%d)",
		*seed, *kills, *lines, t.Name(), *seed, *kills, *lines)
	r := &rig{t: t, dir: t.TempDir(), rng: rand.New(rand.NewPCG(*seed, 1)), byStep: map[string]int{}}
	for _, d := range []string{"logs", "out"} {
		if err := os.Mkdir(filepath.Join(r.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.cfg = filepath.Join(r.dir, "pipeline.hcl")
	text := strings.ReplaceAll(pipelineText, "DIR", r.dir)
	if err := os.WriteFile(r.cfg, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	page, err := os.Create(filepath.Join(r.dir, "steps"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { page.Close() })
	r.page = page
	return r
}

const pipelineText = `
agent "crash" {
  data_dir = "DIR/data"
}

source "file" "app" {
  into = channel.main
  config { paths = ["DIR/logs/app.log"] }
}

source "file" "idle" {
  into = channel.main
  config { paths = ["DIR/logs/idle.log"] }
}

channel "wal" "main" {
  capacity = "64MiB"
}

sink "file" "out" {
  from = channel.main
  config { path = "DIR/out/out.log" }
}
`

func (r *rig) path(elem ...string) string {
	return filepath.Join(append([]string{r.dir}, elem...)...)
}

func (r *rig) outSize() int64 {
	info, err := os.Stat(r.path("out", "out.log"))
	if err != nil {
		return 0
	}
	return info.Size()
}

func (r *rig) start() *exec.Cmd {
	r.t.Helper()
	cmd := exec.Command(binary, "run", r.cfg, "--http", "off", "--log-format", "json")
	cmd.Env = append(os.Environ(), "PENSTOCK_STEP_FILE="+r.path("steps"))
	cmd.Stdout, cmd.Stderr = &r.said, &r.said
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	return cmd
}

func (r *rig) step() string {
	var word [8]byte
	if _, err := r.page.ReadAt(word[:], 0); err != nil {
		return ""
	}
	return agent.ReadStep(word[:])
}

// strike lets the agent run for a while, then ends it with sig in the step that is wanted, if that
// comes up within a few seconds, and counts the step in which it really ended.
func (r *rig) strike(cmd *exec.Cmd, sig syscall.Signal, want string) {
	r.t.Helper()
	time.Sleep(time.Duration(r.rng.IntN(700)) * time.Millisecond)
	for deadline := time.Now().Add(5 * time.Second); want != "" && r.step() != want && time.Now().Before(deadline); {
		time.Sleep(10 * time.Microsecond)
	}
	if err := cmd.Process.Signal(sig); err != nil {
		r.t.Fatalf("the agent ended by itself: %v\n%s", err, &r.said)
	}
	err := cmd.Wait()
	r.byStep[r.step()]++
	exit, failed := errors.AsType[*exec.ExitError](err)
	switch {
	case sig == syscall.SIGKILL && failed && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL:
	case sig == syscall.SIGTERM && err == nil:
	default:
		r.t.Fatalf("ended by %v it says %v\n%s", sig, err, &r.said)
	}
}

// leastKilled picks among the wanted steps one that has had the fewest kills.
func (r *rig) leastKilled() string {
	r.rng.Shuffle(len(wanted), func(i, j int) { wanted[i], wanted[j] = wanted[j], wanted[i] })
	return slices.MinFunc(wanted, func(a, b string) int { return r.byStep[a] - r.byStep[b] })
}

func TestKillNineLosesAndRepeatsNothing(t *testing.T) {
	r := newRig(t)
	r.loop(syscall.SIGKILL)
	t.Logf("%d kills by step: %v", *kills, r.byStep)
	for _, step := range wanted {
		if r.byStep[step] == 0 && *kills >= 50 {
			t.Errorf("never killed in step %q", step)
		}
	}
}

func TestKillPolitelyLosesAndRepeatsNothing(t *testing.T) {
	r := newRig(t)
	r.loop(syscall.SIGTERM)
}

// loop writes the log and ends the agent again and again, then lets it finish and compares.
func (r *rig) loop(sig syscall.Signal) {
	t := r.t
	t.Helper()
	idle := r.path("logs", "idle.log")
	if err := os.WriteFile(idle, []byte("idle: the first line\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	log := newLogger(t, r.path("logs", "app.log"), r.path("expected"), rand.New(rand.NewPCG(*seed, 2)))
	written := make(chan error, 1)
	stop := make(chan struct{})
	perSecond := max(1000, *lines / *kills) // the writing lasts about as long as the killing
	go func() { written <- log.run(*lines, perSecond, r.outSize, stop) }()
	for range *kills {
		cmd := r.start()
		want := ""
		if sig == syscall.SIGKILL {
			want = r.leastKilled()
		}
		r.strike(cmd, sig, want)
		time.Sleep(time.Duration(r.rng.IntN(150)) * time.Millisecond) // down
	}
	if err := r.waitFor(written); err != nil {
		close(stop)
		t.Fatal(err)
	}
	f, err := os.OpenFile(idle, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(f, "idle: the second line, long after")
	f.Close()
	r.finish(log)
	t.Logf("%d lines, %d bytes, %d rotations: every byte once, in order", log.lines, log.written, log.rotated)
}

// waitFor lets an agent run until the writer is done.
func (r *rig) waitFor(written <-chan error) error {
	cmd := r.start()
	err := <-written
	r.strike(cmd, syscall.SIGTERM, "")
	return err
}

const idleWant = "idle: the first line\nidle: the second line, long after\n"

// finish waits until all has come out, and compares.
func (r *rig) finish(log *logger) {
	t := r.t
	t.Helper()
	cmd := r.start()
	want := log.written + int64(len(idleWant))
	for deadline := time.Now().Add(2 * time.Minute); r.outSize() < want && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	time.Sleep(300 * time.Millisecond) // for what should not come
	r.strike(cmd, syscall.SIGTERM, "")
	expected, err := os.Open(r.path("expected"))
	if err != nil {
		t.Fatal(err)
	}
	defer expected.Close()
	out, err := os.ReadFile(r.path("out", "out.log"))
	if err != nil {
		t.Fatal(err)
	}
	var app, idle bytes.Buffer // one stream a source, in the order in which the lines came out
	for line := range bytes.Lines(out) {
		if bytes.HasPrefix(line, []byte("idle: ")) {
			idle.Write(line)
		} else {
			app.Write(line)
		}
	}
	if idle.String() != idleWant {
		t.Errorf("the idle source's lines came out as %q", idle.String())
	}
	if err := compare(expected, &app); err != nil {
		t.Fatalf("%v\n(seed %d; written %d bytes, came out %d)\n%s", err, *seed, log.written, app.Len(), &r.said)
	}
}
