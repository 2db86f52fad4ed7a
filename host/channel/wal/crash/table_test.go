// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// shown is what all tests of this run found, printed at its end.
var shown table

// table is what was done to channels, row by row. Tests add to it one after the other.
type table struct{ rows []*tally }

func (b *table) add(y *tally) { b.rows = append(b.rows, y) }

func (b *table) print(w io.Writer) {
	if len(b.rows) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%-38s %7s %8s %9s %5s %6s %6s %6s %8s %7s  %s\n", "what was done", "states", "of", "acked", "lost", "twice", "wrong", "stuck", "fs lost", "seconds", "result")
	for _, y := range b.rows {
		fmt.Fprintf(w, "%-38s %7d %8d %9d %5d %6d %6d %6d %8d %7.1f  %s\n", y.name, y.states, y.of, y.acked,
			y.lost, y.twice, y.wrong, y.stuck, y.fsLost, y.took.Seconds(), y.result)
	}
	fmt.Fprintln(w, strings.TrimSpace(`
states: distinct images that were opened, or runs with a failed call · of: entries of the recordings, or calls that could fail
acked: acknowledged transactions that were looked for · stuck: could not be opened or read · fs lost: the kernel did not mount it`))
}

// tally is a row of the table.
type tally struct {
	name                      string
	states, of, acked         int
	lost, twice, wrong, stuck int
	fsLost, fired             int
	finds                     []error // the first few of what was found
	took                      time.Duration
	seen                      map[digest]bool
	result                    string
}

func newTally(name string) *tally { return &tally{name: name, seen: map[digest]bool{}} }

func (y *tally) found() int { return y.lost + y.twice + y.wrong + y.stuck }

func (y *tally) count(err error) {
	switch {
	case errors.Is(err, errMount):
		y.fsLost++
	case errors.Is(err, errLost):
		y.lost++
	case errors.Is(err, errTwice):
		y.twice++
	case errors.Is(err, errWrong):
		y.wrong++
	default:
		y.stuck++
	}
	const few = 3
	if len(y.finds) < few {
		y.finds = append(y.finds, err)
	}
}
