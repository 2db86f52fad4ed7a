// SPDX-License-Identifier: Apache-2.0

package filesink

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/sdk/sdktest"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// output reads the rotated files, oldest first, and then the output.
func output(t *testing.T, path string) string {
	t.Helper()
	var all strings.Builder
	for n := 1; ; n++ {
		b, err := os.ReadFile(fmt.Sprintf("%s.%d", path, n))
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		all.Write(b)
	}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	all.Write(b)
	return all.String()
}

func wantOutput(t *testing.T, path, want string) {
	t.Helper()
	if got := output(t, path); got != want {
		t.Fatalf("output is %q, want %q", got, want)
	}
}

func send(t *testing.T, s *sdktest.Sink, bodies ...string) {
	t.Helper()
	if err := s.Send(bodies...); err != nil {
		t.Fatalf("send %q: %v", bodies, err)
	}
}

func reopen(t *testing.T, s *sdktest.Sink) {
	t.Helper()
	if err := s.Restart(); err != nil {
		t.Fatalf("reopen: %v", err)
	}
}

func TestLinesAreThereWhenWriteReturns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	s := sdktest.OpenSink(t, New, config{Path: path})
	send(t, s, "a", "b")
	wantOutput(t, path, "a\nb\n")
	send(t, s, "c")
	wantOutput(t, path, "a\nb\nc\n")
}

func TestWhatIsHeldIsReportedAndSkipped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	s := sdktest.OpenSink(t, New, config{Path: path})
	send(t, s, "0", "1", "2")
	reopen(t, s)
	want := []sdktest.Held{{Incarnation: 1 << 63, Range: event.Range{First: 0, Next: 3}}}
	if !slices.Equal(s.Held, want) {
		t.Fatalf("held is %v, want %v", s.Held, want)
	}
	overlap := []event.Event{{Body: []byte("1")}, {Body: []byte("2")}, {Body: []byte("3")}}
	if err := s.Deliver(1, overlap...); err != nil {
		t.Fatal(err)
	}
	if err := s.Deliver(0, event.Event{Body: []byte("0")}); err != nil {
		t.Fatal(err)
	}
	wantOutput(t, path, "0\n1\n2\n3\n")
}

func TestRangeOfFilteredEventsIsHeld(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	s := sdktest.OpenSink(t, New, config{Path: path})
	if err := s.Hand(event.Range{First: 5, Next: 50}, new(event.Builder).Batch()); err != nil {
		t.Fatal(err)
	}
	reopen(t, s)
	if len(s.Held) != 1 || s.Held[0].Range != (event.Range{First: 5, Next: 50}) {
		t.Fatalf("held is %v, want [5,50)", s.Held)
	}
	wantOutput(t, path, "")
}

func TestSameOffsetOfAnotherIncarnationIsAnotherEvent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	s := sdktest.OpenSink(t, New, config{Path: path})
	send(t, s, "old")
	s.Incarnations = []abi.Incarnation{{ID: 7, First: 0}} // the channel was restored from before "old"
	reopen(t, s)
	if len(s.Held) != 1 || s.Held[0].Incarnation == 7 {
		t.Fatalf("held is %v, want what is held, of whatever opening: the host says what that means", s.Held)
	}
	if err := s.Deliver(0, event.Event{Body: []byte("new")}); err != nil {
		t.Fatal(err)
	}
	wantOutput(t, path, "old\nnew\n")
}

