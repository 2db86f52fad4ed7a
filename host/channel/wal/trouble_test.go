// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
)

// TestALogThatCannotBeOpenedAgainRefusesUntilItCan: STATE has outgrown the segments, and the process has no file left.
func TestALogThatCannotBeOpenedAgainRefusesUntilItCan(t *testing.T) {
	for _, mended := range []bool{true, false} {
		d := newSimDisk()
		b := openSim(t, d)
		b.must(b.c.reopen(300))
		b.reader("sink.a")
		real := b.c.sys.openLog
		b.put("source.a", strings.Repeat("x", 3000), "fills a segment")
		b.c.sys.openLog = func(int) (appender, error) { return nil, syscall.EMFILE }
		for range 2 {
			if err := submit(b.c, "source.b", "1", "lost")(); !errors.Is(err, syscall.EMFILE) {
				t.Fatalf("it answered %v", err)
			}
			b.cursor("source.b", "")
		}
		want := []string{"fills a segment"}
		if mended {
			b.c.sys.openLog = real
			b.put("source.b", "1", "after")
			want = append(want, "after")
		}
		b.must(b.c.Close())
		b = openSim(t, d)
		b.drained(b.reader("sink.a"), want...)
		b.close()
	}
}

func TestATakeThatWaitsForItsTurnAtTheLogEndsWithTheChannel(t *testing.T) {
	inBubble(t, func(b *bench) {
		r, err := b.c.Reader(channel.ReaderSpec{Name: "sink.a", Order: channel.AnyOrder})
		b.must(err)
		b.put("source.a", "1", "event")
		for len(b.c.ring.list) > 0 {
			b.c.ring.drop()
		}
		r.(*reader).tape.gate <- struct{}{} // another taker reads a slow disk
		took, closed := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := r.Take(b.Context(), channel.Want{})
			took <- err
		}()
		synctest.Wait()
		go func() { closed <- b.c.Close() }()
		synctest.Wait()
		select {
		case err := <-took:
			if !errors.Is(err, channel.ErrClosed) {
				t.Errorf("take answered %v", err)
			}
			<-r.(*reader).tape.gate
		default:
			t.Error("take still waits")
			<-r.(*reader).tape.gate
			<-r.(*reader).tape.gate
		}
		b.must(<-closed)
		b.c = nil
	})
}

func TestRoomThatARefusalGivesBackIsForOthers(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		full := false
		sys := faulty(realSystem(dir), func(step string) error {
			if step == "put" && full {
				return syscall.EIO
			}
			return nil
		})
		c, err := open(Options{Dir: dir, Capacity: channel.Capacity{Events: 2}}, sys)
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{T: t, c: c}
		full = true
		wait := submit(c, "source.a", "1", "a", "b")
		begun := make(chan error, 1)
		go func() {
			tx, err := c.Begin(t.Context())
			if err == nil {
				tx.Rollback()
			}
			begun <- err
		}()
		synctest.Wait()
		if len(begun) > 0 {
			t.Error("it was let into a full channel")
		}
		if err := wait(); !errors.Is(err, syscall.EIO) {
			t.Errorf("it answered %v", err)
		}
		synctest.Wait()
		if len(begun) == 0 {
			t.Error("it still waits, though the channel is empty")
		}
		b.close()
		b.must(<-begun)
	})
}

