// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"os"

	"golang.org/x/sys/unix"
)

func datasync(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }

// preallocate gives a segment its room at once. The size stays as it is: zeros behind the last record would be read as
// entries. Errors do not count: without it, a full disk only shows later, within a record.
func preallocate(f *os.File, size int64) {
	_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size)
}

// uncache lets the system drop what it has of a file in memory, as far as that is on the disk.
func uncache(f *os.File, size int64) { _ = unix.Fadvise(int(f.Fd()), 0, size, unix.FADV_DONTNEED) }

// occupy gives a file its room and its size, without writing.
func occupy(f *os.File, size int64) error { return unix.Fallocate(int(f.Fd()), 0, 0, size) }
