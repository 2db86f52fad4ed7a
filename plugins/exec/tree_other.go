// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package exec

import (
	"errors"
	"syscall"
)

// adopt is of Linux: elsewhere what the command leaves behind is nobody's.
func adopt() error { return nil }

// signalAll sends a signal to the command. What it has started is in the plugin's process group, and ends with that.
func signalAll(command int, signal syscall.Signal) { _ = syscall.Kill(command, signal) }

// await waits until the command has ended.
func await(command int) (syscall.WaitStatus, error) {
	for {
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(command, &status, 0, nil); !errors.Is(err, syscall.EINTR) {
			return status, err
		}
	}
}

// endAll is of Linux.
func endAll(int) {}
