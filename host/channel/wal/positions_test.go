// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

func TestAPositionIsWrittenAsTheSpecificationSays(t *testing.T) {
	p := position{sequence: 3, id: 0x1122334455667788, generation: 2, low: 9, end: 77,
		lane: channel.Lane{Key: "key", Index: 1, Count: 3}, finished: []event.Range{{First: 11, Next: 12}},
		shares: []channel.Share{{Range: event.Range{First: 13, Next: 15}, Member: "sink.a"}}}
	want := "50535031" + "0100" + "0000" + "0300000000000000" + "8877665544332211" + "02000000" + "01000000" + "01000000" + "03000000" +
		"0900000000000000" + "4d00000000000000" + "01000000" + "03000000" + "0b00000000000000" + "0c00000000000000" +
		"0d00000000000000" + "0f00000000000000" + "0600" + "73696e6b2e61" + "6b6579"
	b := p.append(nil)
	if got, ok := parsePosition(b); !ok || !reflect.DeepEqual(got, p) {
		t.Errorf("it is read as %+v", got)
	}
	if got := hex.EncodeToString(b[:len(b)-4]); got != want {
		t.Errorf("position is\n%s, want\n%s", got, want)
	}
	for i := range b {
		b[i] ^= 4
		if _, ok := parsePosition(b); ok {
			t.Errorf("byte %d was flipped unseen", i)
		}
		b[i] ^= 4
	}
}

func TestATornPositionLeavesTheOneBefore(t *testing.T) {
	files := osFiles{t.TempDir()}
	entry := readerEntry{id: 1, generation: 1, first: 5, name: "sink.a"}
	f, err := openPosition(files, entry.name, position{})
	if err == nil {
		t.Fatal("the folder was not there")
	}
	if err := os.Mkdir(filepath.Join(files.dir, posDir), dirPerms); err != nil {
		t.Fatal(err)
	}
	if f, err = openPosition(files, entry.name, position{id: 9}); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for low := range event.Offset(4) {
		if err := f.write(&position{id: 1, generation: 1, low: 10 + low}); err != nil {
			t.Fatal(err)
		}
	}
	p, err := loadPosition(files, entry)
	if err != nil || p.low != 13 || p.damaged || p.sequence != 5 {
		t.Fatalf("position is %+v, %v", p, err)
	}
	flip(t, filepath.Join(files.dir, f.name), slotSize+posFixed-3) // sequence 5 is in the second slot
	if p, err = loadPosition(files, entry); err != nil || p.low != 12 || !p.damaged || !p.found {
		t.Errorf("with the newest slot torn the position is %+v, %v", p, err)
	}
	entry.generation = 2 // it is given all once more: where it stood before does not count
	if p, err = loadPosition(files, entry); err != nil || p.low != entry.first || p.found {
		t.Errorf("the position of another generation was taken: %+v, %v", p, err)
	}
	entry.id, entry.generation = 2, 1 // forgotten and added again: what is left of the old one does not count
	if p, err = loadPosition(files, entry); err != nil || p.low != entry.first || p.found {
		t.Errorf("the position of another reader was taken: %+v, %v", p, err)
	}
}

func TestNamesOfPositionFilesStayInTheirFolder(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range []string{"sink.a", "sink/a", "..", ".", "../x", "a b", strings.Repeat("ä", 100), strings.Repeat("ö", 100)} {
		got := positionName(name)
		base, ok := strings.CutPrefix(got, posDir+"/")
		if !ok || strings.Contains(base, "/") || base[0] == '.' || len(base) > 200 || seen[got] {
			t.Errorf("%q is kept in %q", name, got)
		}
		seen[got] = true
	}
}

// TestAnyFileButTheLogMayBeLost deletes, cuts and flips each of them in turn.
func TestAnyFileButTheLogMayBeLost(t *testing.T) {
	b := many(t)
	uuid := b.c.meta.uuid
	b.close()
	for _, name := range []string{"META", "CLEAN", "LOCK", "pos/sink.a", "pos/sink.behind"} {
		for what, harm := range map[string]func(path string) error{
			"deleted": os.Remove,
			"cut":     func(path string) error { return os.Truncate(path, 10) },
			"emptied": func(path string) error { return os.Truncate(path, 0) },
			"flipped": func(path string) error { flip(t, path, 1); return nil },
		} {
			dir := b.copyDir()
			if err := harm(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
				t.Fatal(err)
			}
			again := reopened(t, dir)
			again.drained(again.reader("sink.behind"), allEvents(36)...)
			got, err := drain(again.reader("sink.a"))
			if err != nil || len(got) != 32 && (name != "pos/sink.a" || len(got) != 36) {
				t.Errorf("%s %s: %d events, %v", name, what, len(got), err)
			}
			again.cursor("source.a", "35")
			if now := again.c.meta.uuid; now != uuid {
				t.Errorf("%s %s: the channel is now %x", name, what, now)
			}
			again.close()
		}
	}
}

func TestMETAOfANewerVersionIsRefusedAndLeftAlone(t *testing.T) {
	b := newBench(t, Options{})
	b.put("source.a", "1", "event")
	b.close()
	newer := sealed("penstock channel 2\nuuid 0123456789abcdef0123456789abcdef\ncreated 2026-01-02T03:04:05Z\n")
	b.must(os.WriteFile(b.path(metaFile), newer, filePerms))
	_, oerr := Open(b.o)
	_, rerr := Repair(b.o.Dir, false, nil)
	_, verr := Verify(b.o.Dir, nil)
	for _, err := range []error{oerr, rerr, verr} {
		if !errors.Is(err, errVersion) || errors.Is(err, channel.ErrCorrupt) {
			t.Errorf("it answered %v", err)
		}
	}
	if now, err := os.ReadFile(b.path(metaFile)); err != nil || !bytes.Equal(now, newer) {
		t.Errorf("META is now %q, %v", now, err)
	}
}

