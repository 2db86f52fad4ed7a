// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/memory"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// keeper is a channel, and its transaction, that keeps what is put, or refuses it.
type keeper struct {
	*trace
	put        channel.Put
	err, begin error
}

func (k *keeper) Begin(ctx context.Context) (channel.Tx, error) {
	if k.begin != nil {
		return nil, k.begin
	}
	_, err := k.trace.Begin(ctx)
	return k, err
}

func (k *keeper) Put(p channel.Put) error {
	k.put = p
	return k.err
}

func once(em plugin.Emission) func(n int) (plugin.Emission, error) {
	return func(n int) (plugin.Emission, error) {
		if n > 1 {
			return plugin.Emission{}, io.EOF
		}
		return em, nil
	}
}

func TestWhatASourceGivesIsPutWithItsCursor(t *testing.T) {
	tr := &trace{durable: make(chan error, 1), read: once(plugin.Emission{Seq: 1, Changed: event.Cursor{"k": {7}}}), position: channel.Position{Move: 3}}
	tr.durable <- nil
	k := &keeper{trace: tr}
	s := newSource(tr)
	s.Channel, s.Version = k, 4
	if err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := (channel.Put{Source: "source.a", Changed: event.Cursor{"k": {7}}, Version: 4, Move: 3}); !reflect.DeepEqual(k.put, want) {
		t.Errorf("put %+v, want %+v", k.put, want)
	}
}

func TestASourceBeginsAtTheCommittedCursor(t *testing.T) {
	tr := &trace{read: func(int) (plugin.Emission, error) { return plugin.Emission{}, io.EOF }}
	tr.position.Cursor = event.Cursor{"k": {7}}
	s := newSource(tr)
	var began event.Cursor
	s.Open = func(_ context.Context, cursor event.Cursor) (plugin.Source, error) {
		began = cursor
		return instance{tr}, nil
	}
	if err := s.Run(t.Context()); err != nil || !reflect.DeepEqual(began, tr.position.Cursor) {
		t.Errorf("it began at %v, and %v is committed: %v", began, tr.position.Cursor, err)
	}
}

// unheard is a source whose first acknowledgement fails.
type unheard struct {
	instance
	failed *bool
}

func (u unheard) Ack(ctx context.Context, seq uint64, err error) error {
	if !*u.failed {
		*u.failed = true
		return &plugin.Error{Class: abi.Retry, Message: "the queue does not answer"}
	}
	return u.instance.Ack(ctx, seq, err)
}

func TestASourceThatCouldNotBeAcknowledgedIsOpenedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &trace{durable: make(chan error, 2), read: func(n int) (plugin.Emission, error) {
			if n > 1 {
				return plugin.Emission{}, io.EOF
			}
			return plugin.Emission{Seq: 1}, nil
		}}
		tr.durable <- nil
		s := newSource(tr)
		said := new(strings.Builder)
		s.Log = slog.New(slog.NewTextHandler(said, nil))
		failed := false
		s.Open = func(context.Context, event.Cursor) (plugin.Source, error) {
			tr.add("open")
			return unheard{instance{tr}, &failed}, nil
		}
		if err := s.Run(t.Context()); err != nil || strings.Count(tr.String(), "open") != 2 {
			t.Errorf("%v: %s", err, tr)
		}
		if !strings.Contains(said.String(), "acknowledge: ") || !strings.Contains(said.String(), "does not answer") {
			t.Errorf("it said: %s", said)
		}
	})
}

func TestACursorOverALimitHoldsTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &trace{durable: make(chan error, 1), read: once(plugin.Emission{Seq: 1})}
		tr.durable <- fmt.Errorf("commit: %w: the cursor of source.a has too much", channel.ErrLimit)
		s := newSource(tr)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		err := s.Run(ctx)
		if _, held := errors.AsType[*HeldError](err); !held || !strings.Contains(err.Error(), "too much") || strings.Count(tr.String(), "open") != 1 {
			t.Errorf("%v: %s", err, tr)
		}
	})
}

func TestWhatTheChannelWillNeverTakeHoldsTheSource(t *testing.T) {
	for name, k := range map[string]*keeper{
		"a put over a limit":        {err: channel.ErrLimit},
		"a channel that is stopped": {begin: channel.ErrStopped},
	} {
		synctest.Test(t, func(t *testing.T) {
			k.trace = &trace{read: once(plugin.Emission{Seq: 1})}
			s := newSource(k.trace)
			s.Channel = k
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			if _, held := errors.AsType[*HeldError](s.Run(ctx)); !held || strings.Count(k.String(), "open") != 1 {
				t.Errorf("%s: held is %v: %s", name, held, k)
			}
		})
	}
}

