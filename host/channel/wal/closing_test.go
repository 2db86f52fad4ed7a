// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/penstock-io/penstock/host/channel"
)

// TestWhatIsCommittedWhileItClosesIsKeptOrRefused: the positions are written when nobody can move any more.
func TestWhatIsCommittedWhileItClosesIsKeptOrRefused(t *testing.T) {
	d := newSimDisk()
	var late func()
	o := Options{Dir: "sim", Observer: channel.Observer{Step: func(name string) {
		if name == "position" && late != nil {
			late()
		}
	}}}
	c, err := open(o, d.system())
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, c: c}
	r, err := c.Reader(channel.ReaderSpec{Name: "sink.a", Order: channel.AnyOrder})
	b.must(err)
	b.put("source.a", "1", "one")
	b.put("source.a", "2", "two")
	one, err := r.Take(t.Context(), channel.Want{Events: 1})
	b.must(err)
	two, err := r.Take(t.Context(), channel.Want{Events: 1})
	b.must(err)
	b.must(one.Commit())
	answer := errors.New("not asked")
	late = func() { answer, late = two.Commit(), nil }
	b.must(c.Close())
	b = openSim(t, d)
	if n := b.reader("sink.a").Info().Waiting; answer == nil && n != 0 || answer != nil && n != 1 {
		t.Errorf("a late commit answered %v, and %d events come again", answer, n)
	}
	b.close()
}

func TestCloseWaitsForWhoIsWriting(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		slow, gate := false, make(chan struct{})
		sys := faulty(realSystem(dir), func(step string) error {
			if step == "fsync" && slow {
				<-gate
			}
			return nil
		})
		c, err := open(Options{Dir: dir}, sys)
		if err != nil {
			t.Fatal(err)
		}
		slow = true
		put, closed := make(chan error, 1), make(chan error, 1)
		go func() { put <- submit(c, "source.a", "1", "event")() }()
		synctest.Wait()
		go func() { closed <- c.Close() }()
		synctest.Wait()
		if len(closed) > 0 {
			t.Error("it is closed, and somebody still writes")
		}
		close(gate)
		if err := errors.Join(<-put, <-closed); err != nil {
			t.Error(err)
		}
	})
}

func TestAnOpeningThatFailsLetsGoOfTheLog(t *testing.T) {
	d := newSimDisk()
	d.fail = func(what, name string) error {
		if what == "write" && strings.HasPrefix(name, logDir) {
			return syscall.EIO
		}
		return nil
	}
	if _, err := open(Options{Dir: "sim"}, d.system()); !errors.Is(err, syscall.EIO) {
		t.Fatalf("it answered %v", err)
	}
	if d.logs != 0 {
		t.Errorf("%d logs are open", d.logs)
	}
}

// TestAFullDiskIsClosedInOrderWithTheRoomOfTheBallast: saying so is worth it, since the next opening need not copy anything.
func TestAFullDiskIsClosedInOrderWithTheRoomOfTheBallast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDisk()
		d.bound = 4 << 20
		b := onSmallDisk(t, d, Options{Reserve: 64 << 10})
		b.put("source.a", "1", "event")
		if !d.has(reserveFile) {
			t.Fatal("there is no ballast")
		}
		d.failing(func(what, name string) error {
			if _, there := d.names[reserveFile]; there && what == "publish" && name == cleanFile {
				return syscall.ENOSPC
			}
			return nil
		})
		b.close()
		if d.has(reserveFile) || !d.has(cleanFile) {
			t.Errorf("ballast %v, closed in order %v", d.has(reserveFile), d.has(cleanFile))
		}
	})
}
