// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package subprocess

import (
	"os/exec"
	"syscall"
)

// lead makes the command the leader of a process group of its own. That the kernel ends it with the agent is of Linux.
func lead(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

// killGroup kills a child and what it has started.
func killGroup(leader int) { _ = syscall.Kill(-leader, syscall.SIGKILL) }

// reap waits for a child, and calls last.
func reap(cmd *exec.Cmd, last func()) error {
	err := cmd.Wait()
	last()
	return err
}
