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
	"github.com/penstock-io/penstock/host/reliability"
	"github.com/penstock-io/penstock/spec/event"
)

// written makes a channel of three transactions, and returns a copy of it as kill -9 leaves it, the
// segment's path in the copy, and where each of its entries begins.
func written(t *testing.T) (b *bench, dir, path string, entries []int64) {
	t.Helper()
	b = newBench(t, Options{})
	b.reader("sink.a")
	for i := range 3 {
		b.put("source.a", fmt.Sprint(i), fmt.Sprintf("event %d", i))
	}
	dir = b.copyDir()
	path = filepath.Join(dir, filepath.FromSlash(segmentName(1)))
	info, err := os.Stat(path)
	b.must(err)
	f, err := os.Open(path)
	b.must(err)
	defer f.Close()
	s := newScanner(f, 1, info.Size(), b.c.pool, nil)
	defer s.release()
	for {
		r, err := s.next()
		if err != nil {
			break
		}
		entries = append(entries, r.at)
	}
	return b, dir, path, append(entries, info.Size())
}

// reopened opens a damaged copy of the channel.
func reopened(t *testing.T, dir string) *bench {
	t.Helper()
	return newBench(t, Options{Dir: dir})
}

func quarantined(t *testing.T, dir string) (all []byte) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, quarantineDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}

func TestATailCutAnywhereInItsLastRecordOpensAndKeepsTheRest(t *testing.T) {
	_, dir, path, at := written(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last := at[len(at)-2]
	for end := last; end < int64(len(whole)); end += 1 + (end-last)/16 { // the closer to its beginning, the denser
		copied := filepath.Join(t.TempDir(), "channel")
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(copied, filepath.FromSlash(segmentName(1))), end); err != nil {
			t.Fatal(err)
		}
		b := reopened(t, copied)
		b.cursor("source.a", "1")
		b.drained(b.reader("sink.a"), "event 0", "event 1")
		if got := quarantined(t, copied); !bytes.Equal(got, whole[last:end]) {
			t.Fatalf("cut at %d: %d bytes kept", end, len(got))
		}
		if torn := end > last; torn != strings.Contains(b.log.String(), "cut off and kept") || torn != (b.c.Stats().CorruptRecords == 1) {
			t.Fatalf("cut at %d: it said %q", end, b.log.String())
		}
		b.put("source.a", "2", "again")
		b.close()
	}
}

func TestAZeroFilledTailIsTheEnd(t *testing.T) {
	b, dir, path, at := written(t)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	b.must(err)
	b.must(f.Truncate(at[len(at)-1] + 4096))
	b.must(f.Close())
	b = reopened(t, dir)
	b.drained(b.reader("sink.a"), "event 0", "event 1", "event 2")
	if got := quarantined(t, dir); !bytes.Equal(got, make([]byte, 4096)) {
		t.Errorf("%d bytes kept", len(got))
	}
	b.put("source.a", "3", "event 3")
	b.open()
	b.drained(b.reader("sink.a"), "event 3")
}

