// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// endEvery is how often all that is left is killed again: what forks while it is looked at may be missed once.
	endEvery = 5 * time.Millisecond
	// endTimeout is how long that is tried: what is stuck in the kernel ends when that lets it.
	endTimeout = 2 * time.Second
)

// adopt makes this process the parent of what its descendants leave behind. The first process of a namespace is that anyway.
func adopt() error {
	if os.Getpid() == 1 {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("adopt what the command leaves behind: %w", err)
	}
	return nil
}

// signalAll sends a signal to all that has been started here.
func signalAll(_ int, signal syscall.Signal) {
	if os.Getpid() == 1 {
		_ = syscall.Kill(-1, signal) // all of the namespace but its first process, which is this one
		return
	}
	for _, pid := range descendants() {
		_ = syscall.Kill(pid, signal) // a zombie takes it, too
	}
}

// await waits until the command has ended. What was orphaned meanwhile and has ended it takes leave of.
func await(command int) (syscall.WaitStatus, error) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, err
		case pid == command:
			return status, nil
		}
	}
}

// endAll kills all that is left, and waits until nothing is.
func endAll(int) {
	for end := time.Now().Add(endTimeout); time.Now().Before(end); time.Sleep(endEvery) {
		signalAll(0, syscall.SIGKILL)
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if errors.Is(err, syscall.ECHILD) {
				return
			}
			if pid <= 0 && !errors.Is(err, syscall.EINTR) {
				break
			}
		}
	}
}

// descendants are the children of this process, theirs, and so on.
func descendants() (all []int) {
	parents := map[int][]int{} // whose children are
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) < 2 {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		parent, _ := strconv.Atoi(string(fields[1]))
		parents[parent] = append(parents[parent], pid)
	}
	for next := []int{os.Getpid()}; len(next) > 0; next = next[1:] {
		all = append(all, parents[next[0]]...)
		next = append(next, parents[next[0]]...)
	}
	return all
}
