// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/plugins/postgres/pgtest"
)

// chainTexts are the agents, from the log to the table. Links and what is listened on are those of the ground that the chain stands on.
var chainTexts = []struct{ name, text string }{
	{"edge", `
agent "edge" {
  data_dir = "DIR/data"
}

source "file" "app" {
  into = channel.main
  config { paths = ["DIR/logs/app.log"] }
}

channel "wal" "main" {
  capacity = "1GiB"
}

sink "hop" "out" {
  from     = channel.main
  tls      = tls.edge
  delivery = "exactly_once"
  config { address = "tls://LINK0" }
}

tls "edge" {
  cert = "DIR/edge.pem"
  key  = "DIR/edge.key"
  ca   = "DIR/relay.pem"
}
`},
	{"relay", `
agent "relay" {
  data_dir = "DIR/relay/data"
}

source "hop" "in" {
  into = channel.main
  tls  = tls.above
  config {
    listen  = "tls://LISTEN0"
    clients = ["edge"]
  }
}

channel "wal" "main" {
  max_events = 5000 # often full
}

sink "hop" "out" {
  from     = channel.main
  tls      = tls.below
  delivery = "exactly_once"
  config {
    address     = "tls://LINK1"
    compression = "zstd"
  }
}

tls "above" {
  cert = "DIR/relay.pem"
  key  = "DIR/relay.key"
  ca   = "DIR/edge.pem"
}

tls "below" {
  cert = "DIR/relay.pem"
  key  = "DIR/relay.key"
  ca   = "DIR/far.pem"
}
`},
	{"far", `
agent "far" {
  data_dir = "DIR/far/data"
}

source "hop" "in" {
  into = channel.main
  tls  = tls.far
  config {
    listen  = "tls://LISTEN1"
    clients = ["relay"]
  }
}

channel "wal" "main" {
  capacity = "64MiB"
}

sink "postgres" "out" {
  from        = channel.main
  order       = "none"
  connections = 3
  delivery    = "exactly_once"
  batch {
    events = 1000
    wait   = "20ms"
  }
  retry { max = "1s" }
  config {
    host     = "HOST2"
    port     = PORT2
    tls      = "off"
    timeout  = "5s"
    database = "postgres"
    user     = "postgres"
    table    = "lines"
    columns  = { line = "body", "number" = "offset" }
  }
}

tls "far" {
  cert = "DIR/far.pem"
  key  = "DIR/far.key"
  ca   = "DIR/relay.pem"
}
`},
}

// member is an agent of the chain, which is started again whenever it has ended.
type member struct {
	*rig
	name   string
	cmd    *exec.Cmd  // nil: it is down
	ended  chan error // how its process ended; closed after that, so that whoever waits for its end may do so twice
	place  int        // where it runs
	ground ground
	aim    string    // where it ends by itself; empty: nowhere
	back   time.Time // when one that is down starts
	dying  bool      // it was killed, which is to be seen yet
	calm   bool      // it is killed no more
}

// up starts it; every other time it is to end at some step.
func (m *member) up() {
	m.t.Helper()
	var args []string
	m.aim = ""
	if !m.calm && m.rng.IntN(2) == 0 {
		steps := []string{"put", "fsync", "take", "write"}
		m.aim = steps[m.rng.IntN(len(steps))]
		args = []string{"--kill-at", fmt.Sprintf("%s:%d", m.aim, 1+m.rng.IntN(100))}
	}
	cmd := m.command(args...)
	if err := m.ground.within(m.place, cmd.Start); err != nil {
		m.t.Fatal(err)
	}
	ended := make(chan error, 1)
	m.cmd, m.ended, m.dying = cmd, ended, false
	go func() { // until the process has ended; there is room
		ended <- cmd.Wait()
		close(ended)
	}()
}

// kill ends it from outside.
func (m *member) kill() {
	m.dying = true
	_ = m.cmd.Process.Kill() // it may end at its aim at this moment
}

// chain is three agents, the links between them and to the database, and what is being done to them.
type chain struct {
	t       *testing.T
	rng     *rand.Rand
	members []*member
	ground  ground
	server  *pgtest.Server
	faults  []fault
	busy    map[any]bool // what something is wrong with already: a member, a link, the server
	due     []ending
	done    map[string]int // what was done, how often
	lines   int            // that the table will have, when all are written; 0: they are being written
	work    sync.WaitGroup

	progress string // of the table, when it was last looked at
	moved    time.Time
	pause    time.Duration // the longest without progress
	paused   bool          // longer than worthTelling, by now
	recent   []string      // what was done of late, and when
	balances int           // pictures of agents that were looked at
}

// ending is the end of something that was done for a while.
type ending struct {
	at   time.Time
	what any
	undo func()
}

