// SPDX-License-Identifier: Apache-2.0

package tail

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/sdk/sdktest"
)

// bed is a directory of logs and a source that tails them.
type bed struct {
	*sdktest.Source
	t   *testing.T
	dir string
	cfg config
	src *Source // the instance of now
}

// tailing runs f in a bubble where waiting takes no time, with a source that is opened by start.
func tailing(t *testing.T, cfg config, f func(*bed)) {
	t.Helper()
	dir := t.TempDir()
	if len(cfg.Paths) == 0 {
		cfg.Paths = []string{"app.log"}
	}
	for i, p := range cfg.Paths {
		cfg.Paths[i] = filepath.Join(dir, p)
	}
	synctest.Test(t, func(t *testing.T) { f(&bed{t: t, dir: dir, cfg: cfg}) })
}

func (b *bed) start() {
	create := func() sdk.Source {
		b.src = New().(*Source)
		return b.src
	}
	b.Source = sdktest.OpenSource(b.t, create, b.cfg)
}

// restart kills the source and starts it anew.
func (b *bed) restart() {
	b.t.Helper()
	if err := b.Restart(); err != nil {
		b.t.Fatalf("restart: %v", err)
	}
}

func (b *bed) path(name string) string { return filepath.Join(b.dir, name) }

// add appends text to a file, which is created.
func (b *bed) add(name, text string) {
	b.t.Helper()
	f, err := os.OpenFile(b.path(name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		b.t.Fatal(err)
	}
	_, err = f.WriteString(text)
	b.must(errors.Join(err, f.Close()))
}

func (b *bed) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) move(from, to string) {
	b.t.Helper()
	b.must(os.Rename(b.path(from), b.path(to)))
}

// read lets a scan pass, takes what comes, and compares the bodies.
func (b *bed) read(want ...string) []sdktest.Event {
	b.t.Helper()
	time.Sleep(2 * defaultScan)
	got := slices.Clone(b.Drain())
	if bodies := sdktest.Bodies(got); !slices.Equal(bodies, want) {
		b.t.Fatalf("read %q, want %q\nlog: %s", bodies, want, strings.Join(b.Logs, "\n     "))
	}
	return got
}

// logged says whether a line of the plugin's log has all the words.
func (b *bed) logged(words ...string) bool {
	return slices.ContainsFunc(b.Logs, func(line string) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) })
	})
}

func TestLinesAreReadOnceAsTheyCome(t *testing.T) {
	tailing(t, config{}, func(b *bed) {
		b.start()
		b.read()
		b.add("app.log", "one\ntwo\n")
		got := b.read("one", "two")
		for i, at := range []string{"0", "4"} {
			a := got[i].Attributes
			if a["file.path"] != b.path("app.log") || a["file.position"] != at || len(a) != 2 {
				t.Errorf("attributes of line %d are %v", i, a)
			}
		}
		b.read()
		b.add("app.log", "three\n")
		b.read("three")
	})
}

// TestAnEntryGoesWithItsEventsHoweverManyOthersChanged: a kill between two batches would repeat them.
func TestAnEntryGoesWithItsEventsHoweverManyOthersChanged(t *testing.T) {
	tailing(t, config{Paths: []string{"*.log"}}, func(b *bed) {
		b.add("z.log", "zero\n")
		b.start()
		b.read("zero")
		name := strings.Repeat("n", 200) // a deep path
		for i := range maxSaved / len(name) {
			b.add(fmt.Sprintf("%s%d.log", name, i), "")
		}
		b.add("z.log", "one\ntwo\n")
		time.Sleep(2 * defaultScan)
		got, err := b.Poll()
		b.must(err)
		if bodies := sdktest.Bodies(got); !slices.Equal(bodies, []string{"one", "two"}) {
			t.Fatalf("the first batch has %q", bodies)
		}
		if len(b.src.dirty) == 0 {
			t.Fatal("all entries went with it: the test shows nothing")
		}
		b.Commit()
		b.restart()
		b.read()
	})
}

func TestCountersAreThereFromTheStart(t *testing.T) {
	tailing(t, config{}, func(b *bed) {
		b.start()
		for _, name := range []string{"file_lost_bytes", "file_long_lines"} {
			if v, ok := b.Metrics[name]; !ok || v != 0 {
				t.Errorf("%s: %v, %v, want a series at 0", name, v, ok)
			}
		}
	})
}

