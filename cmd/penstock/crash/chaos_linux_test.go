// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/reliability"
	"github.com/penstock-io/penstock/plugins/postgres/pgtest"
)

var (
	chaosFor    = flag.Duration("chaosfor", 10*time.Second, "for how long things are done to a chain of agents; `make chaos` has longer forms")
	chaosEvents = flag.Int("chaosevents", 0, "how many lines go through it meanwhile; 0: 1000 a second")
)

// calmLines are written when nothing is wrong any more, so that every figure of every agent is known.
const calmLines = 1000

// TestAChainOfAgentsHoldsEveryEventOnce has lines go from a log through three agents into a table, while agents, plugins, links and the database are
// killed, stopped, cut off and slow, several at a time. Then the table has each line once, in the order of the log, and the figures of each agent add up.
func TestAChainOfAgentsHoldsEveryEventOnce(t *testing.T) {
	t.Parallel()
	suffer(t, newProxies(t), "a chain of three agents, its links, plugins and PostgreSQL")
}

// TestAChainOfAgentsOnNetworksThatLosePackets is the same, with each agent and the database on a network of its own: packets are lost on their way, so that
// nobody is told that a connection is over, and whoever is at its other end may have been another for long.
func TestAChainOfAgentsOnNetworksThatLosePackets(t *testing.T) {
	t.Parallel()
	suffer(t, newNamespaces(t), "a chain of three agents, on networks that lose packets")
}

// suffer has a chain on some ground suffer for as long as the flags say.
func suffer(t *testing.T, g ground, what string) {
	total := *chaosEvents
	if total == 0 {
		total = int(1000 * chaosFor.Seconds())
	}
	c := newChain(t, g)
	t.Logf("again: make chaos SEED=%d FOR=%v EVENTS=%d", *seed, *chaosFor, total)
	begun := time.Now()
	log := newLogger(t, c.members[0].path("logs", "app.log"), c.members[0].path("expected"), rand.New(rand.NewPCG(*seed, 2)))
	c.run(log, total, *chaosFor)
	harmed := time.Since(begun)
	c.calm()
	c.await(log.lines)
	c.figures(log)
	c.compare(log)
	kinds := 0
	for _, h := range c.faults {
		if c.done[h.what] > 0 {
			kinds++
		}
	}
	t.Logf("%d lines, %d MB, %d rotations, in %.0f s of which %.0f had:\n%s", log.lines, log.written>>20, log.rotated, time.Since(begun).Seconds(), harmed.Seconds(), c.report())
	reliability.Report(t, reliability.Row{Part: reliability.Kill, What: what, Tried: c.harmed(), Checked: log.lines, Seed: *seed,
		Seconds: time.Since(begun).Seconds(), Note: fmt.Sprintf("%d kinds of harm; longest pause %.1f s", kinds, c.pause.Seconds())})
}

// run has the log written while harm is done, for so long at least.
func (c *chain) run(log *logger, total int, long time.Duration) {
	c.t.Helper()
	stop, written := make(chan struct{}), make(chan error, 1)
	go func() { written <- log.run(total, int(float64(total)/long.Seconds()), c.came(log), stop) }()
	finished := false
	defer func() { // also of a test that fails
		close(stop)
		if !finished {
			<-written
		}
	}()
	const step, glance = 25 * time.Millisecond, 500 * time.Millisecond
	begun := time.Now()
	next, look := begun.Add(time.Second), begun
	c.moved = begun
	for now := begun; !finished || now.Sub(begun) < long; now = time.Now() {
		c.tend(now)
		if now.After(next) {
			c.harm()
			next = now.Add(50*time.Millisecond + time.Duration(c.rng.IntN(1000))*time.Millisecond)
		}
		if now.After(look) {
			c.look(now)
			look = now.Add(glance)
		}
		select {
		case err := <-written:
			if finished = true; err != nil {
				c.t.Fatal(err)
			}
		case <-time.After(step):
		}
	}
}