// newChain makes the agents and the server; nothing runs yet but the server.
func newChain(t *testing.T, g ground) *chain {
	t.Helper()
	base := newRig(t)
	c := &chain{t: t, rng: rand.New(rand.NewPCG(*seed, 7)), ground: g, busy: map[any]bool{}, done: map[string]int{}, faults: append(g.faults(), faults...)}
	place := []string{"DIR", base.dir}
	var hosts []string // where each place listens
	for i := range len(chainTexts) {
		listens, reached := g.link(i)
		host, port, err := net.SplitHostPort(reached)
		if err != nil {
			t.Fatal(err)
		}
		place = append(place, fmt.Sprint("LISTEN", i), listens, fmt.Sprint("LINK", i), reached, fmt.Sprint("HOST", i), host, fmt.Sprint("PORT", i), port)
		hosts = append(hosts, listens)
	}
	c.serve(hosts[len(hosts)-1])
	for i, one := range chainTexts {
		r := base
		if i > 0 {
			r = &rig{t: t, dir: base.path(one.name), cfg: base.path(one.name + ".hcl")}
		}
		r.rng, r.byAim = rand.New(rand.NewPCG(*seed, uint64(10+i))), map[string]int{}
		var names []string // that its certificate has, beside its own
		if i > 0 {
			host, _, _ := net.SplitHostPort(hosts[i-1])
			names = append(names, host)
		}
		certify(t, base, one.name, names...)
		if err := os.WriteFile(r.cfg, []byte(strings.NewReplacer(place...).Replace(one.text)), 0o644); err != nil {
			t.Fatal(err)
		}
		c.members = append(c.members, &member{rig: r, name: one.name, place: i, ground: g})
	}
	t.Cleanup(func() {
		for _, m := range c.members {
			if m.cmd != nil {
				_ = m.cmd.Process.Kill() // it may have ended
				<-m.ended
			}
		}
		c.work.Wait()
	})
	return c
}

// serve starts the database, at the last place.
func (c *chain) serve(address string) {
	c.t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		c.t.Fatal(err)
	}
	there := func(start func() error) error { return c.ground.within(len(chainTexts), start) }
	c.server = pgtest.StartWithin(c.t, there, "listen_addresses="+host, "port="+port, "max_wal_size=4GB")
	c.server.Authenticate("host all all all trust")
	c.server.Exec(linesTable)
}

// tend sees to what ended by itself, or is over, until now.
func (c *chain) tend(now time.Time) {
	c.t.Helper()
	for _, m := range c.members {
		if m.cmd == nil {
			if now.After(m.back) {
				m.up()
			}
			continue
		}
		select {
		case err := <-m.ended:
			c.gone(m, err)
			m.cmd, m.back = nil, now.Add(time.Duration(m.rng.IntN(400))*time.Millisecond)
		default:
		}
	}
	var later []ending
	for _, d := range c.due {
		if now.Before(d.at) {
			later = append(later, d)
			continue
		}
		d.undo()
		delete(c.busy, d.what)
	}
	c.due = later
}

// gone notes how an agent ended, which must have been by a kill.
func (c *chain) gone(m *member, err error) {
	c.t.Helper()
	exit, failed := errors.AsType[*exec.ExitError](err)
	if !failed || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		c.t.Fatalf("%s ended by itself: %v (seed %d)\n%s", m.name, err, *seed, &m.said)
	}
	if m.aim != "" {
		m.byAim[m.aim]++ // more or less: a kill from outside may have come first
	}
	c.done[m.name+" ended"]++
}

// lasts notes what is wrong with something, for how long, and how it ends.
func (c *chain) lasts(what any, long time.Duration, undo func()) {
	c.busy[what] = true
	c.due = append(c.due, ending{time.Now().Add(long), what, undo})
}

// spell is how long something lasts: one in ten is as long as may be, the others are short.
func (c *chain) spell(most time.Duration) time.Duration {
	if c.rng.IntN(10) > 0 {
		most = min(most, time.Second)
	}
	return 20*time.Millisecond + time.Duration(c.rng.Int64N(int64(most)))
}

// anyMember is one that runs, or nil.
func (c *chain) anyMember() *member {
	m := c.members[c.rng.IntN(len(c.members))]
	if m.cmd == nil || c.busy[m] {
		return nil
	}
	return m
}

// fault is something that is done, with a weight. It says whether it was: not, where something is wrong with its object already.
type fault struct {
	what   string
	weight int
	do     func(c *chain) bool
}

// faults are what is done on any ground.
var faults = []fault{
	{"agent killed", 10, (*chain).killAgent},
	{"agent stopped", 8, (*chain).stopAgent},
	{"plugin killed", 8, func(c *chain) bool { return c.signalPlugin(syscall.SIGKILL) }},
	{"plugin stopped", 5, func(c *chain) bool { return c.signalPlugin(syscall.SIGSTOP) }},
	{"database killed", 5, (*chain).killServer},
	{"database stopped", 4, (*chain).stopServer},
	{"sessions ended", 4, (*chain).endSessions},
	{"table locked", 4, (*chain).lockTable},
}

// harm does one thing at random.
func (c *chain) harm() {
	c.t.Helper()
	sum := 0
	for _, h := range c.faults {
		sum += h.weight
	}
	n := c.rng.IntN(sum)
	for _, h := range c.faults {
		if n -= h.weight; n < 0 {
			if h.do(c) {
				c.done[h.what]++
				c.recent = append(c.recent[max(0, len(c.recent)-19):], time.Now().Format("05.0 ")+h.what)
			}
			return
		}
	}
}