func TestPrunedRangesAreForgotten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	s := sdktest.OpenSink(t, New, config{Path: path})
	for _, at := range []event.Offset{0, 10, 20} {
		if err := s.Deliver(at, event.Event{Body: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Prune(15); err != nil {
		t.Fatal(err)
	}
	if err := s.Deliver(30, event.Event{Body: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	reopen(t, s)
	if len(s.Held) != 2 || s.Held[0].Range.First != 20 || s.Held[1].Range.First != 30 {
		t.Fatalf("held is %v, want [20,21) and [30,31)", s.Held)
	}
}

func TestUncommittedBytesAreCutOff(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	s := sdktest.OpenSink(t, New, config{Path: path})
	send(t, s, "a")
	appendTo(t, path, "half a li")
	reopen(t, s)
	wantOutput(t, path, "a\n")
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestForeignFileIsNeverCut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	s := sdktest.OpenSink(t, New, config{Path: path})
	send(t, s, "a")
	if err := os.Rename(path, path+".mine"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("somebody else's\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	reopen(t, s)
	send(t, s, "b")
	wantOutput(t, path, "somebody else's\nb\n")
}

func TestOutputMovedAwayWhileOpenIsFollowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	s := sdktest.OpenSink(t, New, config{Path: path})
	send(t, s, "a")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	send(t, s, "b")
	wantOutput(t, path, "a\nb\n")
	if err := os.Truncate(path, 0); err != nil { // a copytruncate
		t.Fatal(err)
	}
	send(t, s, "c")
	wantOutput(t, path, "a\nc\n")
}

func TestDeletedDirectoryIsWrittenToWhenItIsBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	path := filepath.Join(dir, "out.log")
	create := func() {
		t.Helper()
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	create()
	s := sdktest.OpenSink(t, New, config{Path: path})
	send(t, s, "a")
	send(t, s, "b")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := s.Send("c"); !errors.Is(err, os.ErrNotExist) && !strings.Contains(fmt.Sprint(err), "no such file") {
			t.Fatalf("send without a directory: %v, want that it is not there", err)
		}
	}
	create()
	send(t, s, "c")
	send(t, s, "d")
	wantOutput(t, path, "c\nd\n")
	reopen(t, s) // what is committed now is so in a journal that has a name
	if len(s.Held) != 1 || s.Held[0].Range != (event.Range{First: 0, Next: 4}) {
		t.Fatalf("held is %v, want [0,4)", s.Held)
	}
	send(t, s, "e")
	wantOutput(t, path, "c\nd\ne\n")
}

// A first slot that is torn is told from damage by there being no second one.
func TestJournalMadeAnewBeginsWithItsFirstSlot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	var first int64 // length of the journal after its first write
	create := func() sdk.Sink {
		s := New().(*Sink)
		s.at = func(step string) error {
			if info, err := os.Stat(path + journalSuffix); err == nil && step == "journal sync" && first == 0 {
				first = info.Size()
			}
			return nil
		}
		return s
	}
	s := sdktest.OpenSink(t, create, config{Path: path})
	send(t, s, "a")
	for _, b := range []string{"b", "c"} { // one of which would be of an even number
		if err := errors.Join(os.Remove(path), os.Remove(path+journalSuffix)); err != nil {
			t.Fatal(err)
		}
		first = 0
		send(t, s, b)
		if first == 0 || first > slotBytes {
			t.Errorf("%s: after its first commit the journal has %d bytes", b, first)
		}
		send(t, s, b)
	}
}

func TestOutputThatIsMovedAwayAndBackIsGoneOnWith(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	clock, fail := time.Unix(1_700_000_000, 0), false
	create := func() sdk.Sink {
		s := New().(*Sink)
		s.now = func() time.Time { return clock }
		s.at = func(step string) error {
			if fail && step == "create" {
				return errors.New("too many open files")
			}
			return nil
		}
		return s
	}
	s := sdktest.OpenSink(t, create, config{Path: path, RotateEvery: time.Hour})
	send(t, s, "a")
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	fail = true
	if err := s.Send("b"); err == nil {
		t.Fatal("it was written without a file")
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	fail, clock = false, clock.Add(59*time.Minute)
	send(t, s, "b")
	wantOutput(t, path, "a\nb\n")
	clock = clock.Add(time.Minute) // an hour since its first line, which is still "a"
	send(t, s, "c")
	if got, err := os.ReadFile(path); string(got) != "c\n" || err != nil {
		t.Fatalf("after its time the output holds %q (%v), want %q", got, err, "c\n")
	}
}

func TestOutputThatCannotBeOpenedOnceIsOpenedLater(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	fail := false
	create := func() sdk.Sink {
		s := New().(*Sink)
		s.at = func(step string) error {
			if fail && step == "create" {
				return errors.New("too many open files")
			}
			return nil
		}
		return s
	}
	s := sdktest.OpenSink(t, create, config{Path: path, RotateSize: 4})
	send(t, s, "a", "b")
	fail = true
	for range 3 { // the first try renames the output, and closes it
		if err := s.Send("c"); err == nil || !strings.Contains(err.Error(), "too many") {
			t.Fatalf("send: %v, want what hinders it", err)
		}
	}
	fail = false
	send(t, s, "c")
	wantOutput(t, path, "a\nb\nc\n")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestFailedDeliveryIsNotRotatedAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	clock, fail := time.Unix(1_700_000_000, 0), false
	create := func() sdk.Sink {
		s := New().(*Sink)
		s.now = func() time.Time { return clock }
		s.at = func(step string) error {
			if fail && step == "sync" {
				return errors.New("input/output error")
			}
			return nil
		}
		return s
	}
	s := sdktest.OpenSink(t, create, config{Path: path, RotateEvery: time.Hour})
	send(t, s, "a")
	fail = true
	if err := s.Send("b"); err == nil {
		t.Fatal("the sync was to fail")
	}
	fail, clock = false, clock.Add(time.Hour)
	if err := s.Idle(); err != nil {
		t.Fatal(err)
	}
	send(t, s, "b")
	wantOutput(t, path, "a\nb\n")
}

func TestRotatesBySizeAndKeepsSome(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	if err := os.WriteFile(path+".2", []byte("not ours\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := sdktest.OpenSink(t, New, config{Path: path, RotateSize: 4, RotateKeep: 3})
	for _, b := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		send(t, s, b)
	}
	for name, want := range map[string]string{".1": "", ".2": "not ours\n", ".3": "c\nd\n", ".4": "e\nf\n", "": "g\n"} {
		got, err := os.ReadFile(path + name)
		if name == ".1" {
			if !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is still there: %q, %v", name, got, err)
			}
			continue
		}
		if string(got) != want || err != nil {
			t.Errorf("%s holds %q (%v), want %q", name, got, err, want)
		}
	}
}

func TestRotatesByTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	clock := time.Unix(1_700_000_000, 0)
	create := func() sdk.Sink {
		s := New().(*Sink)
		s.now = func() time.Time { return clock }
		return s
	}
	s := sdktest.OpenSink(t, create, config{Path: path, RotateEvery: time.Hour})
	send(t, s, "a")
	clock = clock.Add(59 * time.Minute)
	reopen(t, s) // the age of the file survives a restart
	send(t, s, "b")
	clock = clock.Add(time.Minute)
	if err := s.Idle(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path + ".1")
	if string(got) != "a\nb\n" || err != nil {
		t.Fatalf("rotated file holds %q, %v", got, err)
	}
}

func TestDamagedJournalIsRefusedAndKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	s := sdktest.OpenSink(t, New, config{Path: path})
	send(t, s, "a")
	send(t, s, "b")
	j, err := os.ReadFile(path + journalSuffix)
	if err != nil {
		t.Fatal(err)
	}
	newest, other := 40, slotBytes+40 // three commits: the third is in the first slot
	j[newest] ^= 1
	writeFile(t, path+journalSuffix, j)
	reopen(t, s)
	wantOutput(t, path, "a\n") // what the older slot says
	j[other] ^= 1
	writeFile(t, path+journalSuffix, j)
	if err := s.Restart(); err == nil || !strings.Contains(err.Error(), "move it away") {
		t.Fatalf("open with both slots damaged: %v, want a refusal that says what to do", err)
	}
	wantOutput(t, path, "a\n")
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestWrongArgumentsAreNamed(t *testing.T) {
	for want, cfg := range map[string]config{"path": {}, "format": {Path: "x", Format: "xml"}} {
		doc, err := json.Marshal(cfg)
		if err != nil {
			t.Fatal(err)
		}
		g := sdk.NewGuest(map[string]sdk.Plugin{"file": {Sink: New}}, sdk.Host{
			Fail: func(code abi.Code, _ time.Duration, path, _ string) {
				if path != want || code != abi.EINVAL {
					t.Errorf("%+v: fails with %v at %q, want EINVAL at %q", cfg, code, path, want)
				}
			},
		})
		req, err := abi.OpenRequest{Plugin: "file", Kind: abi.Sink, Config: doc}.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		copy(g.Alloc(len(req)), req)
		if code := g.Check(len(req)); code != abi.EINVAL {
			t.Errorf("%+v: check answers %v", cfg, code)
		}
	}
}

func TestMissingDirectoryIsNamedWithWhatToDo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "archive")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := sdktest.OpenSink(t, New, config{Path: filepath.Join(dir, "out.log")})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(); err == nil || !strings.Contains(err.Error(), "mkdir -p "+dir) {
		t.Fatalf("open without the directory: %v, want that it is to be made", err)
	}
}
