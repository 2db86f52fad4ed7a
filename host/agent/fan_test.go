// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/channel"
)

// backlog is how many events pile up before the sinks that lag; `make soak` takes 5 million. Only there are the machine and the time such that speeds
// say something.
var backlog = flag.Int("backlog", 100_000, "events that a dead sink leaves waiting while others are to go on at full speed")

const soakBacklog = 1_000_000 // from which on the speed is judged

// fanned is one source, six sinks that take all, and others beside them.
func fanned(count int, others string) string {
	var s strings.Builder
	fmt.Fprintf(&s, `
source "generate" "in" {
  into = channel.main
  config {
    count = %d
    size  = "64B"
  }
}
channel "wal" "main" { capacity = "16GiB" }
`, count)
	for i := range 6 {
		fmt.Fprintf(&s, "sink \"discard\" \"good%d\" {\n  from = channel.main\n}\n", i)
	}
	return s.String() + others
}

// pace is when the last of the good sinks had half of the events, and all.
type pace struct{ half, all time.Duration }

// paced runs until the good sinks have all, and returns how long that took from the first event on.
func paced(t *testing.T, r rig, count int) (p pace) {
	t.Helper()
	least := func() uint64 {
		n := r.component("sink.good0").Events
		for i := range 5 {
			n = min(n, r.component(fmt.Sprint("sink.good", i+1)).Events)
		}
		return n
	}
	until := func(n uint64) { eventually(t, fmt.Sprint(n, " at each"), func() bool { return least() >= n }) }
	until(1)
	begun := time.Now()
	until(uint64(count) / 2)
	p.half = time.Since(begun)
	until(uint64(count))
	p.all = time.Since(begun)
	return p
}

func (r rig) channelStats(address string) (s channel.Stats) {
	for _, c := range r.current().channels {
		if c.address == address {
			s = c.Stats()
		}
	}
	return s
}

func TestADeadAndASlowSinkHoldNobodyUp(t *testing.T) {
	count := *backlog
	alone := run(t, t.TempDir(), fanned(count, ""))
	want := paced(t, alone, count)
	if err := alone.stop(); err != nil {
		t.Fatal(err)
	}

	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-time.After(100 * time.Millisecond):
		case <-r.Context().Done():
		}
	}))
	defer slow.Close()
	gone := httptest.NewServer(nil)
	gone.Close() // nothing listens there any more
	r := run(t, t.TempDir(), fanned(count, fmt.Sprintf(`
sink "http" "slow" {
  from = channel.main
  batch { events = 1000 }
  config { url = "%s/" }
}
sink "http" "dead" {
  from = channel.main
  config { url = "%s/" }
}
`, slow.URL, gone.URL)))
	got := paced(t, r, count)
	stats, behind := r.channelStats("channel.main"), r.component("sink.slow").Events
	t.Logf("alone: half of %d events after %v, all after %v; beside a dead and a slow one, who had %d: %v, %v", count, want.half, want.all, behind, got.half, got.all)
	t.Logf("%d transactions, %d flushes", stats.Transactions, stats.Syncs)
	if n := r.component("sink.dead").Events; n != 0 || behind >= uint64(count) {
		t.Errorf("the dead sink has %d events, the slow one %d of %d: nothing waits for them", n, behind, count)
	}
	if held := stats.Events; held != uint64(count) {
		t.Errorf("the channel holds %d events, want all %d, which the dead sink has not", held, count)
	}
	if once := 8 + 1 + stats.Segments; stats.Syncs > stats.Transactions+uint64(once) { // to register each reader, to open, and as a segment is full
		t.Errorf("%d transactions took %d flushes: they are not shared", stats.Transactions, stats.Syncs)
	}
	if count >= soakBacklog && float64(got.all) > 1.3*float64(want.all) {
		t.Errorf("it took %v beside a dead and a slow sink, %v without them", got.all, want.all)
	}
}
