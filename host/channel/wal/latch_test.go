// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/penstock-io/penstock/host/channel"
)

// openSim opens a channel on a simulated disk.
func openSim(t *testing.T, d *simDisk) *bench {
	t.Helper()
	c, err := open(Options{Dir: "sim"}, d.system())
	if err != nil {
		t.Fatal(err)
	}
	return &bench{T: t, c: c}
}

// TestAShortWriteIsCutOffAndTheLogGoesOn lets the library write half a record, as on a full disk.
func TestAShortWriteIsCutOffAndTheLogGoesOn(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) { shortWrites(t, dir) })
}

func shortWrites(t *testing.T, dir string) {
	full := false
	sys := faulty(realSystem(dir), func(step string) error {
		if step != "put" || !full {
			return nil
		}
		path := dir + "/" + segmentName(1)
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte{200, 1, 'P', 'S', 'W', '1', 1, 1}); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		return syscall.ENOSPC
	})
	c, err := open(Options{Dir: dir}, sys)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, o: Options{Dir: dir}, c: c}
	b.reader("sink.a")
	b.put("source.a", "1", "before")
	full = true
	for range 3 {
		err := submit(c, "source.a", "2", "lost")()
		if !errors.Is(err, syscall.ENOSPC) || !errors.Is(err, channel.ErrFull) || errors.Is(err, channel.ErrIndeterminate) {
			t.Fatalf("a write on a full disk answered: %v", err)
		}
		b.cursor("source.a", "1")
	}
	full = false
	b.put("source.a", "2", "after")
	b.close()
	report, err := Verify(dir, nil)
	b.must(err)
	if len(report.Damage) > 0 {
		t.Fatalf("verify found %+v", report.Damage)
	}
	b.open()
	b.cursor("source.a", "2")
	b.drained(b.reader("sink.a"), "before", "after")
	b.close()
}

func TestEveryFailingWriteIsRefusedAndLeavesNothing(t *testing.T) {
	synctest.Test(t, failingWrites) // in which puts wait a second for room
}

func failingWrites(t *testing.T) {
	for nth := 1; nth < 40; nth++ {
		for _, half := range []bool{false, true} {
			d := newSimDisk()
			b := openSim(t, d)
			b.c.tail.limit = 300 // so that rolls are among what fails
			b.must(b.c.reopen(300))
			b.reader("sink.a")
			n := 0
			d.half = half
			d.fail = func(what, name string) error {
				if n++; n == nth && (what == "write" || what == "create") && strings.HasPrefix(name, logDir) {
					return syscall.ENOSPC
				}
				return nil
			}
			var want []string
			for i := range 10 {
				body := fmt.Sprint("event ", i)
				if err := submit(b.c, "source.a", fmt.Sprint(i), body)(); err == nil {
					want = append(want, body)
				} else if _, err := b.c.Cursor(t.Context(), "source.a"); err != nil {
					t.Fatalf("write %d: %v", nth, err)
				}
			}
			if len(want) < 9 {
				t.Fatalf("write %d: only %q were committed", nth, want)
			}
			d.fail = nil
			b.must(b.c.Close())
			if d.logs != 0 {
				t.Fatalf("write %d: %d logs are open", nth, d.logs)
			}
			b = openSim(t, d)
			b.drained(b.reader("sink.a"), want...)
			b.close()
		}
	}
}

// TestWhatWasCutOffDoesNotComeBack: the library has written all of a group and fails to make the next segment, and the kernel
// writes to the disk what is cut off a moment later. What was refused comes again from its source, so it must not be there too.
func TestWhatWasCutOffDoesNotComeBack(t *testing.T) {
	for _, opens := range []bool{true, false} { // the log, behind what is left
		cutOff(t, opens)
	}
}

func cutOff(t *testing.T, opens bool) {
	d := newSimDisk()
	b := openSim(t, d)
	b.must(b.c.reopen(300))
	b.reader("sink.a")
	for len(d.segments()) < 2 {
		b.put("source.a", "1", "event 1")
	}
	waiting := b.reader("sink.b").Info().Waiting
	if !opens {
		b.c.sys.openLog = func(int) (appender, error) { return nil, syscall.EMFILE }
	}
	d.fail = func(what, name string) error {
		if what == "create" {
			return syscall.EIO
		}
		if what == "truncate" {
			d.names[name].flush()
		}
		return nil
	}
	for err := error(nil); err == nil; waiting++ {
		err = submit(b.c, "source.a", "2", "event 2")()
	}
	left := d.crash("power cut, nothing unflushed is there")
	d.fail = nil
	if stopped := b.c.Stats().Stopped; (stopped == nil) != opens {
		t.Errorf("the log can be opened is %v, and the channel has stopped because of %v", opens, stopped)
	}
	b.must(b.c.Close())
	b = openSim(t, left)
	if n := b.reader("sink.b").Info().Waiting; n != waiting-1 {
		t.Errorf("the log can be opened is %v: %d events are there, %d were acknowledged", opens, n, waiting-1)
	}
	b.close()
}

