// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/memory"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

func TestWhoeverWaitsForAnAnswerIsRefusedWhenThereIsNoRoom(t *testing.T) {
	for name, c := range map[string]struct {
		patience time.Duration
		want     string
	}{
		"somebody waits": {time.Second, "cursor open begin read put submit begin durable ack close cursor open begin"},
		"nobody waits":   {0, "cursor open begin read put submit begin durable ack begin"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := &trace{durable: make(chan error, 1)}
				tr.read = func(n int) (plugin.Emission, error) {
					tr.full = 10 * time.Minute
					return plugin.Emission{Seq: uint64(n)}, nil
				}
				s := newSource(tr)
				s.Patience = c.patience
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				go func() { time.Sleep(time.Millisecond); tr.durable <- nil }()
				if err := s.Run(ctx); err != nil {
					t.Fatal(err)
				}
				got := strings.TrimSuffix(tr.String(), " close") // at the end
				for strings.HasSuffix(got, "begin begin") {      // each turn of a second
					got = strings.TrimSuffix(got, " begin")
				}
				if !equalTrace(got, c.want) {
					t.Errorf("\n got %s\nwant %s", got, c.want)
				}
			})
		})
	}
}

func TestWhoeverWaitsForAnAnswerIsRefusedWhenThereIsNoRoomForDeadLetters(t *testing.T) {
	for _, patience := range []time.Duration{time.Second, 0} {
		synctest.Test(t, func(t *testing.T) {
			rejected := memory.New(memory.Options{Capacity: channel.Capacity{Events: 1}})
			defer rejected.Close()
			if _, err := rejected.Reader(channel.ReaderSpec{Name: "r"}); err != nil {
				t.Fatal(err)
			}
			put(t, rejected, "it is full")
			tr := &trace{read: func(n int) (plugin.Emission, error) {
				return plugin.Emission{Seq: uint64(n), Batch: encode(t, "reject")}, nil
			}}
			p, _ := (&worker{}).at(DeadLetter)
			s := newSource(tr)
			s.Patience, s.Through, s.Buffers = patience, []Processor{p}, event.Heap{}
			s.Dead = &DeadLetters{Component: "source.a", Address: "channel.rejected", Channel: rejected}
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- s.Run(ctx) }()
			time.Sleep(time.Second + time.Nanosecond) // before it is tried again, after a pause of any length below 100 ms
			if refused := strings.Contains(tr.String(), "close"); refused != (patience > 0) {
				t.Errorf("patience %v: after a second %s", patience, tr)
			}
			if state, why := s.Observer.(*quiet).last(); state != Retrying || !strings.Contains(why, "channel.rejected") {
				t.Errorf("patience %v: it is %s: %s", patience, state, why)
			}
			if err := <-done; err != nil || strings.Contains(tr.String(), "put") {
				t.Errorf("patience %v: %v", patience, err)
			}
		})
	}
}

func TestASourceReadsSoManyBatchesAhead(t *testing.T) {
	for ahead, want := range map[int]int{0: readAhead, 1: 1, 5: 5} {
		synctest.Test(t, func(t *testing.T) {
			tr := &trace{durable: make(chan error), read: func(n int) (plugin.Emission, error) { return plugin.Emission{Seq: uint64(n)}, nil }}
			s := newSource(tr)
			s.Ahead = ahead
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- s.Run(ctx) }()
			synctest.Wait()
			if got := strings.Count(tr.String(), "submit"); got != want {
				t.Errorf("ahead %d: %d batches are under way", ahead, got)
			}
			close(tr.durable)
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// dead is a source that has broken: it takes no acknowledgement, but its host is told each.
type dead struct {
	instance
	told *[]uint64
}

func (d dead) Ack(_ context.Context, seq uint64, err error) error {
	if err == nil {
		*d.told = append(*d.told, seq)
	}
	return &plugin.Error{Class: abi.Fatal, Message: "the plugin broke"}
}

func TestTheHostOfADeadSourceIsToldWhatHasBecomeDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &trace{durable: make(chan error, 3), read: func(n int) (plugin.Emission, error) {
			switch {
			case n <= 3:
				return plugin.Emission{Seq: uint64(n)}, nil
			case n == 4:
				return plugin.Emission{}, &plugin.Error{Class: abi.Fatal, Message: "the plugin broke"}
			}
			return plugin.Emission{}, io.EOF
		}}
		for range 3 {
			tr.durable <- nil
		}
		s := newSource(tr)
		s.Ahead = 4
		var told []uint64
		s.Open = func(context.Context, event.Cursor) (plugin.Source, error) { return dead{instance{tr}, &told}, nil }
		if err := s.Run(t.Context()); err != nil || len(told) != 3 {
			t.Errorf("%v: told of %v", err, told)
		}
	})
}
