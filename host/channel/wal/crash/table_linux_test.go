// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"errors"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/reliability"
)

// shown is what all tests of this run found, printed and written at its end. Tests add to it one after the other.
var shown []*tally

// tally is a row of the table while it is counted.
type tally struct {
	reliability.Row
	finds   []error // the first few of what was found
	seen    map[digest]bool
	entries int // of the recordings
}

// newTally begins a row, which is in the table from now on, and is kept when the test ends: what comes after it may take long.
func newTally(t *testing.T, part reliability.Part, what string) *tally {
	t.Helper()
	t.Cleanup(func() {
		if err := reliability.Write("channel", figures()); err != nil {
			t.Error(err)
		}
	})
	y := &tally{Row: reliability.Row{Part: part, What: what, Seed: *seed}, seen: map[digest]bool{}}
	shown = append(shown, y)
	return y
}

// found is how many tries went wrong.
func (y *tally) found() int { return y.Lost + y.Twice + y.Wrong + y.Stuck }

// done says that what was done last is over, and how long it took.
func (y *tally) done(begun time.Time) { y.Seconds += time.Since(begun).Seconds() }

func (y *tally) count(err error) {
	switch {
	case errors.Is(err, errMount):
		y.Unfit++
	case errors.Is(err, errLost):
		y.Lost++
	case errors.Is(err, errTwice):
		y.Twice++
	case errors.Is(err, errWrong):
		y.Wrong++
	default:
		y.Stuck++
	}
	const few = 3
	if len(y.finds) < few {
		y.finds = append(y.finds, err)
	}
}

// figures are those of all rows.
func figures() (f reliability.Figures) {
	for _, y := range shown {
		f.Rows = append(f.Rows, y.Row)
	}
	return f
}
