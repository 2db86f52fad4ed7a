// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/pipeline"
)

// reload has the agent go over to another pipeline.
func (r rig) reload(t testing.TB, pipeline string) error {
	t.Helper()
	write(t, r.dir, pipeline)
	_, err := r.Reload(t.Context(), admin.Reload{Why: "a test"})
	return err
}

// patient begins a pipeline that will break: however slow the machine is, that is on probation.
var patient = strings.Replace(agentBlock, "150ms", patience.String(), 1)

// started are the start times of all components.
func (r rig) started() map[string]time.Time {
	all := map[string]time.Time{}
	for _, c := range r.Status().Components {
		all[c.Address] = c.Started
	}
	return all
}

// onlyChanged checks that of what was there before, that and nothing else was started again.
func (r rig) onlyChanged(t *testing.T, before map[string]time.Time, changed ...string) {
	t.Helper()
	for address, at := range r.started() {
		was, there := before[address]
		if there && was.Equal(at) == slices.Contains(changed, address) {
			t.Errorf("%s was started at %v, and before at %v", address, at, was)
		}
	}
}

func TestAReloadStartsAgainWhatIsNotTheSameAndNothingElse(t *testing.T) {
	pipeline := strings.ReplaceAll(counted(1<<30, "a", "b"), "events = 50", "events = 4096")
	r := run(t, t.TempDir(), pipeline)
	for i := range 10 {
		before := r.started()
		changed := strings.Replace(pipeline, "batch { events = 4096 }", fmt.Sprintf("batch { events = %d }", 3000+i), 1)
		if err := r.reload(t, changed); err != nil {
			t.Fatal(err)
		}
		r.onlyChanged(t, before, "sink.a")
	}
	before := r.started()
	if err := r.reload(t, strings.Replace(pipeline, "every = 1000000", "every = 1000001", 1)); err != nil {
		t.Fatal(err)
	}
	r.onlyChanged(t, before, "source.traps", "sink.a")
	at := r.component("source.traps").Events
	eventually(t, "it goes on", func() bool { return r.component("source.traps").Events > at })
	r.act(t, admin.Action{Verb: admin.Drain})
	eventually(t, "drained", func() bool { return r.component("sink.a").Waiting+r.component("sink.b").Waiting == 0 })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if a, b := r.numbered(t, "a"), r.numbered(t, "b"); a != b || a == 0 {
		t.Errorf("a has %d events, b %d", a, b)
	}
	if s := r.Status(); s.Reload.Last == nil || s.Reload.Last.Result != admin.ReloadApplied {
		t.Errorf("the last reload: %+v", s.Reload.Last)
	}
}

func TestAReloadWithMistakesTouchesNothing(t *testing.T) {
	pipeline := counted(100, "a")
	r := run(t, t.TempDir(), pipeline)
	before, revision := r.started(), r.Status().Revision
	for _, c := range []struct{ from, to, says string }{
		{`path = "DIR/a.log"`, `pth = "DIR/a.log"`, "pipeline.hcl line"},
		{`source = "./faulty.wasm"`, `source = "./fualty.wasm"`, "E4002"},
		{`channel "wal" "main" {}`, "channel \"wal\" \"main\" {\n  on_full = \"refuse\"\n}", "on_full cannot change while the agent runs"},
		{`channel "wal" "main" {}`, `channel "memory" "main" {}`, "give the channel another name"},
	} {
		err := r.reload(t, strings.Replace(pipeline, c.from, c.to, 1))
		if _, refused := errors.AsType[*admin.Refusal](err); !refused || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.to, err)
		}
		r.onlyChanged(t, before)
	}
	s := r.Status()
	if s.Revision != revision || s.Reload.Last.Result != admin.ReloadRefused || s.Reload.Last.Reason == "" {
		t.Errorf("revision %s, last reload %+v", s.Revision, s.Reload.Last)
	}
	eventually(t, "everything delivered", func() bool { return r.component("sink.a").Events == 100 })
}

