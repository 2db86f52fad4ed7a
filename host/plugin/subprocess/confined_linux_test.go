// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/plugintest"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// confined is a runtime that isolates.
func confined(t *testing.T) *Runtime {
	t.Helper()
	r, err := New(Options{Launcher: launcher})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	if i := r.Isolation(); !i.Complete() {
		if os.Getenv("CI") == "true" {
			t.Fatalf("this system cannot isolate: %v, %v", i, i.Trusted())
		}
		t.Skipf("this system cannot isolate: %v, %v", i, i.Trusted())
	}
	return r
}

// open opens a sink of the plugin both.
func (s *setup) in(t *testing.T, r *Runtime) (plugin.Sink, error) {
	t.Helper()
	p, err := r.Load(t.Context(), plugin.Ref{Name: "both", Path: both, Manifest: &manifest})
	if err != nil {
		t.Fatal(err)
	}
	in, err := p.Open(t.Context(), abi.Sink, s.request(abi.Sink))
	t.Cleanup(func() {
		if err == nil {
			_ = in.Sink.Close()
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return in.Sink, err
}

// forAll makes a directory of a test one that everybody can reach.
func forAll(t *testing.T, dir string) {
	t.Helper()
	if err := errors.Join(os.Chmod(dir, 0o777), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
}

func TestAnIsolatedPluginKeepsTheContract(t *testing.T) {
	p, err := confined(t).Load(t.Context(), plugin.Ref{Name: "both", Path: both, Manifest: &manifest})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	plugintest.Run(t, p, plugintest.Case{
		Kind: abi.Sink, Name: "both", BadConfig: `{"file":1}`,
		Setup: func(dir string) (plugintest.Opening, error) {
			forAll(t, dir)
			return plugintest.Opening{Config: `{"file":"` + dir + `/out"}`, Dirs: []plugin.Dir{{Path: dir, Write: true}}}, nil
		},
		Stored: func(dir string) ([]string, error) {
			b, err := os.ReadFile(dir + "/out")
			return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n"), err
		},
	})
}

func TestWhatTakesTheMachineIsBounded(t *testing.T) {
	r := confined(t)
	r.times.sample = 20 * time.Millisecond
	undisturbed, err := new(setup).in(t, r)
	if err != nil {
		t.Fatal(err)
	}
	for trouble, want := range map[string]string{
		"hog in write":   "and was killed: limits.memory",
		"fill in write":  "and was killed: limits.memory",
		"bomb in write":  "sleep: resource temporarily unavailable",
		"flood in write": "too many open files",
	} {
		s := setup{config: `{"trouble":"` + trouble + `"}`, change: func(q *plugin.Request) {
			q.Limits.MemoryBytes, q.Limits.Handles = 64<<20, map[string]int{"flood in write": 100}[trouble]
		}}
		k, err := s.in(t, r)
		if err != nil {
			t.Fatal(err)
		}
		_, err = k.Write(t.Context(), event.Range{Next: 1}, batch(t, "a"))
		first := trouble == "hog in write" && strings.Contains(fmt.Sprint(err), "out of memory") // it maps faster than it is looked at
		if !strings.Contains(fmt.Sprint(err), want) && !first {
			t.Errorf("%s: %v", trouble, err)
		}
		t.Logf("%s: %v", trouble, err)
		pid := pidOf(k)
		_ = k.Close()
		ended(t, pid)
	}
	if _, err := undisturbed.Write(t.Context(), event.Range{Next: 1}, batch(t, "a")); err != nil {
		t.Errorf("another instance does not work any more: %v", err)
	}
	nothingIsCalled(t, "sleep\x001001")
}

// nothingIsCalled waits until no process has these arguments.
func nothingIsCalled(t *testing.T, args string) {
	t.Helper()
	var left []string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if left = called(t, args); len(left) == 0 {
			return
		}
	}
	t.Errorf("%d processes are left: %v", len(left), left)
}

func called(t *testing.T, args string) (found []string) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		if line, err := os.ReadFile(path); err == nil && strings.Contains(string(line), args) {
			found = append(found, path)
		}
	}
	return found
}

// escapeMain leaves its process group and ignores who asks it to end; so does what it starts, twice.
func escapeMain(mark string, depth int) int {
	unix.CloseOnExec(0)
	_, _ = unix.Setsid()
	if depth > 0 {
		c := exec.Command("/proc/self/exe", "child", "escape", mark, strconv.Itoa(depth-1))
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := c.Start(); err != nil {
			return 1
		}
	}
	signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
	time.Sleep(time.Hour)
	return 0
}

func TestNothingOutlivesTheAgentWhateverItDoes(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	confined(t)
	for _, uid := range agents() {
		dir := t.TempDir()
		forAll(t, dir)
		copied := filepath.Join(dir, "self")
		if err := copyFile(self, copied); err != nil {
			t.Fatal(err)
		}
		mark := fmt.Sprintf("mark-%d-%d", os.Getpid(), uid)
		agent := exec.Command(copied, "child", "escapes", mark, dir)
		if uid != os.Getuid() {
			agent.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
		}
		var said strings.Builder
		agent.Stdout, agent.Stderr, agent.Dir = &said, &said, dir
		if err := agent.Start(); err != nil {
			t.Fatal(err)
		}
		const all = 1 + 3 // the agent, the child, and two generations of its children
		for end := time.Now().Add(20 * time.Second); len(called(t, mark)) < all && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond)
		}
		there := len(called(t, mark))
		_ = agent.Process.Kill()
		_ = agent.Wait()
		if there != all {
			t.Fatalf("user %d: %d processes were there: %s", uid, there, said.String())
		}
		nothingIsCalled(t, mark)
	}
}

