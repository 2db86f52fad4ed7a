// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
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
