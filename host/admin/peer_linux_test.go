// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const nobody = 65534

// connectAs connects as another user, which only one thread of this process becomes, and which ends with it.
func connectAs(uid int, socket string) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			done <- errno
			return
		}
		conn, err := net.Dial("unix", socket)
		if err == nil {
			err = conn.Close()
		}
		done <- err
	}()
	return <-done
}

func TestTheKernelSaysWhoIsAtTheOtherEnd(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be someone else")
	}
	dir, err := os.MkdirTemp("/tmp", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, open := range []string{dir, path} { // as if someone had changed the modes
		if err := os.Chmod(open, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for uid, want := range map[int]bool{0: true, nobody: false} {
		if err := connectAs(uid, path); err != nil {
			t.Fatal(err)
		}
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		ok, err := peerAllowed(conn)
		if ok != want || !want && !strings.Contains(err.Error(), "runs as user 65534") {
			t.Errorf("user %d: allowed = %v, %v", uid, ok, err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
}

const connectKey = "PENSTOCK_TEST_CONNECT"

// TestConnects is what the test below starts; by itself it does nothing.
func TestConnects(t *testing.T) {
	path := os.Getenv(connectKey)
	if path == "" {
		return
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = conn.Read(make([]byte, 1)) // until it has been looked at
}

func TestWhatTheAgentHasStartedIsTurnedAway(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, how := range map[string][]string{
		"a child":                       {self, "-test.run=^TestConnects$"},
		"a grandchild":                  {"/bin/sh", "-c", self + " -test.run='^TestConnects$'; true"},
		"one in a namespace of its own": {self, "-test.run=^TestConnects$"},
	} {
		path := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(how[0], how[1:]...)
		cmd.Env = append(os.Environ(), connectKey+"="+path)
		if strings.Contains(name, "namespace") {
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
			if os.Geteuid() != 0 {
				cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
			}
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := peerAllowed(conn); ok || !strings.Contains(err.Error(), "is a plugin") {
			t.Errorf("%s: allowed = %v, %v", name, ok, err)
		}
		if p, err := peerOf(conn); err != nil || deeper(p.PID) != strings.Contains(name, "namespace") {
			t.Errorf("%s: in a deeper namespace: %v, %v", name, deeper(p.PID), err)
		}
		_ = conn.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		_ = l.Close()
	}
}

func TestOthersAreNotOfTheAgent(t *testing.T) {
	for _, pid := range []int{os.Getpid(), os.Getppid(), 0, 1} {
		if is, err := startedByAgent(pid); is || err != nil {
			t.Errorf("process %d: %v, %v", pid, is, err)
		}
	}
}
