// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Exec is what the launcher does: it takes from this process what the child is not to have, and becomes the child. It returns only
// when it cannot.
//
// Much of it belongs to a thread, and what the thread is that calls exec the process becomes; so all of it is done by one.
func Exec() error {
	runtime.LockOSThread()
	doc, ok := os.LookupEnv(confinementKey)
	if !ok {
		return errors.New("an agent runs this, to start a plugin")
	}
	var c confinement
	if err := json.Unmarshal([]byte(doc), &c); err != nil {
		return fmt.Errorf("read what a plugin may do: %w", err)
	}
	if err := os.Unsetenv(confinementKey); err != nil {
		return err
	}
	return c.become()
}

func (c *confinement) become() error {
	unix.Umask(0o077)
	if err := c.mapUser(); err != nil {
		return err
	}
	binary, err := c.open()
	if err != nil {
		return err
	}
	rules, err := c.rules(binary)
	if err != nil {
		return fmt.Errorf("prepare Landlock: %w", err)
	}
	if err := c.drop(); err != nil {
		return err
	}
	if err := c.dieWithAgent(); err != nil {
		return err
	}
	if err := c.reach(); err != nil {
		return err
	}
	if err := rules.apply(); err != nil {
		return fmt.Errorf("apply Landlock: %w", err)
	}
	if c.Probe {
		os.Exit(0)
	}
	// What the agent was started with may be open here: the agent's own is closed by exec already.
	if err := unix.CloseRange(3, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC); err != nil && !errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("close what is open: %w", err)
	}
	return binary.exec(c.Args)
}

// mapUser makes the agent's user that of the namespace, with no other in it.
func (c *confinement) mapUser() error {
	if c.Map == nil {
		return nil
	}
	for i, name := range []string{"uid_map", "setgroups", "gid_map"} {
		line := "deny"
		if i != 1 {
			line = fmt.Sprintf("%d %[1]d 1", c.Map[i/2])
		}
		if err := os.WriteFile("/proc/self/"+name, []byte(line), 0); err != nil {
			return fmt.Errorf("map the user of a namespace: %w", err)
		}
	}
	return nil
}

// program is the binary that the launcher becomes: what was checked is what is run, whatever happens to its name meanwhile.
type program struct {
	file        *os.File
	interpreter string // of a script
}

// open opens the binary and makes sure that it is the one that is meant.
func (c *confinement) open() (p program, err error) {
	if c.Probe {
		return p, nil
	}
	path := c.Binary
	if path == "" {
		path = self
	}
	if p.file, err = os.Open(path); err != nil {
		return p, err
	}
	head := make([]byte, 256)
	n, err := io.ReadFull(p.file, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return p, fmt.Errorf("read %s: %w", path, err)
	}
	if line, ok := strings.CutPrefix(string(head[:n]), "#!"); ok {
		line, _, _ = strings.Cut(line, "\n")
		if words := strings.Fields(line); len(words) > 0 {
			p.interpreter = words[0]
		}
	}
	if c.Binary == "" {
		return p, nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(p.file, 0, 1<<62)); err != nil {
		return p, fmt.Errorf("read %s: %w", path, err)
	}
	if digest := hex.EncodeToString(h.Sum(nil)); digest != c.Digest {
		return p, fmt.Errorf("%s has sha256 %s, and not %s as when it was loaded: somebody changed it; restart the agent, which reads it anew", path, digest, c.Digest)
	}
	return p, nil
}

func (p program) exec(args []string) error {
	path := "/proc/self/fd/" + strconv.Itoa(int(p.file.Fd()))
	if p.interpreter != "" {
		path = p.file.Name() // where it finds what it is made of
	}
	err := syscall.Exec(path, args, os.Environ())
	if errors.Is(err, unix.EACCES) {
		return fmt.Errorf("run %s as user %d: %w: can that user read it and enter its directory, and is the file system mounted without noexec?", p.file.Name(), os.Getuid(), err)
	}
	return fmt.Errorf("run %s: %w", p.file.Name(), err)
}

// parts are the directories that a script is made of: its own, and that of an interpreter with its libraries, as in a virtual environment.
func (p program) parts() []string {
	if p.interpreter == "" {
		return nil
	}
	all := []string{filepath.Dir(p.file.Name())}
	if bin := filepath.Dir(p.interpreter); filepath.Base(bin) == "bin" && filepath.Dir(bin) != "/" {
		all = append(all, filepath.Dir(bin))
	}
	return all
}

// drop takes privileges, and what the kernel gives without bound.
func (c *confinement) drop() error {
	for _, l := range c.Limits {
		var now syscall.Rlimit
		if err := syscall.Getrlimit(l.Resource, &now); err != nil {
			return fmt.Errorf("read a limit: %w", err)
		}
		most := min(l.Value, now.Max) // only root can have more
		if err := syscall.Setrlimit(l.Resource, &syscall.Rlimit{Cur: most, Max: most}); err != nil {
			return fmt.Errorf("set a limit: %w", err)
		}
	}
	for capability := uintptr(0); ; capability++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) { // there are no more, or nobody here may have any
			break
		}
		if err != nil {
			return fmt.Errorf("drop capabilities: %w", err)
		}
	}
	if c.UID >= 0 {
		if err := setUser(c.UID); err != nil {
			return fmt.Errorf("become user %d: %w", c.UID, err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	return nil
}

// setUser changes the user of this thread, in no group but the user's own.
func setUser(id int) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
		return errno
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(id), uintptr(id), uintptr(id)); errno != 0 {
		return errno
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(id), uintptr(id), uintptr(id)); errno != 0 {
		return errno
	}
	return nil
}

// dieWithAgent asks the kernel once more to end this process with the agent: with a change of users it forgets. Should the agent be gone
// already, nobody holds the other end of the standard input.
func (c *confinement) dieWithAgent() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(c.Dies), 0, 0, 0); err != nil {
		return fmt.Errorf("end with the agent: %w", err)
	}
	poll := []unix.PollFd{{Fd: 0, Events: unix.POLLIN}}
	if n, err := unix.Poll(poll, 0); err == nil && n > 0 && poll[0].Revents&unix.POLLHUP != 0 {
		return errors.New("the agent is gone")
	}
	return nil
}

// reach makes sure that what was granted can be reached by the user that this process is now.
func (c *confinement) reach() error {
	for _, d := range c.Dirs {
		mode, want := uint32(unix.R_OK|unix.X_OK), "rX"
		if d.Write {
			mode, want = mode|unix.W_OK, "rwX"
		}
		var stat unix.Stat_t
		if err := unix.Stat(d.Path, &stat); err == nil && stat.Mode&unix.S_IFMT != unix.S_IFDIR {
			mode &^= unix.X_OK
		}
		err := unix.Faccessat(unix.AT_FDCWD, d.Path, mode, unix.AT_EACCESS)
		switch {
		case errors.Is(err, unix.EACCES) && c.UID >= 0:
			return fmt.Errorf("the plugin runs as user %d, which cannot use %s, which it was granted: setfacl -R -m u:%[1]d:%[3]s %[2]s, or see that everybody can",
				c.UID, d.Path, want)
		case errors.Is(err, unix.EROFS):
			return fmt.Errorf("%s was granted for writing, and lies on a file system that is read-only", d.Path)
		case err != nil:
			return fmt.Errorf("%s, which was granted: %w", d.Path, err)
		}
	}
	return nil
}
