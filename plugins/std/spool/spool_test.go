// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/sdk/sdktest"
)

// bed is a spool and a source that reads it.
type bed struct {
	*sdktest.Source
	t   *testing.T
	dir string
	cfg config
	src *Source                 // the instance of now
	at  func(step string) error // of instances that are opened later
}

// spooling runs f in a bubble where waiting takes no time.
func spooling(t *testing.T, cfg config, f func(*bed)) {
	t.Helper()
	dir := t.TempDir()
	cfg.Path = filepath.Join(dir, "spool")
	if err := os.Mkdir(cfg.Path, 0o755); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) { f(&bed{t: t, dir: cfg.Path, cfg: cfg}) })
}

func (b *bed) start() {
	create := func() sdk.Source {
		b.src = New().(*Source)
		b.src.at = b.at
		return b.src
	}
	b.Source = sdktest.OpenSource(b.t, create, b.cfg)
}

func (b *bed) restart() {
	b.t.Helper()
	b.must(b.Restart())
}

func (b *bed) path(name string) string { return filepath.Join(b.dir, name) }

func (b *bed) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// put puts a finished file into the spool, which was written so long ago.
func (b *bed) put(name, text string, age time.Duration) {
	b.t.Helper()
	b.must(os.MkdirAll(filepath.Dir(b.path(name)), 0o755))
	b.must(os.WriteFile(b.path(name), []byte(text), 0o644))
	b.age(name, age)
}

func (b *bed) age(name string, age time.Duration) {
	b.t.Helper()
	at := time.Now().Add(-age)
	b.must(os.Chtimes(b.path(name), at, at))
}

func (b *bed) add(name, text string) {
	b.t.Helper()
	f, err := os.OpenFile(b.path(name), os.O_APPEND|os.O_WRONLY, 0)
	b.must(err)
	_, err = f.WriteString(text)
	b.must(errors.Join(err, f.Close()))
}

// read lets a look pass, takes what comes until nothing does, and compares the bodies.
func (b *bed) read(want ...string) []sdktest.Event {
	b.t.Helper()
	var got []sdktest.Event
	for range 4 { // the first look finds, the next ones move and forget
		time.Sleep(2 * defaultScan)
		got = append(got, slices.Clone(b.Drain())...)
	}
	if bodies := sdktest.Bodies(got); !slices.Equal(bodies, want) {
		b.t.Fatalf("read %q, want %q\nlog: %s", bodies, want, strings.Join(b.Logs, "\n     "))
	}
	return got
}

// holds compares the names of all files in the spool, sorted.
func (b *bed) holds(want ...string) {
	b.t.Helper()
	var got []string
	b.must(filepath.WalkDir(b.dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(b.dir, p)
			got = append(got, rel)
		}
		return err
	}))
	if !slices.Equal(got, want) {
		b.t.Fatalf("the spool holds %q, want %q\nlog: %s", got, want, strings.Join(b.Logs, "\n     "))
	}
}

func (b *bed) content(name string) string {
	b.t.Helper()
	text, err := os.ReadFile(b.path(name))
	b.must(err)
	return string(text)
}

func (b *bed) reason(name string, words ...string) {
	b.t.Helper()
	text := b.content("bad/" + name + ".reason")
	for _, w := range words {
		if !strings.Contains(text, w) {
			b.t.Errorf("the reason of %s does not say %q:\n%s", name, w, text)
		}
	}
}

// clean says that nothing is left over.
func (b *bed) clean() {
	b.t.Helper()
	if len(b.Cursor) != 0 || len(b.src.files) != 0 {
		b.t.Errorf("the cursor has %d entries, %d files are known, want none", len(b.Cursor), len(b.src.files))
	}
}

func TestFilesAreReadInOrderAndMovedAfterTheCommit(t *testing.T) {
	spooling(t, config{}, func(b *bed) {
		b.put("b.log", "5\n6", time.Hour)
		b.put("a.log", "1\n2\r\n\n4\n", time.Minute)
		b.put("c.log", "", time.Minute)
		b.start()
		b.MaxEvents = 2
		for range 3 {
			_, err := b.Poll()
			b.must(err)
		}
		b.holds("a.log", "b.log", "c.log")
		b.Commit()
		b.read()
		if got := sdktest.Bodies(b.Events); !slices.Equal(got, []string{"1", "2", "", "4", "5", "6"}) {
			t.Errorf("read %q", got)
		}
		if a := b.Events[5].Attributes; a["file.path"] != b.path("b.log") || a["file.position"] != "2" || len(a) != 2 {
			t.Errorf("attributes are %v", a)
		}
		b.holds("done/a.log", "done/b.log", "done/c.log")
		b.clean()
		if b.Metrics["spool_files_done"] != 3 || b.Metrics["spool_files_waiting"] != 0 || b.Metrics["spool_files_set_aside"] != 0 {
			t.Errorf("metrics %v", b.Metrics)
		}
	})
}

