// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// copies are private copies of binaries, in a directory that is the agent's alone, each under its digest. What was checked when it was loaded
// is what is run until the plugin is loaded again: also after the file that it was has been replaced, by an upgrade or by somebody else.
type copies struct {
	dir string

	mu   sync.Mutex
	used map[string]int // by path: how many plugins
}

// take makes a copy of the binary at path, if there is none yet. give must be called with what it answers.
func (c *copies) take(path, digest string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	private := filepath.Join(c.dir, digest)
	if c.used[private] == 0 {
		if err := c.make(path, private, digest); err != nil {
			return "", fmt.Errorf("make a copy of %s, to run: %w", path, errors.Join(err, os.RemoveAll(private)))
		}
	}
	if c.used == nil {
		c.used = map[string]int{}
	}
	c.used[private]++
	return private, nil
}

// make copies a binary. Nobody may write to the copy; that others may run it means nothing in this directory, and is for children that are
// handed the open file and run as other users.
func (c *copies) make(path, private, digest string) error {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	// A child that was forked meanwhile would have it open for writing until it is another program, and until then nobody could run it.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	f, err := os.OpenFile(private, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o200)
	if err != nil {
		return err
	}
	copied, _, err := digestOf(path, f)
	if err == nil && copied != digest {
		err = errors.New("it was changed while it was read")
	}
	return errors.Join(err, f.Chmod(0o555), f.Close())
}

// give says that one plugin does not run the copy any more.
func (c *copies) give(private string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if private == "" {
		return nil
	}
	if c.used[private]--; c.used[private] > 0 {
		return nil
	}
	delete(c.used, private)
	return os.Remove(private)
}

// isSelf says whether a path is that of the program that runs: whoever replaces it leaves what is in use as it is.
func isSelf(path string) bool {
	self, err := os.Stat("/proc/self/exe")
	if err != nil { // it is no Linux
		var name string
		if name, err = os.Executable(); err == nil {
			self, err = os.Stat(name)
		}
	}
	if err != nil {
		return false
	}
	info, err := os.Stat(path)
	return err == nil && os.SameFile(self, info)
}

// isScript says whether a file is one that an interpreter runs. What it is made of lies beside it, and a copy of it alone would be of no use.
func isScript(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var head [2]byte
	_, err = io.ReadFull(f, head[:])
	return string(head[:]) == "#!", err
}

// removeAll is os.RemoveAll for what a child has had: it may have taken the rights from its directories.
func removeAll(dir string) error {
	if err := os.RemoveAll(dir); err == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, _ error) error { // called for a directory before it is read
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700) // what it could not do, the removal says
		}
		return nil
	})
	return os.RemoveAll(dir)
}
