// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
)

const (
	nobody = 65534
	secret = "hunter2"
)

// inMemory is what a child would like to read in its agent's memory: both are one binary, which is not loaded at random places.
var inMemory = [8]byte{'s', 'e', 'c', 'r', 'e', 't', '!', '!'}

// launcher is that of tests.
var launcher = []string{"test", "child", "launch"}

// isolationMain is what processes of these tests are.
func isolationMain(how string) int {
	var err error
	switch arg := append(os.Args[3:], "", ""); how {
	case "launch": // elsewhere this is the agent's binary
		fmt.Fprintln(os.Stderr, Exec())
		return ExitConfinement
	case "escape":
		depth, _ := strconv.Atoi(arg[1])
		return escapeMain(arg[0], depth)
	case "hostile":
		return hostileMain(arg[0])
	case "escapes":
		err = escapesMain(arg[0], arg[1])
	case "dial":
		if err = connectsTo("tcp", arg[0]); err == nil {
			err = errors.New("connected")
		}
	case "reserve": // a GiB, of which nothing is used
		if _, err = unix.Mmap(-1, 0, 1<<30, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON); err == nil {
			err = errors.New("mapped")
		}
	case "leaves": // something that has its standard output and error, and left its group
		c := exec.Command("sleep", "30")
		c.Stdout, c.Stderr, c.SysProcAttr = os.Stdout, os.Stderr, &syscall.SysProcAttr{Setsid: true}
		if err = c.Start(); err == nil {
			err = fmt.Errorf("started %d", c.Process.Pid)
		}
	case "stage":
		err = stageMain(arg[0])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// stage is where a hostile child acts: what it is to lay its hands on. An agent that is a process of its own builds it.
type stage struct {
	Isolate bool
	Alone   bool   // Landlock is all there is
	Dir     string // all of it, of the agent's user
	Self    string // the test binary, where everybody may run it
	Agent   int
	Victim  struct {
		PID                   int
		Work, Sockets, Socket string
	}
	Server string // a listener of the agent's machine
	Open   int    // a file that the agent has open, and that exec does not close
}

func (s *stage) path(name string) string { return filepath.Join(s.Dir, name) }

// attacks are what a hostile child tries. An error says that it was refused.
var attacks = map[string]func(s *stage) error{
	"the agent's environment":     func(s *stage) error { return reads(fmt.Sprintf("/proc/%d/environ", s.Agent)) },
	"the other's environment":     func(s *stage) error { return reads(fmt.Sprintf("/proc/%d/environ", s.Victim.PID)) },
	"the agent's memory in /proc": func(s *stage) error { return opens(fmt.Sprintf("/proc/%d/mem", s.Agent)) },
	"the agent's open files":      func(s *stage) error { return opens(fmt.Sprintf("/proc/%d/fd/0", s.Agent)) },
	"the agent's memory":          func(s *stage) error { return readMemory(s.Agent) },
	"tracing the agent":           func(s *stage) error { return trace(s.Agent) },
	"tracing the other":           func(s *stage) error { return trace(s.Victim.PID) },
	"a signal to the agent":       func(s *stage) error { return unix.Kill(s.Agent, 0) },
	"a signal to the other":       func(s *stage) error { return unix.Kill(s.Victim.PID, 0) },
	"the data directory":          func(s *stage) error { return reads(s.path("data/wal")) },
	"a file in the data directory": func(s *stage) error {
		return os.WriteFile(s.path("data/planted"), nil, 0o600)
	},
	"the log":                        func(s *stage) error { return reads(s.path("log")) },
	"a file that all may read":       func(s *stage) error { return reads(s.path("public")) },
	"the other's directory":          func(s *stage) error { return reads(filepath.Join(s.Victim.Work, "mine")) },
	"the other's socket":             func(s *stage) error { return os.Remove(s.Victim.Socket) },
	"the name of the other's socket": func(s *stage) error { return reads("/proc/net/unix", s.Victim.Socket) },
	"a list of sockets":              func(s *stage) error { return opens(filepath.Dir(filepath.Dir(s.Victim.Socket))) },
	"a file that the agent left":     func(s *stage) error { return readsFile(s.Open) },
	"the network":                    func(s *stage) error { return connectsTo("tcp", s.Server) },
	"a port that somebody reaches":   func(*stage) error { return reachable() },
	"an abstract socket":             func(s *stage) error { return connects("@" + s.Dir) },
	"a symlink out of its own":       func(s *stage) error { return linkOut(s, os.Symlink) },
	"a hard link out of its own":     func(s *stage) error { return linkOut(s, os.Link) },
	"a move out of its own":          func(s *stage) error { return os.Rename(s.path("granted/to move"), s.path("data/moved")) },
	"writing what it may read":       func(s *stage) error { return os.WriteFile(s.path("readable/planted"), nil, 0o600) },
	"a program that it may read":     func(s *stage) error { return exec.Command(s.path("readable/tool")).Run() },
	"a program that it has written":  func(s *stage) error { return runsNew(s.path("granted/tool")) },
	"new privileges":                 func(*stage) error { return keepsPrivileges() },
	"core files":                     func(*stage) error { return boundless(unix.RLIMIT_CORE) },
	"all the processes that it can":  func(*stage) error { return boundless(unix.RLIMIT_NPROC) },
}

// rights are what it was granted: that nothing works is no isolation.
var rights = map[string]func(s *stage) error{
	"to write what was granted": func(s *stage) error { return os.WriteFile(s.path("granted/new"), []byte("x"), 0o600) },
	"to read what was granted":  func(s *stage) error { return reads(s.path("readable/file")) },
	"its working directory":     func(*stage) error { return os.WriteFile("note", []byte("x"), 0o600) },
	"its temporary directory":   func(*stage) error { return os.WriteFile(os.TempDir()+"/note", []byte("x"), 0o600) },
	"its sockets": func(*stage) error {
		l, err := net.Listen("unix", os.Getenv("PLUGIN_UNIX_SOCKET_DIR")+"/s")
		if err == nil {
			err = l.Close()
		}
		return err
	},
	"a program that was granted": func(s *stage) error { return exec.Command(s.path("tool")).Run() },
	"/dev/null":                  func(*stage) error { return os.WriteFile("/dev/null", []byte("x"), 0) },
	"programs":                   func(*stage) error { return exec.Command("/bin/sh", "-c", "exit 0").Run() },
	"name lookup":                func(*stage) error { return reads("/etc/hosts", "") },
	"its own processes": func(*stage) error {
		c := exec.Command("sleep", "100")
		if err := c.Start(); err != nil {
			return err
		}
		return errors.Join(c.Process.Kill(), c.Process.Release())
	},
}

func reads(path string, part ...string) error {
	b, err := os.ReadFile(path)
	if want := append(part, secret)[0]; err == nil && !bytes.Contains(b, []byte(want)) {
		return fmt.Errorf("it has not %q", want)
	}
	return err
}

func opens(path string) error {
	f, err := os.Open(path)
	if err == nil {
		err = f.Close()
	}
	return err
}

func readMemory(pid int) error {
	got := make([]byte, len(inMemory))
	_, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &got[0], Len: uint64(len(got))}},
		[]unix.RemoteIovec{{Base: uintptr(unsafe.Pointer(&inMemory)), Len: len(got)}}, 0)
	if err == nil && !bytes.Equal(got, inMemory[:]) {
		err = fmt.Errorf("it read %q", got)
	}
	return err
}

