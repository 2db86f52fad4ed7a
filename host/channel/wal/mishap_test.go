// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// oddFiles opens files that do not read as they should.
type oddFiles struct {
	files
	odd func(name string) error
}

func (f oddFiles) Open(name string, how openMode) (file, error) {
	if err := f.odd(name); err != nil {
		return nil, err
	}
	return f.files.Open(name, how)
}

// TestAPositionThatCannotBeReadIsNotTakenForNone: it is there, and what it says is not known.
func TestAPositionThatCannotBeReadIsNotTakenForNone(t *testing.T) {
	d := newSimDisk()
	b := openSim(t, d)
	b.reader("sink.a")
	b.close()
	sys := d.system()
	sys.files = oddFiles{sys.files, func(name string) error {
		if name == positionName("sink.a") {
			return syscall.EIO
		}
		return nil
	}}
	if _, err := open(Options{Dir: "sim"}, sys); !errors.Is(err, syscall.EIO) {
		t.Errorf("it answered %v", err)
	}
}

func TestDamageInTheSegmentThatIsBeingWrittenStopsTheReader(t *testing.T) {
	b := newBench(t, Options{OnCorrupt: Quarantine})
	r := b.reader("sink.a")
	b.put("source.a", "1", "event 1")
	b.put("source.a", "2", "event 2")
	for len(b.c.ring.list) > 0 {
		b.c.ring.drop()
	}
	path := b.segmentFiles()[0]
	data, err := os.ReadFile(path)
	b.must(err)
	all := recordsOf(t, segmentIndex(filepath.Base(path)), data)
	last := all[len(all)-1]
	flip(t, path, last.at+last.size-30)
	got, err := drain(r)
	if !errors.Is(err, channel.ErrCorrupt) || !strings.Contains(err.Error(), "start the agent again") {
		t.Errorf("it got %q, and %v", got, err)
	}
	flip(t, path, last.at+last.size-30)
}

// TestDamageThatComesAndGoesStopsTheReader: there is nothing to set aside, and nothing to trust either.
func TestDamageThatComesAndGoesStopsTheReader(t *testing.T) {
	b, _, name, at := struck(t, Quarantine)
	err := b.c.mendSealed(&Damage{File: name, Offset: at, Cause: errBody})
	b.must(err)
	if err := b.c.mendSealed(&Damage{File: name, Offset: at, Cause: errBody}); !errors.Is(err, errFickle) {
		t.Errorf("it answered %v", err)
	}
}

// TestASTATEStandsFirstInASegmentAndOnlyThere whatever its checksums say.
func TestASTATEStandsFirstInASegmentAndOnlyThere(t *testing.T) {
	body := newState([16]byte{1}).append(nil)
	record := func(k kind, index uint64, prev uint32, body []byte) ([]byte, uint32) {
		b := make([]byte, headerSize, headerSize+len(body))
		h := header{kind: k, index: index, prev: prev, body: uint32(len(body)), raw: uint32(len(body)), bodyCRC: checksum(body)}
		h.put(b)
		return append(b, body...), h.crc
	}
	state, crc := record(kindState, 1, 0, body)
	second, _ := record(kindState, 2, crc, body)
	put, _ := record(kindPut, 1, 0, nil)
	for name, data := range map[string][]byte{"a STATE in the middle": segmentOf(state, second), "no STATE": segmentOf(put)} {
		s := newScanner(readerAt(data), 1, int64(len(data)), event.Heap{}, nil)
		r := recovered{state: newState([16]byte{1})}
		if err := r.walk(s); !errors.Is(err, errContent) {
			t.Errorf("%s: opening says %v", name, err)
		}
		s.release()
		s = newScanner(readerAt(data), 1, int64(len(data)), event.Heap{}, nil)
		if found, err := explore(s, 0); err != nil || !found.damaged() {
			t.Errorf("%s: repair says %v", name, err)
		}
		s.release()
	}
}

// TestARecordThatCannotBeReadIsNoTornTail: its checksums are right, so it was written whole.
func TestARecordThatCannotBeReadIsNoTornTail(t *testing.T) {
	for _, cause := range []error{errVersion, errDecode, errContent, errShort} {
		s := newScanner(readerAt{1, 2, 3}, 1, 3, event.Heap{}, nil)
		if got, want := torn(s, &Damage{Cause: cause}), errors.Is(cause, errShort); got != want {
			t.Errorf("%v: torn is %v", cause, got)
		}
		s.release()
	}
}

