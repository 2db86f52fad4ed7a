// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"errors"
	"math"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/hoppb"
)

// one is a listener that has one connection to give.
type one struct {
	conns chan net.Conn
	shut  chan struct{}
}

func (o *one) Accept() (net.Conn, error) {
	select {
	case c := <-o.conns:
		return c, nil
	case <-o.shut:
		return nil, net.ErrClosed
	}
}

func (o *one) Close() error   { close(o.shut); return nil }
func (o *one) Addr() net.Addr { return &net.TCPAddr{} }

// A link falls silent: nothing arrives any more, and nothing is closed. What is written vanishes, or stays in buffers of the system that are full. The sender
// learns of it when its question has no answer, at the latest.
func TestALinkThatFallsSilentIsGivenUp(t *testing.T) {
	for name, full := range map[string]bool{"with little on its way": false, "with much": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { silence(t, full) })
		})
	}
}

func silence(t *testing.T, full bool) {
	const events = 50_000
	near, nearLink := net.Pipe() // which holds nothing: it is full at once
	farLink, far := net.Pipe()
	silent := make(chan struct{})
	var work sync.WaitGroup
	for _, way := range [][2]net.Conn{{nearLink, farLink}, {farLink, nearLink}} {
		work.Go(func() { forward(way[0], way[1], silent, full) })
	}
	l := &one{make(chan net.Conn, 1), make(chan struct{})}
	l.conns <- far
	server := newServer(narrow{most: event.MaxBatch, says: event.MaxBatch})
	work.Go(func() { _ = server.Serve(l) })
	s := &sender{t: t, lives: []abi.Incarnation{{ID: 7}}, ends: []event.Offset{1 + events}}
	s.dial = func(context.Context) (net.Conn, error) { return near, nil }
	inst, err := s.instance()
	if err != nil {
		t.Fatal(err)
	}
	sink := inst.Sink.(plugin.Streamer)
	if _, err := deliver(t, sink, 0, 1); err != nil {
		t.Fatal(err)
	}
	close(silent)
	since := time.Now()
	r := event.Range{First: 1, Next: 1 + events}
	if err = sink.Send(t.Context(), r, batch(t, r)); err == nil {
		err = sink.Outcome(t.Context())
	}
	if took := time.Since(since); err == nil || took > askAfter+askWithin {
		t.Errorf("it says %v, after %v", err, took)
	}
	_ = sink.Close() // as it is
	for _, c := range []net.Conn{nearLink, farLink} {
		_ = c.Close() // so that all ends
	}
	server.Stop()
	work.Wait()
}

// forward passes on what it reads until the link is silent; then it reads no more, or to no end.
func forward(from, to net.Conn, silent <-chan struct{}, full bool) {
	buf := make([]byte, 4<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		select {
		case <-silent:
			if full {
				return
			}
		default:
			_, _ = to.Write(buf[:n]) // or it has ended
		}
	}
}

func TestAReceiverMayAskForAnHourAtMost(t *testing.T) {
	for _, reason := range []hoppb.Reason{hoppb.Reason_FULL, hoppb.Reason_NOT_ALLOWED} {
		err := new(sink).refused(&hoppb.Refusal{Code: int32(abi.EAGAIN), Reason: reason, RetryAfterMs: math.MaxInt64})
		if e, ok := errors.AsType[*plugin.Error](err); !ok || e.Delay != abi.MaxDelay {
			t.Errorf("%v: %+v", reason, err)
		}
	}
}
