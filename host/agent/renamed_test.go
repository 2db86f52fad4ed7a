// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/admin"
)

const renaming = `
moved {
  from = source.traps
  to   = source.counts
}
moved {
  from = sink.a
  to   = sink.b
}
`

// renamed is a pipeline in which the source and the sink have other names.
func renamed(pipeline string) string {
	return strings.NewReplacer(`source "faulty" "traps"`, `source "faulty" "counts"`, `sink "file" "a"`, `sink "file" "b"`).Replace(pipeline) + renaming
}

func TestAReloadThatGivesOtherNamesLosesAndRepeatsNothing(t *testing.T) {
	const count = 40000
	pipeline := counted(count, "a")
	r := run(t, t.TempDir(), pipeline)
	eventually(t, "something delivered", func() bool { return r.component("sink.a").Events > 1000 })
	// Once it breaks on probation and goes back, under the names before; then it holds.
	err := r.reload(t, strings.Replace(renamed(pipeline), "every = 1000000", "every = 0", 1))
	if back, ok := errors.AsType[*wentBack](err); !ok || back.stuck {
		t.Fatalf("the reload answered %v", err)
	}
	eventually(t, "something delivered under the old name", func() bool { return r.component("sink.a").Events > 100 })
	if err := r.reload(t, renamed(pipeline)); err != nil {
		t.Fatal(err)
	}
	if names := r.started(); len(names) != 2 || names["source.counts"].IsZero() || names["sink.b"].IsZero() {
		t.Errorf("there run: %v", names)
	}
	eventually(t, "all is delivered", func() bool { return len(r.out(t, "a")) >= count })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if got := r.out(t, "a"); !slices.Equal(got, lines(0, count)) {
		t.Errorf("there are %d lines, wanted the %d that were counted", len(got), count)
	}
}

func TestAChannelKeepsItsNameWhileTheAgentRuns(t *testing.T) {
	pipeline := counted(100, "a")
	r := run(t, t.TempDir(), pipeline)
	err := r.reload(t, strings.NewReplacer(`"wal" "main"`, `"wal" "other"`, "channel.main", "channel.other").Replace(pipeline)+
		"moved {\n  from = channel.main\n  to = channel.other\n}\n")
	if _, refused := errors.AsType[*admin.Refusal](err); !refused || !strings.Contains(err.Error(), "channel.main cannot become channel.other while the agent runs") {
		t.Errorf("the reload answered %v", err)
	}
}