func TestAnEmptyLogWithPositionsIsRefused(t *testing.T) {
	b := many(t)
	dir := b.copyDir()
	b.must(os.RemoveAll(filepath.Join(dir, logDir)))
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, channel.ErrCorrupt) || !strings.Contains(err.Error(), "restore the log") {
		t.Errorf("open answered: %v", err)
	}
}

func TestAPositionIsWrittenSoonAndOnlyWhenItMoves(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		writes := 0
		c, err := open(Options{Dir: dir, Observer: channel.Observer{Step: func(name string) {
			if name == "position" {
				writes++
			}
		}}}, realSystem(dir))
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{T: t, c: c}
		r := b.reader("sink.a")
		for range 5 {
			b.put("source.a", "1", "event")
			b.drained(r, "event")
		}
		time.Sleep(positionDelay + time.Millisecond)
		synctest.Wait()
		if writes != 1 {
			t.Errorf("%d writes for five commits within the delay", writes)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if writes != 1 || c.timer != nil {
			t.Errorf("%d writes in an idle hour", writes-1)
		}
		b.close()
	})
}

// TestReclaimUnlinksWhatAllHaveReadAndKeepsTheCursorOfAnIdleSource: the record with it is long gone.
func TestReclaimUnlinksWhatAllHaveReadAndKeepsTheCursorOfAnIdleSource(t *testing.T) {
	b := newBench(t, Options{SegmentSize: 1 << 10})
	fast, slow := b.reader("sink.fast"), b.reader("sink.slow")
	b.put("source.idle", "kept")
	for i := range 60 {
		b.put("source.busy", numbered("", 60)[i], "event")
	}
	if _, err := drain(fast); err != nil {
		t.Fatal(err)
	}
	b.must(b.c.flushPositions(false))
	if files := b.segmentFiles(); !strings.HasSuffix(files[0], segmentName(1)) {
		t.Fatal("a segment went that a reader had not read")
	}
	if _, err := drain(slow); err != nil {
		t.Fatal(err)
	}
	b.must(b.c.flushPositions(false))
	files := b.segmentFiles()
	if info, err := os.Stat(files[len(files)-1]); err == nil && info.Size() == 0 { // just rolled to
		files = files[:len(files)-1]
	}
	if len(files) != 1 || b.c.Stats().Segments != 1 {
		t.Errorf("%d files are left, stats say %d", len(files), b.c.Stats().Segments)
	}
	b.open()
	b.cursor("source.idle", "kept")
	b.cursor("source.busy", "0059")
	if s := b.c.Stats(); s.Events != 0 || s.Bytes != 0 {
		t.Errorf("%d events, %d bytes are held", s.Events, s.Bytes)
	}
}

// TestALostPositionAfterReclaimBeginsWithTheOldest: what is unlinked everybody had committed.
func TestALostPositionAfterReclaimBeginsWithTheOldest(t *testing.T) {
	b := newBench(t, Options{SegmentSize: 1 << 10})
	r := b.reader("sink.a")
	want := numbered("event", 60)
	for i, body := range want {
		b.put("source.a", fmt.Sprint(i), body)
	}
	for range 50 {
		l, err := r.Take(t.Context(), channel.Want{Events: 1})
		b.must(err)
		b.must(l.Commit())
	}
	b.close()
	b.must(os.Remove(b.path("pos/sink.a")))
	b.open()
	got, err := drain(b.reader("sink.a"))
	b.must(err)
	if n := len(got); n < 10 || n >= 60 || !slices.Equal(got, want[60-n:]) {
		t.Errorf("%d events came: %q", n, got)
	}
	if !strings.Contains(b.log.String(), "sink.a") {
		t.Error("nothing was said")
	}
}

func TestEachOpeningBeginsAtALaterOffset(t *testing.T) {
	b := newBench(t, Options{})
	seen := map[uint64]bool{}
	last := event.Offset(0)
	for i := range 4 {
		all := b.reader("sink.a").Info().Incarnations
		now := all[len(all)-1]
		if len(all) != i+1 || seen[now.ID] || now.First%(1<<32) != 0 || i > 0 && now.First <= last {
			t.Errorf("opening %d: %+v", i, all)
		}
		seen[now.ID], last = true, now.First
		b.open() // nothing was put: offsets may have been given all the same, and lost
	}
}

func TestAForgottenReaderHoldsNothingAndComesBackAsAnother(t *testing.T) {
	b := newBench(t, Options{Capacity: channel.Capacity{Events: 1}, OnFull: channel.Refuse})
	stream := b.reader("sink.gone").Info().Stream
	b.put("source.a", "1", "held")
	if err := b.c.Forget("sink.gone"); err == nil {
		t.Error("a reader in use was forgotten")
	}
	b.open()
	if err := submit(b.c, "source.a", "2", "no room")(); !errors.Is(err, channel.ErrFull) {
		t.Fatalf("put into a full channel: %v", err)
	}
	b.reader("sink.other")
	b.must(b.c.Forget("sink.gone"))
	if _, err := os.Stat(b.path("pos/sink.gone")); !errors.Is(err, os.ErrNotExist) {
		t.Error("its position is still there")
	}
	b.open()
	if r := b.reader("sink.gone"); r.Info().Stream == stream {
		t.Error("it came back as the same stream")
	}
	if err := b.c.Forget("sink.never"); err == nil {
		t.Error("a reader that never was is forgotten")
	}
}