func trace(pid int) error {
	if err := unix.PtraceSeize(pid); err != nil {
		return err
	}
	return nil // it ends with this process
}

func readsFile(fd int) error {
	b := make([]byte, 100)
	n, err := unix.Pread(fd, b, 0)
	if err == nil && !bytes.Contains(b[:n], []byte(secret)) {
		err = errors.New("it is another")
	}
	return err
}

func connects(address string) error { return connectsTo("unix", address) }

// reachable says what keeps others from a port that this process listens at: there is no interface that it could be at.
func reachable() error {
	all, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, i := range all {
		if i.Flags&net.FlagUp != 0 {
			return nil
		}
	}
	return errors.New("no interface is up")
}

func connectsTo(network, address string) error {
	c, err := net.Dial(network, address)
	if err == nil {
		err = c.Close()
	}
	return err
}

// tool is a program.
const tool = "#!/bin/sh\nexit 0\n"

func runsNew(path string) error {
	if err := os.WriteFile(path, []byte(tool), 0o700); err != nil {
		return err
	}
	return exec.Command(path).Run()
}

func linkOut(s *stage, link func(from, to string) error) error {
	to := filepath.Join(s.path("granted"), "link"+strconv.Itoa(int(time.Now().UnixNano())))
	if err := link(s.path("data/wal"), to); err != nil {
		return err
	}
	return reads(to)
}

