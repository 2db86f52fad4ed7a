// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/spec/event"
)

// doubting is a pipeline with an exact group, whose first member fails until DIR/up is there.
const doubting = `
plugin "faulty" {
  source = "./faulty.wasm"
  grant {
    dir "until" {
      path = "DIR"
    }
  }
}
source "generate" "g" {
  into = channel.main
  config { count = 100 }
}
channel "wal" "main" {}
sink_group "all" {
  from     = channel.main
  members  = [sink.a, sink.b]
  delivery = "exactly_once"
  failover {
    cool_down     = "50ms"
    max_cool_down = "100ms"
  }
}
sink "faulty" "a" {
  batch { events = 10 }
  config { until = "DIR/up" }
}
sink "file" "b" {
  batch { events = 10 }
  config { path = "DIR/b.log" }
}
`

// withoutA is doubting with b alone in the group.
var withoutA = strings.Replace(strings.Replace(doubting, "[sink.a, sink.b]", "[sink.b]", 1),
	doubting[strings.Index(doubting, "sink \"faulty\""):strings.Index(doubting, "sink \"file\"")], "", 1)

// alone is doubting without its group: b reads the channel itself.
var alone = withoutA[:strings.Index(withoutA, "sink_group")] + strings.Replace(withoutA[strings.Index(withoutA, "sink \"file\""):], "batch", "from = channel.main\n  batch", 1)

// inDoubt waits until b has all but what a may hold.
func (r rig) inDoubt(t *testing.T, b uint64) (admin.Group, admin.Member) {
	t.Helper()
	eventually(t, "b has the rest", func() bool {
		s := r.Status()
		return s.Groups[0].Waiting == s.Groups[0].InDoubt() && r.component("sink.b").Events == b && s.Groups[0].Waiting > 0
	})
	g := r.Status().Groups[0]
	return g, g.Members[0]
}

func refusalOf(err error) admin.Refusal {
	if r, ok := errors.AsType[*admin.Refusal](err); ok {
		return *r
	}
	return admin.Refusal{}
}

