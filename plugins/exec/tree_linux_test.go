// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/sdk/sdktest"
)

// nothingIsLeft waits until this process has no descendants.
func nothingIsLeft(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(patience); len(descendants()) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("these processes are left: %v", descendants())
		}
	}
}

// stray leaves its parent and its session, and what it starts ignores who asks it to end.
const stray = `setsid sh -c "trap '' TERM HUP; echo \$\$; sleep 1005 & sleep 1005" & `

func TestWhatTheCommandLeavesBehindIsEnded(t *testing.T) {
	s := open(t, shell(stray+`sleep 0.3; echo over`, map[string]any{"on_failure": "event"}))
	got, err := take(t, s, all)
	if len(got) != 2 || got[1].Body != "over" {
		t.Fatalf("%q, %v", sdktest.Bodies(got), err)
	}
	nothingIsLeft(t)
}

func TestClosingEndsAllOfIt(t *testing.T) {
	s := open(t, shell(`trap 'echo bye; exit 0' TERM; `+stray+`while :; do sleep 1; done`, nil))
	if _, err := take(t, s, 1); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > patience {
		t.Errorf("it took %v", took)
	}
	nothingIsLeft(t)
	if text := strings.Join(s.Logs, "\n"); s.Metrics["exec_lost_bytes"] != 4 || !strings.Contains(text, "WARN what the command printed last is not stored: the source ends bytes=4") {
		t.Errorf("%v, %s", s.Metrics, text)
	}
}

func TestAZombieIsNotKept(t *testing.T) {
	s := open(t, shell(`i=0; while [ $i -lt 50 ]; do (true &); i=$((i+1)); done; echo started; sleep 60`, nil))
	if _, err := take(t, s, 1); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); len(descendants()) > 2; time.Sleep(time.Millisecond) { // the shell and its sleep
		if time.Now().After(end) {
			t.Fatalf("these are left: %v", descendants())
		}
	}
}

// written is how much a process has written, by what Linux counts.
func written(t *testing.T, pid int) (n int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "io"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		_, _ = fmt.Sscanf(line, "wchar: %d", &n)
	}
	return n
}

func TestWhereNobodyAsksTheCommandWaits(t *testing.T) {
	s := open(t, shell(`echo $$; exec cat /dev/zero`, map[string]any{"timeout": 300 * time.Millisecond, "max_line": 1024}))
	s.MaxEvents = 10
	got, err := take(t, s, 1)
	if err != nil {
		t.Fatal(err)
	}
	pid, _ := strconv.Atoi(got[0].Body)
	before := -1
	for now := written(t, pid); now != before; now = written(t, pid) {
		before = now
		time.Sleep(100 * time.Millisecond) // it would fill hundreds of pipes meanwhile
	}
	if before > 8*chunkSize {
		t.Errorf("it has written %d bytes to whom nobody asked", before)
	}
	time.Sleep(500 * time.Millisecond)
	if _, err := take(t, s, 100); err != nil || s.Metrics["exec_failures"] != 0 {
		t.Errorf("the time in which nobody asked is counted: %v, %v", err, s.Logs)
	}
	for range 10 { // what it writes at a time is more than a pipe holds, and counts when it is done
		if written(t, pid) > before {
			return
		}
		_, _ = take(t, s, 100)
	}
	t.Error("it does not go on")
}
