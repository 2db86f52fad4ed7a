// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/admin"
)

// takes is an agent that takes lines, and writes them to all.log.
func takes(t *testing.T) *process {
	return pipelineIn(t, `
source "hop" "in" {
  into = channel.main
  config {
    listen  = "unix://DIR/hop.sock"
    clients = ["local"]
  }
}
channel "wal" "main" {}
sink "file" "all" {
  from     = channel.main
  delivery = "exactly_once"
  config { path = "DIR/all.log" }
}`)
}

func TestSendGivesUpThoughItWaitsForALine(t *testing.T) {
	t.Parallel()
	p := takes(t)
	p.start()
	p.until("the source runs", func() bool {
		return slices.ContainsFunc(p.status().Components, func(c admin.Component) bool { return c.Address == "source.in" && c.State == "running" })
	})
	send := exec.Command("penstock", "send", "-", "--to", "unix://"+filepath.Join(p.dir, "hop.sock"), "--wait", "4s")
	var said bytes.Buffer
	send.Stderr = &said
	in, err := send.StdinPipe()
	if err == nil {
		err = send.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line := func(text string) {
		if _, err := io.WriteString(in, text); err != nil {
			t.Fatal(err)
		}
	}
	line("one\n")
	p.until("one is there", func() bool { return len(p.lines("all.log")) == 1 })
	p.end(syscall.SIGKILL)
	line("two\n")
	late := time.AfterFunc(awaitLimit, func() { _ = send.Process.Kill() })
	defer late.Stop()
	_ = send.Wait() // the exit code says it
	if send.ProcessState.ExitCode() != exitEnvironment || !strings.Contains(said.String(), "1 line of - arrived: gave up: unix://") {
		t.Errorf("exit code %d: %s", send.ProcessState.ExitCode(), &said)
	}
}

func TestAFileThatIsRemovedIsSentByOneRunAtATime(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "job.csv")
	if err := os.WriteFile(name, []byte("a line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func() *os.File {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	says := func(err error, text string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("error %v, and not %q", err, text)
		}
	}
	a, b, remover := run(), run(), run()
	if err := alone(a, false); err != nil {
		t.Fatal(err)
	}
	if err := alone(b, false); err != nil { // both go on where the receiver stands, and it stays so
		t.Error(err)
	}
	says(alone(remover, true), "by another run")
	_, _ = a.Close(), b.Close()
	if err := alone(remover, true); err != nil {
		t.Error(err)
	}
	c := run()
	says(alone(c, false), "by another run")
	says(alone(run(), true), "by another run")
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	_ = remover.Close()
	says(alone(c, false), "removed")
}

func TestSendSaysWhatCanBeDone(t *testing.T) {
	s := &sending{answer: sendAnswer{File: "f", Stream: "send/f/1"}}
	for hint, err := range map[string]error{"take it out": errLine, "goes on behind the last line": errLine, "an earlier run removed": errReplaced} {
		var f *fault
		if !errors.As(s.explain(err, sendFlags{remove: true}), &f) || !strings.Contains(f.hint, hint) {
			t.Errorf("%v has no hint %q: %q", err, hint, f.hint)
		}
	}
	s.answer.Removed = true
	if text := s.summary(); !strings.Contains(text, "has not forgotten it yet") {
		t.Error(text)
	}
	s.answer.Done = true
	if text := s.summary(); strings.Contains(text, "has not forgotten") {
		t.Error(text)
	}
}
