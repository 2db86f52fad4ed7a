// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/reliability"
)

// needStrace skips where system calls cannot be made to fail; in CI that is a failure.
func needStrace(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil || os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root and strace, and in CI nothing is left out")
		}
		t.Skip("NOT TESTED: needs root and strace")
	}
}

// sabotage makes the next flush of a file by that process fail, and every later one of another thread. It returns when
// it is in place; stop, after the process has ended, returns the flushes that were asked for since.
func sabotage(t *testing.T, process *os.Process, file string) (stop func() string) {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command("strace", "-f", "-o", trace, "-P", file, "-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:error=EIO:when=1", "-p", fmt.Sprint(process.Pid))
	said, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // a test that failed has not stopped it
	lines := bufio.NewReader(said)
	for line := ""; !strings.Contains(line, "attached"); {
		if line, err = lines.ReadString('\n'); err != nil {
			t.Fatalf("strace did not begin: %v", err)
		}
	}
	return func() string {
		_, err := io.Copy(io.Discard, lines)
		err = errors.Join(err, cmd.Wait())
		text, rerr := os.ReadFile(trace)
		if err = errors.Join(err, rerr); err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
}

// write appends numbered lines to the log.
func (r *rig) write(from, to int) {
	r.t.Helper()
	f, err := os.OpenFile(r.path("logs", "app.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := from; i < to; i++ {
		fmt.Fprintf(f, "line %d\n", i)
	}
	if err := f.Close(); err != nil {
		r.t.Fatal(err)
	}
}

// came checks that so many lines came out, each once and in order.
func (r *rig) came(lines int) {
	r.t.Helper()
	var want bytes.Buffer
	for i := range lines {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	got, err := os.ReadFile(r.path("out", "out.log"))
	if err != nil {
		r.t.Fatal(err)
	}
	if err := compare(&want, bytes.NewReader(got)); err != nil {
		r.t.Error(err)
	}
}

// component returns one by its address.
func component(s admin.Status, address string) admin.Component {
	for _, c := range s.Components {
		if c.Address == address {
			return c
		}
	}
	return admin.Component{}
}

// delivered waits until the sink has taken so many lines since it started.
func (r *rig) delivered(n uint64) {
	r.t.Helper()
	r.until(fmt.Sprintf("%d lines are delivered", n), func(s admin.Status) bool { return component(s, "sink.out").Events == n })
}

// A flush of the log fails under a running agent. Nothing more is acknowledged or flushed, the agent says so to whoever asks, and the next
// one delivers exactly what there is: what was acknowledged comes from the log, the rest from the source once more.
func TestAFlushThatFailsStopsTheChannelTurnsReadinessRedAndLosesNothing(t *testing.T) {
	needStrace(t)
	r := newRig(t)
	cmd := r.start("--http", "127.0.0.1:0")
	defer cmd.Process.Kill()
	const before, all = 1000, 3000
	r.write(0, before)
	r.delivered(before)
	segments, err := filepath.Glob(r.path("data", "channels", "main", "log", "*"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("the log has %d segments, %v", len(segments), err)
	}
	stop := sabotage(t, cmd.Process, segments[len(segments)-1])
	r.write(before, all)
	var now admin.Status
	r.until("the channel has stopped", func(s admin.Status) bool { now = s; return s.Channels[0].Stopped != "" })
	if source := component(now, "source.app"); source.Events != before || now.Channels[0].Put != before {
		t.Errorf("%d lines are acknowledged and %d put, of %d that were flushed", source.Events, now.Channels[0].Put, before)
	}
	r.red(now.HTTP)
	if out, err := exec.Command(binary, "status", "--data-dir", r.path("data")).CombinedOutput(); err != nil ||
		!strings.Contains(string(out), "channel.main has stopped") || !strings.Contains(string(out), "channel.main stopped: ") {
		t.Errorf("status says %s (%v)", out, err)
	}
	r.came(before) // readers were given nothing that was not flushed
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	trace := stop()
	if n := strings.Count(trace, "(INJECTED)"); n != 1 || strings.Count(trace, "sync(") != 1 {
		t.Errorf("%d flushes failed, and these were asked for:\n%s", n, trace)
	}
	cmd = r.start()
	defer cmd.Process.Kill()
	r.until("all is delivered", func(s admin.Status) bool { return component(s, "sink.out").Events >= all-before })
	r.came(all)
	r.terminate(cmd, 0)
	reliability.Report(t, reliability.Row{Part: reliability.Failure, What: "fdatasync EIO, of a running agent", Tried: 1, Checked: all, Fired: 1,
		Note: "/readyz said why"})
}

// red checks that readiness says what is wrong.
func (r *rig) red(address string) {
	r.t.Helper()
	answer, err := http.Get("http://" + address + "/readyz")
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(text), "channel.main has stopped") ||
		!strings.Contains(string(text), "input/output error") {
		r.t.Errorf("/readyz answers %d, %s (%v)", answer.StatusCode, text, err)
	}
}
