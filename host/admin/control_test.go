// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/spec/event"
)

// fakeControl notes what is asked, and answers what it is told to.
type fakeControl struct {
	asked  Action
	reload Reload
	answer error
}

func (c *fakeControl) Act(_ context.Context, a Action) (Outcome, error) {
	c.asked = a
	return Outcome{Readers: []Moved{{Name: a.Reader, Again: 3}}, Sources: []string{}}, c.answer
}

func (c *fakeControl) Reload(_ context.Context, r Reload) (Reloaded, error) {
	c.reload = r
	return Reloaded{Plan: []byte(`{}`), Result: ReloadApplied, Revision: "abc"}, c.answer
}

func TestAnActionComesWithWhoAskedForIt(t *testing.T) {
	control := &fakeControl{}
	opts := options(t, &fakeAgent{})
	opts.Control = control
	start(t, opts)
	from := event.Offset(7)
	out, err := Act(t.Context(), opts.DataDir, Action{Verb: Replay, Channel: "channel.main", Reader: "sink.a", From: &Place{Offset: &from}, DryRun: true})
	if err != nil || len(out.Readers) != 1 || out.Readers[0].Again != 3 {
		t.Errorf("the outcome is %+v, %v", out, err)
	}
	a := control.asked
	if a.Verb != Replay || a.Channel != "channel.main" || a.Reader != "sink.a" || *a.From.Offset != from || !a.DryRun {
		t.Errorf("asked for %+v", a)
	}
	if runtime.GOOS == "linux" && (a.By.UID != os.Geteuid() || a.By.PID != os.Getpid()) {
		t.Errorf("by %+v, it was process %d", a.By, os.Getpid())
	}
}

func TestARefusalArrivesAsOne(t *testing.T) {
	control := &fakeControl{}
	opts := options(t, &fakeAgent{})
	opts.Control = control
	start(t, opts)
	for _, want := range []Refusal{
		{Code: CodeUsage, Message: "no such reader", Hint: "There are: none"}, {Code: CodeRefused, Message: "it runs"}, {Code: "failed", Message: "the disk is gone"},
	} {
		control.answer = &want
		if want.Code == "failed" {
			control.answer = errors.New(want.Message)
		}
		_, err := Act(t.Context(), opts.DataDir, Action{Verb: Purge, Channel: "channel.main"})
		if got, ok := errors.AsType[*Refusal](err); !ok || got.Code != want.Code || got.Message != want.Message || got.Hint != want.Hint {
			t.Errorf("got %+v, want %+v", err, want)
		}
	}
	control.answer = nil
	if _, err := Act(t.Context(), opts.DataDir, Action{Verb: "explode", Channel: "channel.main"}); err == nil || !strings.Contains(err.Error(), "cannot explode") {
		t.Errorf("a verb that is not known: %v", err)
	}
	if _, err := Act(t.Context(), t.TempDir(), Action{Verb: Purge, Channel: "channel.main"}); !errors.Is(err, ErrNoAgent) {
		t.Errorf("without an agent: %v", err)
	}
}

func TestChannelsAreNotServedOverTCP(t *testing.T) {
	opts := options(t, &fakeAgent{})
	opts.Control = &fakeControl{}
	s := start(t, opts)
	for _, path := range []string{"/api/v1/channels", "/api/v1/channels/channel.main"} {
		if code, _ := fetch(t, "http://"+s.Addr()+path, ""); code != http.StatusNotFound {
			t.Errorf("%s answers %d", path, code)
		}
	}
}
