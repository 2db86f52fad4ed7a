// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// lead makes the command the leader of a process group of its own, which the kernel tells to end when the agent is gone. A child that
// uses the SDK ends its whole group then; were it killed outright, what it has started would be left.
func lead(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// killGroup kills a child and what it has started.
func killGroup(leader int) { _ = syscall.Kill(-leader, syscall.SIGKILL) }

// reap waits for a child. last is called when it is over and still there, so that nobody else can have its number.
func reap(cmd *exec.Cmd, last func()) error {
	for unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	last()
	return cmd.Wait()
}