func TestDelete(t *testing.T) {
	spooling(t, config{WhenDone: "delete"}, func(b *bed) {
		b.put("a", "1\n", time.Hour)
		b.put("b", "2\n", time.Hour)
		b.start()
		b.read("1", "2")
		b.holds()
		b.clean()
	})
}

// TestANameThatComesAgainIsAnotherFile: neither is lost, nor does the source end.
func TestANameThatComesAgainIsAnotherFile(t *testing.T) {
	spooling(t, config{}, func(b *bed) {
		b.start()
		for i := range 3 {
			b.put("a.log", fmt.Sprintf("%d\n", i), time.Hour)
			b.read(fmt.Sprint(i))
		}
		names, err := filepath.Glob(b.path("done/a.log*"))
		b.must(err)
		if len(names) != 3 || b.content("done/a.log") != "0\n" {
			t.Errorf("done holds %q", names)
		}
		b.put("done/b.log", "a folder's own\n", time.Hour)
		b.put("bad/c", "kept\n", time.Hour)
		b.put("bad/d.reason", "kept\n", time.Hour)
		b.put("b.log", "b\n", time.Hour)
		b.put("c", "\x00", time.Hour)
		b.put("d", "\x00", time.Hour)
		b.read("b")
		for name, text := range map[string]string{"done/b.log": "a folder's own\n", "bad/c": "kept\n", "bad/d.reason": "kept\n"} {
			if got := b.content(name); got != text {
				t.Errorf("%s was overwritten with %q", name, got)
			}
		}
		if n, _ := filepath.Glob(b.path("bad/[cd].*Z")); len(n) != 2 {
			t.Errorf("bad holds %q", n)
		}
	})
}

func TestABadFileIsSetAsideAndTheOthersGoOn(t *testing.T) {
	const long = "a line that is far too long for it\n"
	for _, c := range []struct {
		name    string
		spoil   func(b *bed, path string)
		lines   []string // of it that come
		reasons []string
	}{
		{"binary", func(b *bed, p string) { b.must(os.WriteFile(p, []byte("a\x00b\n"), 0o644)) }, nil, []string{"byte 1 is 0", "nothing of it", "move it back"}},
		{"compressed", func(b *bed, p string) { b.must(os.WriteFile(p, []byte("\x1f\x8b\x08\x00..."), 0o644)) }, nil, []string{"gzip"}},
		{"a link", func(b *bed, p string) { b.must(os.Symlink("a.log", p)) }, nil, []string{"a symbolic link"}},
		{"a long line", func(b *bed, p string) { b.must(os.WriteFile(p, []byte("ok\n"+long+"rest\n"), 0o644)) }, []string{"ok"},
			[]string{"begins at byte 3", "first 3 bytes", "tail -c +4 bad.log > "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			spooling(t, config{MaxLine: 10, OnLongLine: "set_aside"}, func(b *bed) {
				b.put("a.log", "1\n", time.Hour)
				c.spoil(b, b.path("bad.log"))
				if c.name != "a link" {
					b.age("bad.log", time.Hour)
				}
				b.put("c.log", "3\n", time.Hour)
				b.start()
				time.Sleep(time.Hour)
				b.read(slices.Concat([]string{"1"}, c.lines, []string{"3"})...)
				b.holds("bad/bad.log", "bad/bad.log.reason", "done/a.log", "done/c.log")
				b.reason("bad.log", append(c.reasons, "file    "+b.path("bad.log"))...)
				b.clean()
				if b.Metrics["spool_files_set_aside"] != 1 || !slices.ContainsFunc(b.Logs, func(l string) bool { return strings.HasPrefix(l, "WARN file set aside") }) {
					t.Errorf("metrics %v, log %q", b.Metrics, b.Logs)
				}
			})
		})
	}
}

