// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// TestASealedLogThatCannotSayWhichChannelItIsIsLeftAlone: its key fits, and what it is bound to is lost.
func TestASealedLogThatCannotSayWhichChannelItIsIsLeftAlone(t *testing.T) {
	key := testKey(1)
	b := sealedBench(t, Options{Key: &key, OnCorrupt: Quarantine}, "one", "two")
	meta, err := os.ReadFile(b.path(metaFile))
	b.must(err)
	b.must(os.Remove(b.path(metaFile)))
	flip(t, b.segmentFiles()[0], 100) // in the only STATE
	before := b.snapshot()
	if _, err := Open(b.o); !errors.Is(err, errNobody) || b.snapshot() != before {
		t.Errorf("it answered %v", err)
	}
	b.must(os.WriteFile(b.path(metaFile), meta, filePerms))
	b.open()
	b.drained(b.reader("sink.a"), "one", "two")
}

func TestALogWithTheMETAOfAnotherChannelIsRefused(t *testing.T) {
	b := newBench(t, Options{OnCorrupt: Quarantine})
	b.put("source.a", "1", "event")
	b.close()
	b.must(os.WriteFile(b.path(metaFile), newMeta().text(), filePerms))
	before := b.snapshot()
	if _, err := Open(b.o); !errors.Is(err, channel.ErrCorrupt) || !strings.Contains(err.Error(), "restore the one that belongs to the other") {
		t.Errorf("it answered %v", err)
	}
	if b.snapshot() != before {
		t.Error("something was changed")
	}
}

// TestWhatAllHaveReadIsUnlinkedByTheOpening when the process ended before it could be.
func TestWhatAllHaveReadIsUnlinkedByTheOpening(t *testing.T) {
	d := newSimDisk()
	b := openSim(t, d)
	b.must(b.c.reopen(300))
	r := b.reader("sink.a")
	for range 10 {
		b.put("source.a", "1", "event")
	}
	if _, err := drain(r); err != nil {
		t.Fatal(err)
	}
	d.failing(func(what, name string) error {
		if what == "remove" && strings.HasPrefix(name, logDir) {
			return syscall.EIO
		}
		return nil
	})
	if err := b.c.flushPositions(true); !errors.Is(err, syscall.EIO) {
		t.Fatalf("it answered %v", err)
	}
	left := d.crash("power cut, nothing unflushed is there")
	d.failing(nil)
	b.must(b.c.Close())
	before := len(left.segments())
	b = openSim(t, left)
	for _, now := range []*simDisk{left, left.crash("power cut, nothing unflushed is there")} {
		if n := len(now.segments()); n != len(b.c.segments) || n >= before {
			t.Errorf("%d files are left of %d, for %d segments", n, before, len(b.c.segments))
		}
	}
	b.close()
}

// TestATornTailBehindAnOrderlyCloseIsCutOffToo: CLEAN names the last good record all the same.
func TestATornTailBehindAnOrderlyCloseIsCutOffToo(t *testing.T) {
	d := newSimDisk()
	b := openSim(t, d)
	b.reader("sink.a")
	b.put("source.a", "1", "event 1")
	b.close()
	last := lastSegment(t, d)
	last.data = append(last.data, "rest"...)
	b = openSim(t, d)
	b.put("source.a", "2", "event 2")
	b.close()
	if r := verified(t, d); len(r.Damage) > 0 {
		t.Errorf("verify found %v", r.Damage)
	}
	b = openSim(t, d)
	b.drained(b.reader("sink.a"), "event 1", "event 2")
	b.close()
}

// TestASegmentThatIsTooLargeByNowEndsAtTheOpening: what the opening writes begins the next.
func TestASegmentThatIsTooLargeByNowEndsAtTheOpening(t *testing.T) {
	d := newSimDisk()
	b := openSim(t, d)
	b.reader("sink.a")
	large := strings.Repeat("large ", 1000)
	b.put("source.a", "1", large)
	b.close()
	c, err := open(Options{Dir: "sim", SegmentSize: 300}, d.system())
	b.must(err)
	b.c = c
	b.put("source.a", "2", "event 2")
	b.close()
	if r := verified(t, d); len(r.Damage) > 0 || r.Segments != 2 {
		t.Errorf("verify found %v in %d segments", r.Damage, r.Segments)
	}
	b = openSim(t, d)
	b.drained(b.reader("sink.a"), large, "event 2")
	b.close()
}

