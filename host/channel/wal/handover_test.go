// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/reliability"
	"github.com/penstock-io/penstock/spec/event"
)

// lanesOf is a layout by the attribute "key"; one of 1 is a reader of all.
func lanesOf(count int) (specs []channel.ReaderSpec) {
	if count == 1 {
		return []channel.ReaderSpec{{Name: "sink.a"}}
	}
	for i := range count {
		lane := channel.Lane{Key: "key", Index: uint32(i), Count: uint32(count)}
		specs = append(specs, channel.ReaderSpec{Name: "sink.a/" + lane.String(), Lane: lane})
	}
	return specs
}

// shift is a sink whose lanes change, and what its destination has got. Key k gets "k/0", "k/1"…
type shift struct {
	put, acked map[string]int // by key
	got        map[string]int // by key, the next that must come
	newest     int            // lanes of the newest layout of which something came
}

const shiftKeys = 3

// workload does what an agent does: changes the layout, drains the old one, closes and forgets it, reads the new.
func (s *shift) workload(d *simDisk) error {
	last := 1
	for _, count := range []int{2, 3} {
		c, err := open(Options{Dir: "sim", SegmentSize: 700}, d.system())
		if err != nil {
			return err
		}
		if err := errors.Join(s.change(c, last, count), c.Close()); err != nil {
			return err
		}
		last = count
	}
	return nil
}

func (s *shift) change(c *Channel, from, to int) error {
	if len(c.Stats().Readers) == 0 {
		if err := c.Handover(nil, lanesOf(from)); err != nil {
			return err
		}
	}
	old, err := openAll(c, lanesOf(from))
	if err != nil {
		return err
	}
	if err := errors.Join(s.fill(c), s.take(old, 1)); err != nil {
		return err
	}
	var names []string
	for _, spec := range lanesOf(from) {
		names = append(names, spec.Name)
	}
	if err := c.Handover(names, lanesOf(to)); err != nil {
		return err
	}
	if err := errors.Join(s.fill(c), s.take(old, 1), s.drain(old)); err != nil {
		return err
	}
	for i, r := range old {
		if err := r.Close(); err != nil {
			return err
		}
		if to == 3 {
			continue // as where there is no room to write it down: what is drained stays so
		}
		if err := c.Forget(names[i]); err != nil {
			return err
		}
	}
	next, err := openAll(c, lanesOf(to))
	return errors.Join(err, s.take(next, 1), s.fill(c), s.take(next, 2))
}

func openAll(c *Channel, specs []channel.ReaderSpec) (readers []channel.Reader, err error) {
	for _, spec := range specs {
		r, err := c.Reader(spec)
		if err != nil {
			return nil, err
		}
		readers = append(readers, r)
	}
	return readers, nil
}

// fill puts two events of each key, in two transactions.
func (s *shift) fill(c *Channel) error {
	for range 2 {
		var w event.Builder
		for i := range shiftKeys {
			key := fmt.Sprint("key", i)
			body := fmt.Appendf(nil, "%s/%d", key, s.put[key])
			s.put[key]++
			if err := w.Append(event.Event{Attributes: []event.Attribute{{Key: "key", Value: []byte(key)}}, Body: body}); err != nil {
				return err
			}
		}
		tx, err := c.Begin(context.Background())
		if err != nil {
			return err
		}
		if err := tx.Put(channel.Put{Source: "source.a", Batch: w.Batch()}); err != nil {
			return err
		}
		if err := tx.Submit()(); err != nil {
			return err
		}
		maps.Copy(s.acked, s.put)
	}
	return nil
}

