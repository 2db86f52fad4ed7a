// SPDX-License-Identifier: Apache-2.0

// Package pgtest runs a PostgreSQL server for a test: its own, of the programs that are installed, in a directory that goes away with the test.
//
// The server listens on a unix socket alone, and takes whoever asks. It can be stopped, killed with all its processes, as a machine that fails
// would kill it, and started again over the same data. It refuses to run as root, so it is given to an unprivileged user then.
package pgtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// User may do everything, without a password. So is the database called that is there.
	User = "postgres"
	// startTimeout is how long a server may take to be there, also after a crash, on a machine that does other things.
	startTimeout = 3 * time.Minute
)

// Server is a running server.
type Server struct {
	// Dir is the directory of its socket, and Port a part of the socket's name. Nothing listens on the port itself, but where the
	// settings have port and listen_addresses.
	Dir  string
	Port int

	t        testing.TB
	within   func(start func() error) error
	bin      string
	settings []string
	cmd      *exec.Cmd
	ended    chan struct{} // closed when cmd has ended
}

// Start makes a server and starts it. Settings are "name=value", beside those that a test needs. Without the programs the test is
// skipped; with CI=true it fails.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	return StartWithin(t, func(start func() error) error { return start() }, settings...)
}

// StartWithin is Start with something around the start of the process, each time, such as another network for the thread that starts it.
func StartWithin(t testing.TB, within func(start func() error) error, settings ...string) *Server {
	t.Helper()
	s := &Server{Port: 5432, t: t, within: within, bin: programs(t), settings: settings}
	for _, setting := range settings {
		if port, ok := strings.CutPrefix(setting, "port="); ok {
			s.Port, _ = strconv.Atoi(port) // what is no number the server refuses
		}
	}
	dir, err := os.MkdirTemp("", "pg") // not the test's own, below which nobody else may look
	if err != nil {
		t.Fatal(err)
	}
	s.Dir = dir
	t.Cleanup(func() {
		s.Kill()
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the server: %v", err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil { // who connects may be yet another user
		t.Fatal(err)
	}
	Give(t, dir)
	s.command("initdb", "-D", s.data(), "-U", User, "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
	s.Start()
	return s
}

func (s *Server) data() string { return filepath.Join(s.Dir, "data") }

// programs finds the directory of the newest server that is installed.
func programs(t testing.TB) string {
	t.Helper()
	if found, err := exec.LookPath("initdb"); err == nil {
		if real, err := filepath.EvalSymlinks(found); err == nil {
			return filepath.Dir(real)
		}
	}
	best, newest := "", 0
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // a pattern of our own is not malformed
	for _, d := range dirs {
		if v, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(d)))); err == nil && v > newest {
			best, newest = filepath.Dir(d), v
		}
	}
	if best == "" {
		const lacks = "there is no PostgreSQL server on this machine: install it (Debian: apt-get install postgresql), or put its initdb into PATH"
		if os.Getenv("CI") == "true" {
			t.Fatal(lacks)
		}
		t.Skip(lacks)
	}
	return best
}

// credential is who runs the server: nil is who runs the test.
func credential(t testing.TB) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
			gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
			if err1 == nil && err2 == nil {
				return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
			}
		}
	}
	t.Fatal("PostgreSQL does not run as root, and this machine has neither a user postgres nor nobody")
	return nil
}

func (s *Server) prepare(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, program), args...)
	cmd.Dir = s.Dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential(s.t)}
	return cmd
}

func (s *Server) command(program string, args ...string) {
	s.t.Helper()
	if out, err := s.prepare(program, args...).CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", program, err, out)
	}
}

