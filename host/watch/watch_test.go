// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// soon is how long what changes may take to be seen: quiet, and what a busy machine adds. It is less than lookEvery, so that it is heard.
const soon = 8 * time.Second

// watched is a directory with a pipeline that is watched.
type watched struct {
	*testing.T
	dir  string
	seen chan struct{} // never closed
}

// watching watches path, below a directory in which make has made what there is.
func watching(t *testing.T, path string, others []string, make_ func(dir string)) watched {
	t.Helper()
	w := watched{t, t.TempDir(), make(chan struct{}, 100)}
	make_(w.dir)
	time.Sleep(quiet) // until what there is is old
	for i := range others {
		others[i] = filepath.Join(w.dir, others[i])
	}
	w.begin(path, func() []string { return others }, func() { w.seen <- struct{}{} })
	return w
}

// begin watches from now on, until the test ends.
func (w watched) begin(path string, beside func() []string, changed func()) {
	w.Helper()
	watcher, err := New(filepath.Join(w.dir, path))
	w.must(err)
	ctx, cancel := context.WithCancel(w.Context())
	var run sync.WaitGroup
	run.Go(func() { watcher.Run(ctx, beside, changed) })
	w.Cleanup(func() {
		cancel()
		run.Wait()
		w.must(watcher.Close())
	})
}

func (w watched) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w watched) write(name, text string) {
	w.Helper()
	w.must(os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600))
}

func (w watched) move(from, to string) {
	w.Helper()
	w.must(os.Rename(filepath.Join(w.dir, from), filepath.Join(w.dir, to)))
}

// changes checks that what happened is seen, once.
func (w watched) changes(what string) {
	w.Helper()
	select {
	case <-w.seen:
	case <-time.After(soon):
		w.Fatalf("%s is not seen", what)
	}
	w.stays("what follows on " + what)
}

// stays checks that nothing is seen.
func (w watched) stays(what string) {
	w.Helper()
	select {
	case <-w.seen:
		w.Fatalf("%s is taken for a change", what)
	case <-time.After(3 * quiet):
	}
}

