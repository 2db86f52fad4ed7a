// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/sdk/sdktest"
)

func TestOrderByTime(t *testing.T) {
	spooling(t, config{Order: "time"}, func(b *bed) {
		b.put("a", "3\n", time.Minute)
		b.put("b", "1\n", time.Hour)
		b.put("d", "2\n", 2*time.Minute)
		b.put("c", "2\n", 2*time.Minute)
		b.start()
		got := b.read("1", "2", "2", "3")
		if p := got[1].Attributes["file.path"]; p != b.path("c") {
			t.Errorf("of two files of one moment %s comes first", p)
		}
	})
}

func TestOnlyFinishedFilesThatAreWantedAreRead(t *testing.T) {
	spooling(t, config{Include: []string{"*.log", "*.tmp"}, Exclude: []string{"*.tmp", "not.*"}}, func(b *bed) {
		for _, name := range []string{"a.log", "b.tmp", ".c.log", "d.txt", "not.log", "sub/e.log"} {
			b.put(name, name+"\n", time.Hour)
		}
		b.put("young.log", "young\n", 0)
		b.start()
		_, err := b.Poll()
		b.must(err)
		b.Commit()
		if got := sdktest.Bodies(b.Events); !slices.Equal(got, []string{"a.log"}) {
			t.Errorf("read %q at first", got)
		}
		b.read("young")
		b.must(os.Rename(b.path("b.tmp"), b.path("b.log")))
		b.read("b.tmp")
		b.holds(".c.log", "d.txt", "done/a.log", "done/b.log", "done/young.log", "not.log", "sub/e.log")
	})
}

func TestAFileOfTheFutureIsReadWhenItRests(t *testing.T) {
	spooling(t, config{}, func(b *bed) {
		b.put("a.log", "1\n", -24*time.Hour)
		b.start()
		b.read("1")
		b.holds("done/a.log")
	})
}

func TestSubdirectories(t *testing.T) {
	spooling(t, config{Subdirectories: true, Exclude: []string{"x/*"}}, func(b *bed) {
		b.put("b", "3\n", time.Hour)
		b.put("a/z", "2\n", time.Hour)
		b.put("a/b/c", "1\n", time.Hour)
		b.put("x/no", "no\n", time.Hour)
		b.put(".git/no", "no\n", time.Hour)
		b.put("a/bad", "\x00\n", time.Hour)
		b.start()
		b.read("1", "2", "3")
		b.holds(".git/no", "bad/a/bad", "bad/a/bad.reason", "done/a/b/c", "done/a/z", "done/b", "x/no")
		b.cfg.WhenDone = "delete" // what lies in done stays what it is
		b.Configure(b.cfg)
		b.restart()
		b.read()
	})
}

func TestTenThousandFiles(t *testing.T) {
	spooling(t, config{}, func(b *bed) {
		const files = 10_000
		var want []string
		for i := range files {
			b.put(fmt.Sprintf("%05d", i), fmt.Sprintf("%d\n", i), time.Hour)
			want = append(want, fmt.Sprint(i))
		}
		b.start()
		for len(b.Events) < files {
			_, err := b.Poll()
			b.must(err)
			b.Commit()
			if len(b.Cursor) > 2*maxLeaving {
				t.Fatalf("the cursor has %d entries", len(b.Cursor))
			}
		}
		b.read()
		if !slices.Equal(sdktest.Bodies(b.Events), want) {
			t.Error("not each once, in order")
		}
		b.clean()
	})
}

// TestALookTakesSeveralCalls: one call may take so much processor time, however many files there are.
func TestALookTakesSeveralCalls(t *testing.T) {
	for _, order := range []string{"name", "time"} {
		spooling(t, config{Order: order, Subdirectories: true}, func(b *bed) {
			const files = 2500
			for i := range files {
				b.put(fmt.Sprintf("%d/%04d", i%3, i), "x\n", time.Hour)
			}
			b.start()
			b.src.names = 1
			polls := 0
			for ; len(b.Events) == 0; polls++ {
				_, err := b.Poll()
				b.must(err)
				b.Commit()
			}
			if polls < files/someNames {
				t.Errorf("it looked at %d files in %d calls", files, polls)
			}
			for range 100 {
				b.Drain()
				time.Sleep(defaultScan)
			}
			if len(b.Events) != files {
				t.Errorf("%d events of %d", len(b.Events), files)
			}
			b.clean()
		})
	}
}

func TestADirectoryThatIsNotThereIsWaitedFor(t *testing.T) {
	spooling(t, config{}, func(b *bed) {
		b.must(os.Remove(b.dir))
		b.start()
		if _, err := b.Poll(); err == nil || !strings.Contains(err.Error(), "look into the spool") {
			t.Fatalf("%v", err)
		}
		b.put("a", "a\n", time.Hour)
		b.read("a")
	})
}