func TestWhatIsInDoubtIsShownAndSettledByWhoKnows(t *testing.T) {
	for _, held := range []bool{true, false} {
		r := run(t, t.TempDir(), doubting)
		g, a := r.inDoubt(t, 90)
		if g.Address != "sink_group.all" || g.Channel != "channel.main" || g.Policy != "failover" || g.Delivery != "exactly_once" || g.Failovers == 0 {
			t.Errorf("the group is %+v", g)
		}
		if a.Address != "sink.a" || a.Up || a.Failures == 0 || a.Doubt.Events != 10 || len(a.Doubt.Ranges) != 1 || a.Doubt.Since.IsZero() || !g.Members[1].Up {
			t.Errorf("a is %+v in %+v", a, a.Doubt)
		}
		ask := admin.Resolve{Group: g.Address, Member: a.Address, Ranges: a.Doubt.Ranges, Held: held}
		if _, err := r.Resolve(t.Context(), admin.Resolve{Group: "sink_group.no", Member: "sink.a"}); refusalOf(err).Hint != "There are: sink_group.all" {
			t.Errorf("of no group: %v", err)
		}
		ask.Ranges[0].First += 2 // the rest stays
		if out, err := r.Resolve(t.Context(), ask); err != nil || out.Events != 8 {
			t.Errorf("resolved: %+v, %v", out, err)
		}
		wants := uint64(90)
		if !held {
			wants = 98
		}
		if _, a := r.inDoubt(t, wants); a.Doubt.Events != 2 {
			t.Errorf("in doubt is %+v", a.Doubt)
		}
		if out, err := r.Resolve(t.Context(), ask); err != nil || out.Events != 0 {
			t.Errorf("once more: %+v, %v", out, err)
		}
		if err := os.WriteFile(filepath.Join(r.dir, "up"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a has what was left to it", func() bool { return r.component("sink.a").Events == 2 && r.Status().Groups[0].Waiting == 0 })
		if g := r.Status().Groups[0]; g.InDoubt() != 0 {
			t.Errorf("in doubt is %+v", g)
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAMemberInDoubtIsNotRemovedByAReload(t *testing.T) {
	r := run(t, t.TempDir(), doubting)
	_, a := r.inDoubt(t, 90)
	before := r.started()
	err := r.reload(t, withoutA)
	if got := refusalOf(err); got.Code != admin.CodeRefused || !strings.Contains(got.Message, "sink.a cannot leave sink_group.all") || !strings.HasSuffix(got.Hint, "penstock sink resolve all.a") {
		t.Fatalf("removed: %v, %+v", err, got)
	}
	out, err := r.Reload(t.Context(), admin.Reload{DryRun: true})
	if p := string(out.Plan); err != nil || !strings.Contains(p, `"barred":"sink.a cannot leave sink_group.all: `) || !strings.Contains(p, `penstock sink resolve all.a"`) || !strings.Contains(p, `"old":"sink.a, sink.b"`) {
		t.Errorf("the plan: %s, %v", p, err)
	}
	if got := refusalOf(r.reload(t, alone)); got.Code != admin.CodeRefused || !strings.Contains(got.Message, "sink.a cannot leave sink_group.all") {
		t.Errorf("the whole group is removed: %+v", got)
	}
	r.onlyChanged(t, before)
	if _, err := r.Resolve(t.Context(), admin.Resolve{Group: "sink_group.all", Member: "sink.a", Ranges: a.Doubt.Ranges}); err != nil {
		t.Fatal(err)
	}
	if err := r.reload(t, withoutA); err != nil {
		t.Fatal(err)
	}
	eventually(t, "b has all", func() bool { return r.component("sink.b").Events == 100 })
	if g := r.Status().Groups[0]; len(g.Members) != 1 {
		t.Errorf("the members are %+v", g.Members)
	}
}

func TestAReloadGivesUpTheDoubtWhereItMayComeTwice(t *testing.T) {
	r := run(t, t.TempDir(), doubting)
	r.inDoubt(t, 90)
	if err := r.reload(t, strings.Replace(withoutA, "exactly_once", "at_least_once", 1)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "b has all", func() bool { return r.Status().Groups[0].Waiting == 0 })
}

// TestASinkThatIsInDoubtAndGoneIsTold: the files were changed while no agent ran.
func TestASinkThatIsInDoubtAndGoneIsTold(t *testing.T) {
	r := run(t, t.TempDir(), doubting)
	r.inDoubt(t, 90)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	write(t, r.dir, withoutA)
	setup, err := load(filepath.Join(r.dir, "pipeline.hcl"), nil)
	if err != nil {
		t.Fatal(err)
	}
	options := r.opts
	options.Setup = setup
	r.log.Reset()
	again, err := New(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if log := r.log.String(); !strings.Contains(log, `command="penstock sink resolve all.a"`) || !strings.Contains(log, "events=10") {
		t.Errorf("the log says\n%s", log)
	}
	g := again.Status().Groups[0]
	if len(g.Members) != 2 || g.Members[1].Address != "sink.a" || g.Members[1].State != "out" || g.Members[1].Doubt.Events != 10 {
		t.Fatalf("the members are %+v", g.Members)
	}
	if out, err := again.Resolve(t.Context(), admin.Resolve{Group: g.Address, Member: "sink.a", Ranges: g.Members[1].Doubt.Ranges}); err != nil || out.Events != 10 {
		t.Errorf("resolved: %+v, %v", out, err)
	}
}

// TestAMemberThatComesIntoDoubtWhileItIsStoppedStays: what it had begun when the reload came was cut off.
func TestAMemberThatComesIntoDoubtWhileItIsStoppedStays(t *testing.T) {
	for name, without := range map[string]string{"the member": withoutA, "the group": alone} {
		t.Run(name, func(t *testing.T) { staysInDoubt(t, without) })
	}
}

func staysInDoubt(t *testing.T, without string) {
	hasty := strings.Replace(agentBlock, "probation", "drain_timeout = \"200ms\"\n  probation", 1)
	r := run(t, t.TempDir(), hasty+strings.Replace(doubting, `config { until = "DIR/up" }`, "config {\n    until = \"DIR/up\"\n    hangs = true\n  }", 1))
	eventually(t, "a has begun", func() bool { return r.Status().Groups[0].Members[0].Pending == 10 })
	if n := r.Status().Groups[0].InDoubt(); n != 0 {
		t.Fatalf("%d events are in doubt already", n)
	}
	err := r.reload(t, hasty+without)
	if err == nil || !strings.Contains(err.Error(), "sink.a cannot leave sink_group.all") {
		t.Fatalf("removed: %v", err)
	}
	there := 0
	for _, c := range r.Status().Components {
		if c.Address == "sink.a" {
			there++
		}
	}
	if there != 1 {
		t.Errorf("sink.a is there %d times", there)
	}
	a := r.Status().Groups[0].Members[0]
	if a.Doubt == nil || a.Doubt.Events != 10 {
		t.Fatalf("a is %+v", a)
	}
	if out, err := r.Resolve(t.Context(), admin.Resolve{Group: "sink_group.all", Member: "sink.a", Ranges: a.Doubt.Ranges, Held: true}); err != nil || out.Events != 10 {
		t.Errorf("resolved: %+v, %v", out, err)
	}
}

// TestAGroupIsReplayedWhileItsMembersStandStill and goes on, but not while something of it is in doubt.
func TestAGroupIsReplayedWhileItsMembersStandStill(t *testing.T) {
	const count, again = 1000, 300
	r := run(t, t.TempDir(), `
source "generate" "in" {
  into = channel.main
  config { count = 1000 }
}
channel "wal" "main" {}
`+shared("channel.main", "a", "b"))
	delivered := func() uint64 { return r.component("sink.a").Events + r.component("sink.b").Events }
	eventually(t, "everything delivered", func() bool { return delivered() == count })
	oldest, err := r.channels()[0].Since(time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	from := oldest + count - again
	m := r.act(t, admin.Action{Verb: admin.Replay, Reader: "sink_group.all", From: &admin.Place{Offset: &from}}).Readers[0]
	if m.Again != again || m.GivenUp != 0 || m.From != from || m.Effects != "transactional" {
		t.Errorf("the outcome is %+v", m)
	}
	eventually(t, "the rest delivered again", func() bool { return delivered() == count+again })
	if why := r.barred(r.channels()[0], "sink_group.all"); why != "" {
		t.Errorf("its letters could not be replayed: %s", why)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	all := append(r.out(t, "a"), r.out(t, "b")...)
	slices.Sort(all)
	if once := len(slices.Compact(slices.Clone(all))); len(all) != count+again || once != count {
		t.Errorf("%d lines, of which %d are not the same", len(all), once)
	}
}

func TestAGroupInDoubtIsNotReplayed(t *testing.T) {
	r := run(t, t.TempDir(), doubting)
	r.inDoubt(t, 90)
	for _, verb := range []admin.Verb{admin.Replay, admin.Purge} {
		zero := event.Offset(0)
		_, err := r.Act(t.Context(), admin.Action{Verb: verb, Channel: "channel.main", Reader: "sink_group.all", From: &admin.Place{Offset: &zero}})
		refusal, ok := errors.AsType[*admin.Refusal](err)
		if !ok || refusal.Code != admin.CodeRefused || !strings.Contains(refusal.Hint, "penstock sink resolve all.a") {
			t.Errorf("%v: %v", verb, err)
		}
	}
	if n := r.Status().Groups[0].InDoubt(); n == 0 {
		t.Error("nothing is in doubt any more")
	}
}
