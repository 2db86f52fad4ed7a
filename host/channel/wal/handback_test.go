// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
)

// slowly is a channel on a simulated disk on which the first segment is opened for reading when the returned channel is closed.
func slowly(t *testing.T, step func(name string)) (b *bench, read chan struct{}) {
	t.Helper()
	d := newSimDisk()
	sys := d.system()
	slow, read := false, make(chan struct{})
	sys.files = oddFiles{sys.files, func(name string) error {
		if slow && name == segmentName(1) {
			<-read
		}
		return nil
	}}
	c, err := open(Options{Dir: "sim", Observer: channel.Observer{Step: step}}, sys)
	if err != nil {
		t.Fatal(err)
	}
	b = &bench{T: t, c: c}
	b.reader("sink.a")
	b.put("source.a", "1", "event")
	for len(c.ring.list) > 0 {
		c.ring.drop()
	}
	slow = true
	return b, read
}

// later runs f at the side.
func later(f func() error) (done chan error) {
	done = make(chan error, 1)
	go func() { done <- f() }()
	synctest.Wait()
	return done
}

func taking(b *bench, r channel.Reader) (done chan error) {
	return later(func() error {
		l, err := r.Take(b.Context(), channel.Want{})
		if err == nil {
			l.Rollback()
		}
		return err
	})
}

// TestATakeThatReadsWhenItIsClosedGetsNothing, and what it read is for the next.
func TestATakeThatReadsWhenItIsClosedGetsNothing(t *testing.T) {
	for name, end := range map[string]func(b *bench, r channel.Reader) error{
		"the reader":  func(_ *bench, r channel.Reader) error { return r.Close() },
		"the channel": func(b *bench, _ channel.Reader) error { return b.c.Close() },
	} {
		synctest.Test(t, func(t *testing.T) {
			b, read := slowly(t, nil)
			r := b.c.readers["sink.a"]
			took := taking(b, r)
			closed := later(func() error { return end(b, r) })
			if len(took)+len(closed) > 0 {
				t.Errorf("%s: it is closed, and somebody still reads", name)
			}
			close(read)
			if err := <-took; !errors.Is(err, channel.ErrClosed) {
				t.Errorf("%s: the take answered %v", name, err)
			}
			b.must(<-closed)
			if !b.c.closed {
				b.drained(b.reader("sink.a"), "event")
			}
			b.close()
		})
	}
}

// TestAReaderThatWasClosedOpensNothingAnyMore: nobody would close it.
func TestAReaderThatWasClosedOpensNothingAnyMore(t *testing.T) {
	b := newBench(t, Options{})
	r := b.reader("sink.a").(*reader)
	b.put("source.a", "1", "event")
	b.must(r.Close())
	if _, _, err := r.leaseFromDisk(t.Context(), channel.Want{Bytes: 1 << 20}); !errors.Is(err, channel.ErrClosed) || r.tape.scan != nil {
		t.Errorf("it answered %v; the log is open: %v", err, r.tape.scan != nil)
	}
	got := r.next(channel.Want{Bytes: 1 << 20})
	if err := r.pickFromDisk(t.Context(), &got); !errors.Is(err, channel.ErrClosed) || r.tape.scan != nil {
		t.Errorf("for a lane it answered %v; the log is open: %v", err, r.tape.scan != nil)
	}
}

// TestCloseWaitsForWhoReadsForAReaderThatIsBeingClosed too.
func TestCloseWaitsForWhoReadsForAReaderThatIsBeingClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var flushed chan struct{}
		b, read := slowly(t, func(name string) {
			if name == "fsync" && flushed != nil {
				<-flushed
			}
		})
		flushed = make(chan struct{})
		r := b.c.readers["sink.a"]
		took := taking(b, r)
		readerClosed := later(r.Close)
		put := later(func() error { return submit(b.c, "source.a", "2", "another")() })
		closed := later(b.c.Close) // waits for who writes; meanwhile the reader hands its name back
		close(flushed)
		synctest.Wait()
		if len(closed) > 0 {
			t.Error("it is closed, and somebody still reads its log")
		}
		close(read)
		if err := <-took; !errors.Is(err, channel.ErrClosed) {
			t.Errorf("the take answered %v", err)
		}
		b.must(errors.Join(<-readerClosed, <-put, <-closed))
	})
}

// TestAReaderThatIsClosedAfterItsChannelWritesNothing: the directory may be another's by then.
func TestAReaderThatIsClosedAfterItsChannelWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDisk()
		b := openSim(t, d)
		r := b.reader("sink.a")
		b.put("source.a", "1", "event")
		b.drained(r, "event")
		d.failing(func(_, name string) error {
			if strings.HasPrefix(name, posDir) {
				return syscall.EIO
			}
			return nil
		})
		if err := b.c.Close(); !errors.Is(err, syscall.EIO) {
			t.Errorf("Close answered %v", err)
		}
		d.failing(nil)
		steps := d.steps
		b.must(r.Close())
		if n := d.steps - steps; n != 0 {
			t.Errorf("%d steps were made on the disk", n)
		}
	})
}

// TestAReaderThatCouldNotBeOpenedIsOpenedLater: its name is not in use meanwhile.
func TestAReaderThatCouldNotBeOpenedIsOpenedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDisk()
		b := openSim(t, d)
		b.reader("sink.a")
		b.must(b.c.Close())
		b.must(d.Remove(positionName("sink.a")))
		b = openSim(t, d)
		d.failing(func(_, name string) error {
			if strings.HasPrefix(name, posDir) {
				return syscall.EIO
			}
			return nil
		})
		if _, err := b.c.Reader(channel.ReaderSpec{Name: "sink.a"}); !errors.Is(err, syscall.EIO) {
			t.Errorf("it answered %v", err)
		}
		d.failing(nil)
		b.reader("sink.a")
		b.close()
	})
}

// TestAReaderWhoseEndLiesAheadGetsWhatComesBeforeIt, as repair may leave it where the log has lost its last records.
func TestAReaderWhoseEndLiesAheadGetsWhatComesBeforeIt(t *testing.T) {
	b := newBench(t, Options{})
	r := b.reader("sink.a").(*reader)
	r.entry.end = r.end() + 1
	b.put("source.a", "1", "one")
	b.put("source.a", "2", "two")
	b.drained(r, "one")
	if tally := r.Info().Tally; tally.Offered != 1 || tally.Committed != 1 {
		t.Errorf("of its events it has counted %+v", tally)
	}
}

// TestWhatTheChannelItselfWritesWaitsForNoCompany: somebody waits for it.
func TestWhatTheChannelItselfWritesWaitsForNoCompany(t *testing.T) {
	inBubble(t, func(b *bench) {
		begun := time.Now()
		b.reader("sink.a")
		if took := time.Since(begun); took != 0 {
			t.Errorf("a reader was registered after %v", took)
		}
	})
}
