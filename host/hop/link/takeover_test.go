// SPDX-License-Identifier: Apache-2.0

package link

import (
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/event"
)

// A call that takes over is welcomed when all that the one before has left has its outcome, and is told nothing of it before.
func TestWhoComesBackIsWelcomedBeforeAllElse(t *testing.T) {
	t.Parallel()
	r, s := newPair(t)
	old, _, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	hold := make(chan struct{})
	r.mu.Lock()
	r.hold = hold
	r.mu.Unlock()
	span := event.Range{First: 0, Next: 20}
	if err := old.Send(t.Context(), span, batch(t, span)); err != nil {
		t.Fatal(err)
	}
	in := r.source.(*source)
	var first *call
	until(t, in, "taken", func() bool {
		first = theCall(in)
		return len(in.unacked) == 1
	})
	type opened struct {
		sink plugin.Streamer
		held []plugin.Held
		err  error
	}
	back := make(chan opened, 1)
	go func() {
		var o opened
		o.sink, o.held, o.err = s.open()
		back <- o
	}()
	until(t, in, "taken over", func() bool { c := theCall(in); return c != nil && c != first })
	time.Sleep(20 * time.Millisecond) // it may wait a little longer, and by then does
	close(hold)
	o := <-back
	if o.err != nil || len(o.held) != 1 || o.held[0].Range.Next != 20 {
		t.Fatalf("it holds %v: %v", o.held, o.err)
	}
	if _, err := deliver(t, o.sink, 20, 40); err != nil {
		t.Fatal(err)
	}
	_, _ = old.Close(), o.sink.Close()
	r.expect(t, 40)
}

// until waits until something is so of the receiver.
func until(t *testing.T, in *source, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		in.mu.Lock()
		ok := is()
		in.mu.Unlock()
		if ok {
			return
		}
	}
	t.Fatalf("it is not %s", what)
}

// theCall is the one that is open of the one upstream of a receiver, or nil.
func theCall(in *source) *call {
	for _, up := range in.upstreams {
		return up.call
	}
	return nil
}
