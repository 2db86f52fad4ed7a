// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// setting is what a run that replays and purges a reader knows when its machine crashes: between which of the events that
// there are the reader may stand then.
type setting struct {
	least, most int
	replayed    bool
}

const settingEvents = 8

// workload drains a reader, replays it, drains a part again, and purges it. A second reader keeps all events in the log.
func (s *setting) workload(d *simDisk) error {
	c, err := open(Options{Dir: "sim", SegmentSize: 500}, d.system())
	if err != nil {
		return err
	}
	return errors.Join(s.move(c), c.Close())
}

func (s *setting) move(c *Channel) error {
	if _, err := c.Reader(channel.ReaderSpec{Name: "sink.b"}); err != nil {
		return err
	}
	a, err := c.Reader(channel.ReaderSpec{Name: "sink.a"})
	if err != nil {
		return err
	}
	for i := range settingEvents {
		if err := submit(c, "source.x", strconv.Itoa(i), strconv.Itoa(i))(); err != nil {
			return err
		}
	}
	s.most = settingEvents // from here on the reader may have them all
	if _, err := drain(a); err != nil {
		return err
	}
	const again, taken = 2, 3
	from, err := c.Since(time.Time{})
	if err == nil {
		err = errors.Join(a.Close(), c.Replay("sink.a", from+again))
	}
	if err != nil {
		return err
	}
	s.least, s.most, s.replayed = again, again+taken, true
	if a, err = c.Reader(channel.ReaderSpec{Name: "sink.a"}); err != nil {
		return err
	}
	l, err := a.Take(context.Background(), channel.Want{Events: taken})
	if err != nil {
		return err
	}
	if err := errors.Join(l.Commit(), c.flushPositions(false), a.Close()); err != nil {
		return err
	}
	s.most = settingEvents
	if _, err := c.Purge("sink.a"); err != nil {
		return err
	}
	s.least = settingEvents
	return errors.Join(c.flushPositions(false), submit(c, "source.x", "new", "new")())
}

// check opens what a crash left: the reader gets the events from some place on, all of them, and the place is one where it may stand.
func (s *setting) check(d *simDisk) error {
	c, err := open(Options{Dir: "sim", SegmentSize: 500}, d.system())
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // what it would say is not looked at
	var got [2][]string
	for i, name := range []string{"sink.a", "sink.b"} {
		if _, ok := c.readers[name]; !ok {
			return nil // the crash was too early
		}
		r, err := c.Reader(channel.ReaderSpec{Name: name})
		if err != nil {
			return err
		}
		if stream := r.Info().Stream; name == "sink.a" && s.replayed != strings.HasSuffix(stream, "/2") && s.most != settingEvents {
			return fmt.Errorf("it is stream %s; the replay was answered: %v", stream, s.replayed)
		}
		if got[i], err = drain(r); err != nil {
			return err
		}
	}
	first := len(got[1]) - len(got[0])
	if first < s.least || first > s.most || !slices.Equal(got[0], got[1][max(0, first):]) {
		return fmt.Errorf("%v came of %v; it may stand from %d to %d", got[0], got[1], s.least, s.most)
	}
	return nil
}

func TestACrashBeforeAnyStepOfAReplayOrPurgeKeepsWhatWasAnswered(t *testing.T) {
	whole := newSimDisk()
	if err := new(setting).workload(whole); err != nil {
		t.Fatal(err)
	}
	states := 0
	for at := 1; at <= whole.steps; at++ {
		for kind := range crashes {
			for _, half := range []bool{false, true} {
				d, s := newSimDisk(), &setting{}
				d.crashAt, d.half = at, half
				if err := s.workload(d); err == nil {
					t.Fatalf("step %d of %d was not reached", at, whole.steps)
				}
				if err := s.check(d.crash(kind)); err != nil {
					t.Errorf("crash before step %d (%s), %s: %v", at, d.last, kind, err)
				}
				states++
			}
		}
		if t.Failed() {
			break
		}
	}
	t.Logf("%d states", states)
}

