// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/penstock-io/penstock/spec/hoppb"
)

// noted is a connection of which it is known whether it was closed.
type noted struct {
	net.Conn
	closed bool
}

func (n *noted) Close() error { n.closed = true; return nil }

// One attempt to connect fails, and another that began behind it succeeds at that moment.
func TestAConnectionThatNobodyWaitsForIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late, attempts := new(noted), new(atomic.Int32)
		c, err := dialStaggered(t.Context(), func(ctx context.Context) (net.Conn, error) {
			if attempts.Add(1) == 1 {
				time.Sleep(nextDial + time.Millisecond)
				return nil, errors.New("refused")
			}
			<-ctx.Done()
			return late, nil
		})
		if c != nil || err == nil || attempts.Load() != 2 || !late.closed {
			t.Errorf("it answers %v, %v after %d attempts, and the late one is closed: %v", c, err, attempts.Load(), late.closed)
		}
	})
}

// mute takes calls, and says nothing.
type mute struct{ hoppb.UnimplementedHopServer }

func (mute) Send(stream grpc.BidiStreamingServer[hoppb.Up, hoppb.Down]) error {
	<-stream.Context().Done()
	return nil
}

func TestAReceiverThatSaysNothingIsSpokenOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, s := inside(t)
		d := in.door
		_ = in.Close()
		server := newServer(mute{})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = server.Serve(newDoor(d.conns, d.addr)) // until it is stopped
		}()
		_, _, err := s.open()
		if err == nil || !strings.Contains(err.Error(), "no Welcome within 15s") {
			t.Errorf("it says %v", err)
		}
		server.Stop()
		<-ended
	})
}
