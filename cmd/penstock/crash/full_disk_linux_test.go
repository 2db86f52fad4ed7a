// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/reliability"
)

// mountSmall mounts a file system in memory of that many MiB, for the length of the test.
func mountSmall(t *testing.T, dir string, size int) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("only root can mount: CI must run this")
		}
		t.Skip("only root can mount")
	}
	if err := errors.Join(os.MkdirAll(dir, 0o755), unix.Mount("small", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", size))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

func resize(t *testing.T, dir string, size int) {
	t.Helper()
	if err := unix.Mount("small", dir, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("size=%dm", size)); err != nil {
		t.Fatal(err)
	}
}

// fill writes a file until there is no room for one byte more.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, step := range []int64{1 << 20, 1 << 10, 1} {
		for err = nil; err == nil; {
			_, err = io.Copy(f, bytes.NewReader(make([]byte, step)))
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
}

// until waits for what must come to pass, and asks the agent meanwhile.
func (r *rig) until(what string, done func(admin.Status) bool) {
	r.t.Helper()
	const patience = 3 * time.Minute // of a busy machine
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		out, err := exec.Command(binary, "status", "--json", "--data-dir", r.path("data")).Output()
		var answer struct {
			Result admin.Status `json:"result"`
		}
		if err == nil {
			err = json.Unmarshal(out, &answer)
		}
		if err == nil && len(answer.Result.Channels) > 0 && done(answer.Result) {
			return
		}
	}
	r.t.Fatalf("it never came to pass that %s\n%s\n%s", what, r.state(), &r.said)
}

// state is what an agent answers who is asked how it is.
func (r *rig) state() string {
	out, err := exec.Command(binary, "status", "--data-dir", r.path("data")).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s(%v)", out, err)
	}
	return string(out)
}

const (
	fullLines  = 60_000
	lineLength = 1000
)

// fullRig is an agent whose channel and whose destination lie on small disks of their own.
func fullRig(t *testing.T, argument string) *rig {
	t.Helper()
	r := newRig(t)
	mountSmall(t, r.path("data"), 64)
	mountSmall(t, r.path("out"), 1)
	text, err := os.ReadFile(r.cfg)
	if err == nil {
		err = os.WriteFile(r.cfg, []byte(strings.Replace(string(text), `capacity = "64MiB"`, argument, 1)), 0o644)
	}
	var log bytes.Buffer
	for i := range fullLines {
		fmt.Fprintf(&log, "%08d %s\n", i, strings.Repeat("x", lineLength-10))
	}
	if err = errors.Join(err, os.WriteFile(r.path("logs", "app.log"), log.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
	return r
}

// complete waits until every line has come out, and compares.
func (r *rig) complete() {
	r.t.Helper()
	r.until("all lines come out", func(admin.Status) bool { return r.outSize() >= fullLines*lineLength })
	want, err := os.ReadFile(r.path("logs", "app.log"))
	got, oerr := os.ReadFile(r.path("out", "out.log"))
	if err = errors.Join(err, oerr, compare(bytes.NewReader(want), bytes.NewReader(got))); err != nil {
		r.t.Error(err)
	}
}

// conserved waits until the figures of a quiet moment add up: what was put since the agent started, and what waited then, is
// what the sink has taken and what waits. It returns what waits and was taken.
func (r *rig) conserved(waited uint64) (all uint64) {
	r.t.Helper()
	r.until("what was put is what was taken and what waits", func(s admin.Status) bool {
		all = 0
		for _, c := range s.Components {
			if c.Kind == "sink" {
				all += c.Events
			}
		}
		for _, reader := range s.Channels[0].Readers {
			all += reader.Waiting
		}
		return s.Channels[0].Put+waited == all
	})
	return all
}

// waited is what waited when the agent started, while nothing is put; without what the destination has already, which the sink learns when it is open.
func (r *rig) waited() (n uint64) {
	r.t.Helper()
	r.until("it runs and is short of disk", func(s admin.Status) bool {
		open := false
		n = s.Channels[0].Readers[0].Waiting
		for _, c := range s.Components {
			if c.Kind == "sink" {
				n += c.Events
				open = c.State != "starting"
			}
		}
		return open && short(s) && s.Channels[0].Put == 0
	})
	return n
}

// short says whether the channel is short of disk.
func short(s admin.Status) bool { return s.Channels[0].ShortOfDisk != "" }

// The disk fills in the middle of a stream, up to min_free or up to the last byte. Sources wait; when the destination takes
// again, the channel drains, and what that frees lets the sources go on.
func TestKillNobodyWhenTheDiskFillsInTheMiddleOfAStream(t *testing.T) {
	for name, argument := range map[string]string{"to min_free": "", "to the last byte": `min_free = "0"`} {
		t.Run(name, func(t *testing.T) {
			r := fullRig(t, argument)
			cmd := r.start()
			defer cmd.Process.Kill()
			r.until("it is short of disk", short)
			r.conserved(0)
			resize(t, r.path("out"), 2*fullLines*lineLength>>20)
			r.complete()
			r.until("it has room again", func(s admin.Status) bool { return !short(s) })
			if n := r.conserved(0); n != fullLines {
				t.Errorf("%d events were put, of %d lines", n, fullLines)
			}
			r.terminate(cmd, 0)
		})
	}
	reliability.Report(t, reliability.Row{Part: reliability.FullDisk, What: "an agent in the middle of a stream: it recovers by itself",
		Tried: 2, Checked: 2 * fullLines, Note: "put = taken + waiting"})
}

// The disk is full, the agent is killed, and what others do takes every byte that is left. It starts, drains to the end,
// and accepts again, with the ballast and without.
func TestKilledOnAFullDiskItDrainsAndThenAccepts(t *testing.T) {
	for name, argument := range map[string]string{"with the ballast": "", "without": `min_free = "0"`} {
		t.Run(name, func(t *testing.T) {
			r := fullRig(t, argument)
			cmd := r.start()
			r.until("it is short of disk", short)
			cmd.Process.Kill()
			if cmd.Wait() == nil {
				t.Fatal("it ended by itself")
			}
			reserve := r.path("data", "channels", "main", "reserve")
			if _, err := os.Stat(reserve); err == nil && name == "without" {
				t.Error("there is a ballast that nobody asked for")
			} else if err != nil && name != "without" {
				t.Log("the last write before min_free hit the end of the disk, and the ballast has gone for it")
			}
			fill(t, r.path("data", "other"))
			cmd = r.start()
			defer cmd.Process.Kill()
			waited := r.waited()
			files, err := filepath.Glob(r.path("data", "channels", "main", "log", "*"))
			if name == "without" && !strings.Contains(r.said.String(), "too full to begin") {
				t.Error("there was room to begin: the disk was not full")
			}
			if err != nil || len(files) < 2 {
				t.Fatalf("the log has %d segments, %v", len(files), err)
			}
			resize(t, r.path("out"), 2*fullLines*lineLength>>20)
			r.complete()
			r.conserved(waited)
			r.terminate(cmd, 0)
		})
	}
	reliability.Report(t, reliability.Row{Part: reliability.FullDisk, What: "an agent, then kill -9: it starts, drains, accepts again",
		Tried: 2, Checked: 2 * fullLines, Note: "put = taken + waiting"})
}
