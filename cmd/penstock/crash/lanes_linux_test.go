// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	laneFiles  = 8    // each is a key
	laneLines  = 4000 // of each file
	laneRounds = 8    // in which the layout changes and the agent is killed
)

const lanesText = `
agent "crash" {
  data_dir = "DIR/data"
}

source "file" "in" {
  into = channel.main
  config { paths = ["DIR/logs/*.log"] }
}

channel "wal" "main" {
  capacity = "64MiB"
}

sink "stdout" "out" {
  from = channel.main
  LAYOUT
  batch {
    events = 50
    wait   = "5ms"
  }
}
`

// layouts are what the sink goes through: other numbers, no lanes, and other keys.
var layouts = []string{
	"", `order_by = event.attributes["file.path"]
  lanes = 3`, `order_by = event.attributes["file.path"]
  lanes = 5`, `order_by = event.attributes.nothing
  lanes = 3`, `order_by = event.attributes["file.path"]
  lanes = 3`,
}

// writeKeyed appends to the logs, a line to each in turn, until all are written.
func writeKeyed(dir string) error {
	files := make([]*os.File, laneFiles)
	for i := range files {
		f, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("%d.log", i)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		files[i] = f
	}
	for n := range laneLines {
		for i, f := range files {
			if _, err := fmt.Fprintf(f, "file%d %06d\n", i, n); err != nil {
				return err
			}
		}
		if n%20 == 0 {
			time.Sleep(30 * time.Millisecond)
		}
	}
	return nil
}

func TestKeysStayInOrderWhileTheirLanesChangeAndTheAgentIsKilled(t *testing.T) {
	r := newRig(t)
	written := make(chan error, 1)
	go func() { written <- writeKeyed(r.path("logs")) }()
	var outputs []string
	var hurry atomic.Bool
	start := func(layout string) (*exec.Cmd, *sync.WaitGroup) {
		text := strings.NewReplacer("DIR", r.dir, "LAYOUT", layout).Replace(lanesText)
		if err := os.WriteFile(r.cfg, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		outputs = append(outputs, r.path("out", strconv.Itoa(len(outputs))))
		return r.startTo(outputs[len(outputs)-1], &hurry)
	}
	changes := 0
	for n := range laneRounds {
		if r.rng.IntN(3) > 0 {
			changes++
		}
		cmd, read := start(layouts[changes%len(layouts)])
		time.Sleep(200*time.Millisecond + time.Duration(r.rng.IntN(900))*time.Millisecond)
		if n%4 == 3 {
			r.terminate(cmd, 0)
		} else {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			cmd.Wait() //nolint:errcheck // it was killed
		}
		read.Wait()
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	seen := keyedLines{}
	cmd, read := start(layouts[1])
	hurry.Store(true)
	for deadline := time.Now().Add(3 * time.Minute); !seen.all() && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		seen = keyedLines{}
		for _, out := range outputs {
			seen.read(t, out)
		}
	}
	r.terminate(cmd, 0)
	read.Wait()
	if !seen.all() {
		t.Errorf("lost: of the files %v lines of %d came\n%s", seen.next, laneLines, &r.said)
	}
	t.Logf("%d runs, %d changes of the layout, %d lines came again", len(outputs), changes, seen.repeated)
}

// startTo runs an agent that prints to a reader who is slow, so that there is always something to drain. The agent
// is killed and not the reader: what is in the pipe has been delivered.
func (r *rig) startTo(out string, hurry *atomic.Bool) (cmd *exec.Cmd, read *sync.WaitGroup) {
	r.t.Helper()
	from, to, err := os.Pipe()
	if err != nil {
		r.t.Fatal(err)
	}
	defer to.Close()
	if _, err := unix.FcntlInt(to.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
		r.t.Fatal(err)
	}
	kept, err := os.Create(out)
	if err != nil {
		r.t.Fatal(err)
	}
	cmd = r.command()
	cmd.Stdout = to
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { end(cmd) })
	read = new(sync.WaitGroup)
	read.Go(func() {
		defer from.Close()
		defer kept.Close()
		for buf := make([]byte, 1024); ; {
			n, err := from.Read(buf)
			kept.Write(buf[:n]) //nolint:errcheck // then lines are missing
			if err != nil {
				return
			}
			if !hurry.Load() {
				time.Sleep(20 * time.Millisecond)
			}
		}
	})
	return cmd, read
}

// keyedLines is what came out: the next line of each file, and how many came more than once.
type keyedLines struct {
	next     [laneFiles]int
	repeated int
}

func (k *keyedLines) all() bool {
	for _, n := range k.next {
		if n < laneLines {
			return false
		}
	}
	return true
}

var keyedLine = regexp.MustCompile(`^file(\d) (\d{6})\n$`)

// read goes through one run's output: no line may come before those before it. The last one may be torn.
func (k *keyedLines) read(t *testing.T, out string) {
	t.Helper()
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		m := keyedLine.FindStringSubmatch(line)
		if m == nil {
			if strings.HasSuffix(line, "\n") {
				t.Fatalf("%s: a line of its own: %q", out, line)
			}
			return
		}
		file, _ := strconv.Atoi(m[1])
		n, _ := strconv.Atoi(m[2])
		switch {
		case n > k.next[file]:
			t.Fatalf("%s: %q came before line %d of that file", out, line, k.next[file])
		case n < k.next[file]:
			k.repeated++
		default:
			k.next[file]++
		}
	}
}
