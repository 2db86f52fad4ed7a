// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// strike flips a bit in the body of the third record of the second segment, and returns its event and its place.
func (b *bench) strike() (body, name string, at int64) {
	b.Helper()
	path := b.segmentFiles()[1]
	data, err := os.ReadFile(path)
	b.must(err)
	r := recordsOf(b.T, segmentIndex(filepath.Base(path)), data)[2]
	for _, e := range event.Trusted(r.bodyBytes(), 0, nil).All() {
		body = string(e.Body)
	}
	flip(b.T, path, r.at+r.size-30)
	return body, logDir + "/" + filepath.Base(path), r.at
}

// struck is a channel of many segments, all of which but the last are on disk alone, and one damaged while it is open.
func struck(t *testing.T, policy CorruptPolicy) (b *bench, body, name string, at int64) {
	t.Helper()
	b = newBench(t, Options{SegmentSize: 600, OnCorrupt: policy})
	b.reader("sink.behind")
	b.reader("sink.a")
	for i := range 36 {
		b.put("source.a", fmt.Sprint(i), fmt.Sprintf("event %d", i))
	}
	b.open() // the ring is empty
	body, name, at = b.strike()
	return b, body, name, at
}

func TestUnderStopTheReaderThatGetsThereStopsAndSaysWhere(t *testing.T) {
	b, _, name, at := struck(t, Stop)
	got, err := drain(b.reader("sink.behind"))
	want := fmt.Sprintf("%s at byte %d", name, at)
	if !errors.Is(err, channel.ErrCorrupt) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "penstock channel repair "+b.o.Dir) {
		t.Fatalf("it got %d events, and %v", len(got), err)
	}
	b.put("source.a", "36", "the channel lives")
	if n := b.c.Stats().CorruptRecords; n != 1 {
		t.Errorf("counted %d", n)
	}
}

func TestUnderQuarantineEveryReaderPassesOverAndTheLossIsCountedOnce(t *testing.T) {
	b, lost, name, at := struck(t, Quarantine)
	want := slices.DeleteFunc(allEvents(36), func(s string) bool { return s == lost })
	ahead, behind := b.reader("sink.a"), b.reader("sink.behind")
	l, err := behind.Take(t.Context(), channel.Want{Events: 8}) // its tape is in that segment when the other has it mended
	b.must(err)
	first := l.Delivery().Batch.Len()
	b.must(l.Commit())
	b.drained(ahead, want...)
	b.drained(behind, want[first:]...)
	if s := b.c.Stats(); s.CorruptRecords != 1 || s.Dropped[channel.LostCorrupt] != 1 || s.QuarantineSize == 0 {
		t.Errorf("counted %d records, %d events, %d bytes", s.CorruptRecords, s.Dropped[channel.LostCorrupt], s.QuarantineSize)
	}
	said := b.log.String()
	for _, want := range []string{"level=ERROR", name, fmt.Sprintf("offset=%d", at), "events=1", quarantineDir} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is missing from what it said: %s", want, said)
		}
	}
	b.put("source.a", "36", "event 36")
	b.drained(behind, "event 36")
}

// TestDamageThatCannotBeSetAsideIsNotPassedOver: without room for the copy the reader waits for room.
func TestDamageThatCannotBeSetAsideIsNotPassedOver(t *testing.T) {
	pristine, _ := storied(t)
	name := pristine.segments()[1]
	r := recordsOf(t, segmentIndex(filepath.Base(name)), pristine.names[name].data)[1]
	pristine.names[name].data[r.at+r.size-20] ^= 1
	pristine.fail = func(step, name string) error {
		if step == "publish" && strings.HasPrefix(name, quarantineDir) {
			return errors.New("no space left")
		}
		return nil
	}
	damaged := bytes.Clone(pristine.names[name].data)
	got, _, _, err := drainDisk(pristine, Quarantine)
	if err == nil || errors.Is(err, channel.ErrCorrupt) || len(got) == 0 {
		t.Errorf("got %d events, %v", len(got), err)
	}
	if !bytes.Equal(pristine.names[name].data, damaged) {
		t.Error("the segment was changed")
	}
}