// escapesMain is an agent with a child that wants to outlive it.
func escapesMain(mark, dir string) error {
	r, err := New(Options{Dir: filepath.Join(dir, "children"), Launcher: launcher})
	if err != nil {
		return err
	}
	p, err := r.Load(context.Background(), plugin.Ref{Path: "/proc/self/exe", Args: []string{"test", "child", "escape", mark, "2"}, Manifest: &manifest})
	if err != nil {
		return err
	}
	_, err = p.Open(context.Background(), abi.Sink, new(setup).request(abi.Sink))
	return err
}

func TestTheAgentsCopyIsWhatRuns(t *testing.T) {
	r := confined(t)
	path := filepath.Join(t.TempDir(), "plugin")
	if err := copyFile(both, path); err != nil {
		t.Fatal(err)
	}
	loaded, err := r.Load(t.Context(), plugin.Ref{Path: path, Manifest: &manifest})
	if err != nil {
		t.Fatal(err)
	}
	p := loaded.(*Plugin)
	if err := os.WriteFile(path, []byte("another"), 0o700); err != nil {
		t.Fatal(err)
	}
	open := func() error {
		in, err := p.Open(t.Context(), abi.Sink, new(setup).request(abi.Sink))
		if err == nil {
			err = in.Sink.Close()
		}
		return err
	}
	if err := open(); err != nil {
		t.Errorf("what was loaded does not run any more, since the file was changed: %v", err)
	}
	code, err := os.ReadFile(p.private)
	if err == nil {
		err = errors.Join(os.Chmod(p.private, 0o700), os.WriteFile(p.private, append(code, 0), 0o700))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := open(); plugin.ClassOf(err) != abi.Config || !strings.Contains(fmt.Sprint(err), "somebody changed it") {
		t.Errorf("a copy that was changed: %v: %v", plugin.ClassOf(err), err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(r.copies.dir); err != nil || len(left) > 0 {
		t.Errorf("%v are left of the copies, %v", left, err)
	}
}

func TestAScriptRunsWithWhatLiesBesideIt(t *testing.T) {
	r := confined(t)
	dir := t.TempDir()
	forAll(t, dir)
	path := filepath.Join(dir, "plugin.sh")
	script := "#!/bin/sh\n. \"$(dirname \"$0\")/part.sh\"\nread line </etc/shadow || echo \"$word with $# in $(pwd)\" >&2\nexit 5\n"
	err := errors.Join(os.WriteFile(path, []byte(script), 0o755), os.WriteFile(filepath.Join(dir, "part.sh"), []byte("word=hello\n"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	p, err := r.Load(t.Context(), plugin.Ref{Path: path, Args: []string{"plugin", "a", "b"}, Manifest: &manifest})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	_, err = p.Open(t.Context(), abi.Sink, new(setup).request(abi.Sink))
	if !strings.Contains(fmt.Sprint(err), "exited with code 5: hello ") || !strings.Contains(fmt.Sprint(err), "with 2 in "+r.room) {
		t.Errorf("it says %v", err)
	}
}

func TestAGrantThatItsUserCannotUseIsToldSo(t *testing.T) {
	r := confined(t)
	if !r.isolation.OwnUser {
		t.Skip("only root gives users")
	}
	dir := t.TempDir()
	s := setup{change: func(q *plugin.Request) { q.Dirs = []plugin.Dir{{Path: dir}} }}
	_, err := s.in(t, r)
	if plugin.ClassOf(err) != abi.Config || !strings.Contains(fmt.Sprint(err), ":rX "+dir) {
		t.Errorf("%v: %v", plugin.ClassOf(err), err)
	}
}

func TestComponentsHaveUsersOfTheirOwn(t *testing.T) {
	var u, again users
	ids := idRange{1000, 3}
	seen := map[int]string{}
	for _, name := range []string{"sink.a", "sink.b", "source.a"} {
		id := u.of(name, ids)
		if other, ok := seen[id]; ok || id < 1000 || id > 1002 {
			t.Errorf("%s is user %d, which %s is", name, id, other)
		}
		seen[id] = name
		if u.of(name, ids) != id {
			t.Errorf("%s is another user the second time", name)
		}
	}
	var before users
	if a, b := before.of("sink.a", rooms[0]), again.of("sink.a", rooms[0]); a != b {
		t.Errorf("a component is user %d, and %d after a restart", a, b)
	}
}

func TestTheNetworkIsThereForWhoWasGrantedIt(t *testing.T) {
	r := confined(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p, err := r.Load(t.Context(), plugin.Ref{Path: "/proc/self/exe", Args: []string{"test", "child", "dial", l.Addr().String()}, Manifest: &manifest})
	if err != nil {
		t.Fatal(err)
	}
	for granted, want := range map[bool]string{true: "connected", false: "unreachable"} {
		s := setup{change: func(q *plugin.Request) { q.Network = granted }}
		if _, err := p.Open(t.Context(), abi.Sink, s.request(abi.Sink)); !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("granted %v: %v", granted, err)
		}
	}
}

func TestMoreMemoryThanIsBoundedCannotBeMapped(t *testing.T) {
	p, err := confined(t).Load(t.Context(), plugin.Ref{Path: "/proc/self/exe", Args: []string{"test", "child", "reserve"}, Manifest: &manifest})
	if err != nil {
		t.Fatal(err)
	}
	for limit, want := range map[uint64]string{64 << 20: "cannot allocate memory", 1 << 30: "mapped"} {
		s := setup{change: func(q *plugin.Request) { q.Limits.MemoryBytes = limit }}
		if _, err := p.Open(t.Context(), abi.Sink, s.request(abi.Sink)); !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%d: %v", limit, err)
		}
	}
}
