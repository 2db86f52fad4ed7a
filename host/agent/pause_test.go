// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/admin"
)

// pause pauses a component, or lets it go on.
func (r rig) pause(t *testing.T, address string, resume bool) admin.Standing {
	t.Helper()
	s, err := r.Pause(t.Context(), admin.Pause{Component: address, Resume: resume, By: admin.Peer{UID: 7, PID: 42}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAPausedSinkStandsStillWhateverElseIsDoneAndLosesAndRepeatsNothing(t *testing.T) {
	const count = 5000
	r := run(t, t.TempDir(), counted(count, "a", "b"))
	eventually(t, "something delivered", func() bool { return r.component("sink.a").Events > 0 })
	if s := r.pause(t, "sink.a", false); !s.Changed {
		t.Errorf("paused: %+v", s)
	}
	eventually(t, "the other sink has all", func() bool { return r.component("sink.b").Events == count })
	at := r.component("sink.a")
	if at.State != admin.Paused || !strings.Contains(at.Reason, "by user 7, process 42; go on with: penstock sink resume a") || at.Events == count {
		t.Fatalf("it is %s: %s, with %d events", at.State, at.Reason, at.Events)
	}
	if s := r.pause(t, "sink.a", false); s.Changed || s.State != admin.Paused {
		t.Errorf("paused again: %+v", s)
	}
	r.act(t, admin.Action{Verb: admin.Drain})
	r.act(t, admin.Action{Verb: admin.Resume})
	if err := r.find(t, "sink.a").refit(t.Context(), func() error { return nil }); err != nil { // as a replay does
		t.Fatal(err)
	}
	eventually(t, "paused still", func() bool { return r.component("sink.a").State == admin.Paused })
	if now := r.component("sink.a"); now.Events != at.Events {
		t.Errorf("it had %d events, and has %d", at.Events, now.Events)
	}
	if reasons := strings.Join(r.Ready(), "\n"); !strings.Contains(reasons, "sink.a is paused") {
		t.Errorf("ready: %s", reasons)
	}
	if err := r.reload(t, strings.Replace(counted(count, "a", "b"), "events = 50", "events = 40", 1)); err != nil { // another sink.a in its place
		t.Fatal(err)
	}
	eventually(t, "paused after a reload", func() bool { return r.component("sink.a").State == admin.Paused })
	if s := r.pause(t, "sink.a", true); !s.Changed {
		t.Errorf("resumed: %+v", s)
	}
	eventually(t, "everything", func() bool { return r.component("sink.a").Events == count })
	if s := r.pause(t, "sink.a", true); s.Changed || s.State == admin.Paused {
		t.Errorf("resumed again: %+v", s)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if got := r.out(t, "a"); !slices.Equal(got, lines(0, count)) {
		t.Errorf("a has %d lines, wanted the %d that were counted", len(got), count)
	}
}

func TestASourceThatADrainHasPausedIsNotResumedByHand(t *testing.T) {
	r := run(t, t.TempDir(), counted(1_000_000, "a"))
	r.act(t, admin.Action{Verb: admin.Drain})
	_, err := r.Pause(t.Context(), admin.Pause{Component: "source.traps", Resume: true})
	if refusal, ok := errors.AsType[*admin.Refusal](err); !ok || refusal.Code != admin.CodeRefused || !strings.Contains(refusal.Message, "channel drain --resume main") {
		t.Errorf("resumed a source that a drain has paused: %v", err)
	}
	// One that was paused by hand as well stays so after the drain.
	r.pause(t, "source.traps", false)
	r.act(t, admin.Action{Verb: admin.Resume})
	eventually(t, "paused by hand", func() bool {
		return strings.HasPrefix(r.component("source.traps").Reason, "by user 7")
	})
	r.pause(t, "source.traps", true)
	eventually(t, "it runs", func() bool { return r.component("source.traps").State == admin.Running })
	_, err = r.Pause(t.Context(), admin.Pause{Component: "source.trap"})
	if refusal, ok := errors.AsType[*admin.Refusal](err); !ok || refusal.Code != admin.CodeUsage || refusal.Hint != "There are: traps" {
		t.Errorf("paused a source that is not there: %v", err)
	}
}

func TestThePluginsAreListedWithWhatTheyTake(t *testing.T) {
	r := run(t, t.TempDir(), counted(2000, "a"))
	eventually(t, "everything", func() bool { return r.component("sink.a").Events == 2000 })
	list := r.Plugins()
	if len(list) != 2 || list[0].Name != "faulty" || list[1].Name != "std" || list[1].Source != "builtin:std" || len(list[1].Digest) != 64 || list[1].Runtime != "wasm" {
		t.Fatalf("%+v", list)
	}
	use := list[1].Uses[0]
	if len(list[1].Uses) != 1 || use.Component != "sink.a" || use.Plugin != "file" || use.Instances != 1 || use.MemoryBytes == 0 || use.CPUSeconds == 0 || len(use.May) == 0 {
		t.Errorf("%+v", use)
	}
}
