// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
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

// streamer takes three deliveries ahead, and confirms as many as it is told; then it fails.
type streamer struct {
	mu      sync.Mutex
	trace   []string
	confirm chan error // one outcome each
}

func (s *streamer) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trace = append(s.trace, fmt.Sprintf(format, args...))
}

func (s *streamer) Window() int { return 3 }

func (s *streamer) Send(_ context.Context, r event.Range, _ event.Batch) error {
	s.say("send %d", r.First&0xff)
	return nil
}

func (s *streamer) Outcome(ctx context.Context) error {
	select {
	case err := <-s.confirm:
		s.say("outcome %v", err)
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *streamer) Write(context.Context, event.Range, event.Batch) (plugin.Outcome, error) {
	return plugin.Outcome{}, errors.New("not to be called")
}

func (s *streamer) Close() error {
	s.say("close")
	return nil
}

// streamTrace hears of commits.
type streamTrace struct{ s *streamer }

func (streamTrace) State(State, string)    {}
func (streamTrace) Failed(abi.Class, bool) {}
func (streamTrace) Expired()               {}
func (t streamTrace) Committed(Delivered) {
	t.s.say("commit")
}
func (streamTrace) Step(string) {}

func TestASinkThatStreamsCommitsInOrderAndRollsBackWhatHasNoOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := memory.New(memory.Options{Pool: channel.NewPool(0)})
		r, err := ch.Reader(channel.ReaderSpec{Name: "sink.up", Order: channel.AnyOrder})
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			var w event.Builder
			if err := w.Append(event.Event{Time: 1, Body: []byte("x")}); err != nil {
				t.Fatal(err)
			}
			b, err := event.Copy(event.Heap{}, w.Bytes(), event.MaxBatch)
			if err != nil {
				t.Fatal(err)
			}
			tx, err := ch.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(tx.Put(channel.Put{Source: "source.a", Batch: b}), tx.Submit()()); err != nil {
				t.Fatal(err)
			}
		}
		s := &streamer{confirm: make(chan error, 10)}
		sink := &Sink{
			Address: "sink.up", Reader: r, Want: channel.Want{Events: 1}, Backoff: Backoff{Min: time.Second, Max: time.Second}, Timeout: time.Minute,
			Observer: streamTrace{s}, Log: slog.New(slog.DiscardHandler),
			Open: func(context.Context, channel.ReaderInfo) (plugin.Instance, error) {
				s.say("open")
				return plugin.Instance{Sink: s}, nil
			},
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- sink.Run(ctx) }()
		synctest.Wait()
		s.confirm <- nil
		synctest.Wait()
		s.confirm <- errors.New("cut")
		synctest.Wait()
		if info := r.Info(); info.Leased != 0 || info.Waiting != 4 {
			t.Errorf("after the cut %d are leased and %d wait", info.Leased, info.Waiting)
		}
		time.Sleep(2 * time.Second)
		for range 4 {
			s.confirm <- nil
		}
		synctest.Wait()
		if info := r.Info(); info.Waiting != 0 {
			t.Errorf("at the end %d wait", info.Waiting)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		want := []string{
			"open", "send 0", "send 1", "send 2", "outcome <nil>", "commit", "send 3", "outcome cut", "close",
			"open", "send 1", "send 2", "send 3", "outcome <nil>", "commit",
		}
		if got := s.trace[:len(want)]; !slices.Equal(got, want) {
			t.Errorf("it went\n%q, not\n%q", got, want)
		}
		if err := ch.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestASinkThatStreamsCommitsNothingThatItWasNotToldOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := memory.New(memory.Options{Pool: channel.NewPool(0)})
		r, err := ch.Reader(channel.ReaderSpec{Name: "sink.up", Order: channel.AnyOrder})
		if err != nil {
			t.Fatal(err)
		}
		var w event.Builder
		_ = w.Append(event.Event{Time: 1, Body: []byte("x")})
		b, _ := event.Copy(event.Heap{}, w.Bytes(), event.MaxBatch)
		tx, _ := ch.Begin(t.Context())
		if err := errors.Join(tx.Put(channel.Put{Source: "source.a", Batch: b}), tx.Submit()()); err != nil {
			t.Fatal(err)
		}
		s := &streamer{confirm: make(chan error)}
		sink := &Sink{
			Address: "sink.up", Reader: r, Want: channel.Want{Events: 1}, Backoff: Backoff{Min: time.Second, Max: time.Second}, Timeout: time.Minute, Drain: time.Second,
			Observer: streamTrace{s}, Log: slog.New(slog.DiscardHandler),
			Open: func(context.Context, channel.ReaderInfo) (plugin.Instance, error) {
				return plugin.Instance{Sink: s}, nil
			},
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- sink.Run(ctx) }()
		time.Sleep(90 * time.Second) // over its timeout: the stream is opened again
		s.mu.Lock()
		if want := []string{"send 0", "close", "send 0"}; !slices.Equal(s.trace, want) {
			t.Errorf("it went %q", s.trace)
		}
		s.mu.Unlock()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if info := r.Info(); info.Waiting != 1 || info.Leased != 0 {
			t.Errorf("%d wait, %d are leased", info.Waiting, info.Leased)
		}
		if err := ch.Close(); err != nil {
			t.Error(err)
		}
	})
}