func TestTheStepsOfASwapComeInOrder(t *testing.T) {
	pipeline := counted(100000, "a", "b")
	r := run(t, t.TempDir(), pipeline)
	var mu sync.Mutex
	var steps []string
	r.trace = func(step string) {
		mu.Lock()
		defer mu.Unlock()
		steps = append(steps, step)
	}
	changed := strings.Replace(pipeline, "batch { events = 50 }", "batch { events = 51 }", 1) // of a
	changed = strings.Replace(changed, `sink "file" "b"`, `sink "file" "c"`, 1)
	if err := r.reload(t, changed); err != nil {
		t.Fatal(err)
	}
	of := func(address string) (list []string) {
		for _, s := range steps {
			if strings.HasSuffix(s, " "+address) {
				list = append(list, strings.TrimSuffix(s, " "+address))
			}
		}
		return list
	}
	for address, want := range map[string]string{"sink.a": "prepare stop open start", "sink.b": "stop", "sink.c": "open start", "source.traps": ""} {
		if got := strings.Join(of(address), " "); got != want {
			t.Errorf("%s: %s; want %s", address, got, want)
		}
	}
	if left := r.current().spares.all; len(left) > 0 {
		t.Errorf("%d instances that were started ahead are left", len(left))
	}
	if slices.Index(steps, "stop sink.b") > slices.Index(steps, "open sink.c") {
		t.Errorf("what is new comes before what goes has gone: %q", steps)
	}
}

