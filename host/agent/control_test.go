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
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/pipeline"
	"github.com/penstock-io/penstock/spec/event"
)

// counted is a pipeline in which a source counts into files, one for each sink.
func counted(count int, sinks ...string) string {
	var text strings.Builder
	fmt.Fprintf(&text, `
plugin "faulty" {
  source = "./faulty.wasm"
}
source "faulty" "traps" {
  into = channel.main
  config {
    count = %d
    every = 1000000
  }
}
channel "wal" "main" {}
`, count)
	for _, name := range sinks {
		fmt.Fprintf(&text, `sink "file" %q {
  from = channel.main
  batch { events = 50 }
  config { path = "DIR/%s.log" }
}
`, name, name)
	}
	return text.String()
}

// lines are what the source counts, from one to another.
func lines(from, to int) (all []string) {
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprintf("line %d", i))
	}
	return all
}

func (r rig) out(t *testing.T, name string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(r.dir, name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	if len(b) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

// act does something to channel.main.
func (r rig) act(t *testing.T, a admin.Action) admin.Outcome {
	t.Helper()
	a.Channel = "channel.main"
	out, err := r.Act(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (r rig) find(t *testing.T, address string) *component {
	t.Helper()
	for _, c := range r.running() {
		if c.Address() == address {
			return c
		}
	}
	t.Fatalf("no %s", address)
	return nil
}

func refitted(ctx context.Context, c *component, do func() error) error {
	sinks := []*component{c}
	return still(ctx, sinks, func() error { return refit(sinks, do) })
}

// loopOf is the loop that a sink runs, another each time it is started.
func (c *component) loopOf() *part {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.parts[0]
}

func TestAComponentThatIsStartedAgainAloneLosesAndRepeatsNothing(t *testing.T) {
	const count = 5000
	r := run(t, t.TempDir(), counted(count, "a", "b"))
	nothing := func() error { return nil }
	for i := range 15 {
		if err := refitted(t.Context(), r.find(t, "sink.a"), nothing); err != nil {
			t.Fatal(err)
		}
		if err := r.find(t, "source.traps").apart(t.Context(), nothing); err != nil {
			t.Fatal(err)
		}
		eventually(t, "something delivered in between", func() bool { return r.component("sink.a").Events >= uint64(min(count, 200*(i+1))) })
	}
	for _, sink := range []string{"sink.a", "sink.b"} {
		eventually(t, "everything in "+sink, func() bool { return r.component(sink).Events == count })
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if got := r.out(t, name); !slices.Equal(got, lines(0, count)) {
			t.Errorf("%s has %d lines, wanted the %d that were counted", name, len(got), count)
		}
	}
}

func TestAReplayRepeatsForOneSinkAndDisturbsNoOther(t *testing.T) {
	const count, again = 1000, 300
	r := run(t, t.TempDir(), counted(count, "a", "b"))
	eventually(t, "everything delivered", func() bool { return r.component("sink.a").Events == count && r.component("sink.b").Events == count })
	undisturbed := r.find(t, "sink.b").loopOf()
	oldest, err := r.channels()[0].Since(time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	from := oldest + count - again
	replay := admin.Action{Verb: admin.Replay, Reader: "sink.a", From: &admin.Place{Offset: &from}}
	dry := replay
	dry.DryRun = true
	for _, a := range []admin.Action{dry, replay} {
		m := r.act(t, a).Readers[0]
		if m.Again != again || m.GivenUp != 0 || m.From != from || m.Waiting != 0 || m.Effects != "transactional" {
			t.Errorf("dry: %v, the outcome is %+v", a.DryRun, m)
		}
	}
	eventually(t, "the rest delivered again", func() bool { return r.component("sink.a").Events == count+again })
	if r.find(t, "sink.b").loopOf() != undisturbed {
		t.Error("sink.b was started again")
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if got := r.out(t, "a"); !slices.Equal(got, append(lines(0, count), lines(count-again, count)...)) {
		t.Errorf("a has %d lines", len(got))
	}
	if got := r.out(t, "b"); !slices.Equal(got, lines(0, count)) {
		t.Errorf("b has %d lines", len(got))
	}
	if n := strings.Count(r.log.String(), "asked through the control socket"); n != 1 {
		t.Errorf("%d actions are in the log, one was done", n)
	}
}

func TestAPurgeOfASinkThatCannotDeliverFreesTheChannel(t *testing.T) {
	r := run(t, t.TempDir(), strings.ReplaceAll(counted(500, "a"), `plugin "faulty" {`, `plugin "faulty" {
  grant {
    dir "until" {
      path = "DIR"
    }
  }`)+`
sink "faulty" "down" {
  from = channel.main
  retry {
    min = "10ms"
    max = "20ms"
  }
  config { until = "DIR/up" }
}
`)
	eventually(t, "everything that can be delivered", func() bool { return r.component("sink.a").Events == 500 && r.component("sink.down").Waiting == 500 })
	out := r.act(t, admin.Action{Verb: admin.Purge})
	given := map[string]uint64{}
	for _, m := range out.Readers {
		given[m.Name] = m.GivenUp
	}
	if given["sink.down"] != 500 || given["sink.a"] != 0 || len(given) != 2 {
		t.Errorf("given up: %v", given)
	}
	if s := r.Status(); s.Channels[0].Events != 0 {
		t.Errorf("%d events are held", s.Channels[0].Events)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "up"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it runs again", func() bool { return r.component("sink.down").State == admin.Running })
	if n := r.component("sink.down").Events; n != 0 {
		t.Errorf("%d events were delivered that were given up", n)
	}
}

func TestAHeldSinkIsStartedAgainByAnAction(t *testing.T) {
	r := run(t, t.TempDir(), counted(100, "a"))
	eventually(t, "everything delivered", func() bool { return r.component("sink.a").Events == 100 })
	c := r.find(t, "sink.a")
	run := c.run
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
	if err := refitted(t.Context(), c, func() error { c.run = run; return nil }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "running", func() bool { return r.component("sink.a").State == admin.Running })
}

func TestPausedSourcesAreShownUntilTheyGoOn(t *testing.T) {
	r := run(t, t.TempDir(), counted(100000, "a"))
	eventually(t, "the sink runs", func() bool { return r.component("sink.a").State == admin.Running })
	out := r.act(t, admin.Action{Verb: admin.Drain})
	if !slices.Equal(out.Sources, []string{"source.traps"}) {
		t.Errorf("paused: %v", out.Sources)
	}
	eventually(t, "drained", func() bool { return r.Status().Channels[0].Events == 0 })
	s := r.component("source.traps")
	if ready := r.Ready(); s.State != admin.Paused || !strings.Contains(s.Reason, "is drained") || len(ready) != 1 || !strings.Contains(ready[0], "source.traps is paused: ") {
		t.Errorf("the source is %s: %s; ready: %q", s.State, s.Reason, ready)
	}
	held := s.Events
	r.act(t, admin.Action{Verb: admin.Resume})
	eventually(t, "it goes on", func() bool { return r.component("source.traps").Events > held && len(r.Ready()) == 0 })
	r.act(t, admin.Action{Verb: admin.Drain})
	eventually(t, "drained", func() bool { return r.Status().Channels[0].Events == 0 })
	n := int(r.component("sink.a").Events)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if got := r.out(t, "a"); !slices.Equal(got, lines(0, n)) {
		t.Errorf("a has %d lines, wanted the first %d", len(got), n)
	}
}

func TestSourcesOfAFullChannelPauseAndItIsDrained(t *testing.T) {
	r := run(t, t.TempDir(), `
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
`)
	eventually(t, "full", func() bool { return r.Status().Channels[0].Bytes >= 4<<20 })
	r.act(t, admin.Action{Verb: admin.Drain})
	put := r.Status().Channels[0].Put
	if err := os.WriteFile(filepath.Join(r.dir, "up"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "drained", func() bool { return r.Status().Channels[0].Events == 0 })
	if s := r.Status(); s.Channels[0].Put != put || r.component("sink.out").Events != put || r.component("source.in").State != admin.Paused {
		t.Errorf("%d events were put, then %d; %d are delivered", put, s.Channels[0].Put, r.component("sink.out").Events)
	}
	r.act(t, admin.Action{Verb: admin.Resume})
	eventually(t, "the rest is delivered", func() bool { return r.component("sink.out").Events == 200000 })
}

func TestWhatCannotBeDoneIsRefused(t *testing.T) {
	r := run(t, t.TempDir(), counted(10, "a"))
	eventually(t, "everything delivered", func() bool { return r.component("sink.a").Events == 10 })
	behind := event.Offset(1) << 40
	for _, c := range []struct {
		a    admin.Action
		code string
		says string
	}{
		{admin.Action{Verb: admin.Purge, Channel: "channel.none"}, admin.CodeAbsent, `no channel "none"`},
		{admin.Action{Verb: admin.Purge, Channel: "channel.main", Reader: "sink.none"}, admin.CodeUsage, `no reader "sink.none"`},
		{admin.Action{Verb: admin.Forget, Channel: "channel.main"}, admin.CodeUsage, `no reader ""`},
		{admin.Action{Verb: admin.Forget, Channel: "channel.main", Reader: "sink.a"}, admin.CodeRefused, "is in the pipeline that runs"},
		{admin.Action{Verb: admin.Replay, Channel: "channel.main", Reader: "sink.a"}, admin.CodeUsage, "from where"},
		{admin.Action{Verb: admin.Replay, Channel: "channel.main", Reader: "sink.a", From: &admin.Place{Offset: &behind}}, admin.CodeUsage, "is not in the log"},
	} {
		_, err := r.Act(t.Context(), c.a)
		refusal, ok := errors.AsType[*admin.Refusal](err)
		if !ok || refusal.Code != c.code || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v", c.a, err)
		}
	}
	eventually(t, "the sink unharmed", func() bool { return r.component("sink.a").State == admin.Running })
}

func TestAnActionThatIsNotWaitedForChangesNothing(t *testing.T) {
	r := run(t, t.TempDir(), counted(10, "a"))
	eventually(t, "everything delivered", func() bool { return r.component("sink.a").Events == 10 })
	c := r.find(t, "sink.a")
	stuck, let := make(chan struct{}), make(chan struct{}) // each is closed by the test
	go func() {
		_ = c.apart(context.Background(), func() error { close(stuck); <-let; return nil })
	}()
	<-stuck
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	done := false
	if err := c.apart(ctx, func() error { done = true; return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("it answered %v", err)
	}
	close(let)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if err := c.apart(t.Context(), func() error { done = true; return nil }); !errors.Is(err, errGone) || done {
		t.Errorf("after the agent has stopped: %v; done: %v", err, done)
	}
}