func TestASourceThatCannotReadIsAskedAgainForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &trace{read: func(n int) (plugin.Emission, error) {
			if n > 10*readAhead {
				return plugin.Emission{}, io.EOF
			}
			return plugin.Emission{}, &plugin.Error{Class: abi.Retry, Delay: time.Minute}
		}}
		start := time.Now()
		if err := newSource(tr).Run(t.Context()); err != nil || strings.Count(tr.String(), "open") != 1 {
			t.Errorf("%v: %s", err, tr)
		}
		if took := time.Since(start); took != 10*readAhead*time.Minute {
			t.Errorf("it took %v, and the plugin asked for a minute each time", took)
		}
	})
}

// breaking is a source whose instances break at once, and ask for a pause.
func breaking(class abi.Class, pause time.Duration) *Source {
	tr := &trace{read: func(int) (plugin.Emission, error) {
		return plugin.Emission{}, &plugin.Error{Class: class, Message: "trap", Delay: pause}
	}}
	return newSource(tr)
}

func TestAPluginThatBreaksOftenIsHeldAndOneThatBreaksSeldomIsNot(t *testing.T) {
	for _, c := range []struct {
		class abi.Class
		pause time.Duration
		opens int // 0 = never held
	}{
		{abi.Fatal, 0, crashBudget},
		{abi.Fatal, crashWindow/(crashBudget-1) + time.Second, 0},
		{abi.Retry, 0, 0},
		{abi.Config, 0, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := breaking(c.class, c.pause)
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			_, held := errors.AsType[*HeldError](s.Run(ctx))
			if n := strings.Count(s.Channel.(*trace).String(), "open"); held != (c.opens > 0) || held && n != c.opens {
				t.Errorf("%v each %v: held is %v after %d", c.class, c.pause, held, n)
			}
		})
	}
}

// patient is a sink that takes its time for a write, unless it is called back.
type patient struct {
	instance
	takes time.Duration
}

func (p patient) Write(ctx context.Context, _ event.Range, _ event.Batch) (plugin.Outcome, error) {
	p.t.add("write")
	select {
	case <-time.After(p.takes):
		return plugin.Outcome{}, nil
	case <-ctx.Done():
		return plugin.Outcome{}, &plugin.Error{Class: abi.Retry, Message: "interrupted"}
	}
}

func TestADeliveryThatHasBegunMayTakeTheTimeToDrain(t *testing.T) {
	for takes, want := range map[time.Duration]string{
		500 * time.Millisecond: "open take write commit close",
		time.Hour:              "open take write close rollback",
	} {
		synctest.Test(t, func(t *testing.T) {
			tr := &trace{}
			s := newSink(tr) // has a second to drain
			s.Open = func(context.Context, channel.ReaderInfo) (plugin.Instance, error) {
				tr.add("open")
				return plugin.Instance{Sink: patient{instance{tr}, takes}}, nil
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- s.Run(ctx) }()
			synctest.Wait()
			start := time.Now()
			cancel()
			if err := <-done; err != nil || tr.String() != want {
				t.Errorf("%v: %v\n got %s\nwant %s", takes, err, tr, want)
			}
			if took := time.Since(start); took != min(takes, s.Drain) {
				t.Errorf("%v: it took %v to stop", takes, took)
			}
		})
	}
}

func TestAWriteThatFailsIsRolledBackBeforeThePauseThatThePluginAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &trace{write: func(int) (plugin.Outcome, error) {
			return plugin.Outcome{}, &plugin.Error{Class: abi.Retry, Delay: time.Hour}
		}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- newSink(tr).Run(ctx) }()
		time.Sleep(59 * time.Minute)
		if got, want := tr.String(), "open take write rollback"; got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// throttled is a destination that asks for a minute, and then takes all.
type throttled struct {
	mu    *sync.Mutex      // guards asked
	asked *[]time.Duration // when, after the start
	start time.Time
}

func (d throttled) Write(context.Context, event.Range, event.Batch) (out plugin.Outcome, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if *d.asked = append(*d.asked, time.Since(d.start)); len(*d.asked) == 1 {
		err = &plugin.Error{Class: abi.Retry, Message: "too many requests", Delay: time.Minute}
	}
	return out, err
}

func (d throttled) Close() error { return nil }

func TestNoConnectionAsksBeforeTheDestinationWantsToBeAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		main := memory.New(memory.Options{})
		defer main.Close()
		r, err := main.Reader(channel.ReaderSpec{Name: "sink.a", Order: channel.AnyOrder})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		var asked []time.Duration
		shared, done := new(Pause), make(chan error, 3)
		for range cap(done) {
			s := newSink(&trace{})
			s.Reader, s.Pause = r, shared
			s.Open = func(context.Context, channel.ReaderInfo) (plugin.Instance, error) {
				return plugin.Instance{Sink: throttled{&mu, &asked, time.Now()}}, nil
			}
			go func() { done <- s.Run(ctx) }()
		}
		synctest.Wait() // all of them wait for events
		put(t, main, "one")
		time.Sleep(time.Second)
		put(t, main, "another")
		time.Sleep(time.Hour)
		cancel()
		for range cap(done) {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if len(asked) < 2 || asked[1] < time.Minute || // then for both, or for each
			r.Info().Waiting != 0 {
			t.Errorf("it was asked after %v, and %d events wait", asked, r.Info().Waiting)
		}
	})
}

