// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/reliability"
)

var (
	kills = flag.Int("kills", 6, "how often the agent is killed")
	terms = flag.Int("terms", 3, "how often it is told to end")
	lines = flag.Int("lines", 100_000, "how many lines are written meanwhile")
	seed  = flag.Uint64("seed", 0, "of everything that is random; 0 = draw one")
	built = flag.String("agent", "", "the binary to test; empty: it is built")
)

var (
	binary   string // the agent under test
	compiled string // its plugins, in machine code
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	dir, err := os.MkdirTemp("", "penstock-crash")
	if binary = *built; err == nil && binary == "" {
		binary = filepath.Join(dir, "penstock")
		build := exec.Command("go", "build", "-o", binary, "../")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		err = build.Run()
	}
	if err == nil {
		compiled = filepath.Join(dir, "cache")
		compile := exec.Command(binary, "plugin", "compile", "builtin:std", "--data-dir", dir)
		compile.Stderr = os.Stderr
		err = compile.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "build the agent:", err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// atRandom stands for a kill from outside, at any moment.
const atRandom = "random"

// aims are where the agent is killed, and how many of fifty kills go there. Each must be hit at least once.
var aims = map[string]int{"put": 7, "fsync": 7, "roll": 4, "unlink": 4, "take": 7, "write": 7, atRandom: 14}

// schedule returns n aims in random order.
func schedule(n int, rng *rand.Rand) []string {
	var list []string
	for _, aim := range slices.Sorted(maps.Keys(aims)) {
		list = append(list, slices.Repeat([]string{aim}, (n*aims[aim]+49)/50)...)
	}
	rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// rig is an agent that tails a log into a file, and what is around it.
type rig struct {
	t        *testing.T
	dir, cfg string
	rng      *rand.Rand
	said     tail
	byAim    map[string]int
}

func newRig(t *testing.T) *rig {
	t.Helper()
	t.Logf("seed %d, %d kills, %d lines (again: go test -run '%s$' ./cmd/penstock/crash -args -seed=%d -kills=%d -lines=%d)",
		*seed, *kills, *lines, t.Name(), *seed, *kills, *lines)
	r := &rig{t: t, dir: t.TempDir(), rng: rand.New(rand.NewPCG(*seed, 1)), byAim: map[string]int{}}
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

// appSize is how much has come out of what the logger wrote, or a little less: the lines of the idle source are not of it.
func (r *rig) appSize() int64 { return r.outSize() - int64(len(idleWant)) }

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// start runs an agent, until the test is over at the latest; args are added to its command line.
func (r *rig) start(args ...string) *exec.Cmd {
	r.t.Helper()
	cmd := r.command(args...)
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { end(cmd) })
	return cmd
}

// end kills an agent at once.
func end(cmd *exec.Cmd) {
	_ = cmd.Process.Kill() // it is gone, or goes
	_ = cmd.Wait()         // as one that was killed
}

// stuck has an agent that does not end say where it stands, and end, unless that is called off.
func stuck(process *os.Process) *time.Timer {
	const patience = 3 * time.Minute // of a busy machine, beyond any drain_timeout here
	return time.AfterFunc(patience, func() { _ = process.Signal(syscall.SIGQUIT) })
}

// command is an agent that is about to run.
func (r *rig) command(args ...string) *exec.Cmd {
	r.t.Helper()
	if cache := r.path("data", "cache"); !there(cache) {
		if err := errors.Join(os.MkdirAll(cache, 0o700), os.CopyFS(cache, os.DirFS(compiled))); err != nil {
			r.t.Fatal(err)
		}
	}
	cmd := exec.Command(binary, append([]string{"run", r.cfg, "--http", "off", "--log-format", "json"}, args...)...)
	cmd.Stdout, cmd.Stderr = &r.said, &r.said
	return cmd
}

// kill starts an agent that dies at its aim; one that does not get there is killed from outside.
func (r *rig) kill(aim string) {
	r.t.Helper()
	const patience = 10 * time.Second
	var args []string
	delay := 300*time.Millisecond + time.Duration(r.rng.IntN(700))*time.Millisecond
	if aim != atRandom {
		n := 1
		if aim != "roll" && aim != "unlink" { // they come up seldom
			n += r.rng.IntN(8)
		}
		args, delay = []string{"--kill-at", fmt.Sprintf("%s:%d", aim, n)}, patience
	}
	cmd := r.start(args...)
	timer := time.AfterFunc(delay, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	if !timer.Stop() {
		aim = atRandom
	}
	exit, failed := errors.AsType[*exec.ExitError](err)
	if !failed || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		r.t.Fatalf("it ended by itself: %v\n%s", err, &r.said)
	}
	r.byAim[aim]++
}

// terminate ends an agent as an operator does, a while after it can be asked; it must drain and say 0. It returns how long that took.
func (r *rig) terminate(cmd *exec.Cmd, after time.Duration) time.Duration {
	r.t.Helper()
	asked := time.Now()
	for _, err := admin.Ask(r.t.Context(), r.path("data")); err != nil; _, err = admin.Ask(r.t.Context(), r.path("data")) {
		if time.Since(asked) > time.Minute {
			r.t.Fatalf("it cannot be asked: %v\n%s", err, &r.said)
		}
		time.Sleep(20 * time.Millisecond)
	}
	time.Sleep(after)
	r.addsUp()
	told := time.Now()
	defer stuck(cmd.Process).Stop()
	if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil {
		r.t.Fatalf("it did not end well: %v\n%s", err, &r.said)
	}
	return time.Since(told)
}

// addsUp holds the agent that runs to the law of conservation. Each picture of a channel is of one moment; a sink counts a delivery before its reader does, so that of
// two pictures the first has the readers.
func (r *rig) addsUp() {
	r.t.Helper()
	before, err := admin.Ask(r.t.Context(), r.path("data"))
	after, aerr := admin.Ask(r.t.Context(), r.path("data"))
	if err = errors.Join(err, aerr); err != nil {
		r.t.Fatalf("it cannot be asked: %v\n%s", err, &r.said)
	}
	for _, wrong := range imbalance(before, after) {
		r.t.Error(wrong)
	}
}

// imbalance says where two pictures of an agent, one after the other, break the law of conservation.
func imbalance(before, after admin.Status) (wrong []string) {
	committed := map[string]uint64{}
	for _, c := range before.Channels {
		for _, reader := range c.Readers {
			if reader.Unaccounted != 0 {
				wrong = append(wrong, fmt.Sprintf("%s: of %d events for %s it is not known what became: %+v", c.Address, reader.Unaccounted, reader.Name, reader))
			}
			sink, _, _ := strings.Cut(reader.Name, "/") // the lanes of a sink are readers of their own
			committed[sink] += reader.Committed - reader.Held
		}
	}
	for _, c := range after.Components {
		if c.Kind == "sink" && committed[c.Address] > c.Events+c.Filtered+c.Consumed+c.Dead {
			wrong = append(wrong, fmt.Sprintf("%s has committed %d events, delivered %d, left out %d, consumed %d, and given %d to the dead letters",
				c.Address, committed[c.Address], c.Events, c.Filtered, c.Consumed, c.Dead))
		}
	}
	return wrong
}

func TestKillNineLosesAndRepeatsNothing(t *testing.T) {
	r := newRig(t)
	list := schedule(*kills, r.rng)
	row := r.loop(len(list), func(n int) { r.kill(list[n]) })
	row.Part, row.What = reliability.Kill, "an agent under load"
	row.Note += ", killed at " + strings.Trim(fmt.Sprint(r.byAim), "map[]")
	defer func() { reliability.Report(t, row) }()
	for aim := range aims {
		if r.byAim[aim] == 0 && *kills >= 50 { // fewer may miss a step that comes up seldom
			t.Errorf("never killed at %q", aim)
		}
	}
}

func TestKillPolitelyLosesAndRepeatsNothing(t *testing.T) {
	r := newRig(t)
	row := r.loop(*terms, func(int) {
		r.terminate(r.start(), 300*time.Millisecond+time.Duration(r.rng.IntN(700))*time.Millisecond)
	})
	row.Part, row.What = reliability.Terminate, "an agent under load drains and says 0"
	reliability.Report(t, row)
}

// loop writes the log and ends the agent again and again, then lets it finish and compares.
func (r *rig) loop(times int, end func(n int)) reliability.Row {
	t, begun := r.t, time.Now()
	t.Helper()
	idle := r.path("logs", "idle.log")
	if err := os.WriteFile(idle, []byte("idle: the first line\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	log := newLogger(t, r.path("logs", "app.log"), r.path("expected"), rand.New(rand.NewPCG(*seed, 2)))
	written := make(chan error, 1)
	stop := make(chan struct{})
	perSecond := max(1000, *lines / *kills) // the writing lasts about as long as the killing
	total := *lines / *kills * times
	go func() { written <- log.run(total, perSecond, r.appSize, stop) }()
	for n := range times {
		end(n)
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
	return reliability.Row{Tried: times, Checked: log.lines, Seed: *seed, Seconds: time.Since(begun).Seconds(),
		Note: fmt.Sprintf("%d MB, %d rotations", log.written>>20, log.rotated)}
}

// waitFor lets an agent run until the writer is done.
func (r *rig) waitFor(written <-chan error) error {
	cmd := r.start()
	err := <-written
	r.terminate(cmd, 300*time.Millisecond)
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
	r.terminate(cmd, 300*time.Millisecond)
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