func TestLastLineWaitsForItsNewline(t *testing.T) {
	tailing(t, config{}, func(b *bed) {
		b.add("app.log", "whole\nhal")
		b.start()
		b.read("whole")
		time.Sleep(time.Hour)
		b.read()
		b.restart()
		b.read()
		b.add("app.log", "f\n")
		b.read("half")
	})
}

func TestCarriageReturnsGo(t *testing.T) {
	tailing(t, config{}, func(b *bed) {
		b.add("app.log", "a\r\n\r\n\nb\rc\r\r\nd\r")
		b.start()
		b.read("a", "", "", "b\rc\r")
		b.add("app.log", "\n")
		b.read("d")
	})
}

func TestRestartGoesOnWhereItWas(t *testing.T) {
	tailing(t, config{}, func(b *bed) {
		b.add("app.log", "1\n2\n3\n")
		b.start()
		b.MaxEvents = 2
		if _, err := b.Poll(); err != nil {
			t.Fatal(err)
		}
		b.Commit()
		if _, err := b.Poll(); err != nil { // in flight when the agent dies
			t.Fatal(err)
		}
		b.restart()
		b.read("3")
		b.add("app.log", "4\n")
		b.restart()
		b.read("4")
	})
}

func TestStartAtEndLeavesOutOnlyWhatWasThereAtFirst(t *testing.T) {
	tailing(t, config{Paths: []string{"*.log"}, Start: "end"}, func(b *bed) {
		b.add("app.log", "old\n")
		b.start()
		b.read()
		b.add("app.log", "new\n")
		b.add("late.log", "late\n")
		b.read("new", "late")
		b.add("down.log", "came while down\n")
		b.restart()
		b.read("came while down")
	})
}

func TestStartAtEndOfNothingReadsWhatComesWhileDown(t *testing.T) {
	tailing(t, config{Start: "end"}, func(b *bed) {
		b.start()
		b.read()
		b.add("app.log", "first\n")
		b.restart()
		b.read("first")
	})
}

func TestCopyTruncateStartsAnew(t *testing.T) {
	tailing(t, config{}, func(b *bed) {
		b.add("app.log", "first line\nsecond line\n")
		b.start()
		b.read("first line", "second line")
		b.must(os.Truncate(b.path("app.log"), 0))
		b.add("app.log", "third\n")
		b.read("third")
		b.must(os.Truncate(b.path("app.log"), 0))
		b.add("app.log", "this time it is longer than before\n")
		b.read("this time it is longer than before")
		if b.Metrics["file_lost_bytes"] != 0 {
			t.Errorf("%v bytes lost", b.Metrics["file_lost_bytes"])
		}
	})
}

func TestWhatIsCutUnreadIsSaidInBytes(t *testing.T) {
	tailing(t, config{}, func(b *bed) {
		b.add("app.log", strings.Repeat("0123456789abcde\n", 3))
		b.start()
		b.MaxEvents = 1
		if _, err := b.Poll(); err != nil {
			t.Fatal(err)
		}
		b.Commit()
		b.must(os.Truncate(b.path("app.log"), 0))
		b.restart()
		b.read()
		if !b.logged("WARN", "gone", "bytes=32") || b.Metrics["file_lost_bytes"] != 32 {
			t.Errorf("metrics %v, log %q: want 32 bytes lost", b.Metrics, b.Logs)
		}
	})
}

func TestWhatIsDeletedUnreadIsSaidInBytes(t *testing.T) {
	tailing(t, config{}, func(b *bed) {
		b.add("app.log", strings.Repeat("0123456789abcde\n", 3))
		b.start()
		b.MaxEvents = 1
		if _, err := b.Poll(); err != nil {
			t.Fatal(err)
		}
		b.Commit()
		b.must(os.Remove(b.path("app.log")))
		b.restart()
		b.read()
		b.restart()
		b.read()
		if b.Metrics["file_lost_bytes"] != 32 {
			t.Errorf("metrics %v, log %q: want 32 bytes lost, said once", b.Metrics, b.Logs)
		}
	})
}

func TestCutBehindItsFirstKilobyteStartsAnew(t *testing.T) {
	tailing(t, config{}, func(b *bed) {
		head := strings.Repeat("x", 2*printSize)
		b.add("app.log", head+"\nend\n")
		b.start()
		b.read(head, "end")
		b.must(os.Truncate(b.path("app.log"), int64(len(head)+1)))
		b.read(head)
	})
}