func TestAFileThatChangesIsSetAside(t *testing.T) {
	line := strings.Repeat("x", 99) + "\n"
	for _, c := range []struct {
		name string
		do   func(b *bed)
		why  string
	}{
		{"grows", func(b *bed) { b.add("a", "more\n") }, "it had 800 bytes, and has 805"},
		{"shrinks", func(b *bed) { b.must(os.Truncate(b.path("a"), 700)) }, "and has 700"},
		{"is written anew", func(b *bed) { b.put("a", strings.Repeat("y", 800), time.Minute) }, "it was written at"},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprint(c.name, restart), func(t *testing.T) {
				spooling(t, config{}, func(b *bed) {
					b.put("a", strings.Repeat(line, 8), time.Hour)
					b.put("b", "b\n", time.Hour)
					b.start()
					b.MaxEvents = 2
					_, err := b.Poll()
					b.must(err)
					b.Commit()
					if !restart {
						b.src.window.buf = b.src.window.buf[:200] // as if only that much had been read
					}
					c.do(b)
					if restart {
						b.restart()
					}
					b.read("b")
					b.holds("bad/a", "bad/a.reason", "done/b")
					b.reason("a", c.why, "first 200 bytes", "tail -c +201")
				})
			})
		}
		t.Run(c.name+" after it was read", func(t *testing.T) {
			spooling(t, config{}, func(b *bed) {
				b.put("a", strings.Repeat(line, 8), time.Hour)
				b.start()
				_, err := b.Poll()
				b.must(err)
				c.do(b)
				b.Commit()
				b.read()
				b.holds("bad/a", "bad/a.reason")
				b.reason("a", "after it was read to its end", c.why, "first 800 bytes")
			})
		})
	}
}

func TestUnreadableFilesAreSetAside(t *testing.T) {
	if os.Geteuid() == 0 { // root reads everything: the source is told otherwise
		spooling(t, config{}, func(b *bed) {
			b.put("a", "a\n", time.Hour)
			b.start()
			f := &file{id: 1, entry: entry{path: b.path("a")}}
			b.src.files[1] = f
			b.src.trouble(f, &fs.PathError{Op: "open", Path: f.path, Err: fs.ErrPermission}, time.Now())
			if f.state != bad || !strings.Contains(f.reason, "permission") {
				t.Errorf("state %d, %q", f.state, f.reason)
			}
		})
		return
	}
	spooling(t, config{}, func(b *bed) {
		b.put("a", "a\n", time.Hour)
		b.put("b", "b\n", time.Hour)
		b.must(os.Chmod(b.path("a"), 0))
		b.start()
		b.read("b")
		b.holds("bad/a", "bad/a.reason", "done/b")
		b.reason("a", "permission denied")
	})
}

func TestAFileThatAnswersWithErrorsIsTriedForAWhile(t *testing.T) {
	spooling(t, config{}, func(b *bed) {
		b.put("a", "a\n", time.Hour)
		b.start()
		f := &file{id: 1, entry: entry{path: b.path("a")}}
		b.src.files[1] = f
		began, tries := time.Now(), 0
		for ; f.state == reading; tries++ {
			b.src.paused = nil
			time.Sleep(time.Until(f.after))
			b.src.trouble(f, syscall.EIO, time.Now())
		}
		if took := time.Since(began); took < time.Minute || took > 5*time.Minute || tries != maxTries+1 {
			t.Errorf("%d tries in %v", tries, took)
		}
	})
}

func TestARenamedFileIsReadOn(t *testing.T) {
	for _, restart := range []bool{false, true} {
		for _, committed := range []int{1, 2} { // of two batches
			spooling(t, config{}, func(b *bed) {
				b.put("a.log", "1\n2\n3\n4\n", time.Hour)
				b.start()
				b.MaxEvents = 2
				for range committed {
					_, err := b.Poll()
					b.must(err)
					b.Commit()
				}
				b.must(os.Rename(b.path("a.log"), b.path("z.bak")))
				if restart {
					b.restart()
				}
				b.read([]string{"3", "4"}[2*(committed-1):]...)
				b.holds("done/z.bak")
				b.clean()
			})
		}
	}
}

func TestAFileThatIsTakenAwayIsSaidInBytes(t *testing.T) {
	spooling(t, config{}, func(b *bed) {
		b.put("a.log", "1\n2\n3\n4\n", time.Hour)
		b.start()
		b.MaxEvents = 2
		_, err := b.Poll()
		b.must(err)
		b.Commit()
		b.must(os.Remove(b.path("a.log")))
		b.restart()
		b.read()
		if b.Metrics["spool_lost_bytes"] != 4 || !slices.ContainsFunc(b.Logs, func(l string) bool { return strings.Contains(l, "lost_bytes=4") }) {
			t.Errorf("metrics %v, log %q", b.Metrics, b.Logs)
		}
		b.put("b.log", "5\n6\n7\n", time.Hour)
		time.Sleep(2 * defaultScan)
		_, err = b.Poll()
		b.must(err)
		b.Commit()
		b.must(os.Rename(b.path("b.log"), b.path("../elsewhere")))
		b.put("b.log", "another\n", time.Minute)
		b.read("7", "another")
		b.clean()
	})
}

