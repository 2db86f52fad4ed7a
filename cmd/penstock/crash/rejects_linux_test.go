// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/reliability"
	"github.com/penstock-io/penstock/spec/event"
)

var rejectKills = flag.Int("rejectkills", 9, "how often something is killed while PostgreSQL rejects")

// rejectsText writes lines into a table that does not take all of them, over four connections.
const rejectsText = `
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
  capacity    = "256MiB"
  dead_letter = channel.rejected
}

channel "wal" "rejected" {}

sink "postgres" "table" {
  from        = channel.main
  order       = "none"
  connections = 4
  delivery    = "exactly_once"
  batch {
    events = 500
    wait   = "40ms"
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
`

const (
	// linesARound is how many lines come between two kills, and linesASecond while all runs. One of fifty is bad, and the server is asked some ten times for each.
	linesARound  = 4000
	linesASecond = 2500
	badLine      = "[05]7$" // as the server has it: these ends are those of 2 lines of 100
)

// isBad says what badLine does.
func isBad(line []byte) bool {
	n := len(line)
	return n >= 2 && line[n-1] == '7' && (line[n-2] == '0' || line[n-2] == '5')
}

// divide writes the lines of what is expected into two files: those that the table takes, and the others.
func (d *database) divide() (good, bad string, n int) {
	d.t.Helper()
	text, err := os.ReadFile(d.path("out", "expected"))
	if err != nil {
		d.t.Fatal(err)
	}
	var files [2]bytes.Buffer
	for line := range bytes.Lines(text) {
		to := &files[0]
		if isBad(bytes.TrimSuffix(line, []byte("\n"))) {
			to, n = &files[1], n+1
		}
		to.Write(line)
	}
	good, bad = d.path("out", "good"), d.path("out", "bad")
	for i, path := range []string{good, bad} {
		if err := os.WriteFile(path, files[i].Bytes(), 0o600); err != nil {
			d.t.Fatal(err)
		}
	}
	return good, bad, n
}

// letter is what an export of dead letters has of one.
type letter struct {
	Attributes map[string]string `json:"attributes"`
	Body       string            `json:"body"`
	place      uint64            // in the channel where it was
}

// identity tells the event of a letter from all others.
func (l *letter) identity() string {
	return strings.Join([]string{l.Attributes[event.DeadComponent], l.Attributes[event.DeadChannel], l.Attributes[event.DeadIncarnation], l.Attributes[event.DeadOffset]}, " ")
}

// letters writes the bodies of the dead letters into a file, in the order in which their events were put: those of equal identity once, and nothing else is left
// out. It returns how many letters are kept, and checks that `penstock dead ls` counts the same.
func (d *database) letters() (path string, kept int) {
	d.t.Helper()
	raw := d.path("out", "letters.json")
	d.run("channel", "export", filepath.Join(d.dir, "data", "channels", "rejected"), "--reader", "dead", "--format", "json", "-o", raw)
	text, err := os.Open(raw)
	if err != nil {
		d.t.Fatal(err)
	}
	defer text.Close()
	var all []letter
	of := map[string]string{} // the body, by identity
	for in := bufio.NewScanner(text); in.Scan(); kept++ {
		var l letter
		err := json.Unmarshal(in.Bytes(), &l)
		if err == nil {
			l.place, err = strconv.ParseUint(l.Attributes[event.DeadOffset], 10, 64)
		}
		if err != nil || l.Attributes[event.DeadClass] != "reject" || !strings.Contains(l.Attributes[event.DeadReason], "SQLSTATE 23514") {
			d.t.Fatalf("a letter is %s: %v", in.Bytes(), err)
		}
		if body, is := of[l.identity()]; !is {
			of[l.identity()] = l.Body
			all = append(all, l)
		} else if body != l.Body {
			d.t.Errorf("two letters of the identity %s: %q and %q", l.identity(), body, l.Body)
		}
	}
	var counted []struct{ Letters, Events int }
	if err := json.Unmarshal(result(d.t, d.run("dead", "ls", filepath.Join(d.dir, "data", "channels", "rejected"), "--json")), &counted); err != nil {
		d.t.Fatal(err)
	}
	if len(counted) != 1 || counted[0].Letters != kept || counted[0].Events != len(all) {
		d.t.Errorf("there are %d letters of %d events; penstock dead ls counts %+v", kept, len(all), counted)
	}
	slices.SortStableFunc(all, func(a, b letter) int { return cmp.Compare(a.place, b.place) })
	var out bytes.Buffer
	for i := range all {
		fmt.Fprintln(&out, all[i].Body)
	}
	path = d.path("out", "letters")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return path, kept
}

