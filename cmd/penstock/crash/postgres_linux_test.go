// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/reliability"
	"github.com/penstock-io/penstock/plugins/postgres/pgtest"
)

// linesText makes numbered lines, each a function of its number, for SINK.
const linesText = `
agent "crash" {
  data_dir = "DIR/data"
}

source "generate" "lines" {
  into = channel.main
  config {
    count = COUNT
    rate  = RATE
  }
}

channel "wal" "main" {
  capacity = "256MiB"
}
`

// calmText writes them into a file, in an agent that nobody disturbs.
const calmText = linesText + `
sink "file" "out" {
  from = channel.main
  config { path = "DIR/out/expected" }
}
`

// postgresText writes them into a table, over several connections, and reads the table into a file.
const postgresText = linesText + `
sink "postgres" "table" {
  from        = channel.main
  order       = "none"
  connections = 3
  batch {
    events = 1000
    wait   = "20ms"
  }
  retry { max = "1s" }
  config {
    host     = "SOCKET"
    database = "postgres"
    user     = "postgres"
    table    = "lines"
    columns  = { line = "body", "number" = "offset" }
  }
}

source "postgres" "table" {
  into = channel.back
  config {
    host     = "SOCKET"
    database = "postgres"
    user     = "postgres"
    table    = "lines"
    key      = ["id"]
    body     = "line"
    interval = "100ms"
  }
}

channel "wal" "back" {
  capacity = "256MiB"
}

sink "file" "back" {
  from = channel.back
  config { path = "DIR/out/back" }
}
`

const (
	mostRounds   = 100  // in which something is killed: the longest form takes some three minutes
	roundsASpell = 0.75 // seconds that a round takes, more or less
)

// linesTable makes a table that takes a line as often as it comes, and that of what was delivered.
const linesTable = `CREATE TABLE lines (id bigserial PRIMARY KEY, number bigint NOT NULL, line text NOT NULL);
	CREATE TABLE penstock_ranges (stream text NOT NULL, incarnation text NOT NULL, first bigint NOT NULL, next bigint NOT NULL, PRIMARY KEY (stream, incarnation, first),
	EXCLUDE USING gist (int8range(hashtextextended(stream || '/' || incarnation, 0), hashtextextended(stream || '/' || incarnation, 0), '[]') WITH &&, int8range(first, next) WITH &&))`

// database is a rig around an agent that writes into a PostgreSQL.
type database struct {
	*rig
	server *pgtest.Server
	agent  *exec.Cmd
	count  int
}

func newDatabase(t *testing.T, rounds int) *database {
	server := pgtest.Start(t, "max_wal_size=4GB")
	server.Exec(linesTable)
	d := &database{rig: newRig(t), server: server, count: *lines / *kills * rounds}
	return d
}

// write makes the pipeline. A rate of 0 is as fast as may be.
func (d *database) write(text string, rate int) {
	d.t.Helper()
	text = strings.NewReplacer("DIR", d.dir, "SOCKET", d.server.Dir, "COUNT", strconv.Itoa(d.count), "RATE", strconv.Itoa(rate)).Replace(text)
	if err := os.WriteFile(d.cfg, []byte(text), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

// expect has an agent write the lines into a file.
func (d *database) expect() {
	d.t.Helper()
	d.write(calmText, 0)
	agent := d.start()
	for deadline := time.Now().Add(5 * time.Minute); newlines(d.path("out", "expected")) < d.count; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			d.t.Fatalf("an agent that nobody disturbs does not write its lines\n%s", &d.said)
		}
	}
	d.terminate(agent, 0)
	if err := os.RemoveAll(d.path("data")); err != nil {
		d.t.Fatal(err)
	}
}

// newlines counts them; 0 where there is no file.
func newlines(path string) (n int) {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	for {
		k, err := f.Read(buf)
		n += bytes.Count(buf[:k], []byte("\n"))
		if err != nil {
			return n
		}
	}
}

