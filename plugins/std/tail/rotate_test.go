// SPDX-License-Identifier: Apache-2.0

package tail

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/penstock/sdk/sdktest"
)

func TestRenamedAwayIsReadToItsEndFirst(t *testing.T) {
	for _, paths := range []string{"app.log", "app.log*"} {
		for _, down := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, down %v", paths, down), func(t *testing.T) {
				tailing(t, config{Paths: []string{paths}}, func(b *bed) {
					b.add("app.log", "1\n2\n")
					b.start()
					b.read("1", "2")
					b.add("app.log", "3\n4\n")
					b.move("app.log", "app.log.1")
					b.add("app.log", "5\n")
					if down {
						b.restart()
					}
					got := b.read("3", "4", "5")
					if p := got[0].Attributes["file.path"]; p != b.path("app.log") {
						t.Errorf("file.path of a line in the rotated file is %s, want the path it was found under", p)
					}
					b.add("app.log", "6\n")
					b.restart()
					b.read("6")
				})
			})
		}
	}
}

func TestSeveralRotationsWhileDownAreReadInOrder(t *testing.T) {
	for _, name := range []func(n int) string{
		func(n int) string { return fmt.Sprintf("app.log.%d", n) },
		func(n int) string { return fmt.Sprintf("app-2026112%d.log", 9-n) },
	} {
		tailing(t, config{}, func(b *bed) {
			b.add(name(4), "before the first start\n")
			b.age(name(4), 5*time.Hour)
			b.add("app.log", "1\n")
			b.age("app.log", 4*time.Hour)
			b.start()
			b.read("1")
			b.add("app.log", "2\n")
			b.move("app.log", name(3))
			b.age(name(3), 3*time.Hour)
			b.add(name(2), "3\n")
			b.age(name(2), 2*time.Hour)
			b.add(name(1), "4\n")
			b.age(name(1), time.Hour)
			b.add("app.log.pos", "of another tool\n")
			b.add("app.log.gz", "compressed\n")
			b.add("app.log", "5\n")
			b.restart()
			b.read("2", "3", "4", "5")
			b.restart()
			b.read()
		})
	}
}

// A clock may give the last write to a file and the beginning of the next the same time.
func TestFilesOfOneMomentAreReadInOrder(t *testing.T) {
	for range 30 { // the entries of a cursor come in any order
		tailing(t, config{}, func(b *bed) {
			b.add("spare", "") // nor do identities say which is older
			b.add("app.log", "1\n")
			b.age("app.log", 3*time.Hour)
			b.start()
			b.read("1")
			b.move("app.log", "app.log.1")
			b.move("spare", "app.log")
			b.age("app.log", 3*time.Hour)
			b.read()
			b.add("app.log.1", "2\n") // its writer had not noticed
			b.age("app.log.1", 2*time.Hour)
			b.add("app.log", "3\n")
			b.age("app.log", time.Hour)
			b.move("app.log", "app.log.2")
			b.add("app.log", "4\n")
			b.restart()
			b.read("2", "3", "4")
		})
	}
}

// age sets when a file was written last.
func (b *bed) age(name string, d time.Duration) {
	b.t.Helper()
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC).Add(-d)
	b.must(os.Chtimes(b.path(name), at, at))
}

func TestRotatedFileMayStillGrow(t *testing.T) {
	tailing(t, config{}, func(b *bed) {
		b.add("app.log", "1\n")
		b.start()
		b.read("1")
		b.move("app.log", "app.log.1")
		b.add("app.log", "2\n")
		b.read("2")
		b.add("app.log.1", "late\n") // its writer had not noticed
		b.read("late")
	})
}

func TestLastLineOfARotatedFileNeedsNoNewline(t *testing.T) {
	tailing(t, config{}, func(b *bed) {
		b.add("app.log", "1\nlast wor")
		b.start()
		b.read("1")
		b.move("app.log", "app.log.1")
		b.read()
		b.add("app.log.1", "ds")
		b.read()
		time.Sleep(grace)
		b.read("last words")
		time.Sleep(time.Hour)
		b.read()
		b.restart()
		b.read()
	})
}

func TestDeletedFileIsReadToItsEnd(t *testing.T) {
	tailing(t, config{}, func(b *bed) {
		b.add("app.log", "1\n")
		b.start()
		b.read("1")
		b.add("app.log", "2\n3")
		b.must(os.Remove(b.path("app.log")))
		b.read("2")
		time.Sleep(grace)
		b.read("3")
		b.add("app.log", "4\n")
		b.read("4")
		if b.Metrics["file_lost_bytes"] != 0 {
			t.Errorf("%v bytes lost", b.Metrics["file_lost_bytes"])
		}
	})
}

func TestDeletedAndCreatedAnewWhileDown(t *testing.T) {
	tailing(t, config{}, func(b *bed) {
		b.add("app.log", "1\n2\n")
		b.start()
		b.read("1", "2")
		b.must(os.Remove(b.path("app.log")))
		b.add("app.log", "3\n4\n5\n") // the inode is often the same
		b.restart()
		b.read("3", "4", "5")
	})
}

