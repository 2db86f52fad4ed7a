// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/cmd/penstock/crash/proxy"
	"github.com/penstock-io/penstock/host/admin"
)

// missing says which lines are not in the table, of so many that were written, and in which channels the first and the last of them are; 0: of those before the
// last that is there.
func (c *chain) missing(lines int) string {
	rows, err := c.server.Try(fmt.Sprintf(`WITH there AS (SELECT substring(line FROM ' seq=([0-9]+) ')::bigint AS n FROM lines)
		SELECT n FROM generate_series(1, greatest(%d, (SELECT max(n) FROM there))) AS all_of_them (n) EXCEPT SELECT n FROM there ORDER BY n`, lines))
	if err != nil {
		return fmt.Sprintf("which lines are missing is not known: %v", err)
	}
	var gone []int
	for _, row := range rows {
		n, _ := strconv.Atoi(row[0]) // a number of the database
		gone = append(gone, n)
	}
	if len(gone) == 0 {
		return "no line is missing before the last that is in the table"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d lines are not in the table: %s", len(gone), ranges(gone, 10))
	for _, m := range c.members {
		fmt.Fprintf(&b, "\n  %s", m.name)
		kept, kerr := m.holds()
		waits, werr := m.holds("--reader", "sink.out")
		if kerr != nil || werr != nil {
			fmt.Fprintf(&b, " cannot be asked: %v, %v", kerr, werr)
			continue
		}
		for _, n := range slices.Compact([]int{gone[0], gone[len(gone)-1]}) {
			is := "is not in its channel"
			switch {
			case waits[n]:
				is = "waits in its channel"
			case kept[n]:
				is = "is in its channel, and was sent on"
			}
			fmt.Fprintf(&b, "; line %d %s", n, is)
		}
	}
	return b.String()
}

// holds are the lines in the channel of an agent: all that it keeps, or as args to export say.
func (m *member) holds(args ...string) (map[int]bool, error) {
	out, err := exec.Command(binary, append([]string{"channel", "export", m.path("data", "channels", "main")}, args...)...).Output()
	if exit, ok := err.(*exec.ExitError); ok {
		return nil, fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	lines := map[int]bool{}
	for line := range bytes.Lines(out) {
		_, after, _ := bytes.Cut(line, []byte(" seq="))
		seq, _, _ := bytes.Cut(after, []byte(" "))
		if n, err := strconv.Atoi(string(seq)); err == nil {
			lines[n] = true
		}
	}
	return lines, err
}

// ranges shows numbers that grow as "1-3, 7", so many pieces at most.
func ranges(numbers []int, most int) string {
	var pieces []string
	for i := 0; i < len(numbers); {
		end := i
		for end+1 < len(numbers) && numbers[end+1] == numbers[end]+1 {
			end++
		}
		switch {
		case len(pieces) == most:
			return strings.Join(pieces, ", ") + fmt.Sprintf(", and more up to %d", numbers[len(numbers)-1])
		case end == i:
			pieces = append(pieces, strconv.Itoa(numbers[i]))
		default:
			pieces = append(pieces, fmt.Sprintf("%d-%d", numbers[i], numbers[end]))
		}
		i = end + 1
	}
	return strings.Join(pieces, ", ")
}

// calmly starts all agents, which nothing is done to, and returns what writes lines for the first.
func (c *chain) calmly() (log *logger, write func(lines int)) {
	for _, m := range c.members {
		m.calm = true
		m.up()
	}
	log = newLogger(c.t, c.members[0].path("logs", "app.log"), c.members[0].path("expected"), rand.New(rand.NewPCG(*seed, 2)))
	return log, func(lines int) {
		if err := log.burst(lines); err != nil {
			c.t.Fatal(err)
		}
	}
}

// TestALineThatDoesNotComeIsNamedWithItsPlace: what a chain that stands still says. And one that was killed just before it becomes calm runs again.
func TestALineThatDoesNotComeIsNamedWithItsPlace(t *testing.T) {
	p := newProxies(t)
	c := newChain(t, p)
	_, write := c.calmly()
	write(10)
	c.await(10)
	if got := c.missing(10); got != "no line is missing before the last that is in the table" {
		t.Error(got)
	}
	p.links[1].Set(proxy.Fault{Cut: true})
	write(5)
	relay := c.members[1]
	relay.until("lines wait", func(s admin.Status) bool { return component(s, "sink.out").Waiting == 5 })
	want := "5 lines are not in the table: 11-15" +
		"\n  edge; line 11 is in its channel, and was sent on; line 15 is in its channel, and was sent on" +
		"\n  relay; line 11 waits in its channel; line 15 waits in its channel" +
		"\n  far; line 11 is not in its channel; line 15 is not in its channel"
	got := c.missing(15)
	for end := time.Now().Add(time.Minute); got != want && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		got = c.missing(15) // how far a sink is comes to the disk a little later
	}
	if got != want {
		t.Errorf("it says %s\nnot %s", got, want)
	}
	p.links[1].Set(proxy.Fault{})
	relay.kill()
	c.calm()
	c.await(15)
	if got := ranges([]int{1, 2, 3, 5, 7, 8}, 2); got != "1-3, 5, and more up to 8" {
		t.Error(got)
	}
}
