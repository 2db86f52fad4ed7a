// SPDX-License-Identifier: Apache-2.0

//go:build unix

package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// lock takes the data directory for this process. The kernel gives it back however the process ends.
func lock(dir string) (*os.File, error) {
	path := filepath.Join(dir, "LOCK")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		holder, _ := io.ReadAll(io.LimitReader(f, 32)) // only for the message
		f.Close()
		return nil, fmt.Errorf("%w: %s is in use by another agent, pid %s; stop that one, or give this one a data_dir of its own",
			ErrEnvironment, dir, strings.TrimSpace(string(holder)))
	}
	if err == nil {
		err = writePID(f)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f, nil
}

// writePID says who holds the lock: over what is there, which needs no room. On a full disk that may remain
// unsaid, since an agent must start there to drain its channels.
func writePID(f *os.File) error {
	pid := fmt.Appendf(nil, "%d\n", os.Getpid())
	_, err := f.WriteAt(pid, 0)
	if err == nil {
		err = f.Truncate(int64(len(pid)))
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return nil
	}
	return err
}

// diskFree returns how many bytes data below path may come to take: what is free, and, where path is a
// data directory, what that takes already.
func diskFree(path string) (uint64, error) {
	var disk unix.Statfs_t
	err := unix.Statfs(path, &disk)
	for errors.Is(err, unix.ENOENT) && path != filepath.Dir(path) {
		path = filepath.Dir(path)
		err = unix.Statfs(path, &disk)
	}
	if err != nil {
		return 0, fmt.Errorf("free space of %s: %w", path, err)
	}
	free := disk.Bavail * uint64(disk.Bsize)
	if _, err := os.Stat(filepath.Join(path, "LOCK")); err != nil {
		return free, nil
	}
	return free + sizeOf(path), nil
}

// sizeOf adds up the files below dir. What goes away meanwhile counts as nothing.
func sizeOf(dir string) (size uint64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			size += uint64(info.Size())
		}
		return nil
	})
	return size
}
