// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

func TestWhatIsNoPluginIsToldSo(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*Runtime{hasty(t), hasty(t, launcher...)} {
		toldSo(t, r, self)
	}
	nothingIsLeft(t)
}

func toldSo(t *testing.T, r *Runtime, self string) {
	t.Helper()
	for _, c := range []struct {
		how   string
		class abi.Class
		want  string
	}{
		{"garbage", abi.Config, `began with "Hello, I am a program like any other" instead of the handshake`},
		{"flood", abi.Config, `began with "xxxxxxxx`},
		{"silent", abi.Fatal, "did not say that it serves within " + r.times.start.String()},
		{"version", abi.Config, "speaks another version of the contract"},
		{"elsewhere", abi.Fatal, "serves at unix /tmp/control.sock, and not at a socket in"},
		{"dies", abi.Fatal, "ended before it served: it exited with code 4: I cannot go on"},
	} {
		p, err := r.Load(t.Context(), plugin.Ref{Name: "x", Path: self, Args: []string{self, "child", c.how}, Manifest: &manifest})
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Open(t.Context(), abi.Sink, new(setup).request(abi.Sink))
		if err == nil || plugin.ClassOf(err) != c.class || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s (%v): %v: %v", c.how, r.Isolation(), plugin.ClassOf(err), err)
		}
	}
}

// hasty is a runtime that waits for nobody, but for a launcher, which takes its time on a busy machine.
func hasty(t *testing.T, launcher ...string) *Runtime {
	t.Helper()
	r, err := New(Options{Launcher: launcher})
	if err != nil {
		t.Fatal(err)
	}
	r.times = times{start: 500 * time.Millisecond, sample: 10 * time.Millisecond, health: 20 * time.Millisecond, answer: 300 * time.Millisecond}
	if len(launcher) > 0 {
		r.times.start = 3 * time.Second
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// children lists the processes that this one has, zombies too.
func children(t *testing.T) (all []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if fields[1] == strconv.Itoa(os.Getpid()) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			all = append(all, pid)
		}
	}
	return all
}

// stopped waits until a process stands still, with all its threads: only then does the kernel count it among those that it has to wake.
func stopped(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if !slices.ContainsFunc(threads, func(path string) bool {
			stat, err := os.ReadFile(path)
			return err == nil && !strings.Contains(string(stat), ") T ")
		}) {
			return
		}
	}
	t.Errorf("process %d goes on", pid)
}

func nothingIsLeft(t *testing.T) {
	t.Helper()
	if left := children(t); len(left) > 0 {
		t.Errorf("these processes are left: %v", left)
	}
}

// ended waits until a process is gone, or a zombie of somebody else.
func ended(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
	}
	t.Errorf("process %d is still there", pid)
}

func TestAKilledChildIsFatalAndSaysSo(t *testing.T) {
	saysThatItWasKilled(t, new(setup).sink(t), new(setup).sink(t))
	r := confined(t)
	k, err := new(setup).in(t, r)
	other, otherErr := new(setup).in(t, r)
	if err := errors.Join(err, otherErr); err != nil {
		t.Fatal(err)
	}
	saysThatItWasKilled(t, k, other)
}

func saysThatItWasKilled(t *testing.T, k, other plugin.Sink) {
	t.Helper()
	if _, err := k.Write(t.Context(), event.Range{Next: 1}, batch(t, "a")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pidOf(k), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := k.Write(t.Context(), event.Range{First: 1, Next: 2}, batch(t, "b"))
		if plugin.ClassOf(err) != abi.Fatal || err == nil || !strings.Contains(err.Error(), "ended by signal 9 (killed)") {
			t.Errorf("%v: %v", plugin.ClassOf(err), err)
		}
	}
	if err := k.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := other.Write(t.Context(), event.Range{Next: 1}, batch(t, "a")); err != nil {
		t.Errorf("another instance does not work any more: %v", err)
	}
}

func TestAChildThatStandsStillIsKilled(t *testing.T) {
	for _, r := range []*Runtime{hasty(t), hasty(t, launcher...)} {
		standsStill(t, r)
	}
	nothingIsLeft(t)
}

