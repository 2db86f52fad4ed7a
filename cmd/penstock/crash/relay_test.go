// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/reliability"
)

var relayKills = flag.Int("relaykills", 7, "how often an agent is killed in which a relay stands between two channels")

// TestKillNineLosesAndRepeatsNothingOverARelay has events go from a file through two channels, the second of which is often full, into another file.
func TestKillNineLosesAndRepeatsNothingOverARelay(t *testing.T) {
	r := newRig(t)
	text, err := os.ReadFile(r.cfg)
	if err == nil {
		relayed := strings.Replace(string(text), `sink "file" "out" {
  from = channel.main`, `channel "wal" "second" {
  max_events = 2000
}

sink "channel" "over" {
  from = channel.main
  into = channel.second
}

sink "file" "out" {
  from     = channel.second
  delivery = "exactly_once"`, 1)
		err = os.WriteFile(r.cfg, []byte(relayed), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	list := schedule(*relayKills, r.rng)
	defer few(len(list))()
	row := r.loop(len(list), func(n int) { r.kill(list[n]) })
	row.Part, row.What = reliability.Kill, "an agent under load, with a relay between two channels"
	row.Note += ", killed at " + strings.Trim(fmt.Sprint(r.byAim), "map[]")
	reliability.Report(t, row)
}

// few has the loop write a few lines for each of so many kills, until what it returns is called.
func few(n int) (end func()) {
	k, l := *kills, *lines
	*kills, *lines = n, min(l, 10_000*n)
	return func() { *kills, *lines = k, l }
}
