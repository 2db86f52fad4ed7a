// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/dead"
	"github.com/penstock-io/penstock/spec/event"
)

// mended is picky with a sink that rejects a hundred of 1000 events and breaks on one, and one that takes all.
var mended = strings.Replace(picky, "THROUGH", "", 1) + `
sink "faulty" "s" {
  from = channel.main
  config {
    until  = "DIR/until"
    picky  = true
    breaks = "line 500"
  }
}
sink "file" "all" {
  from = channel.main
  config { path = "DIR/all.log" }
}
`

// rejected runs it until 101 events are among the dead letters.
func rejected(t *testing.T, edit ...func(*Options)) rig {
	t.Helper()
	r := run(t, t.TempDir(), mended, edit...)
	eventually(t, "all is decided", func() bool {
		s, all := r.component("sink.s"), r.component("sink.all")
		return s.Events+s.Dead == 1000 && s.Waiting == 0 && all.Events == 1000
	})
	return r
}

func decide(t *testing.T, r rig, verb admin.Verb, order dead.Order) dead.Outcome {
	t.Helper()
	out, err := r.Act(t.Context(), admin.Action{Verb: verb, Channel: "channel.rejected", Dead: order, DryRun: order.DryRun})
	if err != nil {
		t.Fatal(err)
	}
	return *out.Dead
}

func TestAReplayedLetterComesToTheSinkThatGaveItUpAndToNoOther(t *testing.T) {
	var mu sync.Mutex
	var steps []string
	r := rejected(t, func(o *Options) {
		o.Step = func(name string) {
			mu.Lock()
			defer mu.Unlock()
			steps = append(steps, name)
		}
	})
	if out := decide(t, r, admin.DeadReplay, dead.Order{DryRun: true}); out.Events != 101 || out.Letters != 101 || len(out.Refused) != 0 {
		t.Fatalf("it would replay %+v", out)
	}
	mu.Lock()
	steps = nil
	mu.Unlock()
	if out := decide(t, r, admin.DeadReplay, dead.Order{Filter: dead.Filter{Reason: "rejected"}}); out.Events != 100 {
		t.Fatalf("it replayed %+v", out)
	}
	mu.Lock()
	put, finish := slices.Index(steps, "dead-put"), slices.Index(steps, "dead-finish")
	between := slices.Clone(steps[put+1 : finish])
	mu.Unlock()
	if put < 0 || finish < put || !slices.Contains(between, "fsync") {
		t.Errorf("between the put and the taking out came %v", between)
	}
	// The sink is as it was, and rejects them once more: as letters of their own.
	eventually(t, "they are rejected again", func() bool { return r.component("sink.s").Dead == 201 })
	eventually(t, "and are kept", func() bool { return r.channels()[1].Stats().Readers[DeadReader].Waiting == 101 })
	for _, e := range letters(t, r) {
		n := 0
		for _, at := range e.Attributes {
			if at.Key == event.DeadOffset {
				n++
			}
		}
		if n != 1 {
			t.Fatalf("it was replayed with attributes of dead letters: %v", e.Attributes)
		}
	}
	if all := r.component("sink.all"); all.Events != 1000 || all.Waiting != 0 {
		t.Errorf("the other sink got %d events, %d wait", all.Events, all.Waiting)
	}
	write(t, r.dir, strings.Replace(mended, "    picky  = true\n    breaks = \"line 500\"\n", "", 1))
	if _, err := r.Reload(t.Context(), admin.Reload{}); err != nil {
		t.Fatal(err)
	}
	if out := decide(t, r, admin.DeadReplay, dead.Order{To: "sink.all", Filter: dead.Filter{Limit: 1}}); out.Events != 1 {
		t.Errorf("to another sink: %+v", out)
	}
	eventually(t, "the other sink has it", func() bool { return r.component("sink.all").Events == 1001 })
	if out := decide(t, r, admin.DeadReplay, dead.Order{}); out.Events != 100 || r.channels()[1].Stats().Readers[DeadReader].Waiting != 0 {
		t.Errorf("the rest: %+v", out)
	}
}

func TestLettersThatAreDroppedAreOnRecordAndTheOthersStay(t *testing.T) {
	r := rejected(t)
	if out := decide(t, r, admin.DeadDrop, dead.Order{Filter: dead.Filter{Class: "fatal"}}); out.Events != 1 {
		t.Errorf("of what broke it: %+v", out)
	}
	if out := decide(t, r, admin.DeadDrop, dead.Order{Filter: dead.Filter{Component: "sink.s", Limit: 40}}); out.Events != 40 {
		t.Errorf("of forty: %+v", out)
	}
	if out := decide(t, r, admin.DeadDrop, dead.Order{Filter: dead.Filter{Component: "sink.other"}}); out.Events != 0 {
		t.Errorf("of another: %+v", out)
	}
	s := r.channels()[1].Stats()
	if got := maps.Collect(maps.All(s.Dropped)); s.Readers[DeadReader].Waiting != 60 || got[7] != 41 {
		t.Errorf("%d wait, dropped %v", s.Readers[DeadReader].Waiting, got)
	}
}

func TestALetterOfAMemberIsReplayedToItsGroup(t *testing.T) {
	r := run(t, t.TempDir(), strings.Replace(picky, "THROUGH", "", 1)+`
sink_group "pair" {
  from    = channel.main
  members = [sink.s, sink.spare]
}
sink "faulty" "s" {
  config {
    until = "DIR/until"
    picky = true
  }
}
sink "file" "spare" {
  config { path = "DIR/spare.log" }
}
`)
	eventually(t, "all is decided", func() bool {
		s := r.component("sink.s")
		return s.Events == 900 && s.Dead == 100 && s.Waiting == 0
	})
	if out := decide(t, r, admin.DeadReplay, dead.Order{Filter: dead.Filter{Component: "sink_group.pair"}}); out.Events != 100 || len(out.Refused) != 0 {
		t.Fatalf("it replayed %+v", out)
	}
	eventually(t, "the group has them again", func() bool { return r.component("sink.s").Dead == 200 })
}