// TestAfterAFailedFlushNothingIsTrusted: the kernel keeps what it could not write, marked as written. A
// process that opened the log again and believed it would lose it in the next power cut, after having acknowledged more.
func TestAfterAFailedFlushNothingIsTrusted(t *testing.T) {
	d := newSimDisk()
	b := openSim(t, d)
	b.reader("sink.a")
	b.put("source.a", "1", "event 1")
	flushes := 0
	d.fail = func(what, name string) error {
		if what == "fsync" && strings.HasPrefix(name, logDir) {
			flushes++
			return syscall.EIO
		}
		return nil
	}
	queued := submit(b.c, "source.a", "2", "event 2")
	if err := queued(); !errors.Is(err, channel.ErrIndeterminate) {
		t.Fatalf("the transaction answered %v", err)
	}
	if err := submit(b.c, "source.b", "1", "never")(); !errors.Is(err, channel.ErrStopped) {
		t.Fatalf("the next one answered %v", err)
	}
	_ = b.c.Close()
	if flushes != 1 {
		t.Errorf("it was flushed %d times", flushes)
	}
	d.fail = nil
	b = openSim(t, d) // another process on the same machine
	p, err := b.c.Cursor(t.Context(), "source.a")
	b.must(err)
	at := string(p.Cursor["at"])
	b.put("source.a", "3", "event 3")
	b = openSim(t, d.crash("power cut, nothing unflushed is there"))
	b.cursor("source.a", "3")
	got, err := drain(b.reader("sink.a"))
	b.must(err)
	if want := "event 1 event 3"; at == "1" && strings.Join(got, " ") != want {
		t.Errorf("after the power cut: %q", got)
	}
	if want := "event 1 event 2 event 3"; at == "2" && strings.Join(got, " ") != want {
		t.Errorf("the cursor said that event 2 is there; after the power cut: %q", got)
	}
	b.must(b.c.Close())
}

func TestAFailedFlushWithinTheLibraryStopsTheChannelToo(t *testing.T) {
	d := newSimDisk()
	b := openSim(t, d)
	b.must(b.c.reopen(200))
	flushes := 0
	d.failing(func(what, name string) error {
		if what != "fsync" || !strings.HasPrefix(name, logDir) {
			return nil
		}
		if flushes++; flushes == 1 {
			return syscall.EIO
		}
		return nil // as a kernel answers that has thrown away what it could not write
	})
	if err := submit(b.c, "source.a", "1", strings.Repeat("x", 500))(); !errors.Is(err, channel.ErrIndeterminate) {
		t.Errorf("a roll whose flush failed answered %v", err)
	}
	if b.c.Stats().Stopped == nil || flushes != 1 {
		t.Errorf("the channel has stopped because of %v, after %d flushes", b.c.Stats().Stopped, flushes)
	}
	_ = b.c.Close()
}

// TestAFlushThatFailsWhereAWriteWasTakenBackStopsTheChannelOnce: the library flushes when it is closed, which it is to be opened
// again behind what was cut off.
func TestAFlushThatFailsWhereAWriteWasTakenBackStopsTheChannelOnce(t *testing.T) {
	d := newSimDisk()
	b := onSmallDisk(t, d, Options{})
	b.put("source.a", "1", "event 1")
	flushes, bad := 0, errors.New("bad sector")
	d.failing(func(what, name string) error {
		switch {
		case !strings.HasPrefix(name, logDir):
		case what == "write":
			return bad
		case what == "fsync":
			if flushes++; flushes == 2 { // the first one is of what was cut
				return syscall.EIO
			}
		}
		return nil
	})
	if err := submit(b.c, "source.a", "2", "event 2")(); !errors.Is(err, channel.ErrIndeterminate) || !errors.Is(err, bad) {
		t.Errorf("it answered %v", err)
	}
	if stopped := b.c.Stats().Stopped; !errors.Is(stopped, syscall.EIO) || errors.Is(stopped, bad) || b.said("channel has stopped") != 1 {
		t.Errorf("the channel has stopped because of %v, and said so %d times", stopped, b.said("channel has stopped"))
	}
	_ = b.c.Close()
}

// TestACommitIsOneWriteAndOneFlush: the folder is flushed before the first record of a segment, and not again.
func TestACommitIsOneWriteAndOneFlush(t *testing.T) {
	d := newSimDisk()
	b := openSim(t, d)
	b.reader("sink.a")
	var steps []string
	d.failing(func(what, name string) error {
		if strings.HasPrefix(name, logDir) {
			steps = append(steps, what+" "+name)
		}
		return nil
	})
	b.put("source.a", "1", "event")
	d.failing(nil)
	if want := []string{"write " + segmentName(1), "fsync " + segmentName(1)}; !slices.Equal(steps, want) {
		t.Errorf("it took %q, want %q", steps, want)
	}
	b.close()
}
