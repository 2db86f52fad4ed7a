// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
)

// onSmallDisk opens a channel on a simulated disk, in a bubble of time.
func onSmallDisk(t *testing.T, d *simDisk, o Options) *bench {
	t.Helper()
	b := &bench{T: t, o: o}
	b.o.Dir, b.o.Log = "sim", slog.New(slog.NewTextHandler(&b.log, nil))
	c, err := open(b.o, d.system())
	if err != nil {
		t.Fatal(err)
	}
	b.c = c
	return b
}

// begins says whether a transaction can begin now.
func (b *bench) begins() bool {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), time.Microsecond)
	defer cancel()
	tx, err := b.c.Begin(ctx)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		b.Fatal(err)
	}
	if err == nil {
		tx.Rollback()
	}
	return err == nil
}

func (b *bench) said(what string) int {
	return strings.Count(b.log.String(), what)
}

func TestBelowMinFreePutsWaitAndTakesGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, keep = 8 << 20, 1 << 20
		d := newSimDisk()
		d.bound = size
		b := onSmallDisk(t, d, Options{MinFree: keep, SegmentSize: 4 << 10})
		r := b.reader("sink.a")
		b.put("source.a", "1", "event 1")
		d.leave(keep - 1)
		time.Sleep(roomPoll)
		b.put("source.a", "2", "event 2") // it is seen now
		if b.begins() || b.c.Stats().ShortOfDisk == "" {
			t.Fatal("puts go on below min_free")
		}
		b.drained(r, "event 1", "event 2")
		if b.begins() {
			t.Error("a commit let puts in")
		}
		d.leave(keep + 100) // just above min_free is not enough, or it would end and begin all the time
		time.Sleep(roomPoll + time.Millisecond)
		if b.begins() {
			t.Error("puts go on with hardly any room")
		}
		waiting := make(chan error, 1)
		go func() {
			_, err := b.c.Begin(t.Context())
			waiting <- err
		}()
		d.leave(keep + keep/minFreeSlack + 6<<10)
		time.Sleep(roomPoll + time.Millisecond)
		synctest.Wait()
		select {
		case err := <-waiting:
			b.must(err)
		default:
			t.Error("who waited waits for ever")
		}
		if !b.begins() || b.c.Stats().ShortOfDisk != "" {
			t.Error("it does not recover by itself")
		}
		if begun, ended := b.said("short of disk"), b.said("room on the disk again"); begun != 1 || ended != 1 {
			t.Errorf("it was said %d times that it began, %d times that it ended", begun, ended)
		}
		b.close()
	})
}

func TestAFullDiskRefusesWhereThatIsThePolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDisk()
		d.bound = 1 << 20
		b := onSmallDisk(t, d, Options{MinFree: 2 << 20, OnFull: channel.Refuse})
		if _, err := b.c.Begin(t.Context()); !errors.Is(err, channel.ErrFull) || !strings.Contains(err.Error(), "MiB") {
			t.Errorf("begin answered: %v", err)
		}
		b.close()
	})
}

// fillUp puts until the disk is full.
func (b *bench) fillUp(source string) (acked []string) {
	b.Helper()
	for i := 0; ; i++ {
		body := fmt.Sprint("event ", i, strings.Repeat(".", 100))
		err := submit(b.c, source, fmt.Sprint(i), body)()
		if errors.Is(err, channel.ErrFull) {
			return acked
		}
		b.must(err)
		acked = append(acked, body)
	}
}

func TestAFullDiskThrowsOffTheBallastDrainsAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDisk()
		d.bound = 400 << 10
		b := onSmallDisk(t, d, Options{Reserve: 8 << 10, SegmentSize: 4 << 10})
		r := b.reader("sink.a")
		d.leave(40 << 10)
		acked := b.fillUp("source.a")
		if d.has(reserveFile) || b.begins() {
			t.Fatal("after ENOSPC the ballast lies there still, or puts go on")
		}
		time.Sleep(10 * roomPoll)
		if b.begins() || d.has(reserveFile) {
			t.Fatal("what the ballast had kept free was given to sources")
		}
		b.drained(r, acked...)
		b.must(b.c.flushPositions(false)) // segments go
		time.Sleep(roomPoll + time.Millisecond)
		if !d.has(reserveFile) {
			t.Error("the ballast was not made again")
		}
		b.cursor("source.a", fmt.Sprint(len(acked)-1))
		b.put("source.a", "on", "after")
		b.drained(r, "after")
		b.close()
		report := verifySim(d)
		b.must(report)
	})
}

// verifySim reads all that is in the log.
func verifySim(d *simDisk) error {
	c, err := open(Options{Dir: "sim"}, d.system())
	if err != nil {
		return err
	}
	return c.Close()
}

// full makes the disk of a process that was killed while its disk was full, and says what it had acknowledged.
// torn bytes of a record follow what is whole.
func full(t *testing.T, room, torn int) (*simDisk, []string) {
	t.Helper()
	d := newSimDisk()
	d.bound = 400 << 10
	b := onSmallDisk(t, d, Options{SegmentSize: 4 << 10})
	b.reader("sink.a")
	d.leave(room)
	acked := b.fillUp("source.a")
	left := d.crash("kill -9, all is there")
	b.must(b.c.Close())
	last := lastSegment(t, left)
	last.data = append(last.data, bytes.Repeat([]byte{7}, torn)...)
	return left, acked
}

