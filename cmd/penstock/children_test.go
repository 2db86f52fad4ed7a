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
