// SPDX-License-Identifier: Apache-2.0

package link

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/hoppb"
)

// told is the stream of a sink.
func told(s plugin.Streamer) grpc.BidiStreamingClient[hoppb.Up, hoppb.Down] { return s.(*sink).stream }

// finish says on a sink's stream that it is finished, and waits until that is answered. A sink never does so: the answer is one more than it has sent.
func finish(t *testing.T, s plugin.Streamer) {
	t.Helper()
	if err := told(s).Send(&hoppb.Up{Says: &hoppb.Up_Finish{Finish: &hoppb.Finish{}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Outcome(t.Context()); err == nil || !strings.Contains(err.Error(), "that were sent") {
		t.Fatalf("the answer to a Finish: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAFinishedStreamGivesItsPlaceToAnother(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	hour := time.Now().Add(time.Hour)
	r := newReceiver(t, ca.issue(t, "collector", hour)) // of three upstreams
	for i := range 5 {
		s := newSender(t, r, ca.issue(t, fmt.Sprintf("edge-%d", i), hour))
		sink, _, err := s.open()
		if err != nil {
			t.Fatalf("upstream %d: %v", i, err)
		}
		at := event.Offset(20 * i)
		if _, err := deliver(t, sink, at, at+20); err != nil {
			t.Fatal(err)
		}
		finish(t, sink)
		again, held, err := s.open() // the answer was lost, say
		if err != nil || len(held) != 0 {
			t.Fatal(held, err)
		}
		finish(t, again)
		r.mu.Lock()
		if len(r.cursor) != 0 {
			t.Errorf("the cursor has %v", r.cursor)
		}
		r.mu.Unlock()
	}
	r.expect(t, 100)
	in := r.source.(*source)
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.kept != 0 {
		t.Errorf("%d bytes of the cursor count as kept", in.kept)
	}
}

func TestAFinishThatIsNotKeptForgetsNothing(t *testing.T) {
	t.Parallel()
	r, s := newPair(t)
	sink, _, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deliver(t, sink, 0, 20); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.fail = 1
	r.mu.Unlock()
	if err := told(sink).Send(&hoppb.Up{Says: &hoppb.Up_Finish{Finish: &hoppb.Finish{}}}); err != nil {
		t.Fatal(err)
	}
	if err := sink.Outcome(t.Context()); err == nil || strings.Contains(err.Error(), "that were sent") {
		t.Errorf("a Finish that is refused: %v", err)
	}
	_ = sink.Close()
	r.close()
	r.open()
	again, held, err := s.open()
	if err != nil || len(held) != 1 || held[0].Range.Next != 20 {
		t.Fatal(held, err)
	}
	finish(t, again)
}

func TestAStreamThatIsFinishedAsItsCallEndsIsForgotten(t *testing.T) {
	t.Parallel()
	r, s := newPair(t)
	sink, _, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deliver(t, sink, 0, 20); err != nil {
		t.Fatal(err)
	}
	hold := make(chan struct{})
	r.mu.Lock()
	r.hold = hold
	r.mu.Unlock()
	if err := told(sink).Send(&hoppb.Up{Says: &hoppb.Up_Finish{Finish: &hoppb.Finish{}}}); err != nil {
		t.Fatal(err)
	}
	in := r.source.(*source)
	until(t, in, "on its way to disk", func() bool { return len(in.unacked) == 1 })
	_ = sink.Close()
	until(t, in, "without a call", func() bool { return len(in.upstreams) == 1 && theCall(in) == nil })
	close(hold)
	until(t, in, "forgotten", func() bool { return len(in.upstreams) == 0 })
}