func TestWhatCannotBeMovedIsNotReadAgain(t *testing.T) {
	spooling(t, config{}, func(b *bed) {
		refuse := true
		b.at = func(step string) error {
			if refuse && step == "rename" {
				return syscall.EROFS
			}
			return nil
		}
		b.put("a", "a\n", time.Hour)
		b.start()
		b.read("a")
		b.put("b", "b\n", time.Hour)
		b.restart()
		b.read("b")
		b.holds("a", "b")
		if b.Metrics["spool_files_stuck"] != 2 || !slices.ContainsFunc(b.Logs, func(l string) bool { return strings.HasPrefix(l, "ERROR cannot move") }) {
			t.Errorf("metrics %v, log %q", b.Metrics, b.Logs)
		}
		for range 40 * 24 { // a channel forgets what is not set again
			time.Sleep(time.Hour)
			b.Drain()
			b.Forget(30 * 24 * time.Hour)
		}
		b.restart()
		b.read()
		refuse = false
		time.Sleep(retryMax)
		b.read()
		b.holds("done/a", "done/b")
		b.clean()
	})
}

func TestWhenNothingCanBeMovedReadingStopsAndSaysSo(t *testing.T) {
	spooling(t, config{}, func(b *bed) {
		b.at = func(step string) error {
			if step == "rename" {
				return syscall.EROFS
			}
			return nil
		}
		for i := range maxLeaving + 10 {
			b.put(fmt.Sprintf("%04d", i), "x\n", time.Hour)
		}
		b.start()
		var err error
		for range 10 {
			if _, err = b.Poll(); err != nil {
				break
			}
			b.Commit()
		}
		if err == nil || !strings.Contains(err.Error(), "512 files were read and cannot leave") || len(b.Events) != maxLeaving {
			t.Errorf("%d events, %v", len(b.Events), err)
		}
	})
}

func TestLongLinesAndEventsOfManyLines(t *testing.T) {
	for _, c := range []struct {
		cfg  config
		want []string
	}{
		{config{MaxLine: 4}, []string{"1234", "56", "ab", "1234", "5"}},
		{config{MaxLine: 4, OnLongLine: "truncate"}, []string{"1234", "ab", "1234"}},
		{config{Multiline: &multilineConfig{Pattern: "^1"}}, []string{"123456\nab", "12345"}},
	} {
		spooling(t, c.cfg, func(b *bed) {
			b.put("a", "123456\nab\n12345", time.Hour)
			b.start()
			b.read(c.want...)
			b.holds("done/a")
		})
	}
	spooling(t, config{}, func(b *bed) { // over the pieces in which a file is read
		var text strings.Builder
		var want []string
		for i := range 20 {
			line := strings.Repeat(fmt.Sprint(i%10), 1+i*60_000)
			want = append(want, line)
			text.WriteString(line + "\n")
		}
		b.put("a", text.String(), time.Hour)
		b.start()
		b.MaxBytes = 4 << 20
		b.read(slices.Concat(want[:18], []string{want[18][:1<<20], want[18][1<<20:], want[19][:1<<20], want[19][1<<20:]})...)
	})
}

func TestWrongArguments(t *testing.T) {
	for name, c := range map[string]config{
		"path": {Path: "/a/*.log"}, "done": {Path: "/a", Done: "../b"}, "bad": {Path: "/a", Bad: "./done"}, "include": {Path: "/a", Include: []string{"["}},
		"exclude": {Path: "/a", Exclude: []string{"/b"}}, "order": {Path: "/a", Order: "size"}, "on_long_line": {Path: "/a", OnLongLine: "drop"},
		"multiline.pattern": {Path: "/a", Multiline: &multilineConfig{Pattern: "("}},
	} {
		spooling(t, config{}, func(b *bed) {
			b.start()
			b.Configure(c)
			if e, ok := errors.AsType[*sdk.Error](b.Restart()); !ok || e.Path != name {
				t.Errorf("%s: %v", name, e)
			}
		})
	}
}
