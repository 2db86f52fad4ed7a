// SPDX-License-Identifier: Apache-2.0

package filesink

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/sdk/sdktest"
	"github.com/penstock-io/penstock/spec/event"
)

// errKilled ends a scenario as kill -9 would: nothing after it is done, and nobody is told.
var errKilled = errors.New("killed")

// killer stops a sink before its nth step. A step that writes is left half done when torn is set.
type killer struct {
	path  string
	torn  bool
	left  int // steps until the kill; negative: never
	steps []string
	dead  bool
}

func (k *killer) at(step string) error {
	if k.dead {
		return errKilled
	}
	k.steps = append(k.steps, step)
	if k.left--; k.left != -1 {
		return nil
	}
	k.dead = true
	if k.torn && step == "write" {
		return errors.Join(errKilled, tear(k.path, 1<<20))
	}
	if k.torn && step == "journal write" {
		return errors.Join(errKilled, tearSlot(k.path+journalSuffix))
	}
	return errKilled
}

// tear adds bytes that were on their way to a file.
func tear(path string, n int) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strings.Repeat("torn ", n/5))
	return errors.Join(err, f.Close())
}

// tearSlot spoils the slot that is about to be written, which is never the one that counts.
func tearSlot(path string) error {
	j, s, fresh, err := openJournal(path)
	if err != nil {
		return err
	}
	at := int64(0)
	if !fresh {
		at = int64(s.sequence%2) * slotBytes
	}
	_, err = j.f.WriteAt([]byte("PSJ1 torn in the middle of a write"), at)
	return errors.Join(err, j.f.Close())
}

// run delivers total events from first on, in deliveries of size, until an error, and returns where the host stands.
func run(s *sdktest.Sink, first, total event.Offset, size int) (event.Offset, error) {
	for at := first; at < total; {
		n := min(event.Offset(size), total-at)
		events := make([]event.Event, n)
		for i := range events {
			events[i].Body = fmt.Appendf(nil, "line %d", at+event.Offset(i))
		}
		if err := s.Deliver(at, events...); err != nil {
			return at, err
		}
		at += n
	}
	return total, nil
}

// scenario kills a run before step n, opens again (killed there too, before step m, if m ≥ 0), and
// delivers the rest. It returns the steps of the first run.
func scenario(t *testing.T, n, m int, torn, trustHeld bool) (steps []string, killed bool) {
	t.Helper()
	const total = 8
	path := filepath.Join(t.TempDir(), "out.log")
	k := &killer{path: path, torn: torn, left: -1}
	create := func() sdk.Sink {
		s := New().(*Sink)
		s.at = k.at
		return s
	}
	cfg := config{Path: path, RotateSize: 30}
	s := sdktest.OpenSink(t, create, cfg)
	k.left, k.steps = n, nil
	at, err := run(s, 0, total, 2)
	steps, killed = k.steps, err != nil
	if m >= 0 {
		k.left, k.dead = m, false
		if err := s.Restart(); err == nil && !k.dead {
			t.Skip("opening has fewer steps")
		}
	}
	k.left, k.dead = -1, false
	if err := s.Restart(); err != nil {
		t.Fatalf("open after a kill before step %d (%s): %v", n, last(steps), err)
	}
	if trustHeld { // else the host delivers again what it does not know to be held
		for _, h := range s.Held {
			at = max(at, h.Range.Next)
		}
	}
	if _, err := run(s, at, total, 5); err != nil {
		t.Fatal(err)
	}
	for _, line := range s.Logs {
		if strings.HasPrefix(line, "WARN") {
			t.Errorf("killed before step %d (%s): it blames somebody else: %s", n, last(steps), line)
		}
	}
	var want strings.Builder
	for i := range total {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	if got := output(t, path); got != want.String() {
		t.Fatalf("killed before step %d (%s): output is\n%swant\n%s", n, last(steps), got, &want)
	}
	return steps, killed
}

func last(steps []string) string {
	if len(steps) == 0 {
		return "none"
	}
	return steps[len(steps)-1]
}

func TestEachLineOnceWhereverTheKillFalls(t *testing.T) {
	seen := map[string]int{}
	for n := 0; ; n++ {
		var killed bool
		for _, torn := range []bool{false, true} {
			for _, trust := range []bool{false, true} {
				var steps []string
				if steps, killed = scenario(t, n, -1, torn, trust); killed {
					seen[last(steps)]++
				}
			}
		}
		if !killed {
			break
		}
	}
	for _, step := range []string{"write", "sync", "journal write", "journal sync", "rename", "create", "directory sync"} {
		if seen[step] == 0 {
			t.Errorf("no kill fell before %q", step)
		}
	}
}

func TestEachLineOnceWhenRecoveryIsKilledToo(t *testing.T) {
	steps, _ := scenario(t, -1, -1, false, false)
	for n := range steps {
		for m := range 4 {
			t.Run(fmt.Sprintf("step %d %s, then %d", n, steps[n], m), func(t *testing.T) {
				scenario(t, n, m, true, false)
			})
		}
	}
}

func TestJournalSpeaksOnlyOfBytesThatAreOnDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	k := &killer{path: path, left: -1}
	create := func() sdk.Sink {
		s := New().(*Sink)
		s.at = k.at
		return s
	}
	s := sdktest.OpenSink(t, create, config{Path: path, RotateSize: 3})
	k.steps = nil
	send(t, s, "a")
	send(t, s, "b")
	got := strings.Join(k.steps, " · ")
	want := "write · sync · journal write · journal sync · " +
		"rename · create · directory sync · journal write · journal sync · " +
		"write · sync · journal write · journal sync"
	if got != want {
		t.Fatalf("steps are\n%s\nwant\n%s", got, want)
	}
}

func TestFailedWriteIsTriedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	var fail string
	create := func() sdk.Sink {
		s := New().(*Sink)
		s.at = func(step string) error {
			if step == fail {
				fail = ""
				if step == "sync" {
					return errors.Join(errors.New("disk full"), tear(path, 10))
				}
				return errors.New("disk full")
			}
			return nil
		}
		return s
	}
	s := sdktest.OpenSink(t, create, config{Path: path})
	send(t, s, "a")
	for _, fail = range []string{"write", "sync", "journal write", "journal sync"} {
		if err := s.Send("b", "c"); err == nil {
			t.Fatalf("no error from a failed %s", fail)
		}
		send(t, s, "b") // the host may hand over less the second time
		send(t, s, "c")
	}
	wantOutput(t, path, "a\n"+strings.Repeat("b\nc\n", 4))
}
