// SPDX-License-Identifier: Apache-2.0

package filesink

import (
	"os"
	"syscall"
)

//go:wasmimport wasi_snapshot_preview1 fd_datasync
func fdDatasync(fd int32) uint32

// datasync makes the bytes of f durable, and of its metadata only what is needed to read them.
func datasync(f *os.File) error {
	if errno := fdDatasync(int32(f.Fd())); errno != 0 {
		return syscall.Errno(errno)
	}
	return nil
}