func (c *chain) killAgent() bool {
	m := c.anyMember()
	if m != nil {
		m.kill()
	}
	return m != nil
}

func (c *chain) stopAgent() bool {
	m := c.anyMember()
	if m == nil {
		return false
	}
	process := m.cmd.Process
	_ = process.Signal(syscall.SIGSTOP) // it may end at its aim at this moment
	c.lasts(m, c.spell(5*time.Second), func() { _ = process.Signal(syscall.SIGCONT) })
	return true
}

// signalPlugin kills, or stops for a while, one of the processes that write into the database.
func (c *chain) signalPlugin(signal syscall.Signal) bool {
	far := c.members[len(c.members)-1]
	if far.cmd == nil {
		return false
	}
	children := served(far.cmd.Process.Pid)
	if len(children) == 0 || c.busy[far] {
		return false
	}
	pid := children[c.rng.IntN(len(children))]
	if syscall.Kill(pid, signal) != nil {
		return false // it has ended
	}
	if signal == syscall.SIGSTOP {
		c.lasts(pid, c.spell(5*time.Second), func() { _ = syscall.Kill(pid, syscall.SIGCONT) }) // it may have been killed
	}
	return true
}

func (c *chain) killServer() bool {
	if c.busy[c.server] {
		return false
	}
	c.server.Kill()
	c.lasts(c.server, c.spell(2*time.Second), c.server.Start)
	return true
}

// stopServer stops all its processes.
func (c *chain) stopServer() bool {
	text, err := os.ReadFile(filepath.Join(c.server.Dir, "data", "postmaster.pid"))
	if c.busy[c.server] || err != nil {
		return false
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil || syscall.Kill(pid, syscall.SIGSTOP) != nil {
		return false
	}
	all := append([]int{pid}, served(pid)...)
	signal := func(s syscall.Signal) {
		for _, pid := range all {
			_ = syscall.Kill(pid, s) // a session may have ended
		}
	}
	signal(syscall.SIGSTOP)
	c.lasts(c.server, c.spell(5*time.Second), func() { signal(syscall.SIGCONT) })
	return true
}

func (c *chain) endSessions() bool {
	if c.busy[c.server] {
		return false
	}
	_, err := c.server.Try(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'penstock %' AND random() < 0.7`)
	return err == nil
}

// lockTable has a session of another keep the table to itself.
func (c *chain) lockTable() bool {
	if c.busy[c.server] {
		return false
	}
	long := c.spell(3 * time.Second)
	c.lasts(c.server, long, func() {})
	c.work.Go(func() { // ends soon after
		_, _ = c.server.Try(fmt.Sprintf("BEGIN; LOCK TABLE lines; SELECT pg_sleep(%f); COMMIT", long.Seconds())) // where it gets no lock, nothing was locked
	})
	return true
}

// worthTelling is a pause that is longer than any harm lasts, with what it takes to be over it.
const worthTelling = 30 * time.Second

// look notes how far the table has come, and holds an agent to the law of conservation.
func (c *chain) look(now time.Time) {
	c.t.Helper()
	const patience = 3 * time.Minute // of a busy machine
	if !c.busy[c.server] {
		rows, err := c.server.Try("SELECT coalesce(max(next), 0) FROM penstock_ranges")
		if err == nil && rows[0][0] != c.progress {
			if c.paused {
				c.t.Logf("%v without a new line in the table, until now, %s", now.Sub(c.moved), now.Format("05.0"))
			}
			c.progress, c.moved, c.paused = rows[0][0], now, false
		}
	}
	if !c.paused && now.Sub(c.moved) > worthTelling {
		c.paused = true
		c.t.Logf("nothing has come into the table for %v; of late: %s\n%s", worthTelling, strings.Join(c.recent, ", "), c.state(0))
	}
	c.pause = max(c.pause, now.Sub(c.moved))
	if now.Sub(c.moved) > patience {
		c.t.Fatalf("nothing has come into the table for %v (seed %d); %s\n%s", patience, *seed, c.missing(c.lines), c.state(4<<10))
	}
	if m := c.anyMember(); m != nil {
		ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
		defer cancel()
		before, err := admin.Ask(ctx, m.path("data"))
		after, aerr := admin.Ask(ctx, m.path("data"))
		if err != nil || aerr != nil || before.PID != after.PID {
			return // it has just started, or ended
		}
		c.balances++
		for _, wrong := range imbalance(before, after) {
			c.t.Errorf("%s: %s (seed %d)", m.name, wrong, *seed)
		}
	}
}

// state is how the agents are, and so many bytes of what each said last.
func (c *chain) state(said int) string {
	var b strings.Builder
	for _, m := range c.members {
		text := m.said.String()
		fmt.Fprintf(&b, "==> %s\n%s\n%s\n", m.name, m.state(), text[max(0, len(text)-said):])
	}
	return b.String()
}
