// SPDX-License-Identifier: Apache-2.0

package kafkatest

import "syscall"

// endWithParent has a process end with the thread that starts it.
func endWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }
