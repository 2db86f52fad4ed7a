// SPDX-License-Identifier: Apache-2.0

//go:build unix

package wal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/penstock-io/penstock/host/channel"
)

// lock takes the channel's directory for this process, and writes its pid into the lock file.
func lock(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, filePerms)
	if err != nil {
		return nil, fmt.Errorf("lock the channel: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		held := holder(f)
		_ = f.Close() // nothing was written
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w, pid %s: stop that one, or give this one a data_dir of its own", path, channel.ErrLocked, held)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	pid := []byte(strconv.Itoa(os.Getpid()) + "\n")
	if _, err := f.WriteAt(pid, 0); err == nil { // over what is there, which needs no room
		_ = f.Truncate(int64(len(pid))) // the pid is a courtesy: where it cannot be written, the lock holds all the same
	}
	return f, nil
}

// holder reads the pid of who has locked f, "unknown" where it is not there yet.
func holder(f *os.File) string {
	b := make([]byte, 20)
	n, _ := f.ReadAt(b, 0) // the pid is a courtesy
	if pid := strings.TrimSpace(string(b[:n])); pid != "" {
		return pid
	}
	return "unknown"
}

// inUse says which process has the channel open, "" when none has.
func inUse(dir string) (string, error) {
	f, err := os.Open(filepath.Join(dir, lockFile))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil {
		return "", f.Close()
	}
	return holder(f), f.Close()
}
