// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/wal"
	"github.com/penstock-io/penstock/host/reliability"
)

const (
	fullDisk  = "size=2m"
	fullTries = 4000             // transactions that certainly fill it
	patience  = 20 * time.Second // for what the channel does by its own clock
)

// filler is a source that puts until the disk is full, and a sink that may empty it.
type filler struct {
	t    *testing.T
	dir  string
	h    *history
	c    *wal.Channel
	r    channel.Reader
	at   int
	gone chan struct{} // told when segments were unlinked; never closed
}

func (f *filler) open() {
	f.t.Helper()
	f.gone = make(chan struct{}, 1)
	step := func(name string) {
		if name == "dirsync" {
			select {
			case f.gone <- struct{}{}:
			default: // told already
			}
		}
	}
	c, err := wal.Open(wal.Options{Dir: f.dir, SegmentSize: segmentSize, OnFull: channel.Refuse, Observer: channel.Observer{Step: step}})
	if err != nil {
		f.t.Fatal(err)
	}
	f.c = c
	if f.r, err = c.Reader(channel.ReaderSpec{Name: "sink.a"}); err != nil {
		f.t.Fatal(err)
	}
	f.h.begins["sink.a"] = map[string]int{}
}

// put puts one transaction; where it is refused, the source is where it was.
func (f *filler) put() error {
	f.t.Helper()
	f.h.submitted["source.x"] = next(f.at)
	wait, err := submit(f.c, "source.x", f.at)
	if err == nil {
		err = wait()
	}
	if err == nil {
		f.at = next(f.at)
		f.h.acked["source.x"] = f.at
		return nil
	}
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, channel.ErrFull) {
		f.t.Fatalf("put on a full disk: %v", err)
	}
	p, cerr := f.c.Cursor(context.Background(), "source.x")
	if cerr != nil {
		f.t.Fatalf("the cursor on a full disk: %v", cerr)
	}
	if got := string(p.Cursor["at"]); got != decimal(f.at) {
		f.t.Fatalf("after a refusal the cursor is at %q, acknowledged were %d", got, f.at)
	}
	return err
}

// fill puts until the disk is full, and a few times more.
func (f *filler) fill() (acked int) {
	f.t.Helper()
	for range fullTries {
		if err := f.put(); err != nil {
			const again = 5
			for range again {
				if f.put() == nil { // a smaller one may fit
					acked++
				}
			}
			return acked
		}
		acked++
	}
	f.t.Fatal("the disk does not get full")
	return 0
}

// drain takes all, and waits until its room is given back.
func (f *filler) drain() {
	f.t.Helper()
	for len(f.gone) > 0 {
		<-f.gone
	}
	if err := f.h.checkDrained(f.r, "sink.a", map[string]int{"source.x": f.at}); err != nil {
		f.t.Fatalf("drain a full disk: %v", err)
	}
	select {
	case <-f.gone:
	case <-time.After(patience):
		f.t.Fatal("no segment was unlinked")
	}
}

// recover puts until it is taken again.
func (f *filler) recover() {
	f.t.Helper()
	ctx, stop := context.WithTimeout(f.t.Context(), patience)
	defer stop()
	for f.put() != nil {
		if ctx.Err() != nil {
			f.t.Fatal("the channel takes nothing, though there is room again")
		}
	}
}

func TestAFullDiskRefusesDrainsAndRecovers(t *testing.T) {
	needs(t, root)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fullDisk); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
	defer func() {
		if err := leave(dir); err != nil {
			t.Error(err)
		}
	}()
	y := newTally(t, reliability.FullDisk, "a channel, filled, drained and filled again")
	begun := time.Now()
	f := &filler{t: t, dir: dir + "/channel", h: newHistory()}
	f.h.exact = true
	f.open()
	const fillings = 3
	for range fillings {
		y.Checked += f.fill()
		f.drain()
		f.recover()
		y.Checked++
		y.Tried++
	}
	if err := f.c.Stats().Stopped; err != nil {
		t.Errorf("the channel has stopped: %v", err)
	}
	if err := f.c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.h.check(f.dir); err != nil {
		t.Fatal(err)
	}
	y.done(begun)
}