func TestAReplayWhileOthersPutAndReclaimMissesNothing(t *testing.T) {
	b := newBench(t, Options{SegmentSize: 2000})
	fast, slow := b.reader("sink.fast"), b.reader("sink.slow")
	low := slow.Info().Low
	want := numbered("event", 300)
	done := make(chan error, 1)
	go func() {
		for i, body := range want {
			if err := submit(b.c, "source.x", strconv.Itoa(i), body)(); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	b.must(slow.Close())
	var from event.Offset
	for i := range 20 {
		from = low + event.Offset(i)
		for b.c.Ahead(from) == 0 { // it is put soon
			if _, err := drain(fast); err != nil {
				t.Fatal(err)
			}
		}
		b.must(b.c.Replay("sink.slow", from))
		b.must(b.c.flushPositions(false)) // what only the generation before needed goes
	}
	b.must(<-done)
	b.open()
	b.drained(b.reader("sink.slow"), want[from-low:]...)
	if stream := b.c.Stats().Readers["sink.slow"].Stream; !strings.HasSuffix(stream, "/21") {
		t.Errorf("it is stream %s", stream)
	}
}

func TestAPurgeThatCannotBeWrittenGivesUpNothing(t *testing.T) {
	b := newBench(t, Options{})
	r := b.reader("sink.a")
	b.put("source.x", "1", "one", "two")
	b.must(r.Close())
	b.must(b.c.flushPositions(true))
	b.c.mu.Lock()
	file := b.c.readers["sink.a"].file
	b.c.mu.Unlock()
	b.must(file.Close()) // as a disk that fails
	if n, err := b.c.Purge("sink.a"); err == nil || !errors.Is(err, os.ErrClosed) {
		t.Fatalf("%d events were given up: %v", n, err)
	}
	if s := b.c.Stats(); s.Dropped[channel.LostPurge] != 0 || s.Events != 2 {
		t.Errorf("stats are %+v", s)
	}
	b.drained(b.reader("sink.a"), "one", "two")
}

func TestWhatIsPickedIsNotGivenUpWhereThatCannotBeWritten(t *testing.T) {
	b := newBench(t, Options{})
	r := b.reader("sink.a")
	b.put("source.x", "1", "one", "two")
	low := r.Info().Low
	b.must(r.Close())
	b.must(b.c.flushPositions(true))
	b.c.mu.Lock()
	file := b.c.readers["sink.a"].file
	b.c.mu.Unlock()
	b.must(file.Close()) // as a disk that fails
	if n, err := b.c.Drop("sink.a", event.Range{First: low + 1, Next: low + 2}); err == nil || !errors.Is(err, os.ErrClosed) {
		t.Fatalf("%d events were given up: %v", n, err)
	}
	b.drained(b.reader("sink.a"), "one", "two")
}

// picking is what is known of a run that gives up the second and the fourth of four events, when its machine crashes.
type picking struct{ put, answered bool }

func (p *picking) workload(d *simDisk) error {
	c, err := open(Options{Dir: "sim"}, d.system())
	if err != nil {
		return err
	}
	return errors.Join(p.pick(c), c.Close())
}

func (p *picking) pick(c *Channel) error {
	r, err := c.Reader(channel.ReaderSpec{Name: "sink.a"})
	if err != nil {
		return err
	}
	low := r.Info().Low
	for i := range 4 {
		if err := submit(c, "source.x", strconv.Itoa(i), strconv.Itoa(i))(); err != nil {
			return err
		}
	}
	p.put = true
	if err := r.Close(); err != nil {
		return err
	}
	n, err := c.Drop("sink.a", event.Range{First: low + 1, Next: low + 2}, event.Range{First: low + 3, Next: low + 4})
	if err == nil && n != 2 {
		err = fmt.Errorf("%d events were given up", n)
	}
	p.answered = err == nil
	return err
}

func (p *picking) check(d *simDisk) error {
	c, err := open(Options{Dir: "sim"}, d.system())
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // what it would say is not looked at
	if _, ok := c.readers["sink.a"]; !ok || !p.put {
		return nil
	}
	r, err := c.Reader(channel.ReaderSpec{Name: "sink.a"})
	if err != nil {
		return err
	}
	got, err := drain(r)
	if text := strings.Join(got, " "); text != "0 2" && (p.answered || text != "0 1 2 3") {
		return fmt.Errorf("it gets %q; answered: %v; %w", text, p.answered, err)
	}
	return err
}

func TestACrashBeforeAnyStepOfAPickGivesUpAllThatWasPickedOrNothing(t *testing.T) {
	whole := newSimDisk()
	if err := new(picking).workload(whole); err != nil {
		t.Fatal(err)
	}
	for at := 1; at <= whole.steps; at++ {
		for kind := range crashes {
			d, p := newSimDisk(), &picking{}
			d.crashAt = at
			if err := p.workload(d); err == nil {
				t.Fatalf("step %d of %d was not reached", at, whole.steps)
			}
			if err := p.check(d.crash(kind)); err != nil {
				t.Fatalf("crash before step %d (%s), %s: %v", at, d.last, kind, err)
			}
		}
	}
}
