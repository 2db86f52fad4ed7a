// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// emptyLane is one in which no event is that has no attributes.
func emptyLane() channel.Lane {
	lane := channel.Lane{Key: "key", Count: 2}
	if lane.Has(&event.Event{}) {
		lane.Index = 1
	}
	return lane
}

// briefly takes for a moment, and gives back what comes.
func briefly(r channel.Reader) error {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	l, err := r.Take(ctx, channel.Want{})
	if err == nil {
		l.Rollback()
	}
	return err
}

// TestAFullDiskAcknowledgesNothingThatItCannotWriteDown: where the newest events go, there must be room to say so.
func TestAFullDiskAcknowledgesNothingThatItCannotWriteDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDisk()
		d.bound = 400 << 10
		b := onSmallDisk(t, d, Options{SegmentSize: 4 << 10, OnFull: channel.DropNewest})
		b.reader("sink.a")
		acked := b.fillUp("source.a")
		if b.begins() {
			t.Error("a transaction begins that can leave no trace")
		}
		d.with(func() { d.bound = 1 << 20 })
		time.Sleep(2 * roomPoll)
		b.c.Resize(channel.Capacity{Events: uint64(len(acked))})
		begun := time.Now()
		b.must(submit(b.c, "source.b", "1", "one too many")())
		if s := b.c.Stats(); s.Dropped[channel.LostNewest] != 1 || time.Since(begun) >= emptyDelay {
			t.Errorf("after %v with room on the disk %d events are dropped", time.Since(begun), s.Dropped[channel.LostNewest])
		}
		b.close()
	})
}

// TestAReaderThatIsMovedWhileItReadsGoesOnWhereItStands: that what it was reading is gone by now is no damage.
func TestAReaderThatIsMovedWhileItReadsGoesOnWhereItStands(t *testing.T) {
	for _, lane := range []channel.Lane{{}, emptyLane()} {
		for lag, want := range map[channel.Lag]error{channel.Skip: nil, channel.Detach: channel.ErrDetached} {
			if want == nil && !lane.All() {
				want = context.DeadlineExceeded
			}
			spec := channel.ReaderSpec{Name: "sink.slow", Lag: lag, Lane: lane}
			synctest.Test(t, func(t *testing.T) { moveWhileReading(t, spec, want) })
		}
	}
}

func moveWhileReading(t *testing.T, spec channel.ReaderSpec, want error) {
	d := newSimDisk()
	sys := d.system()
	move := func() {}
	first := segmentName(1)
	sys.files = oddFiles{sys.files, func(name string) error {
		if name != first {
			return nil
		}
		move()
		if !d.has(first) {
			return fs.ErrNotExist
		}
		return nil
	}}
	c, err := open(Options{Dir: "sim", SegmentSize: 600, Capacity: channel.Capacity{Events: 36}}, sys)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, c: c}
	slow, err := c.Reader(spec)
	b.must(err)
	hold := b.reader("sink.hold")
	for i := range 36 {
		b.put("source.a", fmt.Sprint(i), fmt.Sprint("event ", i))
	}
	if _, err := drain(hold); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	c.ring.forget(c.state.end)
	c.mu.Unlock()
	done := make(chan error, 1)
	move = func() {
		move = func() {}
		go func() { done <- submit(c, "source.a", "36", "the one that needs room")() }()
		synctest.Wait()
		b.must(c.flushPositions(false))
	}
	if err = briefly(slow); !errors.Is(err, want) || d.has(first) {
		t.Errorf("%+v: it answered %v; the segment is there: %v", spec, err, d.has(first))
	}
	b.must(<-done)
	b.close()
}

// TestWhatCouldNotBeGivenUpIsNotTriedAgainAtOnce however many wait for it.
func TestWhatCouldNotBeGivenUpIsNotTriedAgainAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDisk()
		b := onSmallDisk(t, d, Options{OnFull: channel.DropOldest, Capacity: channel.Capacity{Events: 10}})
		b.reader("sink.a")
		for i := range 10 {
			b.put("source.a", fmt.Sprint(i), "event")
		}
		tries := 0
		d.failing(func(step, name string) error {
			if step == "write" && strings.HasPrefix(name, logDir) {
				tries++
				return syscall.EIO
			}
			return nil
		})
		if b.begins() || b.begins() || tries != 1 {
			t.Errorf("it was tried %d times within a moment", tries)
		}
		d.failing(nil)
		time.Sleep(roomPoll)
		if !b.begins() {
			t.Error("it is not tried again")
		}
		b.close()
	})
}

