// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
)

const (
	// probeTimeout is how long the launcher may take to say what works.
	probeTimeout = 10 * time.Second
	// maxTasks bounds the threads and processes of a component together: what a client library needs are some tens.
	maxTasks = 512
	// reservedMemory is how much more than it may use a process may have mapped: Go maps 64 MiB at a time, and each thread of a C program has
	// a stack of 8 MiB. Beyond it mapping fails, so that nothing takes the machine's memory between two looks at it.
	reservedMemory = 512 << 20
	// spareFiles is what a process has open beside limits.handles.
	spareFiles = 64
)

// HideFromChildren makes this process one that no other of its user can look into: its memory, its environment, what it has
// open. The agent calls it before it reads anything. Root can still look; core files are not written any more.
func HideFromChildren() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("hide from child processes: %w", err)
	}
	return nil
}

// self is the program that runs, whatever has become of its file.
const self = "/proc/self/exe"

// idRange are the users that components run as: each has one of its own, which it has again after a restart.
type idRange struct{ first, count uint32 }

// rooms are ranges that nobody gives to people or services: the first between those of containers and 2^31, the second for an agent that is
// itself in a container with 2^16 users, below those of systemd.
var rooms = []idRange{{1_900_000_000, 10_000_000}, {40_000, 10_000}}

// users are who runs as whom.
type users struct {
	mu    sync.Mutex
	taken map[uint32]string
}

// of is the user of a component.
func (u *users) of(component string, ids idRange) int {
	h := fnv.New32a()
	h.Write([]byte(component))
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.taken == nil {
		u.taken = map[uint32]string{}
	}
	for at := h.Sum32() % ids.count; ; at = (at + 1) % ids.count {
		switch u.taken[at] {
		case "":
			u.taken[at] = component
			return int(ids.first + at)
		case component:
			return int(ids.first + at)
		}
	}
}

// Probe asks the launcher what this kernel, and this user, can have of isolation.
func Probe(launcher []string) Isolation {
	if len(launcher) == 0 {
		return unisolated("there is no launcher")
	}
	landlock, err := landlockVersion()
	found := Isolation{Landlock: landlock}
	if err != nil {
		found.reasons = append(found.reasons, "the kernel has no Landlock: "+err.Error())
	} else if landlock < landlockSignals {
		found.reasons = append(found.reasons, fmt.Sprintf("the kernel's Landlock is version %d, signals are kept since %d", landlock, landlockSignals))
	}
	root := os.Geteuid() == 0
	if !root {
		found.reasons = append(found.reasons, "the agent does not run as root")
	} else {
		found.probeUser(launcher)
	}
	for _, user := range []bool{false, true} {
		if user == root {
			continue // root needs no privileges of a namespace's
		}
		try := found
		try.Namespaces, try.User = true, user
		if err := try.works(launcher); err == nil {
			return try
		} else {
			found.reasons = append(found.reasons, "no process namespace: "+err.Error())
		}
	}
	if err := found.works(launcher); err != nil { // there is a launcher that does not work
		return Isolation{reasons: []string{err.Error()}}
	}
	return found
}

func (i *Isolation) probeUser(launcher []string) {
	var err error
	for _, room := range rooms {
		try := *i
		try.OwnUser, try.ids = true, room
		if err = try.works(launcher); err == nil {
			*i = try
			return
		}
	}
	i.reasons = append(i.reasons, "no users for components: "+err.Error())
}

// works says what keeps the launcher from doing all of it.
func (i Isolation) works(launcher []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, self)
	cmd.Args = launcher
	c := confinement{Probe: true, Offline: true, UID: -1, Dies: int(syscall.SIGTERM)}
	if i.OwnUser {
		c.UID = int(i.ids.first + i.ids.count - 1)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	defer stdin.Close()
	cmd.Env = nil
	if err := i.launch(cmd, c); err != nil {
		return err
	}
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == ExitConfinement {
		return errors.New(strings.TrimSpace(string(out)))
	}
	return err
}

