// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
)

// maxAncestors bounds the way from a process to the first of all: longer than it ever is, unless processes change while it is read.
const maxAncestors = 1 << 10

// startedByAgent says whether a process descends from this one: then it is a plugin, or of a plugin, and not a person's.
func startedByAgent(pid int) (bool, error) {
	self := os.Getpid()
	if pid == self || pid == 0 { // 0 is outside of our namespace
		return false, nil
	}
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		return false, nil // there is no /proc, by which to know
	}
	for at := range maxAncestors {
		parent, err := parentOf(pid)
		if errors.Is(err, fs.ErrNotExist) && at > 0 {
			return false, nil // it is another's child by now
		}
		if err != nil {
			return false, fmt.Errorf("find out who started process %d: %w", pid, err)
		}
		if parent == self {
			return self != 1 || deeper(pid), nil
		}
		if pid = parent; pid == 0 {
			return false, nil
		}
	}
	return true, nil
}

// deeper says whether a process is in a namespace of processes below our own, as those of plugins are. In a container the agent may be the
// process that all orphans are given to, a person's too.
func deeper(pid int) bool {
	return depth(strconv.Itoa(pid)) > depth("self")
}

// depth is how many namespaces a process has a number in.
func depth(pid string) int {
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(status, []byte("\nNSpid:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	return len(bytes.Fields(line))
}

func parentOf(pid int) (int, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // what is before may hold anything
	if len(fields) < 2 {
		return 0, errors.New("the kernel says nothing of its parent")
	}
	return strconv.Atoi(string(fields[1]))
}