func keepsPrivileges() error {
	if on, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err != nil || on == 1 {
		return errors.Join(errors.New("given up"), err)
	}
	return nil
}

func boundless(resource int) error {
	var l unix.Rlimit
	if err := unix.Getrlimit(resource, &l); err != nil {
		return err
	}
	if l.Max <= maxTasks {
		return fmt.Errorf("at most %d", l.Max)
	}
	return nil
}

// hostileMain is a child that tries all of it, and says what came of it on its standard error.
func hostileMain(doc string) int {
	var s stage
	if err := json.Unmarshal([]byte(doc), &s); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for _, pair := range os.Environ() {
		if strings.Contains(pair, secret) || strings.HasPrefix(pair, confinementKey) {
			fmt.Fprintln(os.Stderr, "SUCCESS: its own environment has", pair)
		}
	}
	for what, try := range rights {
		if err := try(&s); err != nil {
			fmt.Fprintf(os.Stderr, "MISSES: %s: %v\n", what, err)
		}
	}
	for what, attack := range attacks {
		if err := attack(&s); err != nil {
			fmt.Fprintf(os.Stderr, "REFUSED: %s: %v\n", what, err)
		} else {
			fmt.Fprintf(os.Stderr, "SUCCESS: %s\n", what)
		}
	}
	return 3
}

// connecting is the manifest of a plugin that needs the network, and has it of the agent.
var connecting = abi.Manifest{Name: "both", Version: "1.0.0", Plugins: []abi.Plugin{{Kind: abi.Sink, Name: "both", Needs: []abi.Need{
	{Handle: "to", Kind: abi.NeedDial}, {Handle: "in", Kind: abi.NeedListen}, {Handle: "url", Kind: abi.NeedHTTP}, {Handle: "serve", Kind: abi.NeedServe},
}}}}

// stageMain is an agent that sets the stage, lets a hostile child act, and prints what that says.
func stageMain(doc string) (err error) {
	var s stage
	if err := json.Unmarshal([]byte(doc), &s); err != nil {
		return err
	}
	o := Options{Dir: s.path("data/children")}
	if s.Isolate {
		if err := HideFromChildren(); err != nil {
			return err
		}
		o.Launcher = launcher
	}
	if err := s.build(); err != nil {
		return err
	}
	r, err := New(o)
	if err != nil {
		return err
	}
	if s.Alone {
		r.isolation.Namespaces, r.isolation.User, r.isolation.OwnUser = false, false, false
	}
	fmt.Println("isolation:", r.Isolation(), "trusted:", r.Isolation().Trusted())
	victim, err := s.victim(r)
	if err != nil {
		return err
	}
	s.Agent = os.Getpid()
	told, err := json.Marshal(s)
	if err != nil {
		return err
	}
	p, err := r.Load(context.Background(), plugin.Ref{Path: s.Self, Args: []string{"test", "child", "hostile", string(told)}, Manifest: &connecting})
	if err != nil {
		return err
	}
	hostile := new(setup)
	q := hostile.request(abi.Sink)
	q.Component, q.Log = "sink.hostile", slog.New(slog.NewTextHandler(os.Stdout, nil))
	q.Dirs = []plugin.Dir{{Path: s.path("granted"), Write: true}, {Path: s.path("readable")}}
	q.Programs = []string{s.path("tool"), s.path("no such tool"), "no-such-tool"}
	if _, err := p.Open(context.Background(), abi.Sink, q); err != nil {
		fmt.Println("ended:", err)
	}
	return errors.Join(victim.Close(), p.Close(), r.Close())
}

// build makes what there is to attack.
func (s *stage) build() error {
	var errs []error
	for name, mode := range map[string]os.FileMode{"data": 0o700, "granted": 0o777, "readable": 0o755} {
		errs = append(errs, os.Mkdir(s.path(name), mode), os.Chmod(s.path(name), mode))
	}
	for name, mode := range map[string]os.FileMode{
		"data/wal": 0o600, "log": 0o600, "public": 0o644, "readable/file": 0o644, "granted/to move": 0o666,
	} {
		errs = append(errs, os.WriteFile(s.path(name), []byte(secret), mode), os.Chmod(s.path(name), mode))
	}
	for _, name := range []string{"tool", "readable/tool"} {
		errs = append(errs, os.WriteFile(s.path(name), []byte(tool), 0o755), os.Chmod(s.path(name), 0o755))
	}
	fd, err := unix.Open(s.path("log"), unix.O_RDONLY, 0) // without O_CLOEXEC
	s.Open = fd
	errs = append(errs, err, serve("unix", "@"+s.Dir, nil), serve("tcp", "127.0.0.1:0", &s.Server))
	return errors.Join(errs...)
}

