// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestADiskThatTakesNoMoreKeepsNoModuleFromRunning(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it mounts a small disk, which only root may")
	}
	for name, c := range map[string]struct {
		options string // of the disk
		fill    string // a file that takes all of its room; "" = there is none to take
		said    string
	}{
		"no room for machine code": {"size=16k,mode=0700", "full", "compiled code cannot be kept"},
		"no room for a directory":  {"nr_inodes=1,mode=0700", "", "there is no cache of compiled code"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, c.options); err != nil {
				t.Skipf("mount: %v", err)
			}
			defer func() {
				if err := syscall.Unmount(dir, 0); err != nil {
					t.Error(err)
				}
			}()
			if c.fill != "" {
				if err := os.WriteFile(filepath.Join(dir, c.fill), make([]byte, 1<<20), 0o600); err == nil {
					t.Fatal("the disk is not full")
				}
			}
			said := &logs{}
			loadFrom(t, dir, said)
			if said.count(c.said) != 1 {
				t.Errorf("the log: %s", said)
			}
		})
	}
}
