// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/reliability"
)

var injections = flag.Int("injections", 13, "how many system calls are failed, one a run; 0 = each that there is")

// failures are the calls that change what is on the disk, and how they are made to fail.
var failures = []struct{ call, how string }{
	{"fdatasync", "EIO"}, {"fdatasync", "ENOSPC"}, {"fsync", "EIO"}, {"fsync", "ENOSPC"},
	{"write", "EIO"}, {"write", "ENOSPC"}, {"pwrite64", "EIO"}, {"pwrite64", "ENOSPC"}, {"fallocate", "ENOSPC"},
	{"openat", "EMFILE"}, {"openat", "ENOSPC"}, {"renameat", "EIO"}, {"unlinkat", "EIO"},
}

// injection is one call that fails in one run.
type injection struct {
	start *start
	call  string
	how   string
	nth   int
}

func (i injection) String() string {
	return fmt.Sprintf("%s number %d is %s, %s", i.call, i.nth, i.how, i.start.name)
}

// start is a channel's directory to begin with, and what was said while it was made.
type start struct {
	name  string
	dir   string
	round int
	words []said
	calls map[string]int      // how many of each call the busiest thread makes
	paths map[string][]string // what they are made on, relative to dir
}

type said struct {
	at   time.Time
	word string
}

// newStart does some rounds without a failure, and one more to see which calls it makes.
func newStart(t *testing.T, name string, rounds int) *start {
	t.Helper()
	s := &start{name: name, dir: filepath.Join(t.TempDir(), "channel"), round: rounds, calls: map[string]int{}, paths: map[string][]string{}}
	for round := range rounds {
		if err := runWorker(t, s.dir, round, func(w string) { s.words = append(s.words, said{time.Now(), w}) }); err != nil {
			t.Fatal(err)
		}
	}
	dir, trace := s.copy(t), filepath.Join(t.TempDir(), "trace")
	command := []string{"env", workerStill + "=1", "strace", "-f", "-qq", "-y", "-o", trace, "-e", "trace=" + strings.Join(calls(), ",")}
	if err := runWorker(t, dir, s.round, func(string) {}, command...); err != nil {
		t.Fatal(err)
	}
	s.count(t, dir, trace)
	return s
}

