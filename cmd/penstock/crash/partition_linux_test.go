// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"encoding/json"
	"flag"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	cuts         = flag.Int("cuts", 1, "how often each link of the chain loses all packets for a while, of which nobody is told; with few lines waiting every other time")
	partitionFor = flag.Duration("partitionfor", 7*time.Second, "for how long")
)

// TestAChainOfAgentsGoesOnAfterAPartition has each link lose all its packets, for longer than it takes to be noticed, while a few lines wait or a great many. Nobody is
// told that a connection is over: whoever sends finds out by itself, meanwhile. What waited begins to arrive soon after; the figures are in spec/performance.md.
func TestAChainOfAgentsGoesOnAfterAPartition(t *testing.T) {
	t.Parallel()
	n := newNamespaces(t)
	c := newChain(t, n)
	log, write := c.calmly()
	write(10)
	c.await(log.lines)
	for _, w := range n.wires {
		for i, lines := range []int{100_000, 10} {
			var took, gone []time.Duration
			for range (*cuts + 1 - i) / 2 {
				back, given := w.vanish(c, func() { write(lines) })
				took, gone = append(took, back.Round(time.Millisecond)), append(gone, given.Round(10*time.Millisecond))
				c.await(log.lines)
			}
			if len(took) > 0 {
				slices.Sort(took)
				t.Logf("link %d, %d lines waiting: after %v without a packet something comes within %v, median %v; it was given up after %v",
					w.i+1, lines, *partitionFor, took, took[len(took)/2], gone)
			}
		}
	}
	if err := log.expected.Flush(); err != nil {
		t.Fatal(err)
	}
	c.compare(log)
}

// vanish has a link lose all packets for a while, of which something happens first, until the sender has said that it has to try again. It answers how long after that
// another line is in the table, and after how long without a packet the sender said so.
func (w *wire) vanish(c *chain, first func()) (back, given time.Duration) {
	c.t.Helper()
	const patience = 30 * time.Second // of a busy machine; the system itself would go on trying for a quarter of an hour
	w.loses(before, 100)
	w.loses(behind, 100)
	cut := time.Now()
	first()
	time.Sleep(*partitionFor)
	for at := noticed(c.members[w.i], cut); given == 0; at = noticed(c.members[w.i], cut) {
		if time.Since(cut) > *partitionFor+patience {
			c.t.Fatalf("link %d has lost all packets for %v, and %s has not noticed\n%s", w.i+1, time.Since(cut), c.members[w.i].name, c.state(4<<10))
		}
		if !at.IsZero() {
			given = at.Sub(cut)
		}
		time.Sleep(20 * time.Millisecond)
	}
	had := c.rows()
	w.whole()
	whole := time.Now()
	for c.rows() == had {
		if time.Since(whole) > patience {
			c.t.Fatalf("link %d is whole for %v, and nothing comes\n%s", w.i+1, patience, c.state(4<<10))
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(whole), given
}

// rows is how many lines the table has.
func (c *chain) rows() int {
	c.t.Helper()
	n, err := strconv.Atoi(c.server.One("SELECT count(*) FROM lines"))
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// noticed is when an agent said first, after a moment, that its sink has to try again; zero: it has not.
func noticed(m *member, after time.Time) time.Time {
	for line := range strings.Lines(m.said.String()) {
		var said struct {
			Time      time.Time `json:"time"`
			Level     string    `json:"level"`
			Component string    `json:"component"`
		}
		if json.Unmarshal([]byte(line), &said) == nil && said.Level == "WARN" && said.Component == "sink.out" && said.Time.After(after) {
			return said.Time
		}
	}
	return time.Time{}
}