// serve accepts connections as long as the process lives.
func serve(network, address string, at *string) error {
	l, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	if at != nil {
		*at = l.Addr().String()
	}
	go func() {
		for {
			if _, err := l.Accept(); err != nil {
				return
			}
		}
	}()
	return nil
}

// victim is another plugin's instance.
func (s *stage) victim(r *Runtime) (plugin.Sink, error) {
	p, err := r.Load(context.Background(), plugin.Ref{Path: s.path("both"), Manifest: &manifest})
	if err != nil {
		return nil, err
	}
	q := new(setup).request(abi.Sink)
	q.Component, q.Grants.Env = "sink.victim", map[string]string{"MY_SECRET": secret}
	in, err := p.Open(context.Background(), abi.Sink, q)
	if err != nil {
		return nil, err
	}
	k := in.Sink.(*sink)
	s.Victim.PID, s.Victim.Work, s.Victim.Sockets, s.Victim.Socket = pidOf(k), k.work, k.process.sockets, k.process.address
	return in.Sink, os.WriteFile(filepath.Join(k.work, "mine"), []byte(secret), 0o600)
}

// play runs an agent as a user, and a hostile child in it.
func play(t *testing.T, uid int, s stage) (lines []string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "stage")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s.Dir, s.Self = dir, filepath.Join(dir, "self")
	self, err := os.Executable()
	if err == nil {
		err = errors.Join(copyFile(self, s.Self), copyFile(both, s.path("both")), os.Chown(dir, uid, uid), os.Chmod(dir, 0o711))
	}
	doc, jsonErr := json.Marshal(s)
	if err = errors.Join(err, jsonErr); err != nil {
		t.Fatal(err)
	}
	agent := exec.Command(s.Self, "child", "stage", string(doc))
	agent.Env = append(os.Environ(), "AGENT_SECRET="+secret)
	agent.Dir = dir
	if uid != os.Getuid() {
		agent.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	out, err := agent.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		lines = append(lines, strings.TrimSpace(line))
	}
	t.Logf("user %d, isolated %v:\n%s", uid, s.Isolate, out)
	return lines
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(to, b, 0o755), os.Chmod(to, 0o755))
}

// agents are the users that an agent of a test can run as.
func agents() []int {
	if os.Geteuid() != 0 {
		return []int{os.Geteuid()}
	}
	return []int{0, nobody}
}

func TestAHostileChildIsRefusedAll(t *testing.T) {
	for _, uid := range agents() {
		refusedAll(t, uid, stage{Isolate: true})
	}
}

func TestLandlockAloneRefusesAllOfFilesAndProcesses(t *testing.T) {
	refusedAll(t, agents()[len(agents())-1], stage{Isolate: true, Alone: true}, "all the processes that it can", "the network", "a port that somebody reaches")
}

func refusedAll(t *testing.T, uid int, s stage, but ...string) {
	t.Helper()
	confined(t)
	lines := play(t, uid, s)
	for what := range attacks {
		if !slices.Contains(but, what) && !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "REFUSED: "+what+": ") }) {
			t.Errorf("user %d: nothing refused it %s", uid, what)
		}
	}
	for _, l := range lines {
		if strings.Contains(l, "MISSES: ") || strings.Contains(l, "SUCCESS: ") && !slices.ContainsFunc(but, func(b string) bool { return strings.Contains(l, b) }) {
			t.Errorf("user %d: %s", uid, l)
		}
	}
}

// Without isolation each attack succeeds: else the test above would prove nothing.
func TestTheAttacksOfAHostileChildAreReal(t *testing.T) {
	for _, uid := range agents() {
		lines := play(t, uid, stage{})
		for what := range attacks {
			if !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "SUCCESS: "+what) }) {
				t.Errorf("user %d: it could not have had %s anyway", uid, what)
			}
		}
	}
}