func calls() (list []string) {
	for _, f := range failures {
		list = append(list, f.call)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// copy returns a directory that holds the same.
func (s *start) copy(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "channel")
	if s.round == 0 {
		return dir
	}
	if err := os.CopyFS(dir, os.DirFS(s.dir)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// traced is a line of strace: thread, call, and the path of the file.
var traced = regexp.MustCompile(`^(\d+) +(\w+)\((?:\d+<([^>]*)>|AT_FDCWD[^,]*, "([^"]*)")`)

func (s *start) count(t *testing.T, dir, trace string) {
	t.Helper()
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	byThread := map[string]int{}
	for line := range strings.Lines(string(text)) {
		m := traced.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		path, ok := strings.CutPrefix(m[3]+m[4], dir+"/")
		if !ok {
			continue
		}
		byThread[m[1]+m[2]]++
		s.calls[m[2]] = max(s.calls[m[2]], byThread[m[1]+m[2]])
		if !slices.Contains(s.paths[m[2]], path) {
			s.paths[m[2]] = append(s.paths[m[2]], path)
		}
	}
}

// outcome is what an injection did.
type outcome struct {
	fired   int
	stopped bool
	acked   int
}

// segmentSync is the flush of a segment that failed: acknowledged data would be in doubt.
var segmentSync = regexp.MustCompile(`^\d+ +([\d.]+) f(?:data)?sync\(\d+<[^>]*/log/\d{20}>.*\(INJECTED\)`)

// run fails one call, and compares what the next start finds.
func (i injection) run(t *testing.T) (o outcome, err error) {
	t.Helper()
	dir, trace := i.start.copy(t), filepath.Join(t.TempDir(), "trace")
	command := []string{"env", workerStill + "=1", "strace", "-f", "--seccomp-bpf", "-qq", "-y", "-ttt", "-o", trace, "-e", "trace=" + i.call,
		"-e", fmt.Sprintf("inject=%s:error=%s:when=%d", i.call, i.how, i.nth)}
	// Only on the channel's files: the Go runtime wakes itself by a write, and would not survive.
	for _, p := range i.start.paths[i.call] {
		command = append(command, "-P", filepath.Join(dir, p))
	}
	words := slices.Clone(i.start.words)
	err = runWorker(t, dir, i.start.round, func(w string) { words = append(words, said{time.Now(), w}) }, command...)
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != workerFailed) {
		return o, fmt.Errorf("the worker died: %w", err)
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		return o, err
	}
	o.fired = strings.Count(string(text), "(INJECTED)")
	h := newHistory()
	for _, w := range words {
		if err := h.hear(w.word); err != nil {
			return o, err
		}
	}
	o.stopped, o.acked = h.stopped, h.acks
	if err := mustStop(string(text), words); err != nil {
		return o, err
	}
	return o, h.check(dir)
}

// mustStop: after a failed flush of a segment nothing is acknowledged, and it is said why.
func mustStop(trace string, words []said) error {
	for line := range strings.Lines(trace) {
		m := segmentSync.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		seconds, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return err
		}
		at, told := time.UnixMicro(int64(seconds*1e6)), false
		for _, w := range words {
			if w.at.Before(at) {
				continue
			}
			what, _, _ := strings.Cut(w.word, " ")
			if what == "acked" {
				return fmt.Errorf("%w: %q though a flush had failed: %s", errWrong, w.word, strings.TrimSpace(line))
			}
			told = told || what == "stopped" || what == "failed" || what == "close"
		}
		if !told {
			return fmt.Errorf("%w: nobody was told of %s", errWrong, strings.TrimSpace(line))
		}
	}
	return nil
}

// list returns all injections there are.
func list(starts []*start) (all []injection) {
	for _, s := range starts {
		for _, f := range failures {
			for n := 1; n <= s.calls[f.call]; n++ {
				all = append(all, injection{s, f.call, f.how, n})
			}
		}
	}
	return all
}

// sample picks n, at least one of each kind of failure that there is.
func sample(all []injection, n int, rng *rand.Rand) []injection {
	if n == 0 || n >= len(all) {
		return all
	}
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	have := map[string]bool{}
	var first, rest []injection
	for _, i := range all {
		if kind := i.call + i.how; !have[kind] {
			have[kind] = true
			first = append(first, i)
		} else {
			rest = append(rest, i)
		}
	}
	return append(first, rest...)[:max(n, len(first))]
}

func TestASystemCallThatFailsLosesNothingAcknowledged(t *testing.T) {
	needs(t, "strace")
	rng := newRNG(t)
	starts := []*start{newStart(t, "in a new channel", 0), newStart(t, "before a kill", 1), newStart(t, "after a kill", 2)}
	all := list(starts)
	rows := map[string]*tally{}
	for _, i := range all {
		kind := i.call + " " + i.how
		if rows[kind] == nil {
			rows[kind] = newTally(t, reliability.Failure, kind)
		}
		rows[kind].Of++
	}
	chosen := sample(slices.Clone(all), *injections, rng)
	missed, stopped := 0, 0
	for _, i := range chosen {
		y := rows[i.call+" "+i.how]
		o := i.try(t, y)
		for ; o.fired == 0 && i.nth > 1; missed++ { // which thread writes positions, and how often, is decided by the clock
			i.nth /= 2
			o = i.try(t, y)
		}
		if o.fired == 0 {
			t.Errorf("%s: none was made to fail", i)
		}
		if o.stopped {
			stopped++
		}
	}
	t.Logf("%d of %d possible injections, %d tried again since no call was that late, %d channels stopped", len(chosen), len(all), missed, stopped)
}

// try runs an injection, as a test of its own, and counts it.
func (i injection) try(t *testing.T, y *tally) (o outcome) {
	t.Run(i.String(), func(t *testing.T) {
		begun := time.Now()
		var err error
		if o, err = i.run(t); err != nil {
			y.count(err)
			t.Error(err)
		}
		if o.fired > 0 { // else it is tried again
			y.Tried++
		}
		y.Fired += o.fired
		y.Checked += o.acked
		y.done(begun)
	})
	return o
}
