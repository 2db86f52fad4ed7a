// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The rights of Landlock, as they are used here. Which of them there are depends on its version.
const (
	landlockFirst  = unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1 // all of version 1
	landlockRead   = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	landlockRun    = landlockRead | unix.LANDLOCK_ACCESS_FS_EXECUTE
	landlockDevice = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE
	landlockNodes  = unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK
	landlockFile   = landlockDevice | unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_TRUNCATE // what there is of files
)

// programs are the system's own: a program that is linked dynamically, or an interpreter, is made of them. Everybody can read them.
var programs = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store"}

// readable is what a client library reads of a system: how names are resolved, which certificates hold, what time it is, how many
// processors there are. None of it is secret.
var readable = []string{
	"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/localtime", "/etc/timezone", "/etc/mime.types",
	"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf", "/etc/services", "/etc/protocols",
	"/etc/passwd", "/etc/group", "/etc/os-release",
	"/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/ssl/cert.pem", "/etc/pki/tls/certs", "/etc/pki/tls/cert.pem", "/etc/pki/ca-trust/extracted",
	"/etc/ca-certificates", "/etc/crypto-policies", "/run/systemd/resolve",
	"/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version", "/proc/filesystems", "/proc/sys/net/core/somaxconn", "/proc/sys/vm/overcommit_memory",
	"/sys/devices/system/cpu", "/sys/kernel/mm/transparent_hugepage",
}

// devices are those that every program may expect.
var devices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}

// landlockVersion is that of the kernel.
func landlockVersion() (int, error) {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0, errno
	}
	return int(v), nil
}

// ruleset is what a child may do with files, as far as the kernel can keep it to that.
type ruleset struct {
	fd      int // -1: there is no Landlock
	handled uint64
}

// rules makes the ruleset. It comes before anything is dropped: what is granted is granted whoever could reach it.
func (c *confinement) rules(binary program) (ruleset, error) {
	if c.Landlock == 0 {
		return ruleset{fd: -1}, nil
	}
	r, err := newRuleset(c.Landlock)
	if err != nil {
		return r, err
	}
	if binary.file != nil {
		if err := r.add(int(binary.file.Fd()), landlockRun); err != nil {
			return r, fmt.Errorf("%s: %w", binary.file.Name(), err)
		}
	}
	const change = landlockFirst | unix.LANDLOCK_ACCESS_FS_REFER | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	const write = change &^ (landlockNodes | unix.LANDLOCK_ACCESS_FS_EXECUTE)
	for _, dir := range c.Own {
		err = errors.Join(err, r.allow(dir, write))
	}
	for _, d := range c.Dirs {
		rights := uint64(landlockRead)
		if d.Write {
			rights = write
		}
		err = errors.Join(err, r.allow(d.Path, rights))
	}
	if err != nil {
		return r, err
	}
	common := map[string]uint64{binary.interpreter: landlockRun}
	for rights, paths := range map[uint64][]string{landlockRun: slices.Concat(binary.parts(), programs, c.Programs), landlockRead: append(readable, c.Files...), landlockDevice: devices} {
		for _, path := range paths {
			common[path] = rights
		}
	}
	delete(common, "")
	for path, rights := range common {
		if err := r.allow(path, rights); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
			return r, err // what is not there, or not for the agent, is not for its children
		}
	}
	return r, nil
}

// newRuleset makes one that refuses everything that this version of Landlock can refuse.
func newRuleset(version int) (r ruleset, err error) {
	attr := unix.LandlockRulesetAttr{Handled_access_fs: landlockFirst}
	size := unsafe.Sizeof(attr.Handled_access_fs) // older kernels know a shorter struct
	for since, right := range map[int]uint64{
		2: unix.LANDLOCK_ACCESS_FS_REFER, 3: unix.LANDLOCK_ACCESS_FS_TRUNCATE, 5: unix.LANDLOCK_ACCESS_FS_IOCTL_DEV,
	} {
		if version >= since {
			attr.Handled_access_fs |= right
		}
	}
	if version >= landlockSignals {
		attr.Scoped, size = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET|unix.LANDLOCK_SCOPE_SIGNAL, unsafe.Offsetof(attr.Quiet_access_fs)
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return ruleset{fd: -1}, fmt.Errorf("make a ruleset: %w", errno)
	}
	return ruleset{int(fd), attr.Handled_access_fs}, nil
}

// allow adds what may be done with a path, and below it.
func (r ruleset) allow(path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer unix.Close(fd)
	if err := r.add(fd, rights); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func (r ruleset) add(fd int, rights uint64) error {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= landlockFile // what is of directories is refused with files
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights & r.handled, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(r.fd), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// apply holds this thread, and what it becomes, to the rules for ever.
func (r ruleset) apply() error {
	if r.fd < 0 {
		return nil
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(r.fd), 0, 0); errno != 0 {
		return errno
	}
	return unix.Close(r.fd)
}
