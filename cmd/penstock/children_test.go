// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
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
	signalChildren(ts, args, syscall.SIGKILL)
}

// stopChildren has the child processes of an agent stand still, and waits until it has so many others, at least.
func stopChildren(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, 2, "stopchildren DATADIR N")
	signalChildren(ts, args, syscall.SIGSTOP)
}

func signalChildren(ts *testscript.TestScript, args []string, signal syscall.Signal) {
	agent, want := atoi(ts, strings.TrimSpace(ts.ReadFile(filepath.Join(args[0], "LOCK")))), atoi(ts, args[1])
	before := childrenOf(agent)
	for _, pid := range before {
		ts.Check(syscall.Kill(pid, signal))
	}
	var now []int
	for deadline := time.Now().Add(awaitLimit); time.Now().Before(deadline); time.Sleep(awaitLook) {
		now = childrenOf(agent)
		if len(now) >= want && !slices.ContainsFunc(now, func(pid int) bool { return slices.Contains(before, pid) }) {
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
