// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
)

// ballasted is the disk of a process that was killed, with three events and a reserve on it.
func ballasted(t *testing.T) *simDisk {
	t.Helper()
	d := newSimDisk()
	d.bound = 400 << 10
	b := onSmallDisk(t, d, Options{Reserve: 16 << 10, SegmentSize: 4 << 10})
	b.reader("sink.a")
	for _, body := range allEvents(3) {
		b.put("source.a", "1", body)
	}
	left := d.crash("kill -9, all is there")
	left.names[reserveFile] = &simFile{data: make([]byte, 16<<10)}
	b.close()
	return left
}

// TestAnOpeningOnAFullDiskHasTheRoomOfTheBallast that the process before has left.
func TestAnOpeningOnAFullDiskHasTheRoomOfTheBallast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := ballasted(t)
		d.leave(0)
		b := onSmallDisk(t, d, Options{Reserve: 16 << 10, SegmentSize: 4 << 10})
		if b.c.opening != nil || d.has(reserveFile) {
			t.Error("it kept the ballast, and opened for takes only")
		}
		b.drained(b.reader("sink.a"), allEvents(3)...)
		b.close()
	})
}

func TestABallastThatCannotBeThrownOffIsSaid(t *testing.T) {
	d := ballasted(t)
	d.leave(0)
	d.failing(func(what, name string) error {
		if what == "remove" && name == reserveFile {
			return syscall.EIO
		}
		return nil
	})
	if _, err := open(Options{Dir: "sim", Reserve: 16 << 10}, d.system()); !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "release reserve") {
		t.Errorf("it answered %v", err)
	}
}

func TestABallastThatIsThereIsNotMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, made := ballasted(t), 0
		d.failing(func(what, _ string) error {
			if what == "ballast" {
				made++
			}
			return nil
		})
		b := onSmallDisk(t, d, Options{Reserve: 16 << 10, SegmentSize: 4 << 10})
		b.put("source.a", "2", "event 3")
		b.close()
		if made > 0 || !d.has(reserveFile) {
			t.Errorf("it was made %d times; it is there: %v", made, d.has(reserveFile))
		}
	})
}

// TestAnOpeningTakesItsRoomBeforeTheBallastDoes: there is enough for one after the other.
func TestAnOpeningTakesItsRoomBeforeTheBallastDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, acked := full(t, fullRoom, 0)
		const reserve, more = 8 << 10, 1 << 10
		if n := len(lastSegment(t, d).data); n <= more {
			t.Fatalf("its copy needs %d bytes only", n)
		}
		d.leave(reserve + more)
		b := onSmallDisk(t, d, Options{Reserve: reserve, SegmentSize: 4 << 10})
		if b.c.opening != nil || !d.has(reserveFile) || !b.begins() {
			t.Errorf("it opened for takes only: %v; the ballast is there: %v", b.c.opening != nil, d.has(reserveFile))
		}
		b.drained(b.reader("sink.a"), acked...)
		b.close()
	})
}

// TestABusyChannelLooksForRoomWithEachFewMebibytes however short a time they take.
func TestABusyChannelLooksForRoomWithEachFewMebibytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDisk()
		d.bound = 64 << 20
		b := onSmallDisk(t, d, Options{MinFree: 1 << 20})
		b.put("source.a", "0", "it looks now, and then not for a second")
		d.leave(1<<20 + roomStep)
		for n := 0; n < roomStep; n += 1 << 20 {
			if !b.c.short.looked.Equal(time.Now()) || b.c.Stats().ShortOfDisk != "" {
				t.Fatalf("after %d bytes: %q", n, b.c.Stats().ShortOfDisk)
			}
			b.put("source.a", "1", strings.Repeat("x", 1<<20))
		}
		if b.c.Stats().ShortOfDisk == "" {
			t.Error("puts go on below min_free")
		}
		b.close()
	})
}