// flip changes one bit of a file.
func flip(t *testing.T, path string, at int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		b[at] ^= 0x10
		err = os.WriteFile(path, b, filePerms)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestABitFlippedInTheLastRecordIsCutOff(t *testing.T) {
	_, dir, path, at := written(t)
	flip(t, path, at[len(at)-2]+headerSize+40)
	b := reopened(t, dir)
	b.cursor("source.a", "1")
	b.drained(b.reader("sink.a"), "event 0", "event 1")
	if len(quarantined(t, dir)) != int(at[len(at)-1]-at[len(at)-2]) {
		t.Error("the record was not kept")
	}
}

func TestDamageBeforeAnAcknowledgedRecordIsNoTornTail(t *testing.T) {
	b, dir, path, at := written(t)
	before, err := os.ReadFile(path)
	b.must(err)
	flip(t, path, at[len(at)-3]+headerSize+40)
	_, err = Open(Options{Dir: dir})
	damage, ok := errors.AsType[*Damage](err)
	if !ok || !errors.Is(err, channel.ErrCorrupt) || damage.Offset != at[len(at)-3] || damage.File != segmentName(1) {
		t.Fatalf("open answered: %v", err)
	}
	if !strings.Contains(err.Error(), "penstock channel verify "+dir) {
		t.Errorf("no help in: %v", err)
	}
	after, err := os.ReadFile(path)
	b.must(err)
	before[at[len(at)-3]+headerSize+40] ^= 0x10
	if !bytes.Equal(before, after) {
		t.Error("the segment was changed")
	}
}

func TestAGroupOfWhichLaterPagesReachedTheDiskFirstIsATornTail(t *testing.T) {
	b := newBench(t, Options{})
	r := b.reader("sink.a")
	_ = r
	b.put("source.a", "1", "durable")
	var waits []func() error
	for i := range 3 { // one group: nobody waits before all are queued
		waits = append(waits, submit(b.c, fmt.Sprint("source.", i), "x", "torn"))
	}
	size := func() int64 {
		info, err := os.Stat(b.segmentFiles()[0])
		b.must(err)
		return info.Size()
	}
	begin := size()
	for _, wait := range waits {
		b.must(wait())
	}
	dir := b.copyDir()
	flip(t, filepath.Join(dir, filepath.FromSlash(segmentName(1))), begin+headerSize/2)
	b = reopened(t, dir)
	b.drained(b.reader("sink.a"), "durable")
}

func TestAPositionBehindATailThatWasCutIsTakenBack(t *testing.T) {
	b, _, _, at := written(t)
	r, err := drain(b.c.readers["sink.a"])
	b.must(err)
	if len(r) != 3 {
		t.Fatal(r)
	}
	b.must(b.c.flushPositions(true))
	dir := b.copyDir()
	b.must(os.Truncate(filepath.Join(dir, filepath.FromSlash(segmentName(1))), at[len(at)-1]-1))
	again := reopened(t, dir)
	if !strings.Contains(again.log.String(), "level=ERROR") {
		t.Errorf("it said only %s", again.log.String())
	}
	again.put("source.a", "2", "event 2 again")
	again.drained(again.reader("sink.a"), "event 2 again")
}

func TestALogThatLostItsEndIsRefused(t *testing.T) {
	b, _, _, at := written(t)
	if _, err := drain(b.c.readers["sink.a"]); err != nil {
		t.Fatal(err)
	}
	b.must(b.c.flushPositions(true))
	dir := b.copyDir()
	b.must(os.Truncate(filepath.Join(dir, filepath.FromSlash(segmentName(1))), at[len(at)-2]))
	_, err := Open(Options{Dir: dir})
	if !errors.Is(err, channel.ErrCorrupt) || !strings.Contains(err.Error(), "pos/sink.a") {
		t.Fatalf("open answered: %v", err)
	}
}

// many makes a channel of many small segments with two readers, of which one has read a part.
func many(t *testing.T) *bench {
	t.Helper()
	b := newBench(t, Options{SegmentSize: 600})
	b.reader("sink.behind")
	r := b.reader("sink.a")
	for i := range 36 {
		b.put("source.a", fmt.Sprint(i), fmt.Sprintf("event %d", i))
	}
	l, err := r.Take(t.Context(), channel.Want{Events: 4})
	b.must(err)
	b.must(l.Commit())
	return b
}

func allEvents(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("event %d", i))
	}
	return all
}

// TestAnyFlippedByteGivesAPrefixOrAnError goes through every byte of every segment: what is read is a
// prefix of what was written, and Verify finds what Open or a reader refused.
func TestAnyFlippedByteGivesAPrefixOrAnError(t *testing.T) {
	b := many(t)
	want := allEvents(36)
	segments := b.segmentFiles()
	if len(segments) < 3 {
		t.Fatalf("%d segments", len(segments))
	}
	d, flips := b.inMemory(), 0
	for i, path := range segments {
		name := logDir + "/" + filepath.Base(path)
		original := d.names[name].data
		for at := range original {
			flips++
			d.names[name].data = slices.Clone(original)
			d.names[name].data[at] ^= 0x40
			got, verdict := readOffline(t, d)
			if len(got) > len(want) || !slices.Equal(got, want[:len(got)]) {
				t.Fatalf("%s byte %d: read %q", name, at, got)
			}
			if len(got) < len(want) && i < len(segments)-1 && verdict.Sound() {
				t.Fatalf("%s byte %d: only %d events, and verify found nothing", name, at, len(got))
			}
			if len(verdict.Damage) == 0 {
				t.Fatalf("%s byte %d: verify found nothing", name, at)
			}
		}
		d.names[name].data = original
	}
	reliability.Report(t, reliability.Row{Part: reliability.Flip, What: "each byte of a log: a prefix comes out, or an error", Tried: flips, Of: flips})
}

// inMemory copies the channel to a simulated disk.
func (b *bench) inMemory() *simDisk {
	b.Helper()
	d := newSimDisk()
	for _, path := range append(b.segmentFiles(), b.path(metaFile)) {
		data, err := os.ReadFile(path)
		b.must(err)
		name, err := filepath.Rel(b.o.Dir, path)
		b.must(err)
		d.names[filepath.ToSlash(name)] = &simFile{data: data}
	}
	return d
}