func TestABatchOfWhichSomeWasRejectedIsNotCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &trace{write: func(int) (plugin.Outcome, error) {
			return plugin.Outcome{Rejected: []plugin.Rejection{{Reason: "too long"}}}, nil
		}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := newSink(tr).Run(ctx); err == nil || tr.commits != 0 {
			t.Errorf("%d commits, %v", tr.commits, err)
		}
	})
}

// shelf is a reader, and its lease, that hands out one batch after another.
type shelf struct {
	*trace
	at    event.Offset
	empty bool
}

func (s *shelf) Info() channel.ReaderInfo {
	return channel.ReaderInfo{Low: 9, Oldest: 3, Incarnations: []channel.Incarnation{{ID: 7}}}
}

func (s *shelf) Take(ctx context.Context, want channel.Want) (channel.Lease, error) {
	_, err := s.trace.Take(ctx, want)
	return s, err
}

func (s *shelf) Delivery() channel.Delivery {
	d := s.trace.Delivery()
	d.Range = event.Range{First: s.at, Next: s.at + 1}
	if s.empty {
		d.Batch = event.Batch{}
	}
	return d
}

func TestBatchesThatBreakAPluginOnceEachAreDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sh := &shelf{}
		sh.trace = &trace{write: func(n int) (plugin.Outcome, error) {
			if n%2 == 1 {
				sh.at++ // the destination took the event, and the plugin broke: it is not handed out again
				return plugin.Outcome{}, &plugin.Error{Class: abi.Fatal, Message: "trap", Delay: crashWindow}
			}
			sh.commits = -1 // Commit makes it 0, and the next is taken
			return plugin.Outcome{}, nil
		}}
		s := newSink(sh.trace)
		s.Reader = sh
		s.Want.Wait = time.Second
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Errorf("after %d batches: %v", sh.at, err)
		}
	})
}

// pruning is a sink that stores ranges.
type pruning struct {
	instance
	low *event.Offset
}

func (p pruning) Prune(_ context.Context, low event.Offset) error {
	*p.low = low
	return nil
}

// forgetful is a sink that stores ranges, and fails to drop them but for the first time.
type forgetful struct {
	instance
	prunes int
	err    error
}

func (p *forgetful) Prune(context.Context, event.Offset) error {
	if p.prunes++; p.prunes > 1 {
		return p.err
	}
	return nil
}

func TestASinkIsToldAgainWhatCannotComeAgain(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		prunes int
	}{"": {nil, 10}, "a connection that broke": {&plugin.Error{Class: abi.Retry}, 10}, "an instance that broke": {&plugin.Error{Class: abi.Fatal}, 2}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute+30*time.Second)
				defer cancel()
				sh := &shelf{}
				sh.trace = &trace{write: func(int) (plugin.Outcome, error) {
					time.Sleep(20 * time.Second)
					if sh.at++; ctx.Err() == nil {
						sh.commits = -1 // Commit makes it 0, and the next is taken
					}
					return plugin.Outcome{}, nil
				}}
				s := newSink(sh.trace)
				s.Reader, s.Timeout = sh, time.Minute
				p := &forgetful{instance: instance{sh.trace}, err: c.err}
				opened := 0
				s.Open = func(context.Context, channel.ReaderInfo) (plugin.Instance, error) {
					if opened++; opened > 1 {
						return plugin.Instance{}, &plugin.Error{Class: abi.Config}
					}
					return plugin.Instance{Sink: p}, nil
				}
				_ = s.Run(ctx)
				if p.prunes != c.prunes {
					t.Errorf("it was told %d times in nine minutes, want %d", p.prunes, c.prunes)
				}
			})
		})
	}
}

func TestASinkIsToldWhatCannotComeAgainAndTheChannelWhatItHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sh := &shelf{trace: &trace{}, empty: true}
		held := event.Range{First: 10, Next: 12}
		var low event.Offset
		s := newSink(sh.trace)
		s.Reader = sh
		s.Open = func(context.Context, channel.ReaderInfo) (plugin.Instance, error) {
			return plugin.Instance{Sink: pruning{instance{sh.trace}, &low}, Held: []plugin.Held{{Incarnation: 7, Range: held}}}, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if low != 3 || len(sh.held) != 1 || sh.held[0] != held {
			t.Errorf("pruned below %d, joined %v", low, sh.held)
		}
		if got, want := sh.String(), "take commit close"; got != want { // nothing was left to be delivered
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	})
}