// TestAShortageIsSaidOnce though all that was begun before finds no room.
func TestAShortageIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDisk()
		d.bound = 400 << 10
		b := onSmallDisk(t, d, Options{})
		var begun []channel.Tx
		for _, source := range []string{"source.a", "source.b", "source.c"} {
			tx, err := b.c.Begin(t.Context())
			b.must(err)
			b.must(tx.Put(channel.Put{Source: source, Batch: batch("event")}))
			begun = append(begun, tx)
		}
		d.leave(0)
		for _, tx := range begun {
			if err := tx.Submit()(); !errors.Is(err, channel.ErrFull) {
				t.Errorf("it answered %v", err)
			}
		}
		if n := b.said("short of disk"); n != 1 {
			t.Errorf("it was said %d times", n)
		}
		b.close()
	})
}

// TestWhatWasClosedInOrderIsNotWrittenOverForLackOfRoom: none of it is in doubt.
func TestWhatWasClosedInOrderIsNotWrittenOverForLackOfRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDisk()
		d.bound = 400 << 10
		b := onSmallDisk(t, d, Options{})
		b.reader("sink.a")
		b.put("source.a", "1", "event")
		b.close()
		d.leave(0)
		over := false
		b = onSmallDisk(t, d, Options{Observer: channel.Observer{Step: func(name string) { over = over || name == "refresh" }}})
		if b.c.opening == nil || over {
			t.Errorf("there was room: %v; it was written over: %v", b.c.opening == nil, over)
		}
		b.drained(b.reader("sink.a"), "event")
		b.close()
	})
}

// held gives options that have one step take half a second once the switch is on.
func held(step string, on *atomic.Bool) Options {
	return Options{SegmentSize: 4 << 10, Observer: channel.Observer{Step: func(name string) {
		if name == step && on.Load() {
			time.Sleep(roomPoll / 2)
		}
	}}}
}

// TestAChannelThatIsClosedWhileItIsOpenedFurtherLetsGo of the log that was opened a moment ago.
func TestAChannelThatIsClosedWhileItIsOpenedFurtherLetsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := full(t, fullRoom, 0)
		d.leave(0)
		var on atomic.Bool
		b := onSmallDisk(t, d, held("repair", &on))
		d.with(func() { d.other = 0 })
		on.Store(true)
		time.Sleep(roomPoll + roomPoll/4)
		b.must(b.c.Close())
		if b.c.opening == nil || d.logs != 0 || b.said("channel has stopped") > 0 {
			t.Errorf("it is opened: %v; %d logs are; it said %s", b.c.opening == nil, d.logs, b.log.String())
		}
	})
}

// TestAnOpeningThatFailsWhenThereIsRoomStopsTheChannel: only for want of room is it tried again.
func TestAnOpeningThatFailsWhenThereIsRoomStopsTheChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, acked := full(t, fullRoom, 0)
		d.leave(0)
		b := onSmallDisk(t, d, Options{SegmentSize: 4 << 10})
		r := b.reader("sink.a")
		d.with(func() { d.other = 0 })
		d.failing(func(what, name string) error {
			if what == "publish" && strings.HasPrefix(name, logDir) {
				return syscall.EIO
			}
			return nil
		})
		time.Sleep(roomPoll + time.Millisecond)
		if err := b.c.Stats().Stopped; !errors.Is(err, syscall.EIO) {
			t.Fatalf("it is stopped by %v", err)
		}
		if _, err := b.c.Begin(t.Context()); !errors.Is(err, channel.ErrStopped) {
			t.Errorf("begin answered %v", err)
		}
		b.drained(r, acked...)
		b.must(b.c.Close())
	})
}

// TestNobodyWaitsForRoomForAChannelThatIsClosed: its last write finds none while it closes.
func TestNobodyWaitsForRoomForAChannelThatIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDisk()
		d.bound = 400 << 10
		var on atomic.Bool
		b := onSmallDisk(t, d, held("put", &on))
		d.leave(0)
		on.Store(true)
		written := make(chan error, 1)
		go func() { written <- submit(b.c, "source.a", "1", "event")() }()
		synctest.Wait()
		begun := time.Now()
		b.must(b.c.Close())
		if err := <-written; !errors.Is(err, channel.ErrFull) {
			t.Errorf("the write answered %v", err)
		}
		if took := time.Since(begun); took >= roomPoll {
			t.Errorf("it took %v to close", took)
		}
	})
}
