// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/host/address/addresstest"
	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/plugin/toolchain"
	"github.com/penstock-io/penstock/plugins/bundle"
)

// leakChecked runs the tests of this process, then looks for goroutines that nobody waits for.
type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if newer := newerThanModule(); code != 0 && newer != "" {
		fmt.Fprintf(os.Stderr, "\nThe plugins that these tests run with are older than their source, %s: that may be why. Run `make plugins`, then the tests again.\n", newer)
	}
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// TestMain is the program too where a test starts a child, since an agent starts its own program for that.
func TestMain(m *testing.M) {
	if l := launcher(); len(os.Args) > len(l) && slices.Equal(os.Args[:len(l)], l) {
		main()
	}
	testscript.Main(leakChecked{m}, map[string]func(){"penstock": main})
}

func TestTheBuiltinPluginsAreThere(t *testing.T) {
	for _, name := range bundle.Names() {
		if _, err := bundle.Module(name); err != nil {
			t.Errorf("run `make plugins` first: %v", err)
		}
	}
}

func TestScripts(t *testing.T) {
	testscript.Run(t, scripts(testscript.Params{Dir: "testdata/script"}))
}

func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../../examples/*/test.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples (%v)", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			dir, err := filepath.Abs(filepath.Dir(file))
			if err != nil {
				t.Fatal(err)
			}
			module := exampleModule(t, dir)
			p := scripts(testscript.Params{Files: []string{file}})
			setup := p.Setup
			p.Setup = func(env *testscript.Env) error {
				env.Setenv("EXAMPLE", dir)
				env.Setenv("MODULE", module)
				return setup(env)
			}
			testscript.Run(t, p)
		})
	}
}

// exampleProgram builds the plugin of an example in Python with the SDK of this tree.
func exampleProgram(t *testing.T, dir string) string {
	t.Helper()
	work := t.TempDir()
	if err := errors.Join(os.CopyFS(work, os.DirFS(dir)), os.CopyFS(filepath.Join(work, "penstock"), os.DirFS("../../sdk/python/penstock"))); err != nil {
		t.Fatal(err)
	}
	project, err := toolchain.Open(work)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "program")
	err = project.Build(t.Context(), program, os.Stderr)
	if missing, ok := errors.AsType[*toolchain.Missing](err); ok && os.Getenv("CI") != "true" {
		t.Skip(missing, missing.Install)
	}
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// exampleModule is where `make plugins` has put the plugin of an example that has one, "" for one that has none. Without it the example is
// left out, but for a machine that must have all compilers.
func exampleModule(t *testing.T, dir string) string {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, "plugin.hcl")); err != nil {
		return ""
	}
	if project, err := toolchain.Open(dir); err == nil && project.Program() {
		return exampleProgram(t, dir)
	}
	module, err := filepath.Abs("../../bin/plugins/examples/" + filepath.Base(dir) + ".wasm")
	if err == nil {
		_, err = os.Stat(module)
	}
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatalf("%v: run `make plugins`", err)
	default:
		t.Skipf("%v: run `make plugins` where its compiler is installed", err)
	}
	return module
}

// send sends a file over TCP, as soon as somebody listens.
func send(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, 2, "send HOST:PORT FILE")
	for deadline := time.Now().Add(awaitLimit); ; time.Sleep(awaitLook) {
		conn, err := net.Dial("tcp", args[0])
		if err != nil && time.Now().Before(deadline) {
			continue
		}
		ts.Check(err)
		_, err = conn.Write([]byte(ts.ReadFile(args[1])))
		ts.Check(errors.Join(err, conn.Close()))
		return
	}
}

// serve answers HTTP at the address until the script ends: the first request with STATUS, later ones with 200. FILE gets a line for each, and its body.
func serve(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 3, 3, "serve HOST:PORT FILE STATUS")
	l, err := net.Listen("tcp", args[0])
	ts.Check(err)
	f, err := os.Create(ts.MkAbs(args[1]))
	ts.Check(err)
	status := atoi(ts, args[2])
	var mu sync.Mutex
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(f, "%s %s %s %s %d\n%s", r.Method, r.URL.Path, r.Header.Get("Content-Type"), r.Header.Get("Idempotency-Key"), status, body)
		w.WriteHeader(status)
		status = http.StatusOK
	})}
	done := make(chan struct{}) // closed when Serve has returned
	go func() { defer close(done); _ = server.Serve(l) }()
	ts.Defer(func() {
		_ = server.Close()
		<-done
		_ = f.Close()
	})
}

// compiledOnce compiles the plugins once for all scripts, which takes seconds, and says where the code is.
var compiledOnce = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("penstock-test-cache-%d", os.Geteuid()))
	_, err := compileAll(context.Background(), dir, []string{"builtin:std"})
	return dir, err
})

// scripts adds what our scripts need to p:
//
//	exits CODE PROGRAM ARG… runs the program, which must end with that exit code
//	await GLOB REGEXP [N]   until the file has (N) matches; fails after awaitLimit
//	send HOST:PORT FILE     sends the file over TCP
//	serve HOST:PORT FILE STATUS  answers HTTP, the first time with that status, and writes down what came
//	term DATADIR            SIGTERM to the agent that holds the data directory
//	awaitstatus DATADIR COMPONENT STATE  until it is in that state
//	kill9 DATADIR           SIGKILL to it
//	killchildren DATADIR N  SIGKILL to the agent's child processes, and waits for so many new ones
//	stopchildren DATADIR N  SIGSTOP to them, and waits for so many new ones
//	running N TEXT          until so many processes have the text in their command line
//	flip GLOB OFFSET        changes one bit of that byte of the first such file
//	lines FILE N [PREFIX]   FILE gets N numbered lines at its end
//	json VAR PATH           sets VAR to what is at PATH ("result.channels.0.events") of the last stdout
//	sharecache DATADIR      the data directory gets the plugins compiled already
//	freeport VAR FILE OLD   sets VAR to a port that is free, and in FILE writes it with the host of OLD, "127.0.0.1:8080", instead of that
func scripts(p testscript.Params) testscript.Params {
	p.RequireUniqueNames = true
	p.RequireExplicitExec = true
	p.Setup = func(env *testscript.Env) error {
		env.Setenv("HOME", env.WorkDir)
		env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "state"))
		env.Setenv("XDG_RUNTIME_DIR", filepath.Join(env.WorkDir, "runtime"))
		std, err := filepath.Abs("../../plugins/bundle/modules/std.wasm")
		env.Setenv("STD", std)
		for _, name := range []string{"GOCACHE", "GOMODCACHE"} { // for plugins that are built
			cache, cacheErr := exec.Command("go", "env", name).Output()
			env.Setenv(name, strings.TrimSpace(string(cache)))
			err = errors.Join(err, cacheErr)
		}
		return err
	}
	p.Condition = func(cond string) (bool, error) {
		switch cond {
		case "root":
			return os.Geteuid() == 0, nil
		case "ci": // where nothing is left out
			return os.Getenv("CI") != "", nil
		}
		return false, fmt.Errorf("no condition %q", cond)
	}
	p.Cmds = map[string]func(ts *testscript.TestScript, neg bool, args []string){
		"exits": exits, "await": await, "send": send, "serve": serve, "term": sendTerm, "hup": sendHup, "edit": edit, "awaitreload": awaitReload, "kill9": sendKill, "killchildren": killChildren, "stopchildren": stopChildren, "running": running, "awaitstatus": awaitStatus, "flip": flip, "lines": appendLines, "json": fromJSON, "sharecache": shareCache, "settle": settle, "awaitput": awaitPut, "sum": sum, "freeport": freePort,
	}
	return p
}

const (
	// awaitLimit is for the slowest machine, with a cold cache of plugins.
	awaitLimit = 40 * time.Second
	awaitLook  = 10 * time.Millisecond
)

func need(ts *testscript.TestScript, neg bool, args []string, least, most int, usage string) {
	if neg || len(args) < least || len(args) > most {
		ts.Fatalf("usage: %s", usage)
	}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, 100, "exits CODE PROGRAM ARG…")
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](ts.Exec(args[1], args[2:]...)); ok {
		code = exit.ExitCode()
	}
	if want := atoi(ts, args[0]); code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, 3, "await GLOB REGEXP [N]")
	want := 1
	if len(args) == 3 {
		want = atoi(ts, args[2])
	}
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	var content []byte
	for deadline := time.Now().Add(awaitLimit); time.Now().Before(deadline); time.Sleep(awaitLook) {
		if found, _ := filepath.Glob(ts.MkAbs(args[0])); len(found) > 0 {
			content, _ = os.ReadFile(found[0]) // it may not be there yet
		}
		if len(re.FindAllIndex(content, want)) >= want {
			return
		}
	}
	ts.Fatalf("%s has not %d of %q:\n%s", args[0], want, args[1], content)
}

// settle waits until every sink has delivered all that is in its channel.
func settle(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, 1, "settle DATADIR")
	var s admin.Status
	for deadline := time.Now().Add(awaitLimit); time.Now().Before(deadline); time.Sleep(awaitLook) {
		var err error
		if s, err = admin.Ask(context.Background(), ts.MkAbs(args[0])); err != nil {
			continue // it starts
		}
		if !slices.ContainsFunc(s.Components, func(c admin.Component) bool { return c.Waiting > 0 || c.Events == 0 }) {
			return
		}
	}
	ts.Fatalf("%s has not settled: %+v", args[0], s.Components)
}

// awaitPut waits until every channel has taken so many events, whether it has kept them or not.
func awaitPut(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, 2, "awaitput DATADIR N")
	n := uint64(atoi(ts, args[1]))
	var s admin.Status
	for deadline := time.Now().Add(awaitLimit); time.Now().Before(deadline); time.Sleep(awaitLook) {
		var err error
		if s, err = admin.Ask(context.Background(), ts.MkAbs(args[0])); err != nil {
			continue // it starts
		}
		if !slices.ContainsFunc(s.Channels, func(c admin.Channel) bool { return c.Put < n }) {
			return
		}
	}
	ts.Fatalf("%s has not taken %d events: %+v", args[0], n, s.Channels)
}

// sum checks that the lines of a file and further numbers add up.
func sum(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 3, 3, "sum FILE N WANT")
	lines := strings.Count(ts.ReadFile(args[0]), "\n")
	if n, want := atoi(ts, args[1]), atoi(ts, args[2]); lines+n != want || n == 0 {
		ts.Fatalf("%s has %d lines; with %d that is %d, not %d", args[0], lines, n, lines+n, want)
	}
}

func awaitStatus(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 3, 3, "awaitstatus DATADIR COMPONENT STATE")
	var s admin.Status
	for deadline := time.Now().Add(awaitLimit); time.Now().Before(deadline); time.Sleep(awaitLook) {
		s, _ = admin.Ask(context.Background(), ts.MkAbs(args[0])) // it may not be there yet
		if slices.ContainsFunc(s.Components, func(c admin.Component) bool { return c.Address == args[1] && string(c.State) == args[2] }) {
			return
		}
	}
	ts.Fatalf("%s is not %s: %+v", args[1], args[2], s.Components)
}

func sendTerm(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, 1, "term DATADIR")
	signalAgent(ts, args[0], syscall.SIGTERM)
}

// awaitReload waits until the last reload has a result and a reason like that.
func awaitReload(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, 2, "awaitreload DATADIR REGEXP")
	re, err := regexp.Compile(args[1])
	ts.Check(err)
	var s admin.Status
	for deadline := time.Now().Add(awaitLimit); time.Now().Before(deadline); time.Sleep(awaitLook) {
		s, _ = admin.Ask(context.Background(), ts.MkAbs(args[0])) // it may not be there yet
		if last := s.Reload.Last; last != nil && re.MatchString(last.Result+" "+last.Reason) {
			return
		}
	}
	ts.Fatalf("the last reload is %+v", s.Reload.Last)
}

// edit replaces what a regular expression finds in a file, in place.
func edit(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 3, 3, "edit FILE REGEXP TEXT")
	re, err := regexp.Compile(args[1])
	ts.Check(err)
	before := ts.ReadFile(args[0])
	after := re.ReplaceAllString(before, strings.ReplaceAll(args[2], "\\n", "\n"))
	if before == after {
		ts.Fatalf("%s has no %q:\n%s", args[0], args[1], before)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(after), 0o600))
}

// sendHup sends SIGHUP to the agent of a data directory.
func sendHup(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, 1, "DATADIR")
	signalAgent(ts, args[0], syscall.SIGHUP)
}

func sendKill(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, 1, "kill9 DATADIR")
	signalAgent(ts, args[0], syscall.SIGKILL)
}

func signalAgent(ts *testscript.TestScript, dataDir string, s syscall.Signal) {
	ts.Check(syscall.Kill(atoi(ts, strings.TrimSpace(ts.ReadFile(filepath.Join(dataDir, "LOCK")))), s))
}

func flip(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, 2, "flip GLOB OFFSET")
	found, err := filepath.Glob(ts.MkAbs(args[0]))
	if err != nil || len(found) == 0 {
		ts.Fatalf("no file %s", args[0])
	}
	path, at := found[0], atoi(ts, args[1])
	b, err := os.ReadFile(path)
	ts.Check(err)
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 1
	ts.Check(os.WriteFile(path, b, 0o600))
}

func appendLines(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, 3, "lines FILE N [PREFIX]")
	prefix := strings.Join(append(args[2:], "line"), " ")
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	ts.Check(err)
	for i := range atoi(ts, args[1]) {
		_, err := fmt.Fprintf(f, "%s %d\n", prefix, i+1)
		ts.Check(err)
	}
	ts.Check(f.Close())
}

func fromJSON(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, 2, "json VAR PATH")
	var v any
	d := json.NewDecoder(bytes.NewReader([]byte(ts.ReadFile("stdout"))))
	d.UseNumber() // offsets are more than a float holds
	ts.Check(d.Decode(&v))
	for step := range strings.SplitSeq(args[1], ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[step]
		case []any:
			v = at[atoi(ts, step)]
		default:
			ts.Fatalf("%s: nothing at %q", args[1], step)
		}
	}
	ts.Setenv(args[0], fmt.Sprint(v))
}

func shareCache(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, 1, "sharecache DATADIR")
	shared, err := compiledOnce()
	ts.Check(err)
	dir := filepath.Join(ts.MkAbs(args[0]), "cache")
	ts.Check(os.MkdirAll(dir, 0o700))
	ts.Check(os.CopyFS(dir, os.DirFS(shared)))
}

func freePort(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 3, 3, "freeport VAR FILE OLD")
	port := strconv.Itoa(addresstest.FreePort(ts))
	host, _, err := net.SplitHostPort(args[2])
	ts.Check(err)
	text := ts.ReadFile(args[1])
	if !strings.Contains(text, args[2]) {
		ts.Fatalf("%s has no %s", args[1], args[2])
	}
	text = strings.ReplaceAll(text, args[2], net.JoinHostPort(host, port))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o644))
	ts.Setenv(args[0], port)
}

func atoi(ts *testscript.TestScript, s string) int {
	n, err := strconv.Atoi(s)
	ts.Check(err)
	return n
}
