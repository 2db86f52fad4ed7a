// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/reliability"
)

var (
	states = flag.Int("states", 8, "how many distinct images of each file system are opened")
	seed   = flag.Uint64("seed", 0, "of everything that is random; 0 = draw one")
)

const (
	// rounds of work: closed in order, ended as by kill -9, opened after that, closed.
	rounds = 3
	// statesPerRecording: then the work is done anew, since its timing is never the same.
	statesPerRecording = 250
	// controlStates is how many images are opened at most until one has lost what was acknowledged.
	controlStates = 100
	// duplicateTries bounds the search for images that were not seen yet, per image that is asked for.
	duplicateTries = 20
)

// recording is all that happened to a disk, and what was on it at each flush.
type recording struct {
	fs      fileSystem
	list    []entry
	flushes []snapshot // the first is the beginning
}

// snapshot is what was written before list[at].
type snapshot struct {
	at    int
	image *image
}

// record has the work done on a file system. With a command, the worker runs under that; it is given where the channel will be.
func record(t *testing.T, s *shelf, f fileSystem, command func(dir string) []string) *recording {
	t.Helper()
	d, path, remove := s.put(f.make(t))
	defer remove()
	mnt := t.TempDir()
	unmount, err := f.mount(path, mnt)
	if err != nil {
		t.Fatal(err)
	}
	empty := d.record() // what mounting wrote is there: a cut before that would be of no interest
	dir := filepath.Join(mnt, "channel")
	for round := range rounds {
		var under []string
		if command != nil {
			under = command(dir)
		}
		if err := runWorker(t, dir, round, d.note, under...); err != nil {
			t.Errorf("round %d on %s: %v", round, f.name, err)
		}
	}
	r := &recording{fs: f, list: d.recorded()}
	if err := unmount(); err != nil {
		t.Fatal(err)
	}
	r.snap(empty)
	return r
}

// snap makes the snapshots.
func (r *recording) snap(m *image) {
	r.flushes = []snapshot{{0, m.clone()}}
	for i, e := range r.list {
		if e.data != nil {
			m.write(e.data, e.at)
		}
		if e.flush() {
			r.flushes = append(r.flushes, snapshot{i + 1, m.clone()})
		}
	}
}

// cut is one power cut: the image that it leaves, and what had been said before.
type cut struct {
	at    int
	kind  string
	image *image
}

// kinds of what is left of the writes after the last flush.
var kinds = []string{"none", "all", "the first", "any", "any", "any sectors", "any sectors"}

// cut cuts the power at a random place.
func (r *recording) cut(rng *rand.Rand) cut {
	n := rng.IntN(len(r.flushes))
	from, to := r.flushes[n].at, len(r.list)
	if n+1 < len(r.flushes) {
		to = r.flushes[n+1].at
	}
	c := cut{at: from + rng.IntN(to-from+1), kind: kinds[rng.IntN(len(kinds))], image: r.flushes[n].image.clone()}
	window := r.list[from:c.at]
	first, share := rng.IntN(len(window)+1), rng.Float64()
	for i, e := range window {
		switch {
		case c.kind == "all", c.kind == "the first" && i < first, c.kind == "any" && rng.Float64() < share:
			c.image.write(e.data, e.at)
		case c.kind == "any sectors":
			for at := 0; at < len(e.data); at += sectorSize {
				if rng.Float64() < share {
					c.image.write(e.data[at:min(at+sectorSize, len(e.data))], e.at+int64(at))
				}
			}
		}
	}
	return c
}