// run runs a command of the agent under test, and returns what it answers.
func (r *rig) run(args ...string) []byte {
	r.t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Dir = r.dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		r.t.Fatalf("penstock %s: %v\n%s%s", strings.Join(args, " "), err, out, &errs)
	}
	return out
}

// result is what a command answered with --json.
func result(t *testing.T, out []byte) json.RawMessage {
	t.Helper()
	var said struct {
		Result json.RawMessage `json:"result"`
	}
	if err := json.Unmarshal(out, &said); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return said.Result
}

// amongLetters has the agent die just before letters are put, or just after, before their range is committed: at the step of that name.
func (d *database) amongLetters(step string) {
	d.t.Helper()
	end(d.agent)
	d.kill(step)
	d.agent = d.start()
}

// flows waits until more lines are in the table than at the kill before, or all, so that there is something for the next to hit.
func (d *database) flows(before, all int) (now int) {
	d.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		rows, err := d.server.Try("SELECT count(*) FROM lines")
		if err == nil {
			now, err = strconv.Atoi(rows[0][0])
		}
		if err == nil && (now > before || now == all) {
			return now
		}
		if time.Now().After(end) {
			d.t.Fatalf("%d of %d lines are in the table, and no more come: %v\n%s", now, all, err, &d.said)
		}
	}
}

// decided says whether each event came somewhere.
func (d *database) decided(bad int) bool {
	status, err := admin.Ask(d.t.Context(), d.path("data"))
	if err != nil {
		return false
	}
	for _, c := range status.Components {
		if c.Address == "sink.table" && c.Waiting > 0 {
			return false
		}
	}
	for _, c := range status.Channels {
		for _, r := range c.Readers {
			if c.Address == "channel.rejected" && r.Name == "dead" && r.Waiting < uint64(bad) {
				return false
			}
		}
	}
	rows, err := d.server.Try("SELECT count(*) FROM lines")
	return err == nil && rows[0][0] == strconv.Itoa(d.count-bad)
}

// TestOfManyRejectsEachEventIsInTheTableOrAmongTheDeadLetters kills the agent, its plugins, the server and its sessions while every batch has events that
// the table refuses. A batch of which some are bad is rolled back, its bad events are put among the dead letters, and the rest is delivered under the same range; a
// kill between these must neither lose an event nor deliver it twice.
func TestOfManyRejectsEachEventIsInTheTableOrAmongTheDeadLetters(t *testing.T) {
	rounds, begun := *rejectKills, time.Now()
	d := newDatabase(t, rounds)
	d.server.Exec(fmt.Sprintf(`ALTER TABLE lines ADD CHECK (line !~ '%s')`, badLine))
	d.count = rounds * linesARound
	d.expect()
	good, bad, rejected := d.divide()
	d.write(rejectsText, linesASecond)
	d.rng = rand.New(rand.NewPCG(*seed, 4))
	d.agent = d.start()
	harmed, rows := map[string]int{}, 0
	for i := range rounds {
		rows = d.flows(rows, d.count-rejected)
		time.Sleep(200*time.Millisecond + time.Duration(d.rng.IntN(800))*time.Millisecond)
		if i%3 == 2 {
			step := []string{"dead", "put", "commit"}[d.rng.IntN(3)]
			d.amongLetters(step)
			harmed["agent"]++ // at random
			continue
		}
		harmed[d.harm()]++
	}
	for deadline := time.Now().Add(5 * time.Minute); !d.decided(rejected); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("of %d lines %s came into the table (seed %d)\n%s\n%s", d.count, d.server.One("SELECT count(*) FROM lines"), *seed, d.state(), &d.said)
			break
		}
	}
	time.Sleep(300 * time.Millisecond) // for what should not come
	d.terminate(d.agent, 0)
	d.same("the table", good, d.table("number"))
	letters, kept := d.letters()
	d.same("the dead letters", bad, letters)
	for step, n := range d.byAim {
		harmed["agent at "+step] += n
	}
	all := 0
	for _, n := range harmed {
		all += n
	}
	t.Logf("%d lines, %d of them rejected, in %d letters; %d kills: %v", d.count, rejected, kept, all, harmed)
	reliability.Report(t, reliability.Row{Part: reliability.Kill, What: "an agent, its plugins and PostgreSQL, with rejects in every batch", Tried: all, Checked: d.count,
		Seed: *seed, Seconds: time.Since(begun).Seconds(), Note: fmt.Sprintf("each line once in the table, or once by its identity among the dead letters: %d events, in %d letters; killed: %s",
			rejected, kept, strings.Trim(fmt.Sprint(harmed), "map[]"))})
}