func TestWhatEditorsDoIsSeenOnce(t *testing.T) {
	t.Parallel()
	w := watching(t, ".", nil, func(dir string) {
		if err := os.WriteFile(filepath.Join(dir, "a.hcl"), []byte("1"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	w.write("a.hcl", "2")
	w.changes("a write in place")
	w.write("a.hcl~", "3") // vim and others: the old one aside, the new one into place
	w.move("a.hcl", "a.hcl.bak")
	w.move("a.hcl~", "a.hcl")
	w.changes("a rename into place")
	w.write("a.hcl", "4")
	w.changes("a write after a rename")
	w.write(".a.hcl.swp", "x")
	w.write("notes.txt", "x")
	w.write("a.hcl", "4")
	w.stays("what editors leave about")
	w.write("b.hcl", "")
	w.changes("another file")
	w.must(os.Remove(filepath.Join(w.dir, "b.hcl")))
	w.changes("a file that goes")
	w.write("x.wasm", "1")
	w.changes("a module")
}

func TestASwappedLinkIsSeen(t *testing.T) {
	t.Parallel()
	w := watching(t, ".", nil, func(dir string) { // as Kubernetes lays out a ConfigMap
		for _, version := range []string{"..1", "..2"} {
			if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, version, "a.hcl"), []byte(version), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for link, to := range map[string]string{"..data": "..1", "a.hcl": "..data/a.hcl"} {
			if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
				t.Fatal(err)
			}
		}
	})
	for _, version := range []string{"..2", "..1", "..2"} {
		w.must(os.Symlink(version, filepath.Join(w.dir, "..data_tmp")))
		w.move("..data_tmp", "..data")
		w.changes("a swap")
	}
}

func TestADirectoryThatIsALinkIsSeenToLeadElsewhere(t *testing.T) {
	t.Parallel()
	w := watching(t, "current", nil, func(dir string) {
		for _, version := range []string{"1", "2"} {
			if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, version, "a.hcl"), []byte(version), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink("1", filepath.Join(dir, "current")); err != nil {
			t.Fatal(err)
		}
	})
	w.must(os.Symlink("2", filepath.Join(w.dir, "next")))
	w.move("next", "current")
	w.changes("a swap")
	w.write("2/a.hcl", "new")
	w.changes("a write where it leads now")
	w.write("1/a.hcl", "new")
	w.stays("a write where it led before")
}

func TestASingleFileAndModulesElsewhereAreWatched(t *testing.T) {
	t.Parallel()
	w := watching(t, "a.hcl", []string{"lib/x.wasm"}, func(dir string) {
		if err := os.Mkdir(filepath.Join(dir, "lib"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "a.hcl"), []byte("1"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	w.write("a.hcl~", "2")
	w.move("a.hcl~", "a.hcl")
	w.changes("the file")
	w.write("b.hcl", "x")
	w.stays("another file beside it")
	w.write("lib/x.wasm~", "x")
	w.move("lib/x.wasm~", "lib/x.wasm")
	w.changes("a module")
	w.write("lib/y.wasm", "x")
	w.stays("a module that nobody uses")
}

// A file that was missing when it was asked for, and comes while that is said, is no file that was there all the time; one that was is told of once.
func TestAFileThatComesJustAfterItWasAskedForIsSeen(t *testing.T) {
	t.Parallel()
	for comes, want := range map[bool]int{true: 2, false: 1} {
		dir, elsewhere := t.TempDir(), t.TempDir()
		file, other := filepath.Join(dir, "a.hcl"), filepath.Join(elsewhere, "most")
		write := func(file string) {
			if err := os.WriteFile(file, []byte(time.Now().String()), 0o600); err != nil {
				t.Error(err)
			}
		}
		write(file)
		if !comes {
			write(other)
		}
		var wanted []string // of the goroutine of Run
		told := make(chan struct{}, 100)
		time.Sleep(quiet) // until what was written is old
		watched{t, dir, nil}.begin("", func() []string { return wanted }, func() {
			wanted = []string{other} // and is read, if it is there
			if comes && len(told) == 0 {
				write(other)
			}
			told <- struct{}{}
		})
		write(file)
		for end := time.Now().Add(soon); len(told) < want && time.Now().Before(end); time.Sleep(time.Millisecond) {
		}
		time.Sleep(3 * quiet) // for what should not come
		if len(told) != want {
			t.Errorf("a file that comes, %v: it was told %d times", comes, len(told))
		}
	}
}

func TestAFileThatGoesWhileSomebodyIsToldIsToldToo(t *testing.T) {
	t.Parallel()
	w := watched{t, t.TempDir(), make(chan struct{}, 100)}
	w.write("a.hcl", "1")
	more := filepath.Join(w.dir, "more.hcl")
	w.begin("", nil, func() {
		_ = os.Remove(more) // the second time it is gone
		w.seen <- struct{}{}
	})
	w.write("more.hcl", "2")
	for range 2 {
		select {
		case <-w.seen:
		case <-time.After(soon):
			t.Fatal("it is not seen to go")
		}
	}
}

func TestWhatChangesWhileSomebodyIsToldIsToldToo(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.hcl")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Error(err)
		}
	}
	write("one")
	told := make(chan struct{}, 2) // never closed
	watched{t, dir, nil}.begin("", nil, func() {
		if told <- struct{}{}; len(told) == 1 {
			write("three")
		}
	})
	write("two")
	for end := time.After(soon); len(told) < 2; {
		select {
		case <-time.After(time.Millisecond):
		case <-end:
			t.Fatalf("it was told %d times", len(told))
		}
	}
}

func TestWhatChangesBeforeItIsAskedForIsTold(t *testing.T) {
	t.Parallel()
	w := watched{t, t.TempDir(), make(chan struct{}, 100)}
	for _, name := range []string{"a.hcl", "values"} {
		w.write(name, "1")
	}
	for _, change := range []string{"a.hcl", "b.hcl", "values", ""} {
		time.Sleep(quiet) // until what was written is old
		watcher, err := New(w.dir)
		w.must(err)
		if change != "" {
			w.write(change, "changed")
		}
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() {
			watcher.Run(ctx, func() []string { return []string{filepath.Join(w.dir, "values")} }, func() { w.seen <- struct{}{} })
		})
		if change != "" {
			w.changes(change)
		} else {
			w.stays("nothing")
		}
		cancel()
		run.Wait()
		w.must(watcher.Close())
	}
}