// TestFilesThatWaitAndAreRenamedAgainKeepTheirOrder: logrotate moves app.log.1 to app.log.2, and so on, while a source is far behind: it has
// opened none of those that wait.
func TestFilesThatWaitAndAreRenamedAgainKeepTheirOrder(t *testing.T) {
	for _, paths := range []string{"app.log", "app.log*"} {
		t.Run(paths, func(t *testing.T) {
			tailing(t, config{Paths: []string{paths}}, func(b *bed) {
				rotate := func() {
					for n := 4; n > 0; n-- {
						if _, err := os.Stat(b.path(fmt.Sprintf("app.log.%d", n))); err == nil {
							b.move(fmt.Sprintf("app.log.%d", n), fmt.Sprintf("app.log.%d", n+1))
						}
					}
					b.move("app.log", "app.log.1")
				}
				b.add("app.log", "0\n")
				b.age("app.log", 9*time.Hour)
				b.start()
				b.read("0")
				b.add("app.log", "1\n2\n3\n")
				for n, text := range []string{"4\n", "5\n", "6\n"} {
					b.age("app.log", time.Duration(8-n)*time.Hour)
					rotate()
					b.add("app.log", text)
				}
				b.age("app.log", time.Hour)
				b.restart()
				b.MaxEvents = 1
				got := b.one() // and the others wait
				rotate()
				for range 12 { // it notices only that they are elsewhere, no scan is due
					got = append(got, b.one()...)
				}
				for range 12 {
					time.Sleep(defaultScan)
					got = append(got, b.one()...)
				}
				if want := []string{"1", "2", "3", "4", "5", "6"}; !slices.Equal(got, want) {
					t.Fatalf("read %q, want %q\nlog: %s", got, want, strings.Join(b.Logs, "\n     "))
				}
			})
		})
	}
}

// TestAFileThatIsRenamedWhileItIsLookedForIsRead: at any moment of a start.
func TestAFileThatIsRenamedWhileItIsLookedForIsRead(t *testing.T) {
	tailing(t, config{}, func(b *bed) {
		for n := range 100 { // so that a look at all of them takes a while
			b.add(fmt.Sprintf("app.log.%d", n), "before the first start\n")
			b.age(fmt.Sprintf("app.log.%d", n), 9*time.Hour)
		}
		b.add("app.log", "0\n")
		b.start()
		b.read("0")
		for n := range 100 {
			b.add("app.log", fmt.Sprintf("%d a\n", n))
			b.restart()
			var renamed sync.WaitGroup
			renamed.Go(func() {
				for begun := rand.IntN(100_000); begun > 0; begun-- {
					runtime.KeepAlive(begun)
				}
				b.move("app.log", fmt.Sprintf("app.log.1%d", 999-n))
				b.add("app.log", fmt.Sprintf("%d b\n", n))
			})
			got := b.one()
			renamed.Wait()
			time.Sleep(2 * defaultScan)
			got = append(got, sdktest.Bodies(b.Drain())...)
			if want := []string{fmt.Sprintf("%d a", n), fmt.Sprintf("%d b", n)}; !slices.Equal(got, want) {
				t.Fatalf("read %q, want %q\nlog: %s", got, want, strings.Join(b.Logs, "\n     "))
			}
		}
	})
}

// one takes what one poll brings.
func (b *bed) one() []string {
	b.t.Helper()
	events, err := b.Poll()
	b.must(err)
	got := sdktest.Bodies(events)
	b.Commit()
	return got
}

// TestAFileThatIsNotAtItsPlaceIsReadWhereTheNextScanFindsIt: it was seen, and not opened yet.
func TestAFileThatIsNotAtItsPlaceIsReadWhereTheNextScanFindsIt(t *testing.T) {
	for name, meanwhile := range map[string]func(b *bed){
		"renamed": func(b *bed) { b.move("z.log", "z.log.1") },
		"missing for a moment": func(b *bed) {
			elsewhere := b.t.TempDir() + "/z.log"
			b.must(os.Rename(b.path("z.log"), elsewhere))
			for range 4 { // it notices, and a scan does
				b.one()
			}
			time.Sleep(defaultScan)
			b.one()
			b.must(os.Rename(elsewhere, b.path("z.log")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			tailing(t, config{Paths: []string{"*.log*"}}, func(b *bed) {
				b.add("a.log", "1\n2\n3\n")
				b.add("z.log", "last\n")
				b.start()
				b.MaxEvents = 1
				got := b.one()
				meanwhile(b)
				for range 12 {
					time.Sleep(defaultScan / 3)
					got = append(got, b.one()...)
				}
				if !slices.Contains(got, "last") || b.Metrics["file_lost_bytes"] != 0 {
					t.Errorf("read %q, %v bytes lost\nlog: %s", got, b.Metrics["file_lost_bytes"], strings.Join(b.Logs, "\n     "))
				}
			})
		})
	}
}

// TestNobodyWaitsForAFileWhoseContentIsAnother: what was to be read of it is gone.
func TestNobodyWaitsForAFileWhoseContentIsAnother(t *testing.T) {
	tailing(t, config{}, func(b *bed) {
		b.add("app.log", "1\n")
		b.start()
		b.read("1")
		b.move("app.log", "app.log.1")
		b.must(os.WriteFile(b.path("app.log.1"), []byte("what another tool writes\n"), 0o644))
		b.add("app.log", "2\n")
		b.read("2")
	})
}
