// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/penstock-io/penstock/host/hop"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/hoppb"
)

// inside opens a source to which connections come without a network, and a sender of one.
func inside(t *testing.T) (*source, *sender) {
	t.Helper()
	conns := make(chan net.Conn)
	in, err := openSource(plugin.Request{
		Component: "source.edges", Config: json.RawMessage(`{"clients": ["local"], "upstreams": 3, "window": 4}`), Buffers: event.Heap{},
		Log: slog.New(slog.DiscardHandler), Grants: plugin.Grants{Listen: map[string]plugin.Listener{listenHandle: {Conns: conns, Addr: &net.TCPAddr{}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &sender{t: t, lives: []abi.Incarnation{{ID: 7}}, ends: []event.Offset{1000}}
	s.dial = func(ctx context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		select {
		case conns <- far:
			return near, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return in, s
}

// What its channel has forgotten of upstreams that came no more takes up no places of others.
func TestUpstreamsThatComeNoMoreGiveUpTheirPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, s := inside(t)
		in.open.Forgets = 48 * time.Hour
		s.done = func() (event.Offset, []event.Range) { return 0, nil } // so that each name is another stream
		next := event.Offset(0)
		say := func(name string) error {
			s.name = name
			sink, _, err := s.open()
			if err != nil {
				return err
			}
			span := event.Range{First: next, Next: next + 20}
			next = span.Next
			if err := sink.Send(t.Context(), span, batch(t, span)); err != nil {
				return err
			}
			em, err := in.Read(t.Context())
			if err != nil {
				return err
			}
			em.Batch.Release()
			return errors.Join(in.Ack(t.Context(), em.Seq, nil), sink.(plugin.Streamer).Outcome(t.Context()), sink.Close())
		}
		for _, step := range []struct {
			after   time.Duration
			name    string
			refused bool // there are three places
		}{{10, "a", false}, {10, "b", false}, {10, "c", false}, {0, "d", true}, {20, "a", false}, {21, "d", false}, {0, "e", true}, {10, "e", false}} {
			time.Sleep(step.after * time.Hour)
			if err := say(step.name); (err != nil) != step.refused {
				t.Errorf("%s is told %v", step.name, err)
			}
		}
		if len(in.upstreams) != 3 || in.kept != 3*(len(hop.Key(localIdentity, "channel/reader/1/sink.a"))+hoppb.PositionSize+hoppb.SpanSize) {
			t.Errorf("%d upstreams are kept, in %d bytes", len(in.upstreams), in.kept)
		}
		_ = in.Close()
	})
}

// A disk may stand for longer than a Hello may take to come: who has said it waits, and is not told that it never did, which would hold it.
func TestWhoHasSaidHelloIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, s := inside(t)
		old, _, err := s.open()
		if err != nil {
			t.Fatal(err)
		}
		span := event.Range{First: 0, Next: 20}
		if err := old.Send(t.Context(), span, batch(t, span)); err != nil {
			t.Fatal(err)
		}
		em, err := in.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		em.Batch.Release()
		_ = old.Close() // its link was cut
		time.AfterFunc(12*time.Second, func() { _ = in.Ack(context.Background(), em.Seq, nil) })
		sink, held, err := s.open()
		if err != nil || len(held) != 1 || held[0].Range.Next != 20 {
			t.Errorf("it holds %v: %v", held, err)
		}
		if err == nil {
			_ = sink.Close()
		}
		_ = in.Close()
	})
}

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

func TestWhoSaysNothingIsToldSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, from := inside(t)
		s := &sink{}
		if err := s.connect(t.Context(), from.dial); err != nil {
			t.Fatal(err)
		}
		since := time.Now()
		down, err := s.stream.Recv()
		if took := time.Since(since); down.GetRefusal() == nil || took != hoppb.HelloWithin {
			t.Errorf("after %v it is told %v, %v", took, down, err)
		}
		_ = s.Close()
		_ = in.Close()
	})
}

// heard is a stream on which something is said.
type heard struct {
	grpc.BidiStreamingServer[hoppb.Up, hoppb.Down]
	said []*hoppb.Down
}

func (h *heard) Send(d *hoppb.Down) error { h.said = append(h.said, d); return nil }

// A call whose sender says no more has a Welcome and the answer to the last message before it ends, whichever is seen first.
func TestACallEndsWhenAllIsAnswered(t *testing.T) {
	for range 50 {
		stream := new(heard)
		c := &call{s: &source{closing: make(chan struct{})}, stream: stream, pokes: make(chan struct{}, 1), taken: 1, stored: 1}
		received, greeted := make(chan error, 1), make(chan *hoppb.Welcome, 1)
		received <- io.EOF
		greeted <- new(hoppb.Welcome)
		c.poke()
		if err := c.answer(t.Context(), received, greeted); err != nil || len(stream.said) != 2 || stream.said[1].GetAnswer().GetMessages() != 1 {
			t.Fatalf("it ends with %v, and has said %v", err, stream.said)
		}
	}
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

// What a channel does not take would hold the source: who brings that is bidden to come again, and all others go on.
func TestWhatIsKeptOfAllIsBounded(t *testing.T) {
	t.Parallel()
	r, s := newPair(t)
	sink, _, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deliver(t, sink, 0, 10); err != nil {
		t.Fatal(err)
	}
	in := r.source.(*source)
	in.mu.Lock()
	for key, value := range r.cursor {
		if in.kept != len(key)+len(value) {
			t.Errorf("%d bytes are kept, of %d", in.kept, len(key)+len(value))
		}
	}
	before := in.kept
	in.kept = hoppb.MaxCursor
	in.mu.Unlock()
	s.name, s.done = "other", func() (event.Offset, []event.Range) { return 0, nil } // which makes it another stream
	lone, _, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deliver(t, lone, 0, 10); plugin.ClassOf(err) != abi.Retry || !strings.Contains(err.Error(), "the cursor of a source has room for") {
		t.Errorf("it is told %v", err)
	}
	if _, err := deliver(t, sink, 10, 30); err != nil {
		t.Errorf("the other one is told %v", err)
	}
	_, _ = lone.Close(), sink.Close()
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.kept -= hoppb.MaxCursor - before; in.kept != before {
		t.Errorf("%d bytes are kept then", in.kept)
	}
}

// counted is a connection of which it is known how much was written.
type counted struct {
	net.Conn
	bytes atomic.Int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.bytes.Add(int64(n))
	return n, err
}

// While a channel has no room, a thousand upstreams may wait for it with all that they have: of each little more is taken in than the message that is next.
func TestWhatThereIsNoRoomForStaysWithItsSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, messages = 1 << 20, 8
		in, s := inside(t)
		dial, near := s.dial, new(counted)
		s.dial = func(ctx context.Context) (c net.Conn, err error) {
			near.Conn, err = dial(ctx)
			return near, err
		}
		sink, _, err := s.open()
		if err != nil {
			t.Fatal(err)
		}
		w := event.Builder{}
		if err := w.Append(event.Event{Body: make([]byte, size)}); err != nil {
			t.Fatal(err)
		}
		go func() { // until the sink is closed
			for o := range event.Offset(messages) {
				_ = sink.Send(t.Context(), event.Range{First: o, Next: o + 1}, w.Batch())
			}
		}()
		synctest.Wait()
		if n := near.bytes.Load(); n < size || n > 3*size {
			t.Errorf("the receiver has taken in %d bytes, of %d messages of %d", n, messages, size)
		}
		_ = sink.Close()
		_ = in.Close()
	})
}
