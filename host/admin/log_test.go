// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// said is the messages of lines.
func said(l LogLines) string {
	var s []string
	for _, line := range l.Lines {
		_, rest, _ := strings.Cut(string(line.Record), `"msg":"`)
		msg, _, _ := strings.Cut(rest, `"`)
		s = append(s, msg)
	}
	return strings.Join(s, " ")
}

func newTestLog(least slog.Level) (*Log, *slog.Logger, *bytes.Buffer) {
	l, out := NewLog(), &bytes.Buffer{}
	return l, slog.New(l.Handler(slog.NewTextHandler(out, &slog.HandlerOptions{Level: least}), least, slog.HandlerOptions{})), out
}

func TestTheLogIsKeptByComponentAndLevel(t *testing.T) {
	l, log, out := newTestLog(slog.LevelInfo)
	log.Info("one")
	log.With("component", "source.a").Warn("two")
	log.Error("three", "component", "source.b", "x", 1)
	log.With("component", "source.a").WithGroup("g").Info("four", "component", "source.b")
	log.Debug("never")
	for _, c := range []struct {
		q    LogQuery
		want string
	}{
		{LogQuery{}, "one two three four"}, {LogQuery{Component: "source.a"}, "two four"}, {LogQuery{Component: AgentItself}, "one"},
		{LogQuery{Level: slog.LevelWarn}, "two three"}, {LogQuery{Last: 2}, "three four"}, {LogQuery{After: 3}, "four"}, {LogQuery{After: 9}, ""},
	} {
		if got := said(l.Lines(t.Context(), c.q)); got != c.want {
			t.Errorf("%+v: %q, want %q", c.q, got, c.want)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 4 {
		t.Errorf("%d lines were handed on:\n%s", n, out)
	}
	if record := string(l.Lines(t.Context(), LogQuery{}).Lines[2].Record); !strings.Contains(record, `"x":1`) {
		t.Errorf("kept: %s", record)
	}
}

func TestTheLogIsBoundedAndSaysWhatItMissed(t *testing.T) {
	l, log, _ := newTestLog(slog.LevelInfo)
	for range maxLogLines + 10 {
		log.Info("x")
	}
	if out := l.Lines(t.Context(), LogQuery{After: 5}); len(out.Lines) != maxLogLines || out.Missed != 5 || out.Next != maxLogLines+10 {
		t.Errorf("%d lines, %d missed, next %d", len(out.Lines), out.Missed, out.Next)
	}
	long := strings.Repeat("y", maxLogLine/2)
	for range 2 * maxLogBytes / len(long) {
		log.Info(long)
	}
	if l.bytes > maxLogBytes || len(l.lines) < maxLogBytes/len(long)/2 {
		t.Errorf("%d bytes in %d lines are kept", l.bytes, len(l.lines))
	}
	log.Info(strings.Repeat("z", maxLogLine))
	if got := said(l.Lines(t.Context(), LogQuery{Last: 1})); got != "a line that is too long to be kept" {
		t.Errorf("kept: %.80s", got)
	}
}

func TestMoreIsLoggedForATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, log, out := newTestLog(slog.LevelInfo)
		a, b := log.With("component", "source.a"), log.With("component", "source.b")
		if !l.Raise("source.a", slog.LevelDebug, time.Minute) {
			t.Fatal("refused")
		}
		a.Debug("one")
		b.Debug("never")
		l.Raise("", slog.LevelDebug, time.Second)
		b.Debug("two")
		time.Sleep(time.Second)
		b.Debug("never")
		a.Debug("three")
		time.Sleep(time.Minute)
		a.Debug("never")
		if got := said(l.Lines(t.Context(), LogQuery{Level: slog.LevelDebug})); got != "one two three" || strings.Count(out.String(), "\n") != 3 {
			t.Errorf("kept %q, handed on:\n%s", got, out)
		}
		for i := range maxRaised {
			l.Raise(fmt.Sprint(i), slog.LevelDebug, time.Second)
		}
		if l.Raise("one more", slog.LevelDebug, time.Second) {
			t.Error("there is no bound")
		}
		time.Sleep(time.Second)
		if !l.Raise("one more", slog.LevelDebug, time.Second) {
			t.Error("those that are over count")
		}
	})
}