func TestAReloadWorksWhileADestinationIsDownAndItsChannelFull(t *testing.T) {
	pipeline := `
plugin "faulty" {
  source = "./faulty.wasm"
  grant {
    dir "until" {
      path = "DIR"
    }
  }
}
source "generate" "in" {
  into = channel.main
  config { count = 200000 }
}
channel "wal" "main" {
  capacity = "4MiB"
}
sink "faulty" "out" {
  from = channel.main
  retry {
    min = "10ms"
    max = "20ms"
  }
  config { until = "DIR/up" }
}
`
	r := run(t, t.TempDir(), pipeline)
	eventually(t, "full", func() bool { return r.Status().Channels[0].Bytes >= 4<<20 })
	before := r.started()
	changed := strings.NewReplacer(`max = "20ms"`, `max = "30ms"`, "4MiB", "5MiB", "count = 200000", "count = 200001").Replace(pipeline)
	start := time.Now()
	if err := r.reload(t, changed); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 20*time.Second { // a drain that waits for the destination takes 30
		t.Errorf("it took %v", took)
	}
	r.onlyChanged(t, before, "sink.out", "source.in")
	eventually(t, "full again, at the new capacity", func() bool { return r.Status().Channels[0].Bytes >= 5<<20 })
	if err := os.WriteFile(filepath.Join(r.dir, "up"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all delivered once the destination is up", func() bool { return r.component("sink.out").Events == 200001 })
}

func TestASourceThatBreaksOnProbationGivesWayToTheOneBefore(t *testing.T) {
	pipeline := strings.Replace(counted(1<<30, "a"), "events = 50", "events = 4096", 1)
	r := run(t, t.TempDir(), pipeline)
	revision := r.Status().Revision
	for range 3 {
		err := r.reload(t, patient+strings.Replace(pipeline, "every = 1000000", "every = 0", 1)) // it breaks in its first poll
		if back, ok := errors.AsType[*wentBack](err); !ok || back.stuck {
			t.Fatalf("the reload answered %v", err)
		}
	}
	if s := r.Status(); s.Revision != revision || s.Reload.Last.Result != admin.ReloadReturned {
		t.Errorf("revision %s, last %+v", s.Revision, s.Reload.Last)
	}
	at := r.component("sink.a").Events
	eventually(t, "it goes on", func() bool { return r.component("sink.a").Events > at+100 })
	r.act(t, admin.Action{Verb: admin.Drain})
	eventually(t, "drained", func() bool { return r.component("sink.a").Waiting == 0 })
	n := int(r.component("sink.a").Events)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if got := r.out(t, "a"); !slices.Equal(got, lines(0, n)) {
		t.Errorf("a has %d lines", len(got))
	}
}

func TestASourceMovesToANewChannelAndTheOldOneGoes(t *testing.T) {
	const count = 30000
	pipeline := counted(count, "a")
	r := run(t, t.TempDir(), pipeline)
	eventually(t, "something delivered", func() bool { return r.component("sink.a").Events > 1000 })
	both := strings.Replace(pipeline, "into = channel.main", "into = channel.next", 1) + `
channel "wal" "next" {}
sink "file" "b" {
  from = channel.next
  config { path = "DIR/b.log" }
}
`
	before := r.started()
	if err := r.reload(t, both); err != nil {
		t.Fatal(err)
	}
	r.onlyChanged(t, before, "source.traps")
	eventually(t, "the old channel is drained", func() bool { return r.Status().Channels[0].Events == 0 })
	a := strings.Index(both, `channel "wal" "main"`)
	b := strings.Index(both, `channel "wal" "next"`)
	if err := r.reload(t, both[:a]+both[b:]); err != nil {
		t.Fatal(err)
	}
	if s := r.Status(); len(s.Channels) != 1 || len(s.Components) != 2 {
		t.Errorf("there are %d channels and %d components", len(s.Channels), len(s.Components))
	}
	eventually(t, "everything delivered", func() bool { return int(r.component("sink.b").Events)+len(r.out(t, "a")) == count })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if got := append(r.out(t, "a"), r.out(t, "b")...); !slices.Equal(got, lines(0, count)) {
		t.Errorf("there are %d lines", len(got))
	}
}

func TestAChannelInMemoryIsNotGivenUpWithEventsInIt(t *testing.T) {
	r := run(t, t.TempDir(), blocked)
	eventually(t, "full", func() bool { return r.Status().Channels[0].Events >= 50 })
	before := r.started()
	err := r.reload(t, strings.ReplaceAll(strings.ReplaceAll(blocked, "channel.main", "channel.other"), `"memory" "main"`, `"memory" "other"`))
	if err == nil || !strings.Contains(err.Error(), "without it they would be lost") {
		t.Errorf("the reload answered %v", err)
	}
	if s := r.Status(); len(s.Channels) != 1 || s.Channels[0].Address != "channel.main" || s.Channels[0].Events < 50 {
		t.Errorf("the channels: %+v", s.Channels)
	}
	r.onlyChanged(t, before, "source.g", "sink.down")
}

func TestAChannelIsMadeSmallerOnceThereIsNoWayBack(t *testing.T) {
	text := strings.NewReplacer(`on_full    = "refuse"`, `on_full    = "drop_oldest"`, "count = 100", "count = 50", "max_events = 50", "max_events = 500").Replace(blocked)
	r := run(t, t.TempDir(), text)
	eventually(t, "all wait", func() bool { return r.Status().Channels[0].Events == 50 })
	less := strings.Replace(text, "max_events = 500", "max_events = 500\n  max_age = \"10ms\"", 1)
	err := r.reload(t, patient+less+`
source "faulty" "traps" {
  into = channel.main
  config {
    count = 10
    every = 0
  }
}
`)
	if back, ok := errors.AsType[*wentBack](err); !ok || back.stuck {
		t.Fatalf("the reload answered %v", err)
	}
	if n := r.Status().Channels[0].Events; n != 50 {
		t.Errorf("%d events are left of 50, of a version that was gone back from", n)
	}
	if err := r.reload(t, less); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the old ones go", func() bool { return r.Status().Channels[0].Events == 0 })
}

func TestReloadsWaitForEachOtherAndEndWithTheAgent(t *testing.T) {
	pipeline := strings.Replace(agentBlock, "150ms", "1h", 1) + counted(100000, "a")
	r := run(t, t.TempDir(), pipeline)
	write(t, r.dir, strings.Replace(pipeline, "events = 50", "events = 51", 1))
	answers := make(chan error, 3) // closed by nobody
	for range 3 {
		go func() {
			_, err := r.Reload(t.Context(), admin.Reload{})
			answers <- err
		}()
	}
	eventually(t, "the first is on probation", func() bool { return r.current().Config.Sinks[0].Batch.Events == 51 })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := <-answers; !errors.Is(err, errGone) {
			t.Errorf("a reload answered %v", err)
		}
	}
}

func TestWhatIsKeptIsTheLastThatProvedGood(t *testing.T) {
	pipeline := counted(1000000, "a")
	r := run(t, t.TempDir(), pipeline)
	good := strings.Replace(pipeline, "events = 50", "events = 51", 1)
	if err := r.reload(t, good); err != nil {
		t.Fatal(err)
	}
	if err := r.reload(t, patient+strings.Replace(pipeline, "every = 1000000", "every = 0", 1)); err == nil {
		t.Error("what breaks was taken")
	}
	kept, err := os.ReadFile(filepath.Join(GoodDir(data), "pipeline.hcl"))
	if err != nil || !strings.Contains(string(kept), "events = 51") {
		t.Errorf("kept: %s, %v", kept, err)
	}
}

func TestWhatGetsAnotherNameUnderLoadGoesOnWhereItWas(t *testing.T) {
	f := flow{rate: flowRate, batchA: 4096, waitB: 1, capacity: 256}
	pipeline := agentBlock + f.String()
	r := run(t, t.TempDir(), pipeline)
	eventually(t, "it flows", func() bool { return r.component("sink.a").Events > 0 })
	begun := time.Now()
	renamed := strings.NewReplacer(`"generate" "in"`, `"generate" "made"`, `sink "file" "b"`, `sink "file" "copy"`).Replace(pipeline) + `
moved {
  from = source.in
  to   = source.made
}
moved {
  from = sink.b
  to   = sink.copy
}
`
	before := r.started()
	if err := r.reload(t, renamed); err != nil {
		t.Fatal(err)
	}
	r.onlyChanged(t, before)
	if c := r.Status().Components; len(c) != 3 || r.component("source.made").Address == "" || r.component("sink.copy").Address == "" {
		t.Errorf("there are %+v", c)
	}
	// One that breaks under its new name gets the old one back.
	back := strings.Replace(strings.Replace(renamed, agentBlock, patient, 1), "sink \"file\" \"a\"", "moved {\n  from = sink.a\n  to   = sink.c\n}\nsink \"file\" \"c\"", 1) + mistakes[len(mistakes)-1]
	if err := r.reload(t, back); err == nil {
		t.Error("what breaks was taken")
	}
	at := r.component("source.made").Events
	eventually(t, "it flows again", func() bool {
		return r.component("source.made").Events > at+1000 && r.component("sink.a").State == admin.Running
	})
	r.act(t, admin.Action{Verb: admin.Drain})
	took := time.Since(begun)
	eventually(t, "drained", func() bool { return r.component("sink.a").Waiting+r.component("sink.copy").Waiting == 0 })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	a, b := r.numbered(t, "a"), r.numbered(t, "b")
	if a != b || a == 0 {
		t.Errorf("a has %d events, b %d", a, b)
	}
	t.Logf("%d events in %v: %.0f a second", a, took.Round(time.Millisecond), float64(a)/took.Seconds())
}

func TestAReloadTriesAgainWhatIsHeld(t *testing.T) {
	text := counted(100, "a", "b")
	r := run(t, t.TempDir(), text)
	eventually(t, "everything delivered", func() bool { return r.component("sink.a").Events+r.component("sink.b").Events == 200 })
	c := r.find(t, "sink.a")
	if err := c.apart(t.Context(), func() error {
		c.run = func(context.Context) error {
			c.loopOf().State(pipeline.Held, "as the test wants it")
			return &pipeline.HeldError{Component: c.Address(), Err: errors.New("as the test wants it")}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "held", func() bool { return r.component("sink.a").State == admin.Held })
	before := r.started()
	if err := r.reload(t, text); err != nil {
		t.Fatal(err)
	}
	r.onlyChanged(t, before, "sink.a")
	eventually(t, "it runs", func() bool { return r.component("sink.a").State == admin.Running })
}

func TestThereIsNoWayBackOnceACursorHasAFormThatTheOldVersionDoesNotRead(t *testing.T) {
	text := strings.Replace(counted(1<<30, "a"), "events = 50", "events = 4096", 1)
	r := run(t, t.TempDir(), text)
	eventually(t, "it flows", func() bool { return r.component("sink.a").Events > 0 })
	r.replace(t, "form")
	write(t, r.dir, patient+strings.Replace(text, "every = 1000000", "every = 500", 1)) // it breaks when it has written some
	out, err := r.Reload(t.Context(), admin.Reload{DryRun: true})
	if err != nil || !strings.Contains(string(out.Plan), "there is no way back") {
		t.Errorf("the plan: %s, %v", out.Plan, err)
	}
	_, err = r.Reload(t.Context(), admin.Reload{})
	if back, ok := errors.AsType[*wentBack](err); !ok || !back.stuck {
		t.Fatalf("the reload answered %v", err)
	}
	s := r.component("source.traps")
	if last := r.Status().Reload.Last; s.State != admin.Held || last.Result != admin.ReloadStuck || last.Revision != r.Status().Revision {
		t.Errorf("the source is %s: %s; the last reload %+v", s.State, s.Reason, last)
	}
	if err := r.reload(t, text); err != nil { // a version that does not break
		t.Fatal(err)
	}
	at := r.component("source.traps").Events
	eventually(t, "it goes on", func() bool { return r.component("source.traps").Events > at })
}

func TestWhatIsNewComesUpAlsoWhereThereIsNoWayBack(t *testing.T) {
	short := "  drain_timeout = \"100ms\"\n}\n"
	text := strings.TrimSuffix(patient, "}\n") + short + strings.Replace(counted(1<<30, "a", "b"), "events = 50", "events = 4096", 1)
	r := run(t, t.TempDir(), text)
	eventually(t, "it flows", func() bool { return r.component("sink.a").Events > 0 })
	free := make(chan struct{})
	t.Cleanup(func() { close(free) })
	c := r.find(t, "sink.b")
	if err := c.apart(t.Context(), func() error {
		c.run = func(context.Context) error { // a call that cannot be ended
			<-free
			return nil
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	r.replace(t, "form")
	err := r.reload(t, strings.Replace(text, "events = 50 ", "events = 51 ", 1)+`
sink "file" "c" {
  from = channel.main
  config { path = "DIR/c.log" }
}
`)
	if back, ok := errors.AsType[*wentBack](err); !ok || !back.stuck || !errors.Is(err, errBusy) {
		t.Fatalf("the reload answered %v", err)
	}
	eventually(t, "what is new runs", func() bool { return r.component("sink.c").State == admin.Running })
}

func TestAReloadGivesDeadLettersAPlace(t *testing.T) {
	text := `
plugin "faulty" {
  source = "./faulty.wasm"
  grant {
    dir "until" {
      path = "DIR"
    }
  }
}
source "faulty" "traps" {
  into = channel.main
  config {
    count = 100
    every = 1000000
  }
}
channel "wal" "main" {}
channel "wal" "spare" {}
sink "discard" "d" {
  from = channel.spare
}
sink "faulty" "out" {
  from = channel.main
  config {
    until = "DIR/until"
    picky = true
  }
}
`
	r := run(t, t.TempDir(), text)
	eventually(t, "held by what it rejects", func() bool { return r.component("sink.out").State == admin.Held })
	with := strings.Replace(text, `channel "wal" "main" {}`, "channel \"wal\" \"main\" {\n  dead_letter = channel.dead\n}\nchannel \"wal\" \"dead\" {}", 1)
	if err := r.reload(t, with); err != nil {
		t.Fatal(err)
	}
	eventually(t, "delivered, or kept", func() bool { c := r.component("sink.out"); return c.Waiting == 0 && c.Dead == 10 })
	if n := r.current().channel("dead").Stats().Readers[DeadReader].Waiting; n != 10 {
		t.Errorf("%d dead letters are held", n)
	}
	// What is new and goes again leaves no reader behind that would hold a channel full.
	failing := patient + strings.Replace(with, "dead_letter = channel.dead", "dead_letter = channel.spare", 1) + `
channel "wal" "other" {}
source "faulty" "again" {
  into = channel.other
  config {
    count = 9
    every = 0
  }
}
sink "discard" "e" {
  from = channel.other
}
`
	failing = strings.Replace(failing, `channel "wal" "dead" {}`, "", 1)
	if _, ok := errors.AsType[*wentBack](r.reload(t, failing)); !ok {
		t.Error("it did not go back")
	}
	if _, there := r.current().channel("spare").Stats().Readers[DeadReader]; there {
		t.Error("channel.spare has a reader of dead letters, and keeps none")
	}
	if n := r.current().channel("dead").Stats().Readers[DeadReader].Waiting; n != 10 {
		t.Errorf("%d dead letters are held", n)
	}
}

func TestOnlyWhatIsWrongWithTheFilesSpoilsTheLastReload(t *testing.T) {
	pipeline := counted(10, "a")
	r := run(t, t.TempDir(), pipeline)
	eventually(t, "it runs", func() bool { return r.component("sink.a").Events == 10 })
	good := func(want float64) {
		t.Helper()
		figures, err := r.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range figures {
			if f.GetName() == "penstock_config_last_reload_success" {
				if got := f.Metric[0].GetGauge().GetValue(); got != want {
					t.Errorf("it is %v, want %v", got, want)
				}
				return
			}
		}
		t.Error("it is not there")
	}
	wrongly := func() {
		t.Helper()
		for _, ask := range []admin.Reload{{Plugin: "mistyped"}, {Hash: "of another plan"}} {
			if _, err := r.Reload(t.Context(), ask); err == nil {
				t.Errorf("%+v: it was done", ask)
			} else if _, ok := errors.AsType[*admin.Refusal](err); !ok {
				t.Errorf("%+v: %v is no refusal", ask, err)
			}
		}
	}
	wrongly()
	good(1)
	if err := r.reload(t, pipeline+mistakes[0]); err == nil {
		t.Error("the mistake was taken")
	}
	good(0)
	write(t, r.dir, pipeline)
	wrongly()
	good(0)
	if err := r.reload(t, pipeline); err != nil {
		t.Error(err)
	}
	good(1)
}
