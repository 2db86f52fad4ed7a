// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

func TestTheLargestPositionFitsItsSlot(t *testing.T) {
	p := position{lane: channel.Lane{Key: strings.Repeat("k", channel.MaxName), Count: 2}}
	for i := range event.Offset(channel.MaxFinished) {
		p.finished = append(p.finished, event.Range{First: 2 * i, Next: 2*i + 1})
	}
	for i := range event.Offset(maxAssigned) {
		p.shares = append(p.shares, channel.Share{Range: event.Range{First: 2 * i, Next: 2*i + 1}, Member: strings.Repeat("m", channel.MaxName)})
	}
	b := p.append(nil)
	if len(b) > slotSize {
		t.Fatalf("it has %d bytes, a slot %d", len(b), slotSize)
	}
	if _, ok := parsePosition(b); !ok {
		t.Error("it cannot be read")
	}
	p.shares = append(p.shares, p.shares[0])
	if _, ok := parsePosition(p.append(nil)); ok {
		t.Error("one more is read too, for which there would be no room")
	}
}

// TestNoCrashForgetsWhatAMemberWasGiven crashes before each step, in every way, and looks who gets what then.
func TestNoCrashForgetsWhatAMemberWasGiven(t *testing.T) {
	for kind := range crashes {
		for at := 1; ; at++ {
			over := false
			synctest.Test(t, func(t *testing.T) { over = crashSharing(t, kind, at) })
			if over {
				break
			}
		}
	}
}

// crashSharing says whether nothing was left to crash at.
func crashSharing(t *testing.T, kind string, at int) bool {
	d := newSimDisk()
	b := openSim(t, d)
	d.with(func() { d.steps, d.crashAt = 0, at })
	r, err := b.c.Reader(channel.ReaderSpec{Name: "group", Order: channel.AnyOrder})
	given := map[event.Offset]string{}
	for i := 0; err == nil && i < 6; i++ {
		if err = submit(b.c, "source.a", fmt.Sprint(i), "event")(); err != nil {
			break
		}
		var l channel.Lease
		member := string(rune('a' + i%2))
		if l, err = r.Take(t.Context(), channel.Want{Events: 1, Member: member}); err != nil {
			break
		}
		given[l.Delivery().Range.First] = member
		l.Rollback()
		time.Sleep(2 * positionDelay)
	}
	done := err == nil
	d.with(func() { d.crashAt = 1 }) // nothing more gets to the disk
	_ = b.c.Close()
	left := openSim(t, d.crash(kind))
	defer left.c.Close()
	r, err = left.c.Reader(channel.ReaderSpec{Name: "group", Order: channel.AnyOrder})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	for {
		l, err := r.Take(ctx, channel.Want{Events: 1, Member: "c"})
		if err != nil {
			return done
		}
		if whose := given[l.Delivery().Range.First]; whose != "" {
			t.Errorf("%s, step %d: %v was given to %s, and is given to c", kind, at, l.Delivery().Range, whose)
		}
		_ = l.Commit()
	}
}

func TestOneSlotThatKnowsWhatMembersWereGivenIsAlwaysOnDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDisk()
		b := openSim(t, d)
		r := b.reader("group")
		var steps []string
		d.failing(func(step, name string) error {
			if strings.HasPrefix(name, posDir+"/") {
				steps = append(steps, step)
			}
			return nil
		})
		for i := range 4 {
			b.put("source.a", fmt.Sprint(i), "event")
			l, err := r.Take(t.Context(), channel.Want{Events: 1, Member: "a"})
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 && !slices.Equal(steps, []string{"write", "fsync"}) {
				t.Errorf("before the first delivery: %q", steps)
			}
			_ = l.Commit()
			time.Sleep(2 * positionDelay)
		}
		unflushed := 0
		d.with(func() {
			for _, s := range steps {
				if unflushed++; s == "fsync" {
					unflushed = 0
				}
				if unflushed > 1 {
					t.Errorf("both slots are not on disk: %q", steps)
				}
			}
			if len(steps) < 8 {
				t.Errorf("the position was written but %d times", len(steps)/2)
			}
		})
		d.failing(nil)
		b.close()
	})
}

func TestWhatCannotBeWrittenDownIsNotHandedOutAndStaysNobodys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDisk()
		b := openSim(t, d)
		r := b.reader("group")
		b.put("source.a", "1", "event")
		d.failing(func(step, name string) error {
			if strings.HasPrefix(name, posDir+"/") {
				return syscall.EIO
			}
			return nil
		})
		if _, err := r.Take(t.Context(), channel.Want{Member: "a"}); !errors.Is(err, syscall.EIO) {
			t.Errorf("take says %v", err)
		}
		if doubt := r.Info().InDoubt; len(doubt) > 0 {
			t.Errorf("in doubt is %v", doubt)
		}
		if _, err := r.(channel.Sharer).Settle("a", false); !errors.Is(err, syscall.EIO) {
			t.Errorf("settling says %v", err)
		}
		d.failing(nil)
		l, err := r.Take(t.Context(), channel.Want{Member: "b"})
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Commit()
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.(channel.Sharer).Settle("a", false); !errors.Is(err, channel.ErrClosed) {
			t.Errorf("settling with a closed reader says %v", err)
		}
		again := b.reader("group")
		b.put("source.a", "2", "event")
		if l, err = again.Take(t.Context(), channel.Want{Member: "b"}); err != nil {
			t.Fatal(err)
		}
		_ = l.Commit()
		b.close()
		if _, err := again.(channel.Sharer).Settle("b", true); !errors.Is(err, channel.ErrClosed) {
			t.Errorf("settling with a closed channel says %v", err)
		}
	})
}

func TestASlotWhoseSharesReachBeyondItIsNotRead(t *testing.T) {
	p := position{shares: []channel.Share{{Range: event.Range{First: 1, Next: 2}, Member: "sink.a"}}}
	whole := p.append(nil)
	for cut := posFixed; cut < len(whole); cut++ {
		if _, ok := parsePosition(whole[:cut]); ok {
			t.Errorf("the first %d bytes of %d are read", cut, len(whole))
		}
	}
	for _, length := range []byte{7, 255} { // of the name
		b := slices.Clone(whole)
		b[posFixed+16] = length
		if _, ok := parsePosition(b); ok {
			t.Errorf("a name of %d bytes is read", length)
		}
	}
}