// rolled is a disk whose last segment has nothing in it yet, the file of that, and that of the segment before.
func rolled(t *testing.T) (d *simDisk, bodies map[uint64]string, before, last string) {
	t.Helper()
	d, bodies = storied(t)
	names := d.segments()
	before, last = names[len(names)-2], names[len(names)-1]
	d.names[last].data = nil
	for i := range bodies {
		if i >= segmentIndex(filepath.Base(last)) {
			delete(bodies, i)
		}
	}
	return d, bodies, before, last
}

func TestASegmentThatHasJustBegunDependsOnTheOneBefore(t *testing.T) {
	pristine, bodies, before, last := rolled(t)
	index := segmentIndex(filepath.Base(last))
	for name, c := range map[string]struct {
		harm func(d *simDisk)
		want string // "": it opens
	}{
		"as it is": {func(*simDisk) {}, ""},
		"it is all that is left": {func(d *simDisk) {
			for _, name := range d.segments() {
				if name != last {
					delete(d.names, name)
				}
			}
			delete(d.names, positionName("sink.behind"))
		}, "the segment before it is missing"},
		"it begins later": {func(d *simDisk) {
			d.names[segmentName(index+1)] = d.names[last]
			delete(d.names, last)
		}, "the segment before it ends with record"},
	} {
		for _, policy := range []CorruptPolicy{Stop, Quarantine} {
			d := pristine.copied()
			c.harm(d)
			files := len(d.names)
			got, _, _, err := drainDisk(d, policy)
			if c.want == "" && (err != nil || !slices.Equal(got, without(bodies, func(uint64) bool { return false }))) {
				t.Errorf("%s: got %d events, %v", name, len(got), err)
			}
			if c.want != "" && (!errors.Is(err, channel.ErrCorrupt) || !strings.Contains(err.Error(), c.want) || len(d.names) != files) {
				t.Errorf("%s: it answered %v, of %d files there are %d", name, err, files, len(d.names))
			}
		}
	}
	// The end of the segment before was acknowledged: the next would not have begun without it.
	d := pristine.copied()
	d.names[before].data = d.names[before].data[:len(d.names[before].data)-3]
	_, _, _, err := drainDisk(d.copied(), Stop)
	if damage, ok := errors.AsType[*Damage](err); !ok || damage.Torn || damage.File != before {
		t.Errorf("with its end cut off it answered %v", err)
	}
	if got, _, said, err := drainDisk(d, Quarantine); err != nil || !slices.Equal(got, without(bodies, func(i uint64) bool { return i == index-1 })) {
		t.Errorf("in quarantine: got %d events, %v\n%s", len(got), err, said)
	}
}

// TestCLEANCountsForTheRecordThatItNamesAlone: it comes back when a machine crashes before its folder was flushed.
func TestCLEANCountsForTheRecordThatItNamesAlone(t *testing.T) {
	for name, c := range map[string]struct {
		text []byte
		want bool
	}{
		"of this record":              {cleanMark(8, 5), true},
		"of an earlier one":           {cleanMark(7, 5), false},
		"of another one in its place": {cleanMark(8, 6), false},
		"cut":                         {cleanMark(8, 5)[:9], false},
		"empty":                       {[]byte{}, false},
		"none":                        {nil, false},
	} {
		if got := closedClean(oneFile{text: c.text}, 8, 5); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestASegmentMustFollowTheOneBefore as its STATE says, index and number of records.
func TestASegmentMustFollowTheOneBefore(t *testing.T) {
	before := &segment{index: 4}
	for name, c := range map[string]struct {
		next segment
		ok   bool
	}{
		"it does":                         {segment{index: 9, before: seal{index: 4, count: 5}}, true},
		"it follows another":              {segment{index: 9, before: seal{index: 3, count: 5}}, false},
		"it follows one of fewer records": {segment{index: 9, before: seal{index: 4, count: 4}}, false},
	} {
		if err := contiguous(before, &c.next); (err == nil) != c.ok || err != nil && !errors.Is(err, channel.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsStoredAsItIsIsNotCopied(t *testing.T) {
	key := testKey(1)
	for name, c := range map[string]struct {
		coder *coder
		same  bool
	}{"no coder": {nil, true}, "plain": {newCoder(NoCodec, nil, key), true}, "compressed": {newCoder(S2, nil), false}, "sealed": {newCoder(NoCodec, &key), false}} {
		body := event.Heap{}.Get(1000)
		if got := c.coder.own(event.Heap{}, &header{kind: kindState}, body); (got == body) != c.same {
			t.Errorf("%s: it is the same memory: %v", name, got == body)
		}
	}
}
