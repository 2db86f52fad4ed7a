// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/address/addresstest"
	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/plugins/postgres/pgtest"
)

var edges = flag.Int("edges", 3, "how many agents send to the two collectors of the tiers")

const (
	tierLines   = 3000 // of each edge
	tierRounds  = 50   // in which they are written
	connections = 8    // that two collectors may have to the database, by what the example says
)

// tiers are the agents of examples/tiers, and their database.
type tiers struct {
	t      *testing.T
	dir    string
	server *pgtest.Server
	ports  [2]int // of the collectors
	most   int    // connections that were seen at a time
}

func newTiers(t *testing.T) *tiers {
	t.Helper()
	x := &tiers{t: t, dir: t.TempDir(), server: pgtest.Start(t, "log_connections=on", "log_disconnections=on")}
	table, err := os.ReadFile("../../../examples/tiers/table.sql")
	if err != nil {
		t.Fatal(err)
	}
	x.server.Exec(`CREATE ROLE penstock LOGIN`)
	x.server.Exec(string(table))
	x.server.Exec(`GRANT SELECT, INSERT, UPDATE ON events TO penstock; GRANT SELECT, INSERT, UPDATE, DELETE ON penstock_ranges TO penstock`)
	names := []string{filepath.Join(x.dir, "certs"), "collector-1", "collector-2"}
	for i := range *edges {
		names = append(names, fmt.Sprintf("edge-%d", i+1))
	}
	if out, err := exec.Command("../../../examples/hop/certs.sh", names...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	x.ports = [2]int{addresstest.FreePort(t), addresstest.FreePort(t)}
	place := strings.NewReplacer("/var/run/postgresql", x.server.Dir, `database = "events"`, `database = "postgres"`,
		"7421", strconv.Itoa(x.ports[0]), "7422", strconv.Itoa(x.ports[1]))
	for _, kind := range []string{"edge", "collector"} {
		text, err := os.ReadFile("../../../examples/tiers/" + kind + "/pipeline.hcl")
		if err == nil {
			err = os.WriteFile(filepath.Join(x.dir, kind+".hcl"), []byte(place.Replace(string(text))), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return x
}

// tier is one agent.
type tier struct {
	*rig
	name string
	args []string
	cmd  *exec.Cmd
}

// agent starts one from a file of the example; args are of its command line.
func (x *tiers) agent(name, file string, args ...string) *tier {
	x.t.Helper()
	a := &tier{rig: &rig{t: x.t, dir: filepath.Join(x.dir, name), cfg: filepath.Join(x.dir, file)}, name: name, args: append(args, "--var", "name="+name)}
	if err := os.MkdirAll(a.path("logs"), 0o755); err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { end(a.cmd) })
	a.up(x.dir)
	return a
}

func (a *tier) up(dir string) {
	a.t.Helper()
	a.cmd = a.command(a.args...)
	a.cmd.Dir = dir
	if err := a.cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
}

// look samples the connections that there are.
func (x *tiers) look() {
	x.t.Helper()
	n, err := strconv.Atoi(x.server.One(`SELECT count(*) FROM pg_stat_activity WHERE usename = 'penstock'`))
	if err != nil {
		x.t.Fatal(err)
	}
	x.most = max(x.most, n)
}

// logged counts from the log of the server how many connections there were at a time: none is too short to be seen there.
func (x *tiers) logged() (most int) {
	x.t.Helper()
	text, err := os.ReadFile(filepath.Join(x.server.Dir, "log"))
	if err != nil {
		x.t.Fatal(err)
	}
	now := 0
	for line := range strings.Lines(string(text)) {
		switch {
		case strings.Contains(line, "connection authorized: user=penstock "):
			now++
			most = max(most, now)
		case strings.Contains(line, "disconnection: ") && strings.Contains(line, " user=penstock "):
			now--
		}
	}
	return most
}

// rows waits until so many are in the table, and counts connections meanwhile.
func (x *tiers) rows(n int) {
	x.t.Helper()
	const patience = 3 * time.Minute // of a busy machine
	for deadline := time.Now().Add(patience); x.server.One("SELECT count(*) FROM events") != strconv.Itoa(n); time.Sleep(50 * time.Millisecond) {
		x.look()
		if time.Now().After(deadline) {
			x.t.Fatalf("%s rows are in the table, of %d", x.server.One("SELECT count(*) FROM events"), n)
		}
	}
}

// came checks that the lines of an edge are in the table, each once, in their order by the number of their origin.
func (x *tiers) came(a *tier) {
	x.t.Helper()
	var want, got bytes.Buffer
	for i := range tierLines {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	from := fmt.Sprintf("FROM events WHERE stream LIKE '%s/source.app/%%'", a.name)
	for _, row := range x.server.Exec("SELECT line " + from + " ORDER BY number") {
		fmt.Fprintln(&got, row[0])
	}
	if err := compare(&want, &got); err != nil {
		x.t.Errorf("%s: %v", a.name, err)
	}
	if runs := x.server.One("SELECT count(DISTINCT stream) " + from); runs != "1" {
		x.t.Errorf("the events of %s have %s origins", a.name, runs)
	}
}

// drained waits until nothing waits in any agent, from the edges on.
func (x *tiers) drained(agents []*tier) {
	x.t.Helper()
	for _, a := range agents {
		a.until("nothing waits in "+a.name, func(s admin.Status) bool { return s.Channels[0].Events == 0 })
	}
}

// delivered is how many events the collectors have given to the database since they started.
func (x *tiers) delivered(collectors []*tier) (n int) {
	x.t.Helper()
	for _, a := range collectors {
		s, err := admin.Ask(x.t.Context(), a.path("data"))
		if err != nil {
			x.t.Fatal(err)
		}
		n += int(component(s, "sink.events").Events)
	}
	return n
}

// TestTiersBoundTheConnectionsToADatabase runs examples/tiers: while the collectors are killed in turn, and an edge sends again all that it
// has, each event is in the table once, and the database has never had more connections than the collectors may have.
func TestTiersBoundTheConnectionsToADatabase(t *testing.T) {
	x := newTiers(t)
	collectors := []*tier{x.agent("collector-1", "collector.hcl"), x.agent("collector-2", "collector.hcl", "--var", fmt.Sprint("port=", x.ports[1]))}
	var senders []*tier
	for i := range *edges {
		senders = append(senders, x.agent(fmt.Sprintf("edge-%d", i+1), "edge.hcl"))
	}
	const each = tierLines / tierRounds
	for round := range tierRounds {
		for _, a := range senders {
			a.write(round*each, (round+1)*each)
		}
		for range 2 {
			x.look()
			time.Sleep(50 * time.Millisecond)
		}
		switch c := collectors[round/(tierRounds/2)]; round % (tierRounds / 2) {
		case 10:
			end(c.cmd)
		case 20:
			c.up(x.dir)
		}
	}
	all := *edges * tierLines
	x.rows(all)
	x.drained(append(senders, collectors...))
	before, again := x.delivered(collectors), senders[0]
	out, err := exec.Command(binary, "channel", "replay", "main", "sink_group.collectors", "--from", "oldest", "--data-dir", again.path("data"), "--yes").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	x.drained(append(senders, collectors...))
	x.rows(all)
	for _, a := range senders {
		x.came(a)
	}
	repeated := x.delivered(collectors) - before
	for _, a := range append(senders, collectors...) {
		a.terminate(a.cmd, 0)
	}
	most := x.logged()
	t.Logf("%d edges, %d lines; connections to the database: %d by samples, %d by its log; %d came again", *edges, all, x.most, most, repeated)
	if repeated <= 0 {
		t.Errorf("%d events came again, and nothing was shown by the table", repeated)
	}
	if most > connections || x.most > most || x.most < 2 {
		t.Errorf("connections to the database: %d were seen, %d are in its log, and %d may be", x.most, most, connections)
	}
}