// Start starts the server again after Stop or Kill, and waits until it takes connections.
func (s *Server) Start() {
	s.t.Helper()
	args := []string{"-D", s.data(), "-k", s.Dir, "-p", strconv.Itoa(s.Port)}
	for _, setting := range append([]string{"listen_addresses=", "max_connections=50", "shared_buffers=32MB", "log_min_messages=warning"}, s.settings...) {
		args = append(args, "-c", setting)
	}
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	end := time.Now().Add(startTimeout)
	for {
		s.launch(log, args)
		if s.waits(end) {
			return
		}
		if time.Now().After(end) { // it may have to wait until what was killed has let go of its memory
			text, _ := os.ReadFile(s.log())
			s.t.Fatalf("the server does not start:\n%s", text)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (s *Server) log() string { return filepath.Join(s.Dir, "log") }

// launch starts the process from a thread of its own, with which it ends should the test be killed.
func (s *Server) launch(log *os.File, args []string) {
	cmd := s.prepare("postgres", args...)
	cmd.Stdout, cmd.Stderr = log, log
	endWithParent(cmd.SysProcAttr)
	ended, started := make(chan struct{}), make(chan error, 1)
	go func() { // until the process has ended, which Kill sees to
		runtime.LockOSThread()
		defer close(ended)
		err := s.within(cmd.Start)
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ends is the test's doing
		}
	}()
	if err := <-started; err != nil {
		s.t.Fatalf("start the server: %v", err)
	}
	s.cmd, s.ended = cmd, ended
}

// waits says whether the server takes connections, before it ends and before that time.
func (s *Server) waits(end time.Time) bool {
	for time.Now().Before(end) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		conn, err := pgconn.Connect(ctx, s.conninfo())
		if err == nil {
			_ = conn.Close(ctx)
		}
		cancel()
		if err == nil {
			return true
		}
		select {
		case <-s.ended:
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
	return false
}

func (s *Server) conninfo() string {
	return fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=disable", s.Dir, s.Port, User, User)
}

// Kill ends all processes of the server as kill -9 does.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	for _, pid := range append([]int{s.cmd.Process.Pid}, children(s.cmd.Process.Pid)...) {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
	}
	<-s.ended
	s.cmd = nil
}

// Stop ends the server in order: sessions are ended, and what is committed is written to its place.
func (s *Server) Stop() {
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(syscall.SIGINT)
		<-s.ended
		s.cmd = nil
	}
}

// children are the processes that a process has started.
func children(pid int) (found []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			if n, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
				found = append(found, n)
			}
		}
	}
	return found
}

// Give makes files those of who runs a server, such as its key, which nobody else may read.
func Give(t testing.TB, paths ...string) {
	t.Helper()
	who := credential(t)
	if who == nil {
		return
	}
	for _, path := range paths {
		if err := os.Chown(path, int(who.Uid), int(who.Gid)); err != nil {
			t.Fatal(err)
		}
	}
}

// Authenticate puts a line before those of pg_hba.conf.
func (s *Server) Authenticate(line string) {
	s.t.Helper()
	path := filepath.Join(s.data(), "pg_hba.conf")
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, append([]byte(line+"\n"), text...), 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	before := s.One("SELECT pg_conf_load_time()")
	s.Exec("SELECT pg_reload_conf()")
	for end := time.Now().Add(startTimeout); s.One("SELECT pg_conf_load_time()") == before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatal("the server does not read its settings again")
		}
	}
}

// Exec runs statements and fails the test at an error. It answers the rows of the last, with values as text.
func (s *Server) Exec(sql string) [][]string {
	s.t.Helper()
	rows, err := s.Try(sql)
	if err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return rows
}

// Try is Exec whose error is the caller's.
func (s *Server) Try(sql string) ([][]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	conn, err := pgconn.Connect(ctx, s.conninfo())
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil || len(results) == 0 {
		return nil, err
	}
	var rows [][]string
	for _, r := range results[len(results)-1].Rows {
		row := make([]string, len(r))
		for i, v := range r {
			row[i] = string(v)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// One is Exec of what has one value.
func (s *Server) One(sql string) string {
	s.t.Helper()
	rows := s.Exec(sql)
	if len(rows) != 1 || len(rows[0]) != 1 {
		s.t.Fatalf("%s: %d rows", sql, len(rows))
	}
	return rows[0][0]
}
