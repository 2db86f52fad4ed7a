// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"os"

	"golang.org/x/sys/unix"
)

// datasync puts a file's bytes on disk, and of its metadata only what is needed to read them.
func datasync(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for {
			if failed = unix.Fdatasync(int(fd)); failed != unix.EINTR {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return failed
}