// TestWhatCouldNotBeWrittenDownIsTriedAgain: positions, and the segments that they let go.
func TestWhatCouldNotBeWrittenDownIsTriedAgain(t *testing.T) {
	for _, step := range []string{"write", "fsync", "remove"} {
		synctest.Test(t, func(t *testing.T) {
			d := newSimDisk()
			b := openSim(t, d)
			b.must(b.c.reopen(300))
			r := b.reader("sink.a")
			for i := range 20 {
				b.put("source.a", fmt.Sprint(i), "event")
			}
			failures := 0
			var mended atomic.Bool
			d.fail = func(what, name string) error {
				if !mended.Load() && what == step && (strings.HasPrefix(name, posDir) || what == "remove") {
					failures++
					return syscall.EIO
				}
				return nil
			}
			if got, err := drain(r); err != nil || len(got) != 20 {
				t.Fatalf("%d events, %v", len(got), err)
			}
			time.Sleep(time.Minute) // nothing moves
			synctest.Wait()
			if most := int(time.Minute/positionRetry) + 1; failures < 2 || failures > 2*most {
				t.Errorf("%s failed %d times in a minute", step, failures)
			}
			mended.Store(true)
			time.Sleep(positionRetry + time.Millisecond)
			synctest.Wait()
			if list, err := listSegments(d); err != nil || segmentIndex(list[0].name) != b.c.segments[0].index || len(b.c.segments) > 1 {
				t.Errorf("%s: %d files are left of %d segments, %v", step, len(list), len(b.c.segments), err)
			}
			for kind := range crashes {
				again := openSim(t, d.crash(kind))
				if n := again.reader("sink.a").Info().Waiting; n != 0 {
					t.Errorf("%s, then a crash (%s): %d events come again", step, kind, n)
				}
				again.close()
			}
			b.close()
		})
	}
}

func TestAPositionThatCannotBeWrittenHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDisk()
		b := openSim(t, d)
		b.must(b.c.reopen(300))
		one, other := b.reader("sink.a"), b.reader("sink.b")
		for i := range 20 {
			b.put("source.a", fmt.Sprint(i), "event")
		}
		var failures atomic.Int32
		d.fail = func(what, name string) error {
			if what == "write" && strings.HasPrefix(name, posDir) && failures.Add(1) == 1 {
				return syscall.EIO
			}
			return nil
		}
		for _, r := range []channel.Reader{one, other} {
			if got, err := drain(r); err != nil || len(got) != 20 {
				t.Fatalf("%d events, %v", len(got), err)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(b.c.segments) > 1 || failures.Load() < 2 {
			t.Errorf("%d segments are left, after %d writes", len(b.c.segments), failures.Load())
		}
		for kind := range crashes {
			again := openSim(t, d.crash(kind))
			for _, name := range []string{"sink.a", "sink.b"} {
				if n := again.reader(name).Info().Waiting; n != 0 {
					t.Errorf("after a crash (%s) %d events come again to %s", kind, n, name)
				}
			}
			again.close()
		}
		b.close()
	})
}

// TestMoreOpeningsThanTheLogRemembersLoseNothing of a reader that has all, nor of one whose position is lost.
func TestMoreOpeningsThanTheLogRemembersLoseNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDisk()
		b := openSim(t, d)
		behind := b.reader("sink.behind")
		b.put("source.a", "1", "event 1")
		b.drained(b.reader("sink.idle"), "event 1")
		for range maxIncarnations + 1 {
			b.must(b.c.Close())
			b = openSim(t, d)
		}
		b.must(b.c.Close())
		b.must(d.Remove(positionName("sink.behind"))) // with it goes what was skipped
		b = openSim(t, d)
		idle := b.reader("sink.idle")
		if n := idle.Info().Waiting; n != 0 {
			t.Errorf("%d events wait for a reader that has all", n)
		}
		behind = b.reader("sink.behind")
		l, err := behind.Take(t.Context(), channel.Want{})
		b.must(err)
		b.must(l.Commit())
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := behind.Take(ctx, channel.Want{}); !errors.Is(err, context.DeadlineExceeded) || behind.Info().Waiting != 0 {
			t.Errorf("behind the last event: %d wait, %v", behind.Info().Waiting, err)
		}
		b.put("source.a", "2", "event 2")
		b.drained(idle, "event 2")
		b.drained(behind, "event 2")
		if s := b.c.Stats(); s.Events != 0 || s.Bytes != 0 {
			t.Errorf("%d events, %d bytes are held", s.Events, s.Bytes)
		}
		b.close()
	})
}
