// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/sdk/sdktest"
)

// errKilled ends an instance as kill -9 would: nothing after it is done.
var errKilled = errors.New("killed")

// killer stops a source before its nth step.
type killer struct {
	left  int // steps until the kill; negative: never
	steps []string
	dead  bool
}

func (k *killer) at(step string) error {
	if k.dead {
		return errKilled
	}
	k.steps = append(k.steps, step)
	if k.left--; k.left == -1 {
		k.dead = true
		return errKilled
	}
	return nil
}

// spooled is what each scenario spools, and what is to become of it.
func spooled(b *bed) (want []string) {
	b.put("a.log", "1\n2\n3\n4\n5\n6\n7\n8\n", time.Hour)
	b.put("b.log", "ok\nthis line is too long\n", time.Hour)
	b.put("c.log", "", time.Hour)
	b.put("d.log", "9\n", time.Hour)
	return []string{"1", "2", "3", "4", "5", "6", "7", "8", "ok", "9"}
}

// drive polls and commits until the source is killed, or has nothing to do for a while.
func drive(b *bed, k *killer) {
	b.t.Helper()
	for quiet := 0; quiet < 5; quiet++ {
		time.Sleep(2 * defaultScan)
		events, err := b.Poll()
		if k.dead {
			return
		}
		b.must(err)
		b.Commit()
		if len(events) > 0 {
			quiet = 0
		}
	}
}

// scenario kills a source before its step n, and the next one before its step m. It returns the steps of the first.
func scenario(t *testing.T, remove, powercut bool, n, m int) (steps []string, killed bool) {
	t.Helper()
	cfg := config{MaxLine: 10, OnLongLine: "set_aside"}
	if remove {
		cfg.WhenDone = "delete"
	}
	spooling(t, cfg, func(b *bed) {
		k := &killer{left: n}
		b.at = k.at
		want := spooled(b)
		b.start()
		b.MaxEvents = 2
		drive(b, k)
		steps, killed = k.steps, k.dead
		if powercut && killed {
			undoRenames(b)
		}
		k.left, k.dead, k.steps = m, false, nil
		b.restart()
		drive(b, k)
		k.left, k.dead = -1, false
		b.restart()
		drive(b, k)
		if got := sdktest.Bodies(b.Events); !slices.Equal(got, want) {
			t.Fatalf("killed before step %d %q, then %d: read %q, want %q\nlog: %s", n, steps, m, got, want, strings.Join(b.Logs, "\n"))
		}
		if remove {
			b.holds("bad/b.log", "bad/b.log.reason")
		} else {
			b.holds("bad/b.log", "bad/b.log.reason", "done/a.log", "done/c.log", "done/d.log")
		}
		b.reason("b.log", "begins at byte 3", "tail -c +4")
		if b.Metrics["spool_lost_bytes"] != 0 {
			t.Error("it says that something was lost")
		}
		b.clean()
	})
	return steps, killed
}

// undoRenames does what a power cut may do to names that were not synced.
func undoRenames(b *bed) {
	b.t.Helper()
	if b.src.cfg.remove {
		return
	}
	for _, f := range b.src.files {
		if f.to != "" {
			b.must(os.Rename(f.to, f.path))
		}
	}
}

func TestEachLineOnceWhereverTheKillFalls(t *testing.T) {
	seen := map[string]bool{}
	for _, remove := range []bool{false, true} {
		for _, powercut := range []bool{false, true} {
			for n, killed := 0, true; killed; n++ {
				var steps []string
				steps, killed = scenario(t, remove, powercut, n, -1)
				for _, s := range steps {
					seen[s] = true
				}
			}
		}
	}
	for _, step := range []string{"make directory", "rename", "delete", "reason write", "reason rename", "sync done", "sync bad", "sync ."} {
		if !seen[step] {
			t.Errorf("no kill fell before %q, but before %v", step, seen)
		}
	}
}