// before is what the worker had said before the cut.
func (r *recording) before(at int) (*history, error) {
	h := newHistory()
	for _, e := range r.list[:at] {
		if e.note == "" {
			continue
		}
		if err := h.hear(e.note); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// explore opens images of a recording until the tally has n distinct ones, or is enough.
func (r *recording) explore(t *testing.T, s *shelf, y *tally, n int, rng *rand.Rand, enough func(*tally) bool) {
	t.Helper()
	begun := time.Now()
	y.entries += len(r.list)
	for tries := (n - y.Tried) * duplicateTries; y.Tried < n && tries > 0 && !enough(y); tries-- {
		c := r.cut(rng)
		if y.seen[c.image.sum] {
			continue
		}
		y.seen[c.image.sum] = true
		y.Tried++
		h, err := r.before(c.at)
		if err != nil {
			t.Fatal(err)
		}
		y.Checked += h.acks
		if err := r.try(t, s, c.image, h); err != nil {
			y.count(fmt.Errorf("cut %d of %d, of the unflushed %s: %w", c.at, len(r.list), c.kind, err))
		}
	}
	y.Note = fmt.Sprintf("of %d writes and flushes", y.entries)
	y.done(begun)
}

// try mounts an image, and compares what the channel on it holds.
func (r *recording) try(t *testing.T, s *shelf, m *image, h *history) error {
	t.Helper()
	_, path, remove := s.put(m)
	defer remove()
	mnt, err := os.MkdirTemp(s.mounts, "")
	if err != nil {
		t.Fatal(err)
	}
	unmount, err := r.fs.mount(path, mnt)
	if err != nil {
		return err
	}
	err = h.check(filepath.Join(mnt, "channel"))
	if uerr := unmount(); uerr != nil {
		t.Fatal(uerr) // and so would be the next
	}
	return errors.Join(err, os.Remove(mnt))
}

func newRNG(t *testing.T) *rand.Rand {
	t.Helper()
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("the same choices again (what they meet depends on the clock): go test -run '%s$' ./host/channel/wal/crash -args -seed=%d -states=%d -injections=%d",
		t.Name(), *seed, *states, *injections)
	return rand.New(rand.NewPCG(*seed, 1))
}

func needsDisks(t *testing.T) {
	t.Helper()
	needs(t, root, "/dev/fuse", "/dev/loop-control", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "strace")
}

func never(*tally) bool { return false }

func TestAPowerCutLosesNothingAcknowledged(t *testing.T) {
	needsDisks(t)
	rng, s := newRNG(t), newShelf(t)
	for _, f := range fileSystems {
		t.Run(f.name, func(t *testing.T) { cutUnder(t, f, s, rng) })
	}
	f := fileSystems[1] // where what was not flushed is written in any order
	f.name += sealed
	t.Run(f.name, func(t *testing.T) {
		t.Setenv(workerSealed, "1")
		cutUnder(t, f, s, rng)
	})
}

// cutUnder cuts the power under one file system.
func cutUnder(t *testing.T, f fileSystem, s *shelf, rng *rand.Rand) {
	y := newTally(t, reliability.PowerCut, f.name)
	for n := 0; n < *states && y.found() == 0; {
		n = min(n+statesPerRecording, *states)
		record(t, s, f, nil).explore(t, s, y, n, rng, never)
	}
	switch {
	case y.found() > 0:
		t.Error(errors.Join(y.finds...))
	case y.Tried < *states:
		t.Errorf("%d distinct states, %d are asked for", y.Tried, *states)
	case y.Unfit*50 > y.Tried:
		t.Errorf("%d of %d images could not be mounted: %v", y.Unfit, y.Tried, errors.Join(y.finds...))
	}
}

// controls take one kind of sync out of the work: strace answers it with success, and the kernel never hears of it.
var controls = []struct {
	name   string
	f      fileSystem
	inject func(dir string) []string
	why    string // it cannot matter on this file system; empty: it must be found
}{
	{"no fdatasync", fileSystems[0], func(string) []string { return without("fdatasync") }, ""},
	{"no fdatasync", fileSystems[1], func(string) []string { return without("fdatasync") }, ""},
	{"no fdatasync", fileSystems[2], func(string) []string { return without("fdatasync") }, ""},
	{"no fdatasync", fileSystems[3], func(string) []string { return without("fdatasync") }, ""},
	{"no fsync", fileSystems[0], func(string) []string { return without("fsync") }, ""},
	{"no fsync", fileSystems[2], func(string) []string { return without("fsync") }, ""},
	// A file system that wrote only the file is what the simulated disk of host/channel/wal is, which finds this.
	{"no fsync of log/", fileSystems[0], func(dir string) []string { return without("fsync", "-P", filepath.Join(dir, "log")) },
		"the first sync of a new file writes its name too"},
}

func without(call string, only ...string) []string {
	return append(append([]string{"strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null"}, only...), "-e", "trace="+call, "-e", "inject="+call+":retval=0")
}

func TestASyncThatIsMissingIsFound(t *testing.T) {
	needsDisks(t)
	rng, s := newRNG(t), newShelf(t)
	for _, c := range controls {
		y, n := newTally(t, reliability.Control, c.f.name+", "+c.name), controlStates
		if c.why != "" {
			n = *states
		}
		record(t, s, c.f, c.inject).explore(t, s, y, n, rng, func(y *tally) bool { return y.Lost > 0 })
		y.Caught, y.Excuse = y.found() > 0, c.why
		switch {
		case y.Caught:
			t.Logf("%s: %v", y.What, y.finds[0])
		case c.why == "":
			t.Errorf("%s: nothing was found in %d states", y.What, y.Tried)
		}
	}
}