func standsStill(t *testing.T, r *Runtime) {
	t.Helper()
	p, err := r.Load(t.Context(), plugin.Ref{Name: "both", Path: both, Manifest: &manifest})
	if err != nil {
		t.Fatal(err)
	}
	r.times.start = 10 * time.Second
	in, err := p.Open(t.Context(), abi.Sink, new(setup).request(abi.Sink))
	if err != nil {
		t.Fatal(err)
	}
	pid := pidOf(in.Sink)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped(t, pid) // until then it may write
	_, err = in.Sink.Write(t.Context(), event.Range{Next: 1}, batch(t, "a"))
	if plugin.ClassOf(err) != abi.Fatal || err == nil || !strings.Contains(err.Error(), "did not say within 300ms that it is well") {
		t.Errorf("%v: %v", plugin.ClassOf(err), err)
	}
	ended(t, pid) // before anybody closes it
	if err := errors.Join(in.Sink.Close(), p.Close()); err != nil {
		t.Error(err)
	}
}

func TestWhatEndsInsideACallIsToldWithItsLastWords(t *testing.T) {
	for trouble, want := range map[string]string{
		"panic in write": "broke in write: it exited with code 2: panic: as asked",
		"exit in write":  "broke in write: it exited with code 3: this is the end",
	} {
		s := setup{config: `{"trouble":"` + trouble + `"}`}
		_, err := s.sink(t).Write(t.Context(), event.Range{Next: 1}, batch(t, "a"))
		if plugin.ClassOf(err) != abi.Fatal || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v: %v", trouble, plugin.ClassOf(err), err)
		}
	}
}

func TestADeliveryThatIsToEndEnds(t *testing.T) {
	for trouble, fatal := range map[string]bool{"sleep in write": false, "hang in write": true} {
		s := setup{config: `{"trouble":"` + trouble + `"}`}
		k := s.sink(t)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		began := time.Now()
		_, err := k.Write(ctx, event.Range{Next: 1}, batch(t, "a"))
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > interruptGrace+5*time.Second {
			t.Errorf("%s: %v after %v", trouble, err, time.Since(began))
		}
		if dead := k.(*sink).dead.Load() != nil; dead != fatal {
			t.Errorf("%s: the instance is dead: %v", trouble, dead)
		}
	}
}

