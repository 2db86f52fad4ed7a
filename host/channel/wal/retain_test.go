// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
)

// fill puts n events of 1 KiB.
func (b *bench) fill(n int) (bodies []string) {
	b.Helper()
	for i := range n {
		body := fmt.Sprint(b.filled+i, strings.Repeat(".", 1<<10))
		b.put("source.a", fmt.Sprint(b.filled+i), body)
		bodies = append(bodies, body)
	}
	b.filled += n
	return bodies
}

// segments is how many are on disk once positions are written and what is superfluous is unlinked.
func (b *bench) segments() int {
	b.Helper()
	time.Sleep(2 * positionDelay)
	names, err := listSegments(b.c.sys)
	b.must(err)
	return len(names)
}

func TestWhatAllHaveCommittedStaysForItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDisk()
		o := Options{Retain: 24 * time.Hour, SegmentSize: 4 << 10, Capacity: channel.Capacity{Events: 30}}
		b := onSmallDisk(t, d, o)
		r := b.reader("sink.a")
		b.drained(r, b.fill(20)...)
		time.Sleep(12 * time.Hour)
		first := b.segments()
		b.drained(r, b.fill(20)...)
		if s := b.c.Stats(); s.Events != 0 || s.ReplayFrom != 0 || !b.begins() {
			t.Errorf("what stays counts: %+v", s)
		}
		both := b.segments()
		time.Sleep(11 * time.Hour)
		if got := b.segments(); first < 4 || got != both {
			t.Errorf("%d segments, then %d, a day later %d", first, both, got)
		}
		b.close()
		b = onSmallDisk(t, d, o)
		b.reader("sink.a")
		if got := b.segments(); got != both || b.c.Stats().ReplayFrom != 0 {
			t.Errorf("%d segments are left by an opening, of %d", got, both)
		}
		time.Sleep(2 * time.Hour) // nothing moves but the time
		if got, s := b.segments(), b.c.Stats(); got < 4 || got > both-3 || s.ReplayFrom == 0 {
			t.Errorf("%d segments are left of %d when half of them are old, from %d", got, both, s.ReplayFrom)
		}
		time.Sleep(24 * time.Hour)
		if got := b.segments(); got != 1 {
			t.Errorf("%d segments are left when all are old", got)
		}
		b.close()
		b.must(verifySim(d))
	})
}

func TestWhatStaysForReplaysGoesFirstWhenTheDiskIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keep = 64 << 10
		d := newSimDisk()
		d.bound = 1 << 20
		b := onSmallDisk(t, d, Options{Retain: 24 * time.Hour, SegmentSize: 4 << 10, MinFree: keep})
		r := b.reader("sink.a")
		b.drained(r, b.fill(200)...)
		d.leave(keep - 1)
		before := b.segments()
		time.Sleep(roomPoll)
		b.drained(r, b.fill(1)...) // it is seen now
		after := b.segments()
		if !b.begins() || b.said("short of disk") > 0 {
			t.Error("puts wait, though what stays for replays takes enough")
		}
		if after > before-2 || after < before/2 {
			t.Errorf("%d segments are left of %d: not what was lacking", after, before)
		}
		d.leave(0)
		b.must(b.c.flushPositions(false))
		err := submit(b.c, "source.b", "1", strings.Repeat(".", 20<<10))()
		if !errors.Is(err, channel.ErrFull) {
			t.Fatal("there was room", err)
		}
		time.Sleep(3 * roomPoll)
		if !b.begins() {
			t.Error("it does not recover by what stays for replays")
		}
		b.close()
	})
}

func TestOnAFullDiskPoliciesGiveUpWhatMakesRoom(t *testing.T) {
	for policy, wants := range map[channel.FullPolicy]bool{channel.Block: false, channel.DropOldest: true} {
		synctest.Test(t, func(t *testing.T) {
			const keep = 64 << 10
			d := newSimDisk()
			d.bound = 1 << 20
			b := onSmallDisk(t, d, Options{SegmentSize: 4 << 10, MinFree: keep, OnFull: policy})
			r := b.reader("sink.a")
			all := b.fill(60)
			d.leave(keep - 1)
			time.Sleep(roomPoll)
			all = append(all, b.fill(1)...)
			time.Sleep(3 * roomPoll)
			if b.begins() != wants {
				t.Errorf("policy %d: it recovered: %v", policy, !wants)
			}
			lost := b.c.Stats().Dropped[channel.LostOldest]
			if (lost > 0) != wants || lost > 30 {
				t.Errorf("policy %d: %d events are dropped", policy, lost)
			}
			b.drained(r, all[lost:]...)
			b.close()
		})
	}
}

func TestWhereAllOfALogWouldNotMakeRoomNothingIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDisk()
		d.bound = 1 << 20
		b := onSmallDisk(t, d, Options{SegmentSize: 4 << 10, MinFree: 512 << 10, OnFull: channel.DropOldest})
		r := b.reader("sink.a")
		all := b.fill(60)
		d.leave(100 << 10)
		time.Sleep(roomPoll)
		all = append(all, b.fill(1)...)
		time.Sleep(5 * roomPoll)
		if b.begins() {
			t.Error("there is room")
		}
		b.drained(r, all...)
		b.close()
	})
}
