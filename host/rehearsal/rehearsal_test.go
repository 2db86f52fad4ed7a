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
	if c == nil {
		t.Fatal(diags)
	}
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
  timeout = "300ms"
  input "app" { bodies = ["x"] }
  sink "post" { delay = "10s" }
  expect "sink.post" { events = 0 }`, "sink.post is running with 1 events waiting\n"},
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

const dealt = `
source "file" "app" {
  into = channel.main
  config { paths = ["logs/*.log"] }
}
channel "wal" "main" {}
route "by_level" {
  from      = channel.main
  unmatched = "discard"
  case "loud" { when = startswith(event.body, "ERROR") }
  case "odd" { when = event.json.level == "odd" }
}
route "by_kind" {
  from  = channel.main
  match = "all"
  case "disk" { when = strcontains(event.body, "disk") }
  case "errors" { when = startswith(event.body, "ERROR") }
  default "rest" {}
}
sink "file" "loud" {
  from = route.by_level.loud
  config { path = "out/loud.log" }
}
sink "file" "odd" {
  from  = route.by_level.odd
  where = !strcontains(event.body, "secret")
  config { path = "out/odd.log" }
}
sink "file" "disk" {
  from = route.by_kind.disk
  config { path = "out/disk.log" }
}
sink "file" "errors" {
  from = route.by_kind.errors
  config { path = "out/errors.log" }
}
sink_group "rest" {
  from     = route.by_kind.rest
  members  = [sink.first, sink.second]
  delivery = "%s"
}
sink "file" "first" {
  batch { events = %d }
  config { path = "out/first.log" }
}
sink "file" "second" {
  config { path = "out/second.log" }
}
`

const someEvents = `
  input "app" { bodies = ["ERROR disk", "INFO disk", "{\"level\":\"odd\"}", "plain"] }`

func TestRoutesAndGroupsAreExpectedOf(t *testing.T) {
	for _, c := range []struct{ name, delivery, test, want string }{
		{"each case has its events, and what is of none is told of", "at_least_once", someEvents + `
  expect "route.by_level.loud" { bodies = ["ERROR disk"] }
  expect "route.by_level.odd" { bodies = ["{\"level\":\"odd\"}"] }
  expect "route.by_level" { bodies = ["INFO disk", "plain"] }
  expect "sink.loud" { bodies = ["ERROR disk"] }
  expect "route.by_kind.disk" { bodies = ["ERROR disk", "INFO disk"] }
  expect "sink.disk" { bodies = ["ERROR disk", "INFO disk"] }
  expect "sink.errors" { bodies = ["ERROR disk"] }
  expect "route.by_kind.rest" { bodies = ["{\"level\":\"odd\"}", "plain"] }
  expect "sink_group.rest" {
    bodies   = ["{\"level\":\"odd\"}", "plain"]
    in_doubt = 0
  }
  expect "sink.first" { events = 2 }
  expect "sink.second" { events = 0 }`, ""},
		{"what differs is shown", "at_least_once", someEvents + `
  expect "route.by_level.loud" { events = 0 }
  expect "route.by_level" { bodies = ["plain"] }
  expect "sink_group.rest" {
    events   = 1
    in_doubt = 1
  }`, `3: route.by_level.loud: 1 events have come, and 0 are expected
  + ERROR disk
4: route.by_level: the bodies are not those expected (- expected, + came)
  + INFO disk
    plain
6: sink_group.rest: 2 events have come, and 1 are expected
  + {"level":"odd"}
  + plain
7: sink_group.rest: 0 events are in doubt, and 1 are expected
`},
		{"the second takes over from one that is down", "at_least_once", someEvents + `
  sink "first" { down = true }
  expect "sink.first" {
    events = 0
    state  = "retrying"
  }
  expect "sink.second" {
    events = 2
    state  = "running"
  }
  expect "sink_group.rest" { events = 2 }`, ""},
		{"one that failed once is not preferred again at once", "at_least_once", someEvents + `
  sink "first" { fail = 1 }
  expect "sink.first" { events = 0 }
  expect "sink.second" { bodies = ["{\"level\":\"odd\"}", "plain"] }`, ""},
		{"what may have arrived waits for its member", "exactly_once", `
  input "app" { bodies = ["one", "two", "three"] }
  sink "first" { down = true }
  expect "sink_group.rest" {
    bodies   = ["two", "three"]
    in_doubt = 1
  }
  expect "sink.second" { bodies = ["two", "three"] }`, ""},
		{"and is delivered when that works again", "exactly_once", someEvents + `
  sink "first" { fail = 2 }
  expect "sink.first" { bodies = ["{\"level\":\"odd\"}"] }
  expect "sink.second" { bodies = ["plain"] }
  expect "sink_group.rest" {
    events   = 2
    in_doubt = 0
  }`, ""},
		{"all members may be down", "at_least_once", someEvents + `
  sink "first" { down = true }
  sink "second" { down = true }
  expect "sink_group.rest" { events = 0 }
  expect "sink.second" { state = "retrying" }`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			batch := 100
			if c.delivery == "exactly_once" {
				batch = 1
			}
			r := rehearse(t, fmt.Sprintf(dealt, c.delivery, batch), "test \"t\" {"+c.test+"\n}\n")
			if got := said(r); got != c.want {
				t.Errorf("%s\nlog:\n%s", cmp.Diff(c.want, got), r.Log)
			}
		})
	}
}

func TestARelayReadsACaseOfARoute(t *testing.T) {
	r := rehearse(t, `
source "file" "app" {
  into = channel.main
  config { paths = ["logs/*.log"] }
}
channel "wal" "main" { max_events = 30 }
channel "wal" "slow" {}
route "by_level" {
  from = channel.main
  case "loud" { when = startswith(event.body, "ERROR") }
  default "rest" {}
}
sink "channel" "over" {
  from  = route.by_level.loud
  into  = channel.slow
  where = !strcontains(event.body, "secret")
}
sink "file" "loud" {
  from = channel.slow
  config { path = "out/loud.log" }
}
sink "file" "rest" {
  from = route.by_level.rest
  config { path = "out/rest.log" }
}
`, `
test "the second channel has what is of the case, each once" {
  input "app" {
    bodies = ["ERROR one", "INFO two", "ERROR secret", "ERROR three"]
    batch  = 3
    repeat = 20
  }
  sink "loud" { fail = 2 }
  expect "route.by_level.loud" { events = 60 }
  expect "channel.slow" {
    events   = 40
    excludes = ["INFO two", "ERROR secret"]
    contains = ["ERROR one", "ERROR three"]
  }
  expect "sink.loud" { events = 40 }
  expect "sink.rest" { events = 20 }
}
`)
	if got := said(r); got != "" {
		t.Errorf("%s\nlog:\n%s", got, r.Log)
	}
}
