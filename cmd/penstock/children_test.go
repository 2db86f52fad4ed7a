// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// childrenOf lists the processes that a process has started, by what Linux says.
func childrenOf(parent int) (all []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path))); fields[1] == strconv.Itoa(parent) && fields[0] != "Z" {
			all = append(all, pid)
		}
	}
	return all
}

// killChildren kills the child processes of an agent, and waits until it has so many others, at least.
func killChildren(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, 2, "killchildren DATADIR N")
	agent, want := atoi(ts, strings.TrimSpace(ts.ReadFile(filepath.Join(args[0], "LOCK")))), atoi(ts, args[1])
	killed := childrenOf(agent)
	for _, pid := range killed {
		ts.Check(syscall.Kill(pid, syscall.SIGKILL))
	}
	var now []int
	for deadline := time.Now().Add(awaitLimit); time.Now().Before(deadline); time.Sleep(awaitLook) {
		if now = childrenOf(agent); len(now) >= want && fmt.Sprint(now) != fmt.Sprint(killed) {
			return
		}
	}
	ts.Fatalf("the agent has %d child processes, not %d", len(now), want)
}

// running waits until so many processes have a text in their command line, zombies aside.
func running(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, 2, "running N TEXT")
	want, found := atoi(ts, args[0]), -1
	for deadline := time.Now().Add(awaitLimit); found != want && time.Now().Before(deadline); time.Sleep(awaitLook) {
		found = 0
		lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, path := range lines {
			if line, err := os.ReadFile(path); err == nil && strings.Contains(strings.ReplaceAll(string(line), "\x00", " "), args[1]) {
				found++
			}
		}
	}
	if found != want {
		ts.Fatalf("%d processes run %q, and not %d", found, args[1], want)
	}
}
