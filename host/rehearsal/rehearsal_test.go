// SPDX-License-Identifier: Apache-2.0

package rehearsal

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/host/agent"
	"github.com/penstock-io/penstock/host/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rehearse runs the one test in text on a pipeline.
func rehearse(t *testing.T, pipeline, text string) Result {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "pipeline.hcl")
	if err := os.WriteFile(file, []byte(pipeline), 0o600); err != nil {
		t.Fatal(err)
	}
	tests, _, diags := config.ParseTests([]byte(text), "pipeline.test.hcl")
	if diags.HasErrors() || len(tests) != 1 {
		t.Fatal(diags)
	}
	modules := &agent.Modules{}
	work := filepath.Join(dir, "work")
	c, _, diags := config.Load(file, modules.ConfigOptions(work))
	diags = append(diags, tests[0].Check(c)...)
	if err := os.MkdirAll(filepath.Join(work, "out"), 0o700); err != nil || diags.HasErrors() {
		t.Fatal(err, diags)
	}
	begun := time.Now()
	r, err := Run(t.Context(), Options{Test: tests[0], Config: c, Modules: modules, Dir: work, Cache: filepath.Join(os.TempDir(), fmt.Sprintf("penstock-test-cache-%d", os.Geteuid()))})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%v", time.Since(begun))
	return r
}

// said is the failures as lines.
func said(r Result) string {
	var s strings.Builder
	for _, f := range r.Failures {
		fmt.Fprintf(&s, "%d: %s\n", f.At.Start.Line, f.What)
		for _, l := range f.Lines {
			fmt.Fprintf(&s, "  %c %s\n", l.Mark, l.Text)
		}
	}
	return s.String()
}

const small = `
source "file" "app" {
  into = channel.main
  config { paths = ["logs/*.log"] }
}
channel "memory" "main" {
  max_events  = 10
  dead_letter = channel.rejected
}
channel "wal" "rejected" {}
sink "file" "all" {
  from = channel.main
  config { path = "out/all.log" }
}
sink "http" "post" {
  from = channel.main
  config { url = "https://nowhere.invalid/" }
}
`

func TestWhatComesIsComparedWithWhatIsExpected(t *testing.T) {
	for _, c := range []struct{ name, test, want string }{
		{"everything as it should be", `
  input "app" {
    bodies     = ["one", "two"]
    attributes = { a = "b" }
    batch      = 1
  }
  input "source.app" { bodies = ["three"] }
  sink "post" {
    fail   = 3
    reject = "^t"
  }
  expect "sink.all" {
    bodies     = ["one", "two", "three"]
    attributes = [{ a = "b" }, {}, {}]
  }
  expect "sink.post" {
    bodies = ["one"]
    state  = "running"
  }
  expect "channel.main" { events = 3 }
  expect "channel.rejected" {
    bodies     = ["two", "three"]
    attributes = [{ "penstock.dead.component" = "sink.post" }]
  }
  expect "source.app" { state = "finished" }`, ""},
		{"the plugin of a sink stores them", `
  input "app" { bodies = ["one", "two"] }
  sink "all" { stored = "out/all.log" }
  expect "sink.all" { bodies = ["one", "two"] }`, ""},
		{"what differs is shown", `
  input "app" { bodies = ["one", "two", "three\n"] }
  expect "sink.all" {
    bodies = ["one", "2", "three\n"]
    events = 2
    contains = ["four", "one"]
    excludes = ["two"]
    attributes = [{ x = "y" }]
  }`, `5: sink.all: 3 events have come, and 2 are expected
4: sink.all: the bodies are not those expected (- expected, + came)
    one
  - 2
  + two
    "three\n"
6: sink.all: four has not come
7: sink.all: two has come
8: sink.all: attributes of event 1, one, are not those expected (- expected, + came)
  - x = "y"
`},
		{"a sink that is down leaves the source waiting", `
  input "app" {
    bodies = ["x"]
    repeat = 30
    batch  = 5
  }
  sink "post" { down = true }
  expect "sink.post" {
    events = 0
    state  = "retrying"
  }
  expect "source.app" { state = "running" }
  expect "sink.all" { excludes = ["y"] }`, ""},
		{"a state that is not the one expected is told of", `
  expect "source.app" { state = "held" }`, "2: source.app: it is finished, and held is expected\n"},
		{"what does not come to an end is told of", `
  timeout = "50ms"
  input "app" { bodies = ["x"] }
  sink "post" { delay = "10s" }
  expect "sink.post" { events = 0 }`, "1: it does not come to an end within 50ms: sink.post is running with 1 events waiting\n"},
		{"what is held unsaid is a failure", `
  input "app" {
    bodies     = ["x"]
    attributes = { "penstock.dead.reason" = "not for guests" }
  }
  expect "sink.all" { events = 1 }`, `1: source.app is held (`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := rehearse(t, small, "test \"t\" {"+c.test+"\n}\n")
			if got := said(r); got != c.want && (c.want == "" || !strings.Contains(got, c.want)) {
				t.Errorf("%s\n%s\nlog:\n%s", cmp.Diff(c.want, got), got, r.Log)
			}
		})
	}
}