// repaired damages a copy of a channel, repairs it, and opens it.
func repaired(t *testing.T, damage func(dir string, segments []string)) (b *bench, done []Mended) {
	t.Helper()
	from := many(t)
	segments := from.segmentFiles()
	dir := from.copyDir()
	for i := range segments {
		segments[i] = filepath.Join(dir, logDir, filepath.Base(segments[i]))
	}
	damage(dir, segments)
	size := bytesBelow(t, dir)
	dry, err := Repair(dir, true, nil)
	from.must(err)
	if bytesBelow(t, dir) != size {
		t.Error("the rehearsal changed something")
	}
	done, err = Repair(dir, false, nil)
	from.must(err)
	if len(done) != len(dry) {
		t.Errorf("it said it would do %+v, and did %+v", dry, done)
	}
	if after := bytesBelow(t, dir); after < size {
		t.Errorf("of %d bytes %d are left", size, after)
	}
	if again, err := Repair(dir, false, nil); err != nil || len(again) > 0 {
		t.Errorf("a second repair did %+v, %v", again, err)
	}
	if report, err := Verify(dir, nil); err != nil || len(report.Damage) > 0 {
		t.Errorf("verify found %+v, %v", report.Damage, err)
	}
	return reopened(t, dir), done
}

// bytesBelow counts the bytes of log, positions, META and quarantine.
func bytesBelow(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() != lockFile {
			var info os.FileInfo
			if info, err = d.Info(); err == nil {
				n += info.Size()
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// between returns the events whose numbers are not in [from, to).
func between(from, to int) (rest []string) {
	for i, e := range allEvents(36) {
		if i < from || i >= to {
			rest = append(rest, e)
		}
	}
	return rest
}

func TestRepairMakesUpForAMissingSegment(t *testing.T) {
	b, done := repaired(t, func(_ string, segments []string) {
		for _, s := range segments[1 : len(segments)-1] {
			if err := os.Remove(s); err != nil {
				t.Fatal(err)
			}
		}
	})
	var lost event.Range
	for _, d := range done {
		if lost.Empty() {
			lost = d.Lost
		}
		lost.Next = max(lost.Next, d.Lost.Next)
	}
	b.drained(b.reader("sink.behind"), between(int(lost.First), int(lost.Next))...)
	b.cursor("source.a", "35")
	if lost.Empty() {
		t.Errorf("it did %+v", done)
	}
}

func TestRepairPutsReadersToTheBeginningOfALogThatLostIt(t *testing.T) {
	b, done := repaired(t, func(_ string, segments []string) {
		if err := os.Remove(segments[0]); err != nil {
			t.Fatal(err)
		}
	})
	if len(done) == 0 || done[0].Lost.Empty() || done[0].Kept == "" {
		t.Fatalf("it did %+v", done)
	}
	b.drained(b.reader("sink.behind"), between(0, int(done[0].Lost.Next))...)
}

func TestRepairWritesMETAAndPositionsAnew(t *testing.T) {
	for name, damage := range map[string]func(dir string) error{
		"META missing":    func(dir string) error { return os.Remove(filepath.Join(dir, metaFile)) },
		"META empty":      func(dir string) error { return os.Truncate(filepath.Join(dir, metaFile), 0) },
		"META of another": func(dir string) error { return os.WriteFile(filepath.Join(dir, metaFile), newMeta().text(), filePerms) },
		"position cut":    func(dir string) error { return os.Truncate(filepath.Join(dir, positionName("sink.behind")), 9) },
		"position overwritten": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, positionName("sink.behind")), bytes.Repeat([]byte("x"), 2*slotSize), filePerms)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, done := repaired(t, func(dir string, _ []string) {
				if err := damage(dir); err != nil {
					t.Fatal(err)
				}
			})
			if len(done) != 1 {
				t.Errorf("it did %+v", done)
			}
			b.drained(b.reader("sink.behind"), allEvents(36)...)
		})
	}
}

func TestRepairOfALogThatIsGoneBeginsAnotherChannel(t *testing.T) {
	from := many(t)
	dir := from.copyDir()
	from.must(os.RemoveAll(filepath.Join(dir, logDir)))
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, channel.ErrCorrupt) {
		t.Fatalf("open answered %v", err)
	}
	done, err := Repair(dir, false, nil)
	if err != nil || len(done) < 3 {
		t.Fatalf("it did %+v, %v", done, err)
	}
	b := reopened(t, dir)
	if b.c.meta.uuid == from.c.meta.uuid {
		t.Error("it is the same channel")
	}
}

func TestRepairIsRefusedWhileTheChannelIsOpenAndOfANewerVersion(t *testing.T) {
	b := many(t)
	if _, err := Repair(b.o.Dir, false, nil); !errors.Is(err, channel.ErrLocked) {
		t.Errorf("it answered %v", err)
	}
	dir := b.copyDir()
	path := filepath.Join(dir, logDir, filepath.Base(b.segmentFiles()[1]))
	data, err := os.ReadFile(path)
	b.must(err)
	r := recordsOf(t, segmentIndex(filepath.Base(path)), data)[1]
	at := r.at + r.size - r.length()
	data[at+5]++ // its version
	crc := checksum(data[at : at+68])
	copy(data[at+68:], []byte{byte(crc), byte(crc >> 8), byte(crc >> 16), byte(crc >> 24)})
	b.must(os.WriteFile(path, data, filePerms))
	if done, err := Repair(dir, false, nil); err == nil || !errors.Is(err, errVersion) || len(done) > 0 {
		t.Errorf("it did %+v, %v", done, err)
	}
}

