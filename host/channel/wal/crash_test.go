// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/reliability"
)

// history is what a run of the workload knows when its machine crashes. Source s sends "s/1", "s/2"…
// with its cursor at the same number.
type history struct {
	submitted map[string]int // by source
	acked     map[string]int
	committed map[string]map[string]bool // by reader: bodies whose lease was committed
	known     map[string]bool            // readers whose registration was answered
	given     map[string]string          // incarnation/offset → body, for ever
	disk      *simDisk
	level     Durability
}

func newHistory() *history {
	return &history{map[string]int{}, map[string]int{}, map[string]map[string]bool{}, map[string]bool{}, map[string]string{}, nil, Fsync}
}

// workload puts, takes, rolls, reclaims, closes and opens again, and stops at the first error.
func (h *history) workload(d *simDisk) error {
	h.disk = d
	for round := range 3 {
		c, err := open(Options{Dir: "sim", SegmentSize: 500, Durability: h.level}, d.system())
		if err != nil {
			return err
		}
		if err := errors.Join(h.round(c, round), c.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (h *history) round(c *Channel, round int) error {
	a, err := h.reader(c, "sink.a")
	if err != nil {
		return err
	}
	if err := h.put(c, "idle"); err != nil && round == 0 {
		return err
	}
	for i := range 5 {
		if err := h.put(c, "source.x", "source.y", "source.x"); err != nil {
			return err
		}
		if err := h.take(c, a, "sink.a", 2+i); err != nil {
			return err
		}
		if i == 1 || i == 3 {
			if err := c.flushPositions(false); err != nil {
				return err
			}
		}
		if i == 1 && h.level != Fsync {
			c.flushNow()
		}
		if i == 1 {
			h.disk.writeBack(posDir)
		}
	}
	b, err := h.reader(c, "sink.b")
	if err != nil {
		return err
	}
	if err := h.put(c, "source.y"); err != nil {
		return err
	}
	return errors.Join(h.take(c, b, "sink.b", 3+round), c.flushPositions(false))
}

func (h *history) reader(c *Channel, name string) (channel.Reader, error) {
	r, err := c.Reader(channel.ReaderSpec{Name: name})
	if err == nil {
		h.known[name] = true
	}
	return r, err
}

// put submits one transaction of each source, in one group.
func (h *history) put(c *Channel, sources ...string) error {
	var waits []func() error
	for _, s := range sources {
		h.submitted[s]++
		n := strconv.Itoa(h.submitted[s])
		waits = append(waits, submit(c, s, n, s+"/"+n))
	}
	var errs []error
	for i, wait := range waits {
		err := wait()
		if err == nil {
			h.acked[sources[i]]++
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (h *history) take(c *Channel, r channel.Reader, name string, n int) error {
	if r.Info().Waiting == 0 {
		return nil
	}
	l, err := r.Take(context.Background(), channel.Want{Events: n})
	if err != nil {
		return err
	}
	bodies, err := h.remember(r, l)
	if err != nil {
		return err
	}
	if err := l.Commit(); err != nil {
		return err
	}
	if h.committed[name] == nil {
		h.committed[name] = map[string]bool{}
	}
	for _, b := range bodies {
		h.committed[name][b] = true
	}
	return nil
}

// remember keeps which event had which number, and complains when a number meant another event before.
func (h *history) remember(r channel.Reader, l channel.Lease) (bodies []string, err error) {
	for o, e := range l.Delivery().Batch.All() {
		body := string(e.Body)
		bodies = append(bodies, body)
		var in channel.Incarnation
		for _, i := range r.Info().Incarnations {
			if i.First <= o {
				in = i
			}
		}
		id := fmt.Sprintf("%x/%d", in.ID, o)
		if was, ok := h.given[id]; ok && was != body {
			return nil, fmt.Errorf("%s was %s, now it is %s", id, was, body)
		}
		h.given[id] = body
	}
	return bodies, nil
}

// check opens what a crash left, and compares it with what is known. kept: all that was acknowledged must be there.
func (h *history) check(d *simDisk, kept bool) error {
	c, err := open(Options{Dir: "sim", SegmentSize: 500, Durability: h.level}, d.system())
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // what it would say is not looked at
	at := map[string]int{}
	for s, n := range h.submitted {
		p, err := c.Cursor(context.Background(), s)
		if err != nil {
			return err
		}
		at[s], _ = strconv.Atoi(string(p.Cursor["at"]))
		if kept && at[s] < h.acked[s] || at[s] > n {
			return fmt.Errorf("the cursor of %s is at %d: %d were acknowledged, %d submitted", s, at[s], h.acked[s], n)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(h.known)) {
		if _, ok := c.readers[name]; !ok {
			return fmt.Errorf("reader %s is gone", name)
		}
		if err := h.checkReader(c, name, at); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	// And it goes on.
	for s := range h.submitted {
		h.submitted[s] = at[s]
	}
	return h.put(c, "source.x", "source.y")
}

// checkReader reads all that is left, which must be in order, without a hole, up to the cursor, and
// begin no later than behind what the reader had committed.
func (h *history) checkReader(c *Channel, name string, at map[string]int) error {
	r, err := c.Reader(channel.ReaderSpec{Name: name})
	if err != nil {
		return err
	}
	seen := map[string][]int{}
	for r.Info().Waiting > 0 {
		l, err := r.Take(context.Background(), channel.Want{Events: 3})
		if err != nil {
			return err
		}
		bodies, err := h.remember(r, l)
		if err != nil {
			return err
		}
		for _, b := range bodies {
			s, n, _ := strings.Cut(b, "/")
			i, _ := strconv.Atoi(n)
			seen[s] = append(seen[s], i)
		}
		if err := l.Commit(); err != nil {
			return err
		}
	}
	for s, last := range at {
		got := seen[s]
		for i := 1; i < len(got); i++ {
			if got[i] != got[i-1]+1 {
				return fmt.Errorf("%s came as %v", s, got)
			}
		}
		if len(got) > 0 && got[len(got)-1] != last {
			return fmt.Errorf("%s came as %v, the cursor is at %d", s, got, last)
		}
		first := last + 1
		if len(got) > 0 {
			first = got[0]
		}
		for i := h.begins(name, s); i < first && i <= last; i++ {
			if !h.committed[name][fmt.Sprintf("%s/%d", s, i)] {
				return fmt.Errorf("%s/%d was not committed, and is lost: it came as %v", s, i, got)
			}
		}
	}
	return nil
}

// begins is the first event of a source that a reader was promised: sink.b came late.
func (h *history) begins(reader, source string) int {
	if reader == "sink.a" {
		return 1
	}
	first := h.submitted[source] + 1
	for b := range h.committed[reader] {
		if s, n, _ := strings.Cut(b, "/"); s == source {
			i, _ := strconv.Atoi(n)
			first = min(first, i)
		}
	}
	return first
}

func TestACrashBeforeAnyStepLosesNothingAcknowledged(t *testing.T) {
	whole := newSimDisk()
	if err := newHistory().workload(whole); err != nil {
		t.Fatal(err)
	}
	states := 0
	for at := 1; at <= whole.steps; at++ {
		for kind := range crashes {
			for _, half := range []bool{false, true} {
				d, h := newSimDisk(), newHistory()
				d.crashAt, d.half = at, half
				err := h.workload(d)
				if err == nil {
					t.Fatalf("step %d of %d was not reached", at, whole.steps)
				}
				if err := h.check(d.crash(kind), true); err != nil {
					t.Errorf("crash before step %d (%s), %s: %v", at, d.last, kind, err)
				}
				states++
			}
		}
		if t.Failed() {
			break
		}
	}
	reliability.Report(t, reliability.Row{Part: reliability.Simulated, What: "before each step, six kinds, half a write or none", Tried: states})
}
