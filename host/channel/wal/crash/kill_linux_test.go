// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/reliability"
)

var kills = flag.Int("kills", 12, "how often the process that works on a channel is killed, at any of its words")

const (
	wordsOfARound = 350 // about as many as a round has
	killsInARow   = 3   // before the channel is compared
	// longestDelay is how long after a word it dies at the latest: some groups.
	longestDelay = 4 * time.Millisecond
)

// killing is a kill at the n-th word that a worker says: before it hears that it may go on, or some time after.
type killing struct {
	nth   int
	delay time.Duration
	word  string // at which it was
}

func (k *killing) watch(hear listener) func(string, *os.Process) bool {
	n := 0
	return func(word string, p *os.Process) bool {
		hear(word)
		if n++; n < k.nth || k.word != "" {
			return true
		}
		k.word = word
		if k.delay > 0 {
			time.AfterFunc(k.delay, func() { _ = p.Kill() }) // it may have ended
			return true
		}
		_ = p.Kill()
		return false
	}
}

func TestKilledAtAnyWordItHoldsWhatItAcknowledged(t *testing.T) {
	rng := newRNG(t)
	const work = "a process that works on a channel"
	killAtWords(t, rng, work, *kills)
	t.Setenv(workerSealed, "1")
	killAtWords(t, rng, work+sealed, (*kills+2)/3)
}

// killAtWords kills so many.
func killAtWords(t *testing.T, rng *rand.Rand, what string, n int) {
	t.Helper()
	y := newTally(t, reliability.Kill, what)
	begun, dead := time.Now(), 0
	for y.Tried < n && !t.Failed() {
		dir, h := filepath.Join(t.TempDir(), "channel"), newHistory()
		for round := range 1 + rng.IntN(killsInARow) {
			k := killing{nth: 1 + rng.IntN(wordsOfARound), delay: time.Duration(rng.Int64N(2*int64(longestDelay))) - longestDelay}
			if killed(t, dir, round, h, &k) {
				y.Tried++
				if strings.HasPrefix(k.word, "acked ") && k.delay <= 0 {
					dead++
				}
			}
		}
		y.Checked += h.acks
		if err := h.check(dir); err != nil {
			y.count(err)
			t.Error(err)
		}
	}
	y.Note = fmt.Sprintf("%d right at an acknowledgement", dead)
	y.done(begun)
}

// killed runs a round that is killed, and says whether it was.
func killed(t *testing.T, dir string, round int, h *history, k *killing) bool {
	t.Helper()
	err := watchWorker(t, dir, round, k.watch(func(word string) {
		if err := h.hear(word); err != nil {
			t.Error(err)
		}
	}))
	exit, failed := errors.AsType[*exec.ExitError](err)
	if err != nil && (!failed || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL) {
		t.Fatalf("it ended by itself: %v", err)
	}
	return err != nil
}