func TestWhatIsCutBeforeItsFirstReadIsSaidInBytes(t *testing.T) {
	tailing(t, config{Paths: []string{"*.log"}}, func(b *bed) {
		b.add("a.log", strings.Repeat("busy\n", 10))
		b.add("z.log", "never read\n")
		b.start()
		b.MaxEvents = 5
		if _, err := b.Poll(); err != nil { // finds both, and has read only of one
			t.Fatal(err)
		}
		b.must(os.Truncate(b.path("z.log"), 0))
		time.Sleep(2 * defaultScan)
		for range 10 {
			b.Drain()
			time.Sleep(defaultScan)
		}
		if b.Metrics["file_lost_bytes"] != 11 {
			t.Errorf("metrics %v: want 11 bytes lost\n%s", b.Metrics, b.Logs)
		}
	})
}

func TestFileThatComesBackToItsPathIsRead(t *testing.T) {
	tailing(t, config{}, func(b *bed) {
		b.add("app.log", "1\n2\n3\n")
		b.start()
		b.MaxEvents = 1
		if _, err := b.Poll(); err != nil {
			t.Fatal(err)
		}
		b.Commit()
		b.move("app.log", "app.log.1")
		b.add("app.log", "4\n")
		time.Sleep(2 * defaultScan)
		if _, err := b.Poll(); err != nil { // now 4 waits for 3
			t.Fatal(err)
		}
		b.Commit()
		b.move("app.log", "app.log.2")
		b.move("app.log.1", "app.log")
		b.read("3", "4")
	})
}

func TestFileThatIsNoLongerWantedIsNotRead(t *testing.T) {
	tailing(t, config{Paths: []string{"app.log", "b.log"}}, func(b *bed) {
		b.add("app.log", "1\n")
		b.start()
		b.read("1")
		b.add("app.log", "2\n")
		b.move("app.log", "app.log.1")
		b.cfg.Paths = b.cfg.Paths[1:]
		b.Configure(b.cfg)
		b.restart()
		b.read()
	})
}

func TestFilesWithEqualFirstLinesAreTwo(t *testing.T) {
	tailing(t, config{Paths: []string{"*.log"}}, func(b *bed) {
		b.add("a.log", "same\nsame\n")
		b.add("b.log", "same\nsame\n")
		b.start()
		b.read("same", "same", "same", "same")
		b.add("a.log", "a\n")
		b.add("b.log", "b\n")
		b.restart()
		b.read("a", "b")
	})
}

func TestHardLinksAndOtherThingsAreOneFile(t *testing.T) {
	tailing(t, config{Paths: []string{"*.log", "a*"}, Exclude: []string{"*.no.log"}}, func(b *bed) {
		b.add("a.log", "a\n")
		b.add("b.no.log", "unwanted\n")
		b.must(os.Link(b.path("a.log"), b.path("c.log")))
		b.must(os.Mkdir(b.path("dir.log"), 0o755))
		b.start()
		b.read("a")
	})
}

func TestReusedInodeOfAnotherToolIsNotRead(t *testing.T) {
	tailing(t, config{}, func(b *bed) {
		b.add("app.log", "1\n2\n")
		b.start()
		b.read("1", "2")
		// What another tool writes gets the inode: the same file with another content and name.
		b.must(os.WriteFile(b.path("app.log"), []byte("something else that is longer\n"), 0o644))
		b.move("app.log", "dump")
		b.restart()
		b.read()
		b.add("app.log", "3\n")
		b.read("3")
	})
}

func TestNamesThatAreSwappedDoNotWaitForEachOther(t *testing.T) {
	tailing(t, config{Paths: []string{"*.log"}}, func(b *bed) {
		b.add("a.log", "a\n")
		b.add("b.log", "b\n")
		b.start()
		b.read("a", "b")
		b.move("a.log", "c")
		b.move("b.log", "a.log")
		b.move("c", "b.log")
		b.add("a.log", "2\n")
		b.add("b.log", "1\n")
		time.Sleep(2 * defaultScan)
		got := sdktest.Bodies(b.Drain())
		slices.Sort(got)
		if !slices.Equal(got, []string{"1", "2"}) {
			t.Fatalf("read %q", got)
		}
	})
}

func TestFilesTakeTurns(t *testing.T) {
	tailing(t, config{Paths: []string{"*.log"}}, func(b *bed) {
		line := strings.Repeat("x", 1023) + "\n"
		b.add("big.log", strings.Repeat(line, 8*chunk/len(line)))
		b.add("small.log", "small\n")
		b.start()
		b.MaxBytes = 16 << 20
		for n := 0; ; n++ {
			events, err := b.Poll()
			if err != nil {
				t.Fatal(err)
			}
			b.Commit()
			if i := slices.IndexFunc(events, func(e sdktest.Event) bool { return e.Body == "small" }); i >= 0 {
				if before := n*b.MaxEvents + i; before > 2*chunk/len(line) {
					t.Errorf("the small file waited for %d lines of the big one", before)
				}
				return
			}
		}
	})
}

