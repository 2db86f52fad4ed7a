// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/plugin"
)

func TestASourceThatWaitsForRoomSaysSoAndForHowLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &trace{full: time.Hour, read: func(int) (plugin.Emission, error) { return plugin.Emission{}, io.EOF }}
		s := newSource(tr)
		seen := s.Observer.(*quiet)
		done := make(chan error, 1)
		go func() { done <- s.Run(t.Context()) }()
		time.Sleep(time.Minute + time.Millisecond)
		seen.mu.Lock()
		if seen.blocked != time.Minute || seen.state != Running || !strings.Contains(seen.reason, "full") {
			t.Errorf("after a minute: %s (%s), blocked for %v", seen.state, seen.reason, seen.blocked)
		}
		seen.mu.Unlock()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if seen.blocked != time.Hour || seen.reason != "" {
			t.Errorf("at the end: blocked for %v, reason %q", seen.blocked, seen.reason)
		}
	})
}

func TestASourceThatWaitsForRoomStopsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- newSource(&trace{full: time.Hour}).Run(ctx) }()
		time.Sleep(90 * time.Millisecond)
		start := time.Now()
		cancel()
		if err := <-done; err != nil || time.Since(start) > 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestADiskThatIsFullIsTriedMoreAndMoreSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &trace{durable: make(chan error, 1), read: func(n int) (plugin.Emission, error) { return plugin.Emission{Seq: uint64(n)}, nil }}
		ctx, cancel := context.WithCancel(t.Context())
		s := newSource(tr)
		s.Backoff = Backoff{time.Second, time.Hour}
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		full := errors.New("no space left on device")
		go func() {
			for ctx.Err() == nil {
				select {
				case tr.durable <- full:
				case <-ctx.Done():
				}
			}
			close(tr.durable)
		}()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		seen := s.Observer.(*quiet)
		seen.mu.Lock()
		if want := full.Error(); seen.state != Retrying || seen.reason != want {
			t.Errorf("state %s, reason %q, want %q", seen.state, seen.reason, want)
		}
		seen.mu.Unlock()
		const most = 200 // a day has 24 hours; without growing pauses there would be 86 400 tries
		if n := strings.Count(tr.String(), "open"); n > most {
			t.Errorf("opened %d times in a day", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestWhatIsTriedAgainAtOnceDoesNotFillTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(new(trace))
		s.Open = func(context.Context, channel.ReaderInfo) (plugin.Instance, error) {
			return plugin.Instance{}, errors.New("connection refused")
		}
		s.Backoff = Backoff{Min: 50 * time.Millisecond, Max: 400 * time.Millisecond}
		said := new(strings.Builder)
		s.Log = slog.New(slog.NewTextHandler(said, nil))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(said.String()), "\n")
		if least, most := 25, 40; len(lines) < least || len(lines) > most {
			t.Errorf("%d lines in ten minutes:\n%s", len(lines), said)
		}
		if n := strings.Count(said.String(), "others_since="); n < 15 {
			t.Errorf("what was left out is told %d times:\n%s", n, said)
		}
	})
}

func TestWhatFailsWhileItDrainsIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		tr := &trace{durable: make(chan error), read: func(n int) (plugin.Emission, error) {
			if n > 1 {
				<-ctx.Done()
				return plugin.Emission{}, ctx.Err()
			}
			return plugin.Emission{Seq: uint64(n)}, nil
		}}
		s := newSource(tr)
		said := new(strings.Builder)
		s.Log = slog.New(slog.NewTextHandler(said, nil))
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		if len(done) > 0 {
			t.Error("it did not wait for what was in flight")
		}
		tr.durable <- errors.New("no space left on device")
		if err := <-done; err != nil || !strings.Contains(said.String(), "no space left") {
			t.Errorf("%v, and it said: %s", err, said)
		}
		if got := tr.String(); !strings.HasSuffix(got, "refused nack close") {
			t.Errorf("trace: %s", got)
		}
	})
}

func TestADamagedLogHoldsTheSink(t *testing.T) {
	for _, what := range []error{channel.ErrCorrupt, channel.ErrKey} {
		synctest.Test(t, func(t *testing.T) {
			tr := &trace{damaged: fmt.Errorf("%w: log/1 at byte 7", what)}
			s := newSink(tr)
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			err := s.Run(ctx)
			if _, ok := errors.AsType[*HeldError](err); !ok || !errors.Is(err, what) {
				t.Errorf("error %v", err)
			}
			if got := tr.String(); got != "open take close" {
				t.Errorf("tried again: %s", got)
			}
		})
	}
}

func TestASinkThatWasDetachedIsHeldAndSaysHowItGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(&trace{damaged: fmt.Errorf("take of reader sink.a: %w", channel.ErrDetached)})
		err := s.Run(t.Context())
		if _, ok := errors.AsType[*HeldError](err); !ok || !errors.Is(err, channel.ErrDetached) || !strings.Contains(err.Error(), "start the agent again") {
			t.Errorf("error %v", err)
		}
	})
}

func TestASinkThatCannotBeOpenedIsHeldWhenItIsDetached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &trace{}
		s := newSink(tr)
		s.Open = func(context.Context, channel.ReaderInfo) (plugin.Instance, error) {
			tr.add("fail")
			tr.detached = len(tr.steps) == 3
			return plugin.Instance{}, errors.New("no such folder")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		err := s.Run(ctx)
		if _, ok := errors.AsType[*HeldError](err); !ok || !errors.Is(err, channel.ErrDetached) || tr.String() != "fail fail fail" {
			t.Errorf("%s: error %v", tr, err)
		}
	})
}

func TestAReaderThatIsDrainedEndsTheSinkWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &trace{damaged: fmt.Errorf("take of reader sink.a: %w", channel.ErrDrained)}
		s := newSink(tr)
		if err := s.Run(t.Context()); err != nil || tr.String() != "open take close" {
			t.Errorf("%v: %s", err, tr)
		}
		if state, _ := s.Observer.(*quiet).last(); state != Finished {
			t.Errorf("it is %s", state)
		}
	})
}