// take delivers a lease of at most n events of each reader that has something.
func (s *shift) take(readers []channel.Reader, n int) error {
	for _, r := range readers {
		if r.Info().Waiting == 0 {
			continue
		}
		ctx, stop := context.WithTimeout(context.Background(), 5*time.Millisecond) // what waits may be other lanes'
		err := s.deliver(ctx, r, n)
		stop()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
	return nil
}

func (s *shift) deliver(ctx context.Context, r channel.Reader, n int) error {
	l, err := r.Take(ctx, channel.Want{Events: n})
	if err != nil {
		return err
	}
	defer l.Rollback()
	if count := max(1, int(r.Info().Lane.Count)); count < s.newest {
		return fmt.Errorf("%v came to one of %d lanes, and there were deliveries to %d before", l.Delivery().Range, count, s.newest)
	} else if count > s.newest {
		s.newest = count
	}
	for _, e := range l.Delivery().Batch.All() {
		key, number, _ := strings.Cut(string(e.Body), "/")
		i := 0
		fmt.Sscan(number, &i)
		if i > s.got[key] {
			return fmt.Errorf("%s came before %d of its key", e.Body, s.got[key])
		}
		s.got[key] = max(s.got[key], i+1)
	}
	return l.Commit()
}

func (s *shift) drain(readers []channel.Reader) error {
	for _, r := range readers {
		for {
			if err := s.deliver(context.Background(), r, 3); errors.Is(err, channel.ErrDrained) {
				break
			} else if err != nil {
				return err
			}
		}
	}
	return nil
}

// check opens what a crash left and reads it all, layout after layout.
func (s *shift) check(d *simDisk) error {
	c, err := open(Options{Dir: "sim", SegmentSize: 700}, d.system())
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // it has been read by then
	there := c.Stats().Readers
	if len(there) == 0 && len(s.got) == 0 {
		return nil // it was never set up
	}
	names := slices.SortedFunc(maps.Keys(there), func(a, b string) int {
		return cmp.Or(cmp.Compare(there[a].End-1, there[b].End-1), cmp.Compare(a, b)) // 0, none, is the last
	})
	whole := 0 // lanes that have no end
	for _, name := range names {
		if there[name].End == 0 {
			whole++
		}
	}
	for _, name := range names {
		info := there[name]
		if info.End == 0 && whole != max(1, int(info.Lane.Count)) {
			return fmt.Errorf("%d readers of a layout of %d", whole, info.Lane.Count)
		}
		r, err := c.Reader(channel.ReaderSpec{Name: name, Lane: info.Lane})
		if err != nil {
			return err
		}
		if info.End > 0 {
			if err := s.drain([]channel.Reader{r}); err != nil {
				return err
			}
			continue
		}
		if err := s.drainOpen(c, r, name); err != nil {
			return err
		}
	}
	for key, n := range s.acked {
		if s.got[key] < n {
			return fmt.Errorf("%s: %d were acknowledged, %d came", key, n, s.got[key])
		}
	}
	return nil
}

// drainOpen gives a reader an end, here and now, so that it can be drained.
func (s *shift) drainOpen(c *Channel, r channel.Reader, name string) error {
	if err := c.Handover([]string{name}, nil); err != nil {
		return err
	}
	return s.drain([]channel.Reader{r})
}

func newShift() *shift {
	return &shift{put: map[string]int{}, acked: map[string]int{}, got: map[string]int{}}
}

func TestACrashAtAnyStepOfAHandoverKeepsEveryKeyInOrder(t *testing.T) {
	synctest.Test(t, crashShifts) // some takes wait in vain
}

func crashShifts(t *testing.T) {
	whole := newSimDisk()
	if err := newShift().workload(whole); err != nil {
		t.Fatal(err)
	}
	states := 0
	for at := 1; at <= whole.steps && !t.Failed(); at++ {
		for kind := range crashes {
			for _, half := range []bool{false, true} {
				d, s := newSimDisk(), newShift()
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
	}
	reliability.Report(t, reliability.Row{Part: reliability.Simulated, What: "before each step of a change of lanes", Tried: states})
}

func TestAHandoverThatCannotBeWrittenChangesNothing(t *testing.T) {
	d := newSimDisk()
	c, err := open(Options{Dir: "sim"}, d.system())
	if err != nil {
		t.Fatal(err)
	}
	s := newShift()
	if err := errors.Join(c.Handover(nil, lanesOf(1)), s.fill(c)); err != nil {
		t.Fatal(err)
	}
	r, err := openAll(c, lanesOf(1))
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	d.failing(func(step, name string) error {
		if step == "write" && strings.HasPrefix(name, logDir) {
			return broken
		}
		return nil
	})
	if err := c.Handover([]string{"sink.a"}, lanesOf(3)); !errors.Is(err, broken) {
		t.Fatalf("error %v", err)
	}
	d.failing(nil)
	if n := len(c.Stats().Readers); n != 1 || r[0].Info().End != 0 {
		t.Errorf("%d readers, the old one ends at %d", n, r[0].Info().End)
	}
	if err := errors.Join(s.fill(c), c.Handover([]string{"sink.a"}, lanesOf(3)), s.drain(r)); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(s.got, s.acked) {
		t.Errorf("came %v of %v", s.got, s.acked)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// TestRepairFindsLanesAndEndsInThePositions: what the log says of who is registered is damaged.
func TestRepairFindsLanesAndEndsInThePositions(t *testing.T) {
	b, s := newBench(t, Options{}), newShift()
	b.must(errors.Join(b.c.Handover(nil, lanesOf(1)), s.fill(b.c)))
	old, err := openAll(b.c, lanesOf(1))
	b.must(errors.Join(err, s.take(old, 1)))
	b.must(errors.Join(b.c.Handover([]string{"sink.a"}, lanesOf(3)), s.fill(b.c)))
	b.open()
	before := b.c.Stats().Readers
	dir := b.copyDir()
	path := filepath.Join(dir, filepath.FromSlash(segmentName(1)))
	data, err := os.ReadFile(path)
	b.must(err)
	for _, r := range recordsOf(t, 1, data) {
		if c, err := parseChanges(r.tlvBytes()); r.kind == kindState || err == nil && len(c.readers) > 0 {
			flip(t, path, r.at+r.size-2)
		}
	}
	_, err = Repair(dir, false, nil)
	b.must(err)
	b = reopened(t, dir)
	for name, was := range before {
		if is := b.c.Stats().Readers[name]; is.Lane != was.Lane || is.End != was.End || is.Low != was.Low || is.Stream != was.Stream {
			t.Fatalf("%s was %+v, is %+v", name, was, is)
		}
	}
	old, err = openAll(b.c, lanesOf(1))
	b.must(errors.Join(err, s.drain(old)))
	next, err := openAll(b.c, lanesOf(3))
	b.must(err)
	for _, r := range next {
		b.must(s.drainOpen(b.c, r, "sink.a/"+r.Info().Lane.String()))
	}
	if !maps.Equal(s.got, s.acked) {
		t.Errorf("came %v of %v", s.got, s.acked)
	}
}

// TestOfWhatIsLostEachLaneCountsAllAsDropped: nobody knows any more which lanes it was in.
func TestOfWhatIsLostEachLaneCountsAllAsDropped(t *testing.T) {
	b := newBench(t, Options{SegmentSize: 700, OnCorrupt: Quarantine})
	s := newShift()
	b.must(b.c.Handover(nil, lanesOf(3)))
	for range 12 {
		b.must(s.fill(b.c))
	}
	b.open() // the ring is empty
	b.strike()
	for _, spec := range lanesOf(3) {
		b.must(b.c.Handover([]string{spec.Name}, nil))
		r, err := b.c.Reader(spec)
		b.must(err)
		for err == nil {
			var l channel.Lease
			if l, err = r.Take(t.Context(), channel.Want{Events: 4}); err == nil {
				b.must(l.Commit())
			}
		}
		if i := r.Info(); !errors.Is(err, channel.ErrDrained) || i.Dropped != shiftKeys || i.Offered != i.Committed+i.Passed+i.Dropped {
			t.Errorf("%v: %+v, %v", i.Lane, i.Tally, err)
		}
	}
	if got := b.c.Stats().Dropped[channel.LostCorrupt]; got != shiftKeys {
		t.Errorf("the channel counts %d", got)
	}
}

// TestAChangeOfLanesOnAFullDiskWaitsForRoom: meanwhile the old lanes go on, and nothing of a key is lost or overtaken.
func TestAChangeOfLanesOnAFullDiskWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s := newSimDisk(), newShift()
		d.bound = 4 << 20
		b := onSmallDisk(t, d, Options{SegmentSize: 4 << 10})
		b.must(b.c.Handover(nil, lanesOf(3)))
		old, err := openAll(b.c, lanesOf(3))
		b.must(err)
		d.leave(40 << 10)
		for err = s.fill(b.c); err == nil; {
			err = s.fill(b.c)
		}
		change := func() error {
			var names []string
			for _, spec := range lanesOf(3) {
				names = append(names, spec.Name)
			}
			return b.c.Handover(names, lanesOf(4))
		}
		for range 3 {
			if herr := change(); !errors.Is(err, channel.ErrFull) || !errors.Is(herr, channel.ErrFull) {
				t.Fatalf("a put answered %v, the change %v", err, herr)
			}
			b.must(s.take(old, 2))
		}
		for _, r := range old {
			if i := r.Info(); i.End != 0 || i.Offered != i.Committed+i.Passed+i.Waiting || len(b.c.Stats().Readers) != 3 {
				t.Errorf("an old lane: %+v", i)
			}
		}
		s.put = maps.Clone(s.acked)
		for range 20 {
			b.must(s.take(old, 100))
		}
		b.must(b.c.flushPositions(false)) // segments go
		d.with(func() { d.other = 0 })
		time.Sleep(roomPoll + time.Millisecond)
		_, err = b.c.Cursor(t.Context(), "source.a") // as a source that was refused
		b.must(errors.Join(err, s.fill(b.c), change(), s.fill(b.c), s.drain(old)))
		next, err := openAll(b.c, lanesOf(4))
		b.must(err)
		for i, r := range next {
			b.must(s.drainOpen(b.c, r, lanesOf(4)[i].Name))
		}
		if !maps.Equal(s.got, s.acked) {
			t.Errorf("came %v of %v", s.got, s.acked)
		}
		b.close()
	})
}

// TestAHandoverWaitsForWhatItsReadersAloneAreToSee: written while the reader is given its end, it would lie behind that, where nobody sees it.
func TestAHandoverWaitsForWhatItsReadersAloneAreToSee(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		written := make(chan struct{}) // closed by the test
		slow := false
		c, err := open(Options{Dir: dir}, faulty(realSystem(dir), func(step string) error {
			if step == "put" && slow {
				slow = false
				<-written
			}
			return nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{T: t, c: c}
		r := b.reader("sink.a")
		put, handed := make(chan error, 1), make(chan error, 1)
		slow = true
		wait := submitOnly(b, "sink.a", "mine")
		go func() { put <- wait() }()
		synctest.Wait()
		go func() { handed <- c.Handover([]string{"sink.a"}, lanesOf(2)) }()
		synctest.Wait()
		close(written)
		b.must(<-put)
		b.must(<-handed)
		b.drained(r, "mine")
		if _, err := r.Take(t.Context(), channel.Want{}); !errors.Is(err, channel.ErrDrained) {
			t.Errorf("then it answered %v", err)
		}
		b.close()
	})
}

// submitOnly submits an event that one reader alone is to see.
func submitOnly(b *bench, reader, body string) (wait func() error) {
	b.Helper()
	tx, err := b.c.Begin(b.Context())
	b.must(err)
	b.must(tx.Put(channel.Put{Source: "dead", Batch: batch(body), Only: reader}))
	return tx.Submit()
}