func lastSegment(t *testing.T, d *simDisk) *simFile {
	t.Helper()
	names, err := listSegments(d)
	if err != nil || len(names) == 0 {
		t.Fatalf("%d segments, %v", len(names), err)
	}
	return d.names[logDir+"/"+names[len(names)-1].name]
}

// fullRoom leaves the last segment with some records when the disk is full; fullRoomEmpty leaves one that has just begun.
const (
	fullRoom      = 22 << 10
	fullRoomEmpty = 20<<10 + 250
)

// TestAFullDiskThatWasKilledOpensDrainsAndThenAccepts goes through every amount of room that may be left, from none to enough.
func TestAFullDiskThatWasKilledOpensDrainsAndThenAccepts(t *testing.T) {
	for _, end := range []struct{ room, torn int }{{fullRoom, 0}, {fullRoom, 700}, {fullRoomEmpty, 0}} {
		synctest.Test(t, func(t *testing.T) {
			found, acked := full(t, end.room, end.torn)
			if n := len(lastSegment(t, found).data); (n == 0) != (end.room == fullRoomEmpty) {
				t.Fatalf("with %d bytes of room the last segment has %d bytes", end.room, n)
			}
			limited := 0
			for room := 0; room < 6<<10; room += 37 {
				d := found.crash("kill -9, all is there")
				d.leave(room)
				limited += drainsWith(t, d, acked, room)
			}
			if limited < 3 {
				t.Errorf("only %d amounts of room were too little", limited)
			}
		})
	}
}

// drainsWith opens the channel, drains it, makes room, and puts. It answers 1 when there was too little room to open in full.
func drainsWith(t *testing.T, d *simDisk, acked []string, room int) (limited int) {
	t.Helper()
	b := onSmallDisk(t, d, Options{SegmentSize: 4 << 10})
	b.cursor("source.a", fmt.Sprint(len(acked)-1))
	r := b.reader("sink.a")
	if b.c.opening != nil {
		limited = 1
		if b.begins() {
			t.Fatalf("with %d bytes: puts go on", room)
		}
		if _, err := b.c.Reader(channel.ReaderSpec{Name: "sink.new"}); !errors.Is(err, channel.ErrFull) {
			t.Fatalf("with %d bytes: a new reader answered %v", room, err)
		}
	}
	half := len(acked) / 2
	l, err := r.Take(t.Context(), channel.Want{Events: half})
	b.must(err)
	got := []string{}
	for _, e := range l.Delivery().Batch.All() {
		got = append(got, string(e.Body))
	}
	b.must(l.Commit())
	d.with(func() { d.other = 0 })
	time.Sleep(roomPoll + time.Millisecond)
	synctest.Wait()
	b.put("source.a", "on", "after")
	rest, err := drain(r)
	b.must(err)
	if got = append(got, rest...); !slices.Equal(got, append(slices.Clone(acked), "after")) {
		t.Fatalf("with %d bytes: %d events came of %d", room, len(got), len(acked)+1)
	}
	b.close()
	b = onSmallDisk(t, d, Options{SegmentSize: 4 << 10})
	b.cursor("source.a", "on")
	b.drained(b.reader("sink.a"))
	b.close()
	if kept, _ := d.List(quarantineDir); d.logs != 0 || len(kept) > 1 {
		t.Fatalf("with %d bytes: %d logs are open, %d files in quarantine", room, d.logs, len(kept))
	}
	return limited
}

// TestAFullDiskIsOpenedClosedAndOpenedAgain: a channel that is open for takes only keeps what it has, and what was taken.
func TestAFullDiskIsOpenedClosedAndOpenedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, acked := full(t, fullRoom, 0)
		d.leave(0)
		for i := range 3 {
			b := onSmallDisk(t, d, Options{SegmentSize: 4 << 10})
			if b.c.opening == nil {
				t.Fatal("there was room")
			}
			l, err := b.reader("sink.a").Take(t.Context(), channel.Want{Events: 1})
			b.must(err)
			for _, e := range l.Delivery().Batch.All() {
				if string(e.Body) != acked[i] {
					t.Errorf("event %d is %.20q", i, e.Body)
				}
			}
			b.must(l.Commit())
			b.close()
		}
	})
}

// TestNobodyIsGivenWhatAFailedFlushLeftInMemory: with no room for a copy, the end of the log is written over itself before it is read.
func TestNobodyIsGivenWhatAFailedFlushLeftInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, acked := full(t, fullRoom, 0)
		last := lastSegment(t, d)
		for i := range last.synced { // nothing of it ever got to the disk
			last.synced[i] = 0
		}
		d.leave(0)
		b := onSmallDisk(t, d, Options{SegmentSize: 4 << 10})
		b.drained(b.reader("sink.a"), acked...)
		b.must(b.c.flushPositions(true))
		if size := b.c.opening.rec.size; size == 0 || !bytes.Equal(last.synced[:size], last.data[:size]) {
			t.Error("what was given out is not on disk")
		}
		b.close()
	})
}