func TestAChildTakesWithItWhatItHasStarted(t *testing.T) {
	s := setup{config: `{"trouble":"spawn in write"}`}
	k := s.sink(t)
	_, err := k.Write(t.Context(), event.Range{Next: 1}, batch(t, "a"))
	var grandchild, child int
	if _, scanErr := fmt.Sscanf(fmt.Sprint(err), "spawned %d of %d", &grandchild, &child); scanErr != nil || child != pidOf(k) {
		t.Fatalf("%v: %v", scanErr, err)
	}
	if err := syscall.Kill(grandchild, 0); err != nil {
		t.Fatalf("it is not there: %v", err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	ended(t, grandchild)
	nothingIsLeft(t)
}

// Where there is no namespace, what a child has started may have left its group, and keep the pipes of the child open.
func TestTheEndOfAChildIsNotThatOfItsPipes(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err = load(t, self, self, "child", "leaves").Open(t.Context(), abi.Sink, new(setup).request(abi.Sink))
	var left int
	if at := strings.Index(fmt.Sprint(err), "started "); at < 0 || !strings.Contains(err.Error(), "exited with code 1") {
		t.Fatal(err)
	} else if _, err := fmt.Sscanf(err.Error()[at:], "started %d", &left); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > outputGrace+10*time.Second {
		t.Errorf("it took %v", took)
	}
	if err := syscall.Kill(left, syscall.SIGKILL); err != nil {
		t.Errorf("what it has started does not go on, so this shows nothing: %v", err)
	}
}

func TestNothingIsLeftOfManyChildren(t *testing.T) {
	open := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	live := func(i int) {
		s := setup{config: `{"count":3}`}
		in, err := load(t, both).Open(t.Context(), abi.Source, s.request(abi.Source))
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			_ = syscall.Kill(pidOf(in.Source), syscall.SIGKILL)
		}
		if err := in.Source.Close(); err != nil && i%2 == 1 {
			t.Fatal(err)
		}
	}
	live(0)
	before := open()
	for i := range 6 {
		live(i)
	}
	after := open()
	for end := time.Now().Add(10 * time.Second); after > before && time.Now().Before(end); after = open() {
		time.Sleep(10 * time.Millisecond) // the other end of a connection is closed by whoever notices
	}
	if after > before {
		t.Errorf("%d files are open, and %d were", after, before)
	}
	nothingIsLeft(t)
	left, err := os.ReadDir(shared.dir)
	left = slices.DeleteFunc(left, func(d os.DirEntry) bool { return filepath.Join(shared.dir, d.Name()) == shared.copies.dir }) // what plugins that are loaded run
	if err != nil || len(left) > 0 {
		t.Errorf("%v are left in the directory of children: %v", left, err)
	}
}

func TestAChildSeesNothingOfTheEnvironmentButWhatIsListedAndGranted(t *testing.T) {
	t.Setenv("AGENT_SECRET", "hunter2")
	t.Setenv("GRANTED", "the agent's own")
	s := setup{config: `{"trouble":"environment in open"}`, change: func(r *plugin.Request) {
		r.Grants.Env = map[string]string{"GRANTED": "yes"}
	}}
	_, err := s.open(t, abi.Sink)
	got := fmt.Sprint(err)
	if strings.Contains(got, "AGENT_SECRET") || !strings.Contains(got, " GRANTED=yes") || !strings.Contains(got, "PATH=") {
		t.Errorf("it sees %s", got)
	}
	for _, pair := range strings.Fields(got)[1:] {
		name, _, _ := strings.Cut(pair, "=")
		ours := strings.HasPrefix(name, "PLUGIN_") || slices.Contains([]string{"PENSTOCK_PLUGIN", "HOME", "TMPDIR", "PWD", "GRANTED"}, name)
		if strings.Contains(pair, "=") && !ours && !slices.Contains(inherited, name) {
			t.Errorf("it sees %s", pair)
		}
	}
	s.change = func(r *plugin.Request) { r.Grants.Env = map[string]string{"PLUGIN_PROTOCOL_VERSIONS": "9"} }
	if _, err := s.open(t, abi.Sink); plugin.ClassOf(err) != abi.Config || !strings.Contains(fmt.Sprint(err), "cannot be granted") {
		t.Errorf("a variable of the handshake is granted: %v", err)
	}
}

func TestABinaryThatWasChangedIsNotStarted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plugin")
	code, err := os.ReadFile(both)
	if err == nil {
		err = os.WriteFile(path, code, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	copied := load(t, path)
	if err := errors.Join(os.WriteFile(path+"~", append(code, 0), 0o700), os.Rename(path+"~", path)); err != nil {
		t.Fatal(err)
	}
	in, err := copied.Open(t.Context(), abi.Sink, new(setup).request(abi.Sink))
	if err != nil {
		t.Fatalf("what was loaded runs no more, since its file was replaced: %v", err)
	}
	if err := in.Sink.Close(); err != nil {
		t.Error(err)
	}
	_, err = shared.Load(t.Context(), plugin.Ref{Path: path, Digest: strings.Repeat("0", 64), Manifest: &manifest})
	if err == nil || !strings.Contains(err.Error(), "somebody changed the file") {
		t.Errorf("a wrong digest: %v", err)
	}
	script := []byte("#!/bin/sh\nexec " + both + "\n") // it is run where it is
	if err := os.WriteFile(path, script, 0o700); err != nil {
		t.Fatal(err)
	}
	p := load(t, path)
	if err := os.WriteFile(path, append(script, '\n'), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err = p.Open(t.Context(), abi.Sink, new(setup).request(abi.Sink))
	if plugin.ClassOf(err) != abi.Config || !strings.Contains(fmt.Sprint(err), "has been changed since it was loaded") {
		t.Errorf("%v: %v", plugin.ClassOf(err), err)
	}
}

func TestNothingOutlivesTheAgent(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		stop    syscall.Signal
		command []string
	}{
		"a child at work":                           {0, []string{both}},
		"a child that stands still":                 {syscall.SIGSTOP, []string{both}},
		"a child that does not look at its own end": {0, []string{self, "child", "faithless", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			stop := c.stop
			agent := exec.Command(self, append([]string{"child", "agent"}, c.command...)...)
			agent.Env = os.Environ()
			out, err := agent.StdoutPipe()
			if err == nil {
				err = agent.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			var child, grandchild int
			_, err = fmt.Fscan(out, &child, &grandchild)
			if stop != 0 {
				_ = syscall.Kill(child, stop)
				stopped(t, child)
			}
			_ = agent.Process.Kill()
			_ = agent.Wait()
			if err != nil {
				t.Fatal(err)
			}
			ended(t, child)
			ended(t, grandchild)
		})
	}
}

func TestAStrangerIsNotServed(t *testing.T) {
	k := new(setup).sink(t)
	socket := k.(*sink).process.address
	if info, err := os.Stat(filepath.Dir(filepath.Dir(socket))); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory of sockets is %v, %v", info, err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(self, "child", "stranger", socket).CombinedOutput()
	if err != nil || string(out) != "refused\n" {
		t.Errorf("%s, %v", out, err)
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := ofChild(conn.(*net.UnixConn), os.Getpid()); err == nil {
		t.Error("a process that is not the one is taken for it")
	}
}
