// SPDX-License-Identifier: Apache-2.0

package tail

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestFilesBeyondTheCursorAreLeftAndSaid: the channel would refuse the batch, and the source with it.
func TestFilesBeyondTheCursorAreLeftAndSaid(t *testing.T) {
	tailing(t, config{Paths: []string{"*.log"}, ForgetAfter: time.Hour}, func(b *bed) {
		b.add("a.log", "a\n")
		b.add("b.log", "b\n")
		b.add("c.log", "c\n")
		b.start()
		one := identity{1 << 63, 1 << 63}.reserve(b.path("a.log"))
		b.src.budget = 2 * one
		b.read("a", "b")
		if !b.logged("not read", "narrow the globs") || b.Metrics["file_beyond_limit"] != 1 || b.Metrics["file_followed"] != 2 {
			t.Errorf("metrics %v, log: %s", b.Metrics, strings.Join(b.Logs, "\n"))
		}
		size := 0
		for k, v := range b.Cursor {
			size += len(k) + len(v)
		}
		if size > b.src.budget {
			t.Errorf("the cursor has %d bytes of %d", size, b.src.budget)
		}
		b.must(os.Remove(b.path("a.log")))
		b.read()
		time.Sleep(2 * grace)
		b.read() // it counts as gone
		time.Sleep(2 * time.Hour)
		b.read() // and forgotten
		b.read("c")
		if b.Metrics["file_beyond_limit"] != 0 {
			t.Errorf("metrics %v", b.Metrics)
		}
	})
}

// TestAFileThatRestsForLongIsNotReadAgain: a channel forgets what its source does not set again.
func TestAFileThatRestsForLongIsNotReadAgain(t *testing.T) {
	for _, start := range []string{"beginning", "end"} {
		tailing(t, config{Paths: []string{"*.log"}, Start: start}, func(b *bed) {
			b.start()
			b.read() // what is met from now on is read from its beginning
			b.add("idle.log", "idle\n")
			b.add("gone.log", "gone\n")
			b.add("busy.log", "busy\n")
			b.read("busy", "gone", "idle")
			b.must(os.Remove(b.path("gone.log")))
			for range 31 * 24 {
				time.Sleep(time.Hour)
				b.add("busy.log", "busy\n")
				b.read("busy")
				b.Forget(30 * 24 * time.Hour)
			}
			time.Sleep(40 * 24 * time.Hour) // nothing runs
			b.restart()
			b.add("busy.log", "busy\n")
			b.read("busy")
			time.Sleep(2 * renewDelay)
			b.read()
			b.Forget(30 * 24 * time.Hour)
			b.add("late.log", "late\n")
			b.restart()
			b.read("late")
		})
	}
}

// TestEntriesAreSetAgainInPieces: a burst would hold up the events of all other sources.
func TestEntriesAreSetAgainInPieces(t *testing.T) {
	tailing(t, config{Paths: []string{"*.log"}}, func(b *bed) {
		name := strings.Repeat("n", 200)
		for i := range 4 * maxRenewed / 300 {
			b.add(fmt.Sprintf("%s%d.log", name, i), "")
		}
		b.start()
		b.read()
		time.Sleep(2 * renewDelay)
		polls := 0
		for first := true; first || len(b.src.renew) > 0; first = false {
			_, err := b.Poll()
			b.must(err)
			b.Commit()
			polls++
		}
		if polls < 4 || polls > 8 {
			t.Errorf("all entries were set again in %d batches", polls)
		}
	})
}
