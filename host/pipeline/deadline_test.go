// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// slow is a sink whose writes take their time. Some look at their context, some do not.
type slow struct {
	instance
	takes    time.Duration
	deaf     bool
	release  <-chan struct{} // never sent to: closed by the test
	attempts int             // that hang
	timeout  time.Duration   // of the sink; 0: a minute
}

func (s slow) Write(ctx context.Context, r event.Range, b event.Batch) (plugin.Outcome, error) {
	if s.t.writes >= s.attempts {
		return s.instance.Write(ctx, r, b)
	}
	s.t.writes++
	s.t.add("write")
	defer s.t.add("over")
	if s.deaf {
		<-s.release
		return plugin.Outcome{}, &plugin.Error{Class: abi.Retry, Message: "interrupted"}
	}
	select {
	case <-time.After(s.takes):
		return plugin.Outcome{}, nil
	case <-ctx.Done():
		return plugin.Outcome{}, &plugin.Error{Class: abi.Retry, Message: "interrupted"}
	}
}

// runSlow runs a sink with a timeout of a minute on it, and returns how to look at its end.
func runSlow(ctx context.Context, sl slow) (s *Sink, done chan error) {
	tr := sl.t
	tr.write = func(int) (plugin.Outcome, error) { return plugin.Outcome{}, nil }
	s = newSink(tr)
	s.Timeout = cmp.Or(sl.timeout, time.Minute)
	s.Open = func(context.Context, channel.ReaderInfo) (plugin.Instance, error) {
		tr.add("open")
		return plugin.Instance{Sink: sl}, nil
	}
	done = make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return s, done
}

func TestALeaseIsRolledBackOnlyAfterTheInstanceThatHadItHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		tr := &trace{}
		s, done := runSlow(ctx, slow{instance: instance{tr}, takes: time.Hour, attempts: 2})
		time.Sleep(3 * time.Minute)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		again := "open take write over close rollback "
		if got, want := tr.String(), again+again+"open take write commit close"; got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
		if n := s.Observer.(*quiet).expired; n != 2 {
			t.Errorf("%d deadlines were counted", n)
		}
	})
}

func TestADeliveryThatTakesAlmostAllOfItsTimeIsCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		tr := &trace{}
		_, done := runSlow(ctx, slow{instance: instance{tr}, takes: time.Minute - 1, attempts: 1})
		time.Sleep(time.Minute)
		if got, want := tr.String(), "open take write over commit"; got != want { // nobody waits for what watched it
			t.Errorf("after a minute:\n got %s\nwant %s", got, want)
		}
		time.Sleep(time.Hour)
		cancel()
		if err := <-done; err != nil || tr.String() != "open take write over commit close" {
			t.Errorf("%v: %s", err, tr)
		}
	})
}

func TestAnInstanceThatDoesNotEndKeepsItsLeaseAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		tr, release := &trace{}, make(chan struct{})
		s, done := runSlow(ctx, slow{instance: instance{tr}, deaf: true, release: release, attempts: 1})
		time.Sleep(time.Minute + EndGrace + time.Second)
		seen := s.Observer.(*quiet)
		state, reason := seen.last()
		if state != Held || !strings.Contains(reason, "[5,6)") || !strings.Contains(reason, "timeout of 1m0s") {
			t.Errorf("state %s, reason %q", state, reason)
		}
		time.Sleep(24 * time.Hour)
		if got, want := tr.String(), "open take write"; got != want {
			t.Fatalf("a day later:\n got %s\nwant %s", got, want)
		}
		close(release) // it comes back after all
		time.Sleep(time.Minute)
		if state, reason := seen.last(); state != Running || reason != "" {
			t.Errorf("afterwards: state %s, reason %q", state, reason)
		}
		cancel()
		if err := <-done; err != nil || tr.String() != "open take write over close rollback open take write commit close" {
			t.Errorf("%v: %s", err, tr)
		}
	})
}

func TestADestinationThatHangsIsTriedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const hangs = 3 * crashBudget
		ctx, cancel := context.WithCancel(t.Context())
		tr := &trace{}
		sl := slow{instance: instance{tr}, takes: time.Hour, attempts: hangs, timeout: time.Second} // many within the window of crashes
		_, done := runSlow(ctx, sl)
		time.Sleep(time.Hour)
		cancel()
		if err := <-done; err != nil || tr.commits != 1 || strings.Count(tr.String(), "rollback") != hangs {
			t.Errorf("%v: %s", err, tr)
		}
	})
}

// locked is a destination in which somebody has locked the ranges that it stores, for an hour.
type locked struct {
	instance
	free time.Time
}

func (l locked) Prune(ctx context.Context, _ event.Offset) error {
	sleep(ctx, time.Until(l.free))
	if ctx.Err() != nil {
		return &plugin.Error{Class: abi.Retry, Message: "interrupted"}
	}
	return nil
}

func TestADestinationThatDoesNotForgetRangesInTimeIsSaidAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		tr, free := &trace{write: func(int) (plugin.Outcome, error) { return plugin.Outcome{}, nil }}, time.Now().Add(time.Hour)
		s := newSink(tr)
		s.Timeout = time.Minute
		s.Open = func(context.Context, channel.ReaderInfo) (plugin.Instance, error) {
			tr.add("open")
			return plugin.Instance{Sink: locked{instance{tr}, free}}, nil
		}
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(time.Minute + time.Nanosecond) // before it is tried again, after a pause of any length below 100 ms
		if state, reason := s.Observer.(*quiet).last(); state != Retrying || !strings.Contains(reason, "cannot come again was not over after 1m0s") {
			t.Errorf("state %s, reason %q", state, reason)
		}
		time.Sleep(2 * time.Hour)
		cancel()
		if err := <-done; err != nil || tr.commits != 1 {
			t.Errorf("%v: %s", err, tr)
		}
	})
}

func TestACloseThatDoesNotReturnIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := newSink(&trace{})
		done := make(chan error, 1)
		go func() { done <- s.end(closing{release: release}) }()
		time.Sleep(EndGrace + time.Second)
		if state, reason := s.Observer.(*quiet).last(); state != Held || !strings.Contains(reason, "close") {
			t.Errorf("state %s, reason %q", state, reason)
		}
		close(release)
		if err := <-done; !errors.Is(err, errHold) {
			t.Error(err)
		}
	})
}

// closing is a sink whose Close waits.
type closing struct {
	plugin.Sink
	release chan struct{} // closed by the test
}

func (c closing) Close() error {
	<-c.release
	return errHold
}