// came is what a logger asks before it begins another file: whether a line of the present one is in the table.
func (c *chain) came(log *logger) func() int64 {
	return func() int64 {
		rows, err := c.server.Try("SELECT line FROM lines ORDER BY id DESC LIMIT 1")
		if err != nil || len(rows) == 0 {
			return 0
		}
		_, after, _ := strings.Cut(rows[0][0], " seq=")
		seq, _, _ := strings.Cut(after, " ")
		if n, err := strconv.Atoi(seq); err == nil && n > log.first {
			return log.start + 1
		}
		return 0
	}
}

// calm ends all that is wrong, and starts the agents anew, to be killed no more.
func (c *chain) calm() {
	c.t.Helper()
	for _, m := range c.members {
		m.calm = true
	}
	c.tend(time.Now().Add(time.Hour)) // all is over, and who is down comes back
	for _, m := range c.members {
		if m.cmd == nil || m.aim == "" && !m.dying {
			continue
		}
		m.kill() // it may have ended
		c.gone(m, <-m.ended)
		m.up()
	}
	c.tend(time.Now().Add(2 * time.Hour)) // those too that had ended just now
}

// await waits until so many lines are in the table.
func (c *chain) await(lines int) {
	c.t.Helper()
	c.lines = lines
	for have := 0; have < lines; time.Sleep(200 * time.Millisecond) { // of more, the comparison tells which
		c.look(time.Now())
		var err error
		if have, err = strconv.Atoi(c.server.One("SELECT count(*) FROM lines")); err != nil {
			c.t.Fatal(err)
		}
	}
	time.Sleep(300 * time.Millisecond) // for what should not come
	for _, m := range c.members {
		m.addsUp()
	}
}

// figures ends the agents as an operator does, starts them, and has some more lines go through: each agent counts each of them once.
func (c *chain) figures(log *logger) {
	t := c.t
	t.Helper()
	for _, m := range c.members {
		if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		hangs := stuck(m.cmd.Process)
		err := <-m.ended
		if hangs.Stop(); err != nil {
			t.Fatalf("%s did not end well: %v\n%s", m.name, err, &m.said)
		}
		m.up()
	}
	if err := log.burst(calmLines); err != nil {
		t.Fatal(err)
	}
	if err := log.expected.Flush(); err != nil {
		t.Fatal(err)
	}
	c.await(log.lines)
	for _, m := range c.members {
		m.until("each figure of "+m.name+" is that of what went through", func(s admin.Status) bool {
			main := s.Channels[0]
			for _, one := range s.Components {
				if one.Events != calmLines || one.Waiting != 0 || one.Dead != 0 || one.Rejected != 0 {
					return false
				}
			}
			r := main.Readers[0]
			return main.Put == calmLines && main.Events == 0 && len(main.Readers) == 1 && r.Offered == calmLines && r.Committed == calmLines &&
				r.Held == 0 && r.Passed == 0 && r.Dropped == 0 && r.Waiting == 0 && r.Unaccounted == 0
		})
	}
}

// compare holds the table against the log, line by line.
func (c *chain) compare(log *logger) {
	t, edge := c.t, c.members[0]
	t.Helper()
	got := edge.path("out", "table")
	read := exec.Command("psql", "-X", "-q", "-A", "-t", "-v", "FETCH_COUNT=10000", "-h", c.server.Dir, "-p", strconv.Itoa(c.server.Port), "-U", pgtest.User,
		"-o", got, "-c", "SELECT line FROM lines ORDER BY number")
	if out, err := read.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	d := &database{rig: edge.rig}
	d.same("the table", edge.path("expected"), got)
}

// harmed is how often something was done.
func (c *chain) harmed() (n int) {
	for _, h := range c.faults {
		n += c.done[h.what]
	}
	return n
}

// report says what was done, how often.
func (c *chain) report() string {
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(c.done)) {
		fmt.Fprintf(&b, "%6d  %s\n", c.done[what], what)
	}
	b.WriteString(c.ground.report())
	for _, m := range c.members {
		fmt.Fprintf(&b, "        %s was to end at %v\n", m.name, m.byAim)
	}
	fmt.Fprintf(&b, "%6d  pictures of an agent that add up\n", c.balances)
	fmt.Fprintf(&b, "%6.1f  seconds at most without a new line in the table\n", c.pause.Seconds())
	return b.String()
}