func TestAQuestionWaitsForALine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, log, _ := newTestLog(slog.LevelInfo)
		log.Info("before")
		go func() {
			time.Sleep(time.Second)
			log.Info("of another", "component", "source.b")
			time.Sleep(time.Second)
			log.Info("mine", "component", "source.a")
		}()
		begun := time.Now()
		if got := said(l.Lines(t.Context(), LogQuery{After: 1, Component: "source.a", Wait: time.Minute})); got != "mine" || time.Since(begun) != 2*time.Second {
			t.Errorf("%q after %v", got, time.Since(begun))
		}
		if got := l.Lines(t.Context(), LogQuery{After: 3, Wait: time.Minute}); len(got.Lines) != 0 || time.Since(begun) != time.Minute+2*time.Second {
			t.Errorf("%v after %v", got, time.Since(begun))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		l.Lines(ctx, LogQuery{After: 3, Wait: time.Hour})
		if time.Since(begun) != time.Minute+3*time.Second {
			t.Error("it does not end with whom it is for")
		}
		go func() {
			time.Sleep(time.Second)
			l.end()
		}()
		l.Lines(t.Context(), LogQuery{After: 3, Wait: time.Hour})
		l.Lines(t.Context(), LogQuery{After: 3, Wait: time.Hour})
		if time.Since(begun) != time.Minute+4*time.Second {
			t.Errorf("it holds up the end for %v", time.Since(begun))
		}
	})
}

// fakeComponents notes what is asked.
type fakeComponents struct {
	asked    Pause
	resolved Resolve
	answer   error
}

func (c *fakeComponents) Pause(_ context.Context, p Pause) (Standing, error) {
	c.asked = p
	return Standing{Component: p.Component, State: Paused, Changed: true}, c.answer
}

func (c *fakeComponents) Resolve(_ context.Context, r Resolve) (Resolved, error) {
	c.resolved = r
	if r.Group != "sink_group.all" {
		return Resolved{}, &Refusal{Code: CodeUsage, Message: "the agent has no " + r.Group}
	}
	return Resolved{Group: r.Group, Member: r.Member, Held: r.Held, Events: 5}, nil
}

func (c *fakeComponents) Plugins() []Plugin { return []Plugin{{Name: "std"}} }

func TestTheControlSocketServesComponentsAndLogs(t *testing.T) {
	of := &fakeComponents{}
	opts := options(t, &fakeAgent{})
	kept, log, _ := newTestLog(slog.LevelInfo)
	opts.Components, opts.Logs = of, kept
	server := start(t, opts)
	s, err := SetPaused(t.Context(), opts.DataDir, Pause{Component: "sink.a", Resume: true})
	if err != nil || s.Component != "sink.a" || !s.Changed || !of.asked.Resume || of.asked.By.PID == 0 {
		t.Errorf("%+v, %v; asked for %+v", s, err, of.asked)
	}
	of.answer = &Refusal{Code: CodeUsage, Message: "no such sink", Hint: "There are: none"}
	_, err = SetPaused(t.Context(), opts.DataDir, Pause{Component: "sink.a"})
	if r, ok := errors.AsType[*Refusal](err); !ok || r.Hint != "There are: none" {
		t.Errorf("%v", err)
	}
	ask := Resolve{Group: "sink_group.all", Member: "sink.a", Ranges: []Span{{First: 5, Next: 10}}, Held: true}
	if out, err := SettleDoubt(t.Context(), opts.DataDir, ask); err != nil || out.Events != 5 || !of.resolved.Held || of.resolved.By.PID == 0 || of.resolved.Ranges[0].Next != 10 {
		t.Errorf("%+v, %v; asked for %+v", out, err, of.resolved)
	}
	for _, wrong := range []Resolve{{Group: "sink_group.no", Member: "sink.a", Ranges: ask.Ranges}, {Group: "sink_group.all", Member: "sink.a"}, {Group: "sink_group.all", Ranges: ask.Ranges}} {
		if _, err := SettleDoubt(t.Context(), opts.DataDir, wrong); !isRefusal(err, CodeUsage) {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
	if list, err := AskPlugins(t.Context(), opts.DataDir); err != nil || len(list) != 1 || list[0].Name != "std" {
		t.Errorf("%+v, %v", list, err)
	}
	log.Info("one", "component", "sink.a")
	if lines, err := AskLog(t.Context(), opts.DataDir, LogQuery{Component: "sink.a", Last: 5}); err != nil || said(lines) != "one" || lines.Next != 1 {
		t.Errorf("%+v, %v", lines, err)
	}
	if err := RaiseLog(t.Context(), opts.DataDir, LogLevel{Component: "sink.a", Level: slog.LevelDebug, Seconds: 60}); err != nil || !kept.raisedTo(slog.LevelDebug, "sink.a") {
		t.Errorf("not raised: %v", err)
	}
	if err := RaiseLog(t.Context(), opts.DataDir, LogLevel{Seconds: 2 * MaxRaise.Seconds()}); err == nil {
		t.Error("raised for two days")
	}
	for _, path := range []string{"/api/v1/logs?level=INFO&after=0&last=0&wait=0", "/api/v1/plugins"} { // never over TCP
		if code, _ := fetch(t, "http://"+server.Addr()+path, ""); code != 404 {
			t.Errorf("%s answers %d over TCP", path, code)
		}
	}
}

func isRefusal(err error, code string) bool {
	r, ok := errors.AsType[*Refusal](err)
	return ok && r.Code == code
}