func TestTenThousandFiles(t *testing.T) {
	const files = 10_000
	tailing(t, config{Paths: []string{"*.log"}}, func(b *bed) {
		for i := range files {
			b.add(fmt.Sprintf("%05d.log", i), fmt.Sprintf("%d\n", i))
		}
		b.start()
		check := func(add int) {
			t.Helper()
			time.Sleep(time.Minute)
			seen := map[int]bool{}
			for _, e := range b.Drain() {
				n, err := strconv.Atoi(e.Body)
				if err != nil || seen[n] {
					t.Fatalf("line %q comes twice", e.Body)
				}
				seen[n-add] = true
			}
			if len(seen) != files {
				t.Fatalf("read %d lines, want %d", len(seen), files)
			}
		}
		check(0)
		if n := len(b.src.opened); n > maxOpen {
			t.Errorf("%d files are open", n)
		}
		size := 0
		for k, v := range b.Cursor {
			size += len(k) + len(v)
		}
		if len(b.Cursor) != files || size > 2<<20 {
			t.Errorf("cursor has %d entries, %d bytes", len(b.Cursor), size)
		}
		for i := range files {
			b.add(fmt.Sprintf("%05d.log", i), fmt.Sprintf("%d\n", i+files))
		}
		b.restart()
		check(files)
	})
}

func TestEntryOfARotatedFileStaysAWhileAfterItsDeletion(t *testing.T) {
	tailing(t, config{ForgetAfter: 24 * time.Hour}, func(b *bed) {
		b.add("app.log", "1\n")
		b.start()
		b.read("1")
		b.move("app.log", "app.log.1")
		b.read()
		time.Sleep(grace)
		b.read()
		b.must(os.Remove(b.path("app.log.1")))
		for range 23 {
			time.Sleep(time.Hour)
			b.read()
		}
		if len(b.Cursor) != 1 {
			t.Fatalf("cursor has %d entries before its time", len(b.Cursor))
		}
		time.Sleep(2 * time.Hour)
		b.read()
		if len(b.Cursor) != 0 {
			t.Fatalf("cursor has %d entries, want none", len(b.Cursor))
		}
	})
}

func TestEntriesAreForgottenLongAfterTheFile(t *testing.T) {
	tailing(t, config{ForgetAfter: 24 * time.Hour}, func(b *bed) {
		b.add("app.log", "1\n")
		b.start()
		b.read("1")
		b.must(os.Remove(b.path("app.log")))
		time.Sleep(time.Minute)
		b.read()
		for range 20 {
			time.Sleep(time.Hour)
			b.read()
		}
		if len(b.Cursor) != 1 {
			t.Fatalf("cursor has %d entries before its time", len(b.Cursor))
		}
		b.restart()
		for range 5 {
			time.Sleep(time.Hour)
			b.read()
		}
		if len(b.Cursor) != 0 {
			t.Fatalf("cursor has %d entries, want none", len(b.Cursor))
		}
	})
}

func TestADirectoryThatCannotBeReadIsNotPassedOverInSilence(t *testing.T) {
	tailing(t, config{Paths: []string{"app.log", "logs/*.log"}, Start: "end"}, func(b *bed) {
		b.add("logs", "a file, where a directory should be\n")
		b.start()
		if _, err := b.Poll(); err == nil || !strings.Contains(err.Error(), b.path("logs")) || !strings.Contains(err.Error(), "the right to read it") {
			t.Errorf("with nothing to read: %v", err)
		}
		b.must(os.Remove(b.path("logs")))
		b.must(os.Mkdir(b.path("logs"), 0o755))
		b.add("logs/a.log", "old\n")
		b.restart()
		b.read() // what is there when it can look for the first time is of before
		b.add("logs/a.log", "new\n")
		b.read("new")
		if b.logged("some files may not be found") {
			t.Error("it warns of nothing")
		}
		b.must(os.Rename(b.path("logs"), b.path("away")))
		b.add("logs", "a file once more\n")
		b.add("app.log", "1\n")
		b.read("1")
		b.add("app.log", "2\n")
		b.read("2")
		if !b.logged("some files may not be found", b.path("logs")) {
			t.Errorf("with something to read: %q", b.Logs)
		}
	})
}
