// SPDX-License-Identifier: Apache-2.0

//go:build linux || darwin

package wal

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// diskOf says how much of the disk is free where the channel lies.
func diskOf(dir string) (disk, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return disk{}, fmt.Errorf("free space of %s: %w", dir, err)
	}
	block := uint64(s.Bsize)
	return disk{free: s.Bavail * block, total: s.Blocks * block}, nil
}
