// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// sacrifices is what a run of the workload knows when its machine crashes while policies give events up.
type sacrifices struct {
	onFull    channel.FullPolicy
	lag       channel.Lag // of sink.slow
	n         int         // events submitted
	acked     int
	offsets   map[string]event.Offset    // of what was acknowledged and kept
	shed      map[string]bool            // what was acknowledged and not kept
	committed map[string]map[string]bool // by reader
	said      []channel.Drop
}

var sacrificing = map[string]sacrifices{
	"the oldest go":        {onFull: channel.DropOldest},
	"the newest go":        {onFull: channel.DropNewest},
	"a reader is skipped":  {lag: channel.Skip},
	"a reader is detached": {lag: channel.Detach},
}

func (s *sacrifices) options() Options {
	return Options{
		Dir: "sim", SegmentSize: 500, OnFull: s.onFull, Capacity: channel.Capacity{Events: 6},
		Observer: channel.Observer{Dropped: func(d channel.Drop) { s.said = append(s.said, d) }},
	}
}

func (s *sacrifices) workload(d *simDisk) error {
	s.offsets, s.shed, s.committed = map[string]event.Offset{}, map[string]bool{}, map[string]map[string]bool{}
	for range 2 {
		c, err := open(s.options(), d.system())
		if err != nil {
			return err
		}
		if err := errors.Join(s.round(c, d), c.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (s *sacrifices) round(c *Channel, d *simDisk) error {
	slow, err := c.Reader(channel.ReaderSpec{Name: "sink.slow", Lag: s.lag})
	if err != nil {
		return err
	}
	fast, err := c.Reader(channel.ReaderSpec{Name: "sink.fast"})
	if err != nil {
		return err
	}
	var stuck channel.Lease
	for i := range 12 {
		if err := s.put(c); err != nil {
			return err
		}
		if i == 2 {
			if stuck, err = slow.Take(context.Background(), channel.Want{Events: 2}); err != nil {
				return err
			}
		}
		if i == 9 {
			stuck.Rollback()
		}
		if err := s.take(fast, "sink.fast"); err != nil {
			return err
		}
		if i%4 == 3 {
			if err := c.flushPositions(false); err != nil {
				return err
			}
		}
		if i == 6 {
			d.writeBack(posDir)
		}
	}
	return nil
}

func (s *sacrifices) put(c *Channel) error {
	s.n++
	body := strconv.Itoa(s.n)
	end, lost := c.state.end, c.lost[channel.LostNewest]
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) // of the bubble: a disk that fails makes no room
	defer cancel()
	tx, err := c.Begin(ctx)
	if err != nil {
		return err
	}
	if err := tx.Put(channel.Put{Source: "source.a", Batch: batch(body), Changed: event.Cursor{"at": []byte(body)}}); err != nil {
		return err
	}
	if err := tx.Submit()(); err != nil {
		return err
	}
	if s.acked = s.n; c.lost[channel.LostNewest] > lost {
		s.shed[body] = true
	} else {
		s.offsets[body] = end
	}
	return nil
}

func (s *sacrifices) take(r channel.Reader, name string) error {
	if r.Info().Waiting == 0 {
		return nil
	}
	l, err := r.Take(context.Background(), channel.Want{})
	if err != nil {
		return err
	}
	if s.committed[name] == nil {
		s.committed[name] = map[string]bool{}
	}
	for _, e := range l.Delivery().Batch.All() {
		s.committed[name][string(e.Body)] = true
	}
	return l.Commit()
}

// check opens what a crash left: each acknowledged event comes, has come, or is on record as dropped.
func (s *sacrifices) check(d *simDisk) error {
	said := s.said
	c, err := open(s.options(), d.system())
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // what it would say is not looked at
	p, err := c.Cursor(context.Background(), "source.a")
	if err != nil {
		return err
	}
	if at, _ := strconv.Atoi(string(p.Cursor["at"])); at < s.acked || at > s.n {
		return fmt.Errorf("the cursor is at %d: %d were acknowledged, %d submitted", at, s.acked, s.n)
	}
	detached := false
	for _, d := range said {
		detached = detached || d.Loss == channel.LostDetach
	}
	for _, name := range []string{"sink.slow", "sink.fast"} {
		r, there := c.readers[name]
		if there && name == "sink.slow" && detached && s.n < 12 {
			return errors.New("the reader that was detached is there again")
		}
		if !there {
			continue
		}
		if err := s.checkReader(r, said); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	report, err := verify(d, event.Heap{}, "", nil, coderOf(nil))
	for i := range report.Damage {
		if strings.HasPrefix(report.Damage[i].File, logDir) { // a position may be torn
			err = errors.Join(err, &report.Damage[i])
		}
	}
	return err
}

func (s *sacrifices) checkReader(r *reader, said []channel.Drop) error {
	name, floor := r.entry.name, r.entry.floor
	if _, err := r.c.Reader(channel.ReaderSpec{Name: name}); err != nil {
		return err
	}
	bodies, err := drain(r)
	if err != nil {
		return err
	}
	comes := map[string]bool{}
	for i, body := range bodies {
		if comes[body] = true; s.shed[body] {
			return fmt.Errorf("%s came, and it was said to be dropped", body)
		}
		if n, _ := strconv.Atoi(body); i > 0 && s.onFull != channel.DropNewest && fmt.Sprint(n-1) != bodies[i-1] {
			return fmt.Errorf("it came as %v", bodies)
		}
	}
	for body, o := range s.offsets {
		switch {
		case !comes[body] && !s.committed[name][body] && o >= floor && o >= r.entry.first:
			return fmt.Errorf("%s at %d is lost: given up is only what lies below %d; there is %v", body, o, floor, bodies)
		case comes[body] && o < floor:
			return fmt.Errorf("%s at %d comes, though all below %d is given up", body, o, floor)
		}
		for _, d := range said {
			if comes[body] && d.Reader == name && d.Range.First <= o && o < d.Range.Next && d.Loss != channel.LostNewest && d.Loss != channel.LostDetach {
				return fmt.Errorf("%s at %d comes, and %v was said to be dropped", body, o, d.Range)
			}
		}
	}
	return nil
}

func TestACrashBeforeAnyStepLosesNothingButWhatIsOnRecordAsDropped(t *testing.T) {
	for name, kind := range sacrificing {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { crashEverywhere(t, kind) })
		})
	}
}

func crashEverywhere(t *testing.T, kind sacrifices) {
	t.Helper()
	whole, s := newSimDisk(), kind
	if err := s.workload(whole); err != nil {
		t.Fatal(err)
	}
	if len(s.said) == 0 {
		t.Error("nothing was given up")
	}
	states, stride := 0, 1
	if testing.Short() {
		stride = 7
	}
	for at := 1; at <= whole.steps && !t.Failed(); at += stride {
		for crash := range crashes {
			for _, half := range []bool{false, true} {
				d, s := newSimDisk(), kind
				d.crashAt, d.half = at, half
				if err := s.workload(d); err == nil {
					t.Fatalf("step %d of %d was not reached", at, whole.steps)
				}
				if err := s.check(d.crash(crash)); err != nil {
					t.Errorf("crash before step %d (%s), %s: %v", at, d.last, crash, err)
				}
				states++
			}
		}
	}
	t.Logf("%d states", states)
}