func TestAPositionThatCouldNotBeWrittenWhenItsReaderClosedIsWrittenLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDisk()
		b := openSim(t, d)
		r := b.reader("sink.a")
		b.put("source.a", "1", "one")
		l, err := r.Take(t.Context(), channel.Want{})
		b.must(err)
		time.Sleep(time.Minute)
		b.must(l.Commit())
		b.c.mu.Lock()
		b.c.timer.Stop() // as if it had just written what was before
		b.c.timer = nil
		b.c.timers.Done()
		b.c.mu.Unlock()
		broken := errors.New("broken")
		d.failing(func(step, name string) error {
			if strings.HasPrefix(name, posDir) {
				return broken
			}
			return nil
		})
		if err := r.Close(); !errors.Is(err, broken) {
			t.Fatalf("close answered %v", err)
		}
		d.failing(nil)
		time.Sleep(time.Minute)
		again := openSim(t, d.crash("kill -9, all is there"))
		if n := again.reader("sink.a").Info().Waiting; n != 0 {
			t.Errorf("%d events come again", n)
		}
		again.close()
		b.close()
	})
}

func TestWhoIsReplayedIsOpenedByNobodyMeanwhile(t *testing.T) {
	d := newSimDisk()
	var meanwhile func()
	o := Options{Dir: "sim", Observer: channel.Observer{Step: func(name string) {
		if name == "put" && meanwhile != nil {
			meanwhile()
		}
	}}}
	c, err := open(o, d.system())
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, c: c}
	r := b.reader("sink.a")
	b.put("source.a", "1", "one")
	b.must(r.Close())
	answer := errors.New("not asked")
	meanwhile = func() {
		_, _, answer = c.claim(channel.ReaderSpec{Name: "sink.a"})
		meanwhile = nil
	}
	b.must(c.Replay("sink.a", r.Info().Low))
	if answer == nil || !strings.Contains(answer.Error(), "in use") {
		t.Errorf("meanwhile it was opened: %v", answer)
	}
	b.close()
}

func TestAReplayToALaterOffsetLetsGoWhatLiesBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDisk()
		b := onSmallDisk(t, d, Options{SegmentSize: 4 << 10})
		r := b.reader("sink.a")
		b.fill(30)
		b.must(r.Close())
		before := b.segments()
		b.must(b.c.Replay("sink.a", r.Info().Low+29))
		if after := b.segments(); before < 5 || after > 2 {
			t.Errorf("%d segments are left of %d", after, before)
		}
		b.close()
	})
}

func TestAPurgeOnAFullDiskMakesRoomAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDisk()
		d.bound = 400 << 10
		b := onSmallDisk(t, d, Options{SegmentSize: 4 << 10})
		r := b.reader("sink.a")
		acked := b.fillUp("source.a")
		b.must(r.Close())
		d.leave(0)
		n, err := b.c.Purge("sink.a")
		b.must(err)
		left, err := listSegments(b.c.sys)
		b.must(err)
		if n != uint64(len(acked)) || len(left) > 2 {
			t.Errorf("%d events of %d were given up, and %d segments are left", n, len(acked), len(left))
		}
		b.close()
	})
}

// TestReadersThatAreHandedToHaveAPlaceForTheirPositions, and can be opened.
func TestReadersThatAreHandedToHaveAPlaceForTheirPositions(t *testing.T) {
	d := newSimDisk()
	b := openSim(t, d)
	b.reader("sink.a")
	b.must(b.c.Handover([]string{"sink.a"}, lanesOf(2)))
	for _, spec := range lanesOf(2) {
		if !d.has(positionName(spec.Name)) {
			t.Errorf("%s has none", spec.Name)
		}
	}
	_, err := openAll(b.c, lanesOf(2))
	b.must(err)
	b.close()
}

func TestWhatALanePassedOverDoesNotComeAgainToIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDisk()
		b := openSim(t, d)
		spec := channel.ReaderSpec{Name: "sink.lane", Lane: emptyLane()}
		r, err := b.c.Reader(spec)
		b.must(err)
		b.put("source.a", "1", "one")
		if err := briefly(r); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("it answered %v", err)
		}
		time.Sleep(time.Minute)
		again := openSim(t, d.crash("kill -9, all is there"))
		r, err = again.c.Reader(spec)
		b.must(err)
		if n := r.Info().Waiting; n != 0 {
			t.Errorf("%d events are looked at again", n)
		}
		again.close()
		b.close()
	})
}

func TestAReaderWithALaneStopsAtDamageToo(t *testing.T) {
	b := newBench(t, Options{SegmentSize: 600})
	spec := channel.ReaderSpec{Name: "sink.lane", Lane: emptyLane()}
	_, err := b.c.Reader(spec)
	b.must(err)
	for i := range 36 {
		b.put("source.a", fmt.Sprint(i), fmt.Sprintf("event %d", i))
	}
	b.open()
	b.strike()
	r, err := b.c.Reader(spec)
	b.must(err)
	if err := briefly(r); !errors.Is(err, channel.ErrCorrupt) {
		t.Errorf("it answered %v", err)
	}
}