// readOffline reads the log as a reader would that starts at its beginning, without opening the channel.
func readOffline(t *testing.T, d *simDisk) (bodies []string, r Report) {
	t.Helper()
	r, err := verify(d, event.Heap{}, "", nil, newCoder(NoCodec, nil))
	if err != nil {
		t.Fatal(err)
	}
	c := &Channel{sys: d.system(), pool: event.Heap{}}
	names, err := listSegments(c.sys)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := recoverTail(c.sys, names, c.pool, c.coder)
	if err != nil {
		return nil, r
	}
	earlier, _, err := heads(c.sys, rec.before(), rec.tail, 0, 0, c.pool, c.coder)
	if err != nil {
		return nil, r
	}
	c.state, c.segments = rec.state, append(earlier, rec.tail)
	tape := newTape(c)
	defer tape.close() //nolint:errcheck // it was only read
	for at := c.segments[0].first; at < c.state.end; at = tape.rec.span().Next {
		if tape.seek(at) != nil {
			break
		}
		b, err := tape.batch()
		if err != nil {
			break
		}
		for _, e := range b.All() {
			bodies = append(bodies, string(e.Body))
		}
	}
	return bodies, r
}

func TestVerifyNamesFileAndOffsetOfSealedDamage(t *testing.T) {
	b := many(t)
	dir := b.copyDir()
	name := filepath.Base(b.segmentFiles()[1])
	path := filepath.Join(dir, logDir, name)
	f, err := os.Open(path)
	b.must(err)
	defer f.Close()
	info, err := f.Stat()
	b.must(err)
	s := newScanner(f, segmentIndex(name), info.Size(), event.Heap{}, nil)
	first, err := s.head()
	b.must(err)
	flip(t, path, first.size+headerSize+20) // in the body of the second record
	report, err := Verify(dir, nil)
	b.must(err)
	if report.Sound() || len(report.Damage) != 1 {
		t.Fatalf("verify found %+v", report.Damage)
	}
	d := report.Damage[0]
	if d.File != logDir+"/"+name || d.Offset != first.size || d.Torn || !errors.Is(&d, errBody) || d.Length < headerSize {
		t.Errorf("verify found %+v", d)
	}
	again := reopened(t, dir)
	got, err := drain(again.reader("sink.behind"))
	if !errors.Is(err, channel.ErrCorrupt) || !strings.Contains(err.Error(), name) {
		t.Errorf("the reader got %q, %v", got, err)
	}
	again.put("source.a", "36", "event 36") // the channel lives
}

func TestVerifyIsQuietAboutASoundChannelInUse(t *testing.T) {
	b := many(t)
	var last int64
	report, err := Verify(b.o.Dir, func(done, total int64) { last = total - done })
	b.must(err)
	if !report.Sound() || len(report.Damage) > 0 || report.Events != 36 || report.UsedBy != fmt.Sprint(os.Getpid()) || last != 0 {
		t.Errorf("%+v", report)
	}
	b.close()
	if report, err = Verify(b.o.Dir, nil); err != nil || report.UsedBy != "" || len(report.Damage) > 0 {
		t.Errorf("%+v, %v", report, err)
	}
}

func TestAMissingSegmentIsRefused(t *testing.T) {
	b := many(t)
	dir := b.copyDir()
	b.must(os.Remove(filepath.Join(dir, logDir, filepath.Base(b.segmentFiles()[1]))))
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, channel.ErrCorrupt) {
		t.Errorf("open answered: %v", err)
	}
	if report, err := Verify(dir, nil); err != nil || report.Sound() {
		t.Errorf("verify found %+v, %v", report, err)
	}
}

// TestVerifyComparesStateWithWhatWasBefore: a STATE whose checksums are right, and which is wrong.
func TestVerifyComparesStateWithWhatWasBefore(t *testing.T) {
	b := many(t)
	dir := b.copyDir()
	files := b.segmentFiles()
	name := filepath.Base(files[len(files)-1])
	path := filepath.Join(dir, logDir, name)
	f, err := os.Open(path)
	b.must(err)
	info, err := f.Stat()
	b.must(err)
	s := newScanner(f, segmentIndex(name), info.Size(), event.Heap{}, nil)
	r, err := s.next()
	b.must(err)
	b.must(f.Close())
	wrong := slices.Clone(r.data)
	at := bytes.Index(wrong, []byte("source.a"))
	wrong[at]++
	h := r.header
	h.bodyCRC = checksum(wrong[headerSize : headerSize+h.body])
	h.put(wrong)
	b.must(os.WriteFile(path, segmentOf(wrong), filePerms))
	report, err := Verify(dir, nil)
	b.must(err)
	if report.Sound() || len(report.Damage) != 1 || report.Damage[0].File != logDir+"/"+name {
		t.Errorf("verify found %+v", report.Damage)
	}
}
