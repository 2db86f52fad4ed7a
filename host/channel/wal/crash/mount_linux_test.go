// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// fileSystem is one that channels have to live on.
type fileSystem struct {
	name    string
	kind    string // as the kernel calls it
	options string // of mount
	size    int64
	mkfs    []string
}

// The smallest that mkfs takes: less to look at. Nothing is left for the kernel to initialise later, which would be writes of its own.
var fileSystems = []fileSystem{
	{"ext4 ordered", "ext4", "data=ordered", 64 << 20, []string{"mkfs.ext4", "-q", "-F", "-b", "4096", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"}},
	{"ext4 writeback", "ext4", "data=writeback", 64 << 20, []string{"mkfs.ext4", "-q", "-F", "-b", "4096", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"}},
	{"xfs", "xfs", "", 300 << 20, []string{"mkfs.xfs", "-q", "-f", "-K"}},
	{"btrfs", "btrfs", "", 128 << 20, []string{"mkfs.btrfs", "-q", "-f", "-K", "-d", "single", "-m", "single"}},
}

// make returns an empty file system.
func (s *fileSystem) make(t *testing.T) *image {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fs")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, s.size); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(s.mkfs[0], append(s.mkfs[1:], path)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", s.mkfs, err, out)
	}
	m, err := loadImage(path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// mount has a disk's file system in dir until unmount is called.
func (s *fileSystem) mount(path, dir string) (unmount func() error, err error) {
	device, closeLoop, err := attach(path)
	if err != nil {
		return nil, fmt.Errorf("make a loop device of %s: %w", path, err)
	}
	err = unix.Mount(device, dir, s.kind, 0, s.options)
	if cerr := closeLoop(); err == nil && cerr != nil {
		return nil, cerr
	}
	if err != nil {
		return nil, fmt.Errorf("%w of %s: %w", errMount, s.name, err)
	}
	return func() error { return leave(dir) }, nil
}

func leave(dir string) error {
	if err := unix.Unmount(dir, 0); err != nil {
		return errors.Join(fmt.Errorf("unmount %s: %w", dir, err), unix.Unmount(dir, unix.MNT_DETACH))
	}
	return nil
}

// attach makes a file a block device, which is gone when it was closed and unmounted.
func attach(path string) (device string, closeLoop func() error, err error) {
	file, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, err
	}
	defer unix.Close(file) //nolint:errcheck // the device has its own hold on it
	control, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, err
	}
	defer unix.Close(control) //nolint:errcheck // it only answers
	const tries = 16          // somebody else may take the free one first
	for range tries {
		n, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return "", nil, fmt.Errorf("find a free loop device: %w", err)
		}
		device = fmt.Sprintf("/dev/loop%d", n)
		loop, err := openLoop(device, n)
		if err != nil {
			return "", nil, err
		}
		config := unix.LoopConfig{Fd: uint32(file), Size: sectorSize, Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
		if err = unix.IoctlLoopConfigure(loop, &config); err == nil {
			return device, func() error { return unix.Close(loop) }, nil
		}
		if err = errors.Join(err, unix.Close(loop)); !errors.Is(err, unix.EBUSY) {
			return "", nil, fmt.Errorf("configure %s: %w", device, err)
		}
	}
	return "", nil, errors.New("no loop device is free")
}

// openLoop opens a loop device; in a container nobody makes its node.
func openLoop(device string, n int) (int, error) {
	const major = 7
	if err := unix.Mknod(device, unix.S_IFBLK|0o600, int(unix.Mkdev(major, uint32(n)))); err != nil && !errors.Is(err, unix.EEXIST) {
		return 0, fmt.Errorf("make %s: %w", device, err)
	}
	return unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
}

// root among the things that a test needs.
const root = "root"

// needs skips a test where the machine cannot do it; in CI that is a failure. A thing is root, the path of a device, or a command.
func needs(t *testing.T, things ...string) {
	t.Helper()
	for _, thing := range things {
		missing := false
		switch {
		case thing == root:
			missing = os.Getuid() != 0
		case filepath.IsAbs(thing):
			_, err := os.Stat(thing)
			missing = err != nil
		default:
			_, err := exec.LookPath(thing)
			missing = err != nil
		}
		if missing && os.Getenv("CI") != "" {
			t.Fatalf("needs %s, and in CI nothing is left out", thing)
		}
		if missing {
			t.Skipf("NOT TESTED: needs %v; what is missing is %s", things, thing)
		}
	}
}
