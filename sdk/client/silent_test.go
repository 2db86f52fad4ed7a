// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/penstock-io/penstock/cmd/penstock/crash/proxy"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/hoppb"
)

func TestAClientIsClosedAtOnceThoughItsLinkIsSilent(t *testing.T) {
	t.Parallel()
	r := listen(t, "127.0.0.1:0", grpc.InitialWindowSize(event.MaxBatch), grpc.InitialConnWindowSize(event.MaxBatch))
	link, err := proxy.Listen("127.0.0.1:0", r.at)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- link.Run(ctx) }()
	defer func() { stop(); <-ended }()
	c := open(t, Config{Addresses: []string{fmt.Sprint("tcp://127.0.0.1:", link.Port())}})
	link.Set(proxy.Fault{Still: [2]bool{true, true}})
	for range 8 { // more than the system takes
		if _, err := c.Queue(within(t), Batch{Events: []event.Event{{Body: make([]byte, 3<<20)}}}); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(200 * time.Millisecond) // until it takes no more
	begun := time.Now()
	_ = c.Close()                                        // nothing is acknowledged
	if took := time.Since(begun); took > 4*time.Second { // the system gives a silent link up after 5
		t.Errorf("it took %v", took)
	}
}

// mute is a stream on which nothing comes.
type mute struct {
	grpc.BidiStreamingClient[hoppb.Up, hoppb.Down]
	ctx context.Context
}

func (mute) Send(*hoppb.Up) error { return nil }

func (m mute) Recv() (*hoppb.Down, error) {
	<-m.ctx.Done()
	return nil, m.ctx.Err()
}

func TestWhoSaysNoWelcomeIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		c := &call{Client: new(Client), to: new(place), stop: stop, stream: mute{ctx: ctx}}
		if err := c.greet(); err == nil || !strings.Contains(err.Error(), "no Welcome within 15s") {
			t.Error(err)
		}
	})
}

func TestAnOpenThatNobodyAnswersSaysWhere(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // which accepts nobody, and so says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, Config{Addresses: []string{"tcp://" + l.Addr().String()}}); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Error(err)
	}
}