func TestEachLineOnceWhenRecoveryIsKilledToo(t *testing.T) {
	steps, _ := scenario(t, false, false, -1, -1)
	kills := 6
	if testing.Short() {
		kills = 2
	}
	for n := range steps {
		for m := range kills {
			scenario(t, false, n%2 == 0, n, m)
		}
	}
}

// TestAnEntryGoesWhenTheNewNameIsDurable: otherwise a power cut would bring the file back, and nobody would know that it was read.
func TestAnEntryGoesWhenTheNewNameIsDurable(t *testing.T) {
	spooling(t, config{}, func(b *bed) {
		var steps []string
		b.at = func(step string) error {
			steps = append(steps, fmt.Sprint(step, " ", len(b.Cursor)))
			return nil
		}
		b.put("a", "1\n", time.Hour)
		b.start()
		b.read("1")
		if got, want := strings.Join(steps, " · "), "make directory 1 · rename 1 · sync . 1 · sync done 1"; got != want {
			t.Errorf("steps are\n%s\nwant\n%s", got, want)
		}
		b.clean()
	})
}

// TestWhatCannotBeSyncedIsNotForgotten: a disk that has not taken the new name may bring back the old one.
func TestWhatCannotBeSyncedIsNotForgotten(t *testing.T) {
	spooling(t, config{}, func(b *bed) {
		failing := true
		b.at = func(step string) error {
			if failing && strings.HasPrefix(step, "sync") {
				return errors.New("input/output error")
			}
			return nil
		}
		b.put("a", "1\n", time.Hour)
		b.start()
		b.read("1")
		if len(b.Cursor) != 1 || b.Metrics["spool_files_done"] != 0 {
			t.Errorf("the cursor has %d entries, metrics %v", len(b.Cursor), b.Metrics)
		}
		failing = false
		time.Sleep(retryMax)
		b.read()
		b.holds("done/a")
		b.clean()
	})
}

// TestAnyHistoryIsReadOnceAndInOrder spools files, commits late, and kills at random.
func TestAnyHistoryIsReadOnceAndInOrder(t *testing.T) {
	seeds := uint64(25)
	if testing.Short() {
		seeds = 6
	}
	for seed := range seeds {
		rnd := rand.New(rand.NewPCG(seed, 1))
		spooling(t, config{MaxLine: 10, OnLongLine: "set_aside"}, func(b *bed) {
			k := &killer{left: -1}
			b.at = k.at
			b.start()
			var want []string
			bads := 0
			for i := range 150 {
				switch rnd.IntN(6) {
				case 0, 1:
					var text strings.Builder
					for j := range rnd.IntN(6) {
						line := fmt.Sprintf("%d.%d", i, j)
						want = append(want, line)
						text.WriteString(line + "\n")
					}
					if rnd.IntN(4) == 0 {
						text.WriteString("a line that is too long\n")
						bads++
					}
					b.put(fmt.Sprintf("%04d", i), text.String(), time.Hour)
				case 2:
					k.left, k.dead = -1, false
					b.restart()
				case 3:
					k.left = rnd.IntN(8)
				case 4:
					b.MaxEvents = 1 + rnd.IntN(4)
					time.Sleep(defaultScan)
					if _, err := b.Poll(); err != nil && !k.dead {
						t.Fatal(err)
					}
				case 5:
					if !k.dead {
						b.Commit()
					}
				}
				if k.dead {
					k.left, k.dead = -1, false
					b.restart()
				}
			}
			k.left = -1
			drive(b, k)
			if got := sdktest.Bodies(b.Events); !slices.Equal(got, want) {
				t.Fatalf("seed %d: read %q, want %q\nlog: %s", seed, got, want, strings.Join(b.Logs, "\n"))
			}
			left, _ := filepath.Glob(b.path("0*"))
			aside, _ := filepath.Glob(b.path("bad/*.reason"))
			if len(left) > 0 || len(aside) != bads {
				t.Errorf("seed %d: left %q, %d of %d set aside", seed, left, len(aside), bads)
			}
			b.clean()
		})
	}
}