// harm kills one thing at random, and has it run again.
func (d *database) harm() string {
	d.t.Helper()
	switch d.rng.IntN(4) {
	case 0:
		if err := d.agent.Process.Kill(); err != nil {
			d.t.Fatal(err)
		}
		d.agent.Wait() //nolint:errcheck // it was killed
		time.Sleep(time.Duration(d.rng.IntN(150)) * time.Millisecond)
		d.agent = d.start()
		return "agent"
	case 1:
		d.server.Kill()
		time.Sleep(time.Duration(d.rng.IntN(300)) * time.Millisecond)
		d.server.Start()
		return "server"
	case 2:
		if _, err := d.server.Try(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'penstock %' ORDER BY random() LIMIT 1`); err != nil {
			d.t.Fatal(err)
		}
		return "session"
	}
	children := served(d.agent.Process.Pid)
	for end := time.Now().Add(time.Minute); len(children) == 0; children = served(d.agent.Process.Pid) { // it has just been started
		if time.Now().After(end) {
			d.t.Fatalf("the agent has no child processes\n%s", &d.said)
		}
		time.Sleep(10 * time.Millisecond)
	}
	_ = syscall.Kill(children[d.rng.IntN(len(children))], syscall.SIGKILL) // it may have ended by itself
	return "plugin"
}

// served are the processes of an agent's plugins.
func served(agent int) (found []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == strconv.Itoa(agent) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
				found = append(found, pid)
			}
		}
	}
	return found
}

// table writes a column of the table into a file, in an order.
func (d *database) table(order string) string {
	d.t.Helper()
	path := d.path("out", "by-"+order)
	copied := exec.Command("psql", "-X", "-q", "-h", d.server.Dir, "-p", strconv.Itoa(d.server.Port), "-U", pgtest.User,
		"-c", fmt.Sprintf(`\copy (SELECT line FROM lines ORDER BY %s) TO '%s'`, order, path))
	if out, err := copied.CombinedOutput(); err != nil {
		d.t.Fatalf("%v: %s", err, out)
	}
	return path
}

// same compares two files byte by byte.
func (d *database) same(what, want, got string) {
	d.t.Helper()
	w, err := os.Open(want)
	if err != nil {
		d.t.Fatal(err)
	}
	defer w.Close()
	g, err := os.Open(got)
	if err != nil {
		d.t.Fatal(err)
	}
	defer g.Close()
	if err := compare(w, g); err != nil {
		d.t.Errorf("%s: %v (seed %d)\n%s", what, err, *seed, &d.said)
	}
}

// TestPostgresHoldsEveryEventOnce kills the agent, its plugins, the server and its sessions while lines are written into a table, over three
// connections, and read from there; then the table has each line once, and so has what was read.
func TestPostgresHoldsEveryEventOnce(t *testing.T) {
	rounds, begun := min(*kills, mostRounds), time.Now()
	d := newDatabase(t, rounds)
	d.expect()
	d.write(postgresText, max(1000, int(float64(d.count)/float64(rounds)/roundsASpell)))
	d.rng = rand.New(rand.NewPCG(*seed, 3))
	d.agent = d.start()
	harmed := map[string]int{}
	for range rounds {
		time.Sleep(200*time.Millisecond + time.Duration(d.rng.IntN(800))*time.Millisecond)
		harmed[d.harm()]++
	}
	for deadline := time.Now().Add(5 * time.Minute); newlines(d.path("out", "back")) < d.count; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("of %d lines %s came into the table and %d back (seed %d)\n%s\n%s", d.count, d.server.One("SELECT count(*) FROM lines"), newlines(d.path("out", "back")), *seed,
				d.state(), &d.said)
			break
		}
	}
	time.Sleep(300 * time.Millisecond) // for what should not come
	d.terminate(d.agent, 0)
	d.same("the table", d.path("out", "expected"), d.table("number"))
	d.same("what was read from it", d.table("id"), d.path("out", "back"))
	t.Logf("%d lines, %d rounds: %v", d.count, rounds, harmed)
	reliability.Report(t, reliability.Row{Part: reliability.Kill, What: "an agent, its plugins and PostgreSQL", Tried: rounds, Checked: d.count, Seed: *seed,
		Seconds: time.Since(begun).Seconds(), Note: "each line once in the table and once read from it; killed: " + strings.Trim(fmt.Sprint(harmed), "map[]")})
}
