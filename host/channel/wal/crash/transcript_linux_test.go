// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// lineOf is a line of strace: thread, call, the open file that it is made on, and the rest.
var lineOf = regexp.MustCompile(`^(\d+) +(?:<\.\.\. )?(\w+)(?:\((?:\d+<([^>]*)>)?| resumed>)(.*)$`)

// named are the strings in the arguments of a call: paths, or a word that was said.
var named = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)

// transcript keeps what of a channel's directory is not on disk yet, as its system calls say.
type transcript struct {
	dir    string
	data   map[string]bool   // files that were written and not flushed
	fresh  map[string]bool   // files of the log whose folder was not flushed since they were made
	names  map[string]string // folders that were changed and not flushed, by what
	begun  map[string]string // the file that a flush is made on which has not returned, by thread
	wrong  []string
	acked  int
	synced int
}

func newTranscript(dir string) *transcript {
	return &transcript{dir: dir, data: map[string]bool{}, fresh: map[string]bool{}, names: map[string]string{}, begun: map[string]string{}}
}

// hear takes the next line.
func (r *transcript) hear(line string) {
	m := lineOf.FindStringSubmatch(line)
	if m == nil || strings.Contains(line, " = -1 ") {
		return
	}
	thread, call, path, rest := m[1], m[2], m[3], m[4]
	unfinished := strings.Contains(rest, "<unfinished ...>")
	var args []string
	for _, a := range named.FindAllStringSubmatch(rest, -1) {
		args = append(args, a[1])
	}
	switch call {
	case "write", "pwrite64":
		if path != "" {
			r.data[path] = true
			if r.fresh[path] {
				r.names[filepath.Dir(path)] = "making " + path
			}
		}
	case "fsync", "fdatasync":
		if unfinished {
			r.begun[thread] = path
			return
		}
		if path == "" {
			path = r.begun[thread]
		}
		r.synced++
		delete(r.data, path)
		delete(r.names, path)
		maps.DeleteFunc(r.fresh, func(f string, _ bool) bool { return filepath.Dir(f) == path })
	case "mkdirat", "renameat", "openat", "unlinkat":
		r.named(call, rest, args)
	case "sendto":
		if len(args) > 0 && strings.HasPrefix(args[0], "acked") {
			r.acked++
			r.must(line)
		}
	}
}

// named notes a change of a folder.
func (r *transcript) named(call, rest string, args []string) {
	if len(args) == 0 || !strings.HasPrefix(args[len(args)-1], r.dir) {
		return
	}
	path := args[len(args)-1]
	switch call {
	case "openat":
		if strings.Contains(rest, "O_CREAT") && !strings.HasSuffix(path, ".tmp") && filepath.Base(filepath.Dir(path)) == "log" {
			r.fresh[path] = true
		}
		return
	case "unlinkat":
		if filepath.Base(filepath.Dir(path)) != "log" {
			return // it comes again, and is found superfluous again
		}
	case "renameat":
		if r.data[args[0]] {
			r.wrong = append(r.wrong, "renamed before it was flushed: "+args[0])
		}
	}
	r.names[filepath.Dir(path)] = call + " " + path
}

// must says what should be on disk when a transaction is acknowledged, and is not.
func (r *transcript) must(line string) {
	for path := range r.data {
		if filepath.Base(filepath.Dir(path)) == "log" {
			r.wrong = append(r.wrong, fmt.Sprintf("%s is not flushed at %s", path, line))
		}
	}
	for folder, what := range r.names {
		if !strings.HasPrefix(what, "unlinkat") { // what is unlinked may come again
			r.wrong = append(r.wrong, fmt.Sprintf("%s is not flushed after %s, at %s", folder, what, line))
		}
	}
}

// TestEachSystemCallStandsWhereItShould: what is acknowledged was flushed, what is renamed was flushed before and its folder is
// after. A disk in memory cannot see this, and a real one only when the power goes at the right moment.
func TestEachSystemCallStandsWhereItShould(t *testing.T) {
	needs(t, "strace")
	dir, trace := filepath.Join(t.TempDir(), "channel"), filepath.Join(t.TempDir(), "trace")
	r := newTranscript(dir)
	for round := range 3 {
		command := []string{"env", workerStill + "=1", "strace", "-f", "-qq", "-y", "-s", "4096", "-o", trace, "-e",
			"trace=write,pwrite64,fsync,fdatasync,mkdirat,renameat,openat,unlinkat,sendto"}
		if err := runWorker(t, dir, round, func(string) {}, command...); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(trace)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			r.hear(strings.TrimSpace(line))
		}
		for folder, what := range r.names {
			r.wrong = append(r.wrong, fmt.Sprintf("%s is not flushed after %s, at the end of round %d", folder, what, round))
		}
	}
	if r.acked == 0 || r.synced == 0 {
		t.Fatalf("of %d acknowledgements and %d flushes nothing can be said", r.acked, r.synced)
	}
	for _, w := range r.wrong[:min(5, len(r.wrong))] {
		t.Error(w)
	}
	t.Logf("%d acknowledgements, %d flushes, %d wrong", r.acked, r.synced, len(r.wrong))
}