func TestAQuotaIsAFullDiskToo(t *testing.T) {
	for err, want := range map[error]bool{syscall.ENOSPC: true, syscall.EDQUOT: true, syscall.EIO: false} {
		if noRoom(&os.PathError{Op: "write", Err: err}) != want {
			t.Errorf("%v: %v", err, !want)
		}
	}
}

func TestVerifyFindsATornTailWithoutCallingItDamage(t *testing.T) {
	b := newBench(t, Options{})
	b.reader("sink.a")
	b.put("source.a", "1", "event 1")
	b.close()
	path := b.segmentFiles()[0]
	whole, err := os.ReadFile(path)
	b.must(err)
	b.must(os.WriteFile(path, append(whole, 200, 1, 'P', 'S', 'W', '1'), filePerms))
	report, err := Verify(b.o.Dir, nil)
	b.must(err)
	if !report.Sound() || len(report.Damage) != 1 || !report.Damage[0].Torn || report.Damage[0].Length != 6 {
		t.Errorf("it found %+v", report.Damage)
	}
	b.must(os.WriteFile(path, whole, filePerms))
}

// TestALogThatEndsElsewhereIsNotAppendedTo: the library counts entries, and we count records.
func TestALogThatEndsElsewhereIsNotAppendedTo(t *testing.T) {
	d := newSimDisk()
	b := openSim(t, d)
	b.put("source.a", "1", "event 1")
	b.close()
	sys := d.system()
	real := sys.openLog
	sys.openLog = func(size int) (appender, error) {
		log, err := real(size)
		log.(*simLog).last++
		return log, err
	}
	if _, err := open(Options{Dir: "sim"}, sys); !errors.Is(err, channel.ErrCorrupt) {
		t.Errorf("it answered %v", err)
	}
	if d.logs != 0 {
		t.Errorf("%d logs are open", d.logs)
	}
}

func TestALogWithoutAReaderKeepsAllWhenItIsOpened(t *testing.T) {
	b := newBench(t, Options{SegmentSize: 600})
	for _, body := range allEvents(36) {
		b.put("source.a", "1", body)
	}
	b.open()
	b.drained(b.reader("sink.a"), allEvents(36)...)
}

// TestAReaderThatCouldNotBeForgottenStandsWhereItStood: its position goes when the log says that it is forgotten.
func TestAReaderThatCouldNotBeForgottenStandsWhereItStood(t *testing.T) {
	d := newSimDisk()
	b := openSim(t, d)
	b.put("source.a", "1", "event 1")
	b.drained(b.reader("sink.a"), "event 1")
	b.close()
	b = openSim(t, d)
	d.failing(func(what, name string) error {
		if what == "write" && strings.HasPrefix(name, logDir) {
			return syscall.EIO
		}
		return nil
	})
	if err := b.c.Forget("sink.a"); !errors.Is(err, syscall.EIO) {
		t.Fatalf("it answered %v", err)
	}
	d.failing(nil)
	b.must(b.c.Close())
	b = openSim(t, d)
	if n := b.reader("sink.a").Info().Waiting; n != 0 {
		t.Errorf("%d events come again", n)
	}
	b.close()
}

// TestASegmentThatDoesNotFollowTheOneBeforeIsSeen: every record of it is right, and it is of another time.
func TestASegmentThatDoesNotFollowTheOneBeforeIsSeen(t *testing.T) {
	b := newBench(t, Options{SegmentSize: 600})
	b.reader("sink.a")
	for _, body := range allEvents(36) {
		b.put("source.a", "1", body)
	}
	b.open() // the ring is empty
	path := b.segmentFiles()[1]
	data, err := os.ReadFile(path)
	b.must(err)
	forged := data[:0:0]
	prev := uint32(12345)
	for _, r := range recordsOf(t, segmentIndex(filepath.Base(path)), data) {
		h := r.header
		h.prev = prev
		h.put(r.data)
		prev = h.crc
		forged = append(forged, segmentOf(r.data)...)
	}
	b.must(os.WriteFile(path, forged, filePerms))
	if got, err := drain(b.reader("sink.a")); !errors.Is(err, channel.ErrCorrupt) {
		t.Errorf("it got %d events, %v", len(got), err)
	}
	b.must(os.WriteFile(path, data, filePerms))
}