// TestALostOpeningInTheLastSegmentIsKnownFromTheNext: a FENCE and the record behind it are damaged, in the segment that
// is written next; offsets, incarnations and what the library counts must still fit.
func TestALostOpeningInTheLastSegmentIsKnownFromTheNext(t *testing.T) {
	b := newBench(t, Options{})
	b.reader("sink.a")
	b.put("source.a", "0", "event 0")
	b.open()
	b.put("source.a", "1", "event 1")
	b.put("source.a", "2", "event 2")
	b.open()
	b.put("source.a", "3", "event 3")
	before := b.c.readers["sink.a"].Info().Incarnations
	dir := b.copyDir()
	path := filepath.Join(dir, filepath.FromSlash(segmentName(1)))
	data, err := os.ReadFile(path)
	b.must(err)
	fences := 0
	for _, r := range recordsOf(t, 1, data) {
		if fences == 2 { // the record behind the second
			flip(t, path, r.at+20)
			break
		}
		if r.kind == kindFence {
			if fences++; fences == 2 {
				flip(t, path, r.at+20)
			}
		}
	}
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, channel.ErrCorrupt) || !strings.Contains(err.Error(), "penstock channel repair "+dir) {
		t.Errorf("under stop it answered %v", err)
	}
	b = newBench(t, Options{Dir: dir, OnCorrupt: Quarantine})
	after := b.c.readers["sink.a"].Info().Incarnations
	before[len(before)-1].Next = after[len(before)-1].Next // it has ended
	if len(after) != len(before)+1 || !slices.Equal(after[:len(before)], before) {
		t.Errorf("incarnations were %v, are %v", before, after)
	}
	b.cursor("source.a", "3")
	b.drained(b.reader("sink.a"), "event 0", "event 2", "event 3")
	b.put("source.a", "4", "event 4")
	b.open()
	b.drained(b.reader("sink.a"), "event 4")
}

func TestRepairTakesBackAReaderThatStandsBehindTheEnd(t *testing.T) {
	b, _, _, at := written(t)
	if _, err := drain(b.c.readers["sink.a"]); err != nil {
		t.Fatal(err)
	}
	b.must(b.c.flushPositions(true))
	dir := b.copyDir()
	b.must(os.Truncate(filepath.Join(dir, filepath.FromSlash(segmentName(1))), at[len(at)-2]))
	done, err := Repair(dir, false, nil)
	if err != nil || len(done) != 1 || done[0].Kept == "" {
		t.Fatalf("it did %+v, %v", done, err)
	}
	b = reopened(t, dir)
	b.put("source.a", "2", "again")
	b.drained(b.reader("sink.a"), "again")
}

// TestRepairMakesUpTheOnlySTATEFromThePositions: the log is one segment, and its first record is damaged.
func TestRepairMakesUpTheOnlySTATEFromThePositions(t *testing.T) {
	b, dir, path, at := written(t)
	stream := b.c.readers["sink.a"].Info().Stream
	flip(t, path, at[0]+headerSize+3)
	if done, err := Repair(dir, false, nil); err != nil || len(done) != 1 || done[0].Events != 0 {
		t.Fatalf("it did %+v, %v", done, err)
	}
	b = reopened(t, dir)
	r := b.reader("sink.a")
	if got := r.Info().Stream; got != stream {
		t.Errorf("the reader was %s, is %s", stream, got)
	}
	b.drained(r, "event 0", "event 1", "event 2")
}

func TestRepairOfALogOfWhichNothingIsLeftOpens(t *testing.T) {
	_, dir, path, at := written(t)
	size := at[len(at)-1]
	if err := os.WriteFile(path, bytes.Repeat([]byte("?"), int(size)), filePerms); err != nil {
		t.Fatal(err)
	}
	if done, err := Repair(dir, false, nil); err != nil || len(done) == 0 || int64(len(quarantined(t, dir))) < size {
		t.Fatalf("it did %+v, %v", done, err)
	}
	if again, err := Repair(dir, false, nil); err != nil || len(again) > 0 {
		t.Fatalf("a second repair did %+v, %v", again, err)
	}
	b := reopened(t, dir)
	b.put("source.a", "0", "anew")
	b.drained(b.reader("sink.a"), "anew")
}