// launch completes the command of a launcher.
func (i Isolation) launch(cmd *exec.Cmd, c confinement) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	}
	c.Landlock, c.Dies = i.Landlock, int(cmd.SysProcAttr.Pdeathsig)
	if i.Namespaces {
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWPID | unix.CLONE_NEWIPC
		// The namespace ends with its first process, whatever it has started: nothing has to be told to end by itself.
		cmd.SysProcAttr.Pdeathsig, c.Dies = syscall.SIGKILL, int(syscall.SIGKILL)
		if c.Offline {
			cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWNET
		}
	}
	if i.User {
		// The launcher maps its user itself: it is a new program, whose files in /proc are its user's; those of the agent, and of a copy of
		// it, are root's.
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_SETPCAP}
		c.Map = &[2]int{os.Geteuid(), os.Getegid()}
	}
	doc, err := json.Marshal(c)
	if err != nil {
		return err
	}
	cmd.Env = append(cmd.Env, confinementKey+"="+string(doc))
	return nil
}

// confine has the launcher start the command. work and sockets are the directories of the child.
func (p *Plugin) confine(cmd *exec.Cmd, open plugin.Request, work, sockets string) error {
	r := p.runtime
	if len(r.launcher) == 0 {
		return nil
	}
	binary := p.private
	if p.script {
		binary = p.path
	}
	c := confinement{Binary: binary, Digest: p.digest, Args: cmd.Args, UID: -1, Own: []string{work, sockets}}
	if r.isolation.OwnUser {
		c.UID = r.users.of(open.Component, r.isolation.ids)
		for _, dir := range c.Own {
			if err := os.Chown(dir, c.UID, c.UID); err != nil {
				return fmt.Errorf("give a plugin its directory: %w", err)
			}
		}
	}
	for _, d := range open.Dirs {
		c.Dirs = append(c.Dirs, confinedDir(d))
	}
	for _, path := range open.Programs {
		if found, err := exec.LookPath(path); err == nil {
			path = found // who looks for it in vain says so better: the plugin knows the argument
		}
		c.Programs = append(c.Programs, path)
	}
	for _, name := range []string{"SSL_CERT_FILE", "SSL_CERT_DIR"} {
		c.Files = append(c.Files, filepath.SplitList(os.Getenv(name))...)
	}
	c.Offline = !open.Network
	c.Limits = r.isolation.limits(open.Limits)
	if open.Limits.MemoryBytes > 0 {
		cmd.Env = append([]string{"GOMEMLIMIT=" + strconv.FormatUint(open.Limits.MemoryBytes, 10)}, cmd.Env...)
	}
	cmd.Path, cmd.Args = self, r.launcher
	return r.isolation.launch(cmd, c)
}

// limits are what the kernel bounds of a child.
func (i Isolation) limits(l plugin.Limits) []confinedLimit {
	all := []confinedLimit{
		{unix.RLIMIT_CORE, 0},
		{unix.RLIMIT_NOFILE, uint64(cmp.Or(l.Handles, abi.DefaultHandles)) + spareFiles},
	}
	if i.OwnUser || i.User { // else it counts what runs as the agent's user
		all = append(all, confinedLimit{unix.RLIMIT_NPROC, maxTasks})
	}
	if l.MemoryBytes > 0 {
		all = append(all, confinedLimit{unix.RLIMIT_DATA, l.MemoryBytes + programMemory + reservedMemory})
	}
	return all
}

// roomFor makes the directory where children have their own directories. Those that run as other users cannot reach it in a directory
// that is the agent's alone.
func roomFor(dir string, i Isolation) (string, error) {
	if !i.OwnUser {
		return dir, nil
	}
	sum := sha256.Sum256([]byte(dir))
	room := filepath.Join("/run", "penstock-"+hex.EncodeToString(sum[:6]))
	if err := removeAll(room); err != nil { // left by an agent that was killed
		return "", err
	}
	err := os.Mkdir(room, 0o700)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.EROFS) {
		room, err = os.MkdirTemp("", "penstock-")
	}
	if err != nil {
		return "", err
	}
	return room, os.Chmod(room, 0o711) // they may go through, and see nothing
}
