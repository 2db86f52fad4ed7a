// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// twoWays is a source of 300 lines, with two ways from it to two files.
const twoWays = `
agent "test" {
  data_dir  = "DATA"
  id        = "edge-1"
  probation = "150ms"
  origin    = true
  labels    = { region = "eu" }
}
plugin "faulty" {
  source = "./faulty.wasm"
}
source "faulty" "lines" {
  into = channel.main
  config {
    count = 300
    every = 170
  }
}
channel "wal" "main" {}
sink "channel" "aside" {
  from = channel.main
  into = channel.slow
}
channel "wal" "slow" {}
sink "file" "near" {
  from = channel.slow
  config {
    path   = "DIR/near-${agent.labels.region}.log"
    format = "json"
  }
}
sink "hop" "over" {
  from = channel.main
  config { address = "unix://DIR/hop.sock" }
}
source "hop" "in" {
  into = channel.far
  config {
    listen  = "unix://DIR/hop.sock"
    clients = ["local"]
  }
}
channel "wal" "far" {}
sink "file" "far" {
  from = channel.far
  config {
    path   = "DIR/far.log"
    format = "json"
  }
}
`

// TestAnEventKeepsItsOriginOverRelaysAndHops: what has one origin is one event.
func TestAnEventKeepsItsOriginOverRelaysAndHops(t *testing.T) {
	const count = 300
	pipeline := twoWays
	r := run(t, t.TempDir(), pipeline)
	eventually(t, "all is delivered twice", func() bool {
		return r.component("sink.near").Events == count && r.component("sink.far").Events == count
	})
	near, far := r.origins(t, "near-eu.log"), r.origins(t, "far.log")
	if len(near) != count || !slices.Equal(near, far) || len(slices.Compact(slices.Clone(near))) != count {
		t.Errorf("of %d events there are %d origins here and %d there: %.3q, %.3q", count, len(near), len(far), near, far)
	}
	shown := func(region string) bool {
		return testutil.GatherAndCompare(r.registry, strings.NewReader(`# HELP penstock_agent_info 1, with the agent's name, its id, and its labels.
# TYPE penstock_agent_info gauge
penstock_agent_info{agent="test",id="edge-1",region="`+region+`"} 1
`), "penstock_agent_info") == nil && r.Status().Labels["region"] == region
	}
	if !shown("eu") {
		t.Error("the metrics or the status do not show the label")
	}
	if err := r.reload(t, strings.Replace(pipeline, `{ region = "eu" }`, `{ region = "us" }`, 1)); err != nil {
		t.Fatal(err)
	}
	if !shown("us") {
		t.Error("the metrics or the status do not show the new label")
	}
}

// origins are those of the events in a file, in order of text.
func (r rig) origins(t *testing.T, file string) (list []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(r.dir, file))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		found := regexp.MustCompile(`"origin\.stream":"(edge-1/source\.lines/[0-9a-f]{16})","origin\.number":"([0-9]+)"`).FindStringSubmatch(line)
		if found == nil {
			t.Fatalf("there is none in %s", line)
		}
		list = append(list, found[1]+"/"+found[2])
	}
	slices.Sort(list)
	return list
}
