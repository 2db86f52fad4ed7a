// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/hoppb"
)

const (
	// dialWithin is how long an attempt to connect may take at first, and dialLongest how long after failures: over a link that was cut, TCP asks again after 1, 3 and
	// 7 seconds, and a new attempt at once.
	dialWithin, dialLongest = time.Second, 5 * time.Second
	// welcomeWithin is how long a receiver may take to say Welcome: it waits for what it has on its way to disk.
	welcomeWithin = 15 * time.Second
	// askAfter is after how long of silence the receiver is asked whether it is there, the least that gRPC takes; askWithin is how long that may take, and how long anything that
	// was sent may stay unacknowledged (TCP_USER_TIMEOUT): TCP itself asks after pauses that double, so that a link which was silent for some seconds stays so for as many more.
	askAfter, askWithin = 10 * time.Second, 5 * time.Second
	// longStanding is after how long a call has worked, though nothing was sent in it: nothing that fails takes so long.
	longStanding = dialLongest + welcomeWithin + askAfter + askWithin
	// ioBuffer is how much is read from, or written to, a connection at a time: a record of TLS.
	ioBuffer = 16 << 10
)

// call is one stream to a receiver.
type call struct {
	*Client
	to     *place
	conn   *grpc.ClientConn
	stream grpc.BidiStreamingClient[hoppb.Up, hoppb.Down]
	stop   context.CancelFunc
	window int
	useful bool // something was acknowledged; guarded by mu
}

// run makes one call after another, until ctx ends or all receivers have refused for good.
func (c *Client) run(ctx context.Context) {
	for {
		to, wait := c.pace.next(time.Now())
		if to == nil {
			c.fail(c.pace.refusal())
			return
		}
		pause := time.NewTimer(wait)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return
		}
		begun := time.Now()
		useful, err := c.attempt(ctx, to)
		if ctx.Err() != nil {
			return
		}
		if !strings.HasPrefix(err.Error(), to.text) {
			err = fmt.Errorf("%s: %w", to.text, err)
		}
		c.mu.Lock()
		opening, open := c.stats.Calls == 0, c.stats.Address != ""
		c.stats.Address, c.stats.Err = "", err
		c.mu.Unlock()
		now := time.Now()
		worked := useful || now.Sub(begun) >= longStanding
		if open && (worked || to.failures == 0) {
			c.config.Log.Warn("a stream of events has ended, and is opened again", "error", err)
		} else {
			c.config.Log.Debug("no stream of events was opened", "error", err, "failures", to.failures)
		}
		c.pace.ended(to, now, err, worked, opening)
	}
}

// attempt makes one call, and returns when it has ended.
func (c *Client) attempt(ctx context.Context, to *place) (useful bool, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	call := &call{Client: c, to: to, stop: stop}
	if err := call.connect(ctx); err != nil {
		return false, err
	}
	defer func() { _ = call.conn.Close() }() // what ended the call says more
	if err := call.greet(); err != nil {
		return false, err
	}
	received := make(chan error, 1) // one; never closed
	c.work.Go(func() {
		received <- call.receive()
		stop() // a Send that waits for room ends
	})
	call.send(ctx)
	err = <-received // not stopped before: it may have yet to read why the receiver has ended it
	c.mu.Lock()
	defer c.mu.Unlock()
	return call.useful, err
}

// connect opens the stream.
func (c *call) connect(ctx context.Context) error {
	secure, err := c.config.tls(c.to.address)
	if err != nil {
		return err
	}
	d := &dialing{to: c.to.address, within: min(dialWithin<<min(c.to.failures, 10), dialLongest)}
	d.TransportCredentials = insecure.NewCredentials()
	if secure != nil {
		d.TransportCredentials = credentials.NewTLS(secure)
	}
	dial := func(within context.Context, _ string) (net.Conn, error) {
		conn, err := d.dial(within)
		if err == nil {
			context.AfterFunc(ctx, func() { _ = conn.Close() }) // gRPC would first write to it for 5 s, where a link is silent
		}
		return conn, err
	}
	c.conn, err = grpc.NewClient("passthrough:///"+c.to.host,
		grpc.WithTransportCredentials(d), grpc.WithContextDialer(dial), grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithIdleTimeout(0),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(hoppb.MaxMessage), grpc.MaxCallSendMsgSize(hoppb.MaxMessage)),
		grpc.WithInitialWindowSize(hoppb.Window), grpc.WithInitialConnWindowSize(hoppb.Window),
		grpc.WithWriteBufferSize(ioBuffer), grpc.WithReadBufferSize(ioBuffer),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: dialLongest}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: askAfter, Timeout: askWithin}),
	)
	if err != nil {
		return err
	}
	if c.stream, err = hoppb.NewHopClient(c.conn).Send(ctx); err != nil {
		_ = c.conn.Close() // what failed says more
		if why := d.first.Load(); why != nil && *why != nil {
			return *why
		}
		return c.gone(err)
	}
	return nil
}

// dialing makes a connection of a call, and notes how that went, of which gRPC says less. It is the credentials too: gRPC has to see the connection below TLS, to have the
// system end it when nothing that is sent is acknowledged for askWithin.
type dialing struct {
	credentials.TransportCredentials
	to     address
	within time.Duration
	first  atomic.Pointer[error] // how the first attempt went; gRPC makes more, which end when nobody wants them any more
}

func (d *dialing) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.within)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, d.to.network, d.to.at)
	if err != nil {
		d.first.CompareAndSwap(nil, &err)
	}
	return conn, err
}

// ClientHandshake implements [credentials.TransportCredentials].
func (d *dialing) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, d.within)
	defer cancel()
	conn, info, err := d.TransportCredentials.ClientHandshake(ctx, authority, conn)
	d.first.CompareAndSwap(nil, &err)
	return conn, info, err
}

// Clone implements [credentials.TransportCredentials].
func (d *dialing) Clone() credentials.TransportCredentials { return d }

// greet says Hello, and hears where the receiver stands.
func (c *call) greet() error {
	hello := &hoppb.Hello{Version: hoppb.Version, Stream: c.config.Stream, Durable: c.config.Durable, Sender: c.config.Sender}
	for _, one := range c.config.Incarnations {
		hello.Incarnations = append(hello.Incarnations, &hoppb.Incarnation{Id: one.ID, First: uint64(one.First), Next: uint64(one.Next)})
	}
	late := time.AfterFunc(welcomeWithin, c.stop)
	defer late.Stop()
	if err := c.stream.Send(&hoppb.Up{Says: &hoppb.Up_Hello{Hello: hello}}); err != nil && !errors.Is(err, io.EOF) { // Recv says why
		return c.gone(err)
	}
	down, err := c.stream.Recv()
	if !late.Stop() {
		return fmt.Errorf("it takes connections, and has said no Welcome within %v", welcomeWithin)
	}
	if err != nil {
		return c.gone(err)
	}
	if r := down.GetRefusal(); r != nil {
		return c.refused(r)
	}
	w := down.GetWelcome()
	if w == nil || w.Version == 0 || w.Version > hoppb.Version || w.Window == 0 || w.MaxBatch == 0 {
		return misfit("it does not speak the protocol of hops: %v", down)
	}
	if err := c.welcomed(w); err != nil {
		return err
	}
	c.config.Log.Debug("a stream of events is open", "address", c.to.text, "have", fromWire(w.Have).String())
	return nil
}

func (c *call) welcomed(w *hoppb.Welcome) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.window = min(int(w.Window), hoppb.MaxWindow)
	have, limit := fromWire(w.Have), int(min(w.MaxBatch, event.MaxBatch))
	first := c.stats.Calls == 0
	if _, known := c.box.lives.place(have.Incarnation); first && c.config.Stream != "" && known {
		c.box.opened, c.box.have, c.box.tail = have, have, have
	}
	before := c.box.acked
	err := c.box.begin(have, limit)
	if c.useful = c.box.acked > before; c.useful {
		c.freed()
	}
	if err != nil {
		return err
	}
	c.limit, c.able = limit, w.Finish
	c.stats.Calls++
	c.stats.Address, c.stats.Err = c.to.text, nil
	if first {
		close(c.opened)
	}
	return nil
}

// freed tells those who wait that there is more room. It is called under mu.
func (c *Client) freed() {
	close(c.room)
	c.room = make(chan struct{})
}

// send sends what there is, until the call ends.
func (c *call) send(ctx context.Context) {
	for {
		up, err := c.next()
		if err != nil {
			c.fail(err)
			return
		}
		if up != nil {
			if c.stream.Send(up) != nil {
				return // Recv says why
			}
			continue
		}
		select {
		case <-c.wake:
		case <-ctx.Done():
			return
		}
	}
}

// next is the message to send now, or nil.
func (c *call) next() (*hoppb.Up, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, up := c.box.take(c.window)
	if m == nil {
		if c.able && c.box.last() {
			return &hoppb.Up{Says: &hoppb.Up_Finish{Finish: &hoppb.Finish{}}}, nil
		}
		return nil, nil
	}
	if len(m.parts) > 1 {
		whole, err := event.Join(event.Heap{}, m.parts...)
		if err != nil {
			return nil, fmt.Errorf("BUG: join batches: %w", err)
		}
		c.box.size += whole.Size() - m.size
		m.parts, m.size = []event.Batch{whole}, whole.Size()
		c.freed() // of all headers but one
	}
	up.Batch = m.parts[0].Bytes()
	return &hoppb.Up{Says: &hoppb.Up_Message{Message: up}}, nil
}

// receive takes answers until the stream ends, and returns why it did.
func (c *call) receive() error {
	for {
		down, err := c.stream.Recv()
		if err != nil {
			return c.gone(err)
		}
		if r := down.GetRefusal(); r != nil {
			return c.refused(r)
		}
		a := down.GetAnswer()
		if a == nil {
			return misfit("it does not speak the protocol of hops: %v", down)
		}
		if err := c.answered(a); err != nil {
			return err
		}
	}
}

func (c *call) answered(a *hoppb.Answer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.box.finish
	useful, err := c.box.answered(a)
	if useful {
		c.useful = true
		c.freed()
		c.poke()
	}
	if c.box.finish == forgotten && before != forgotten {
		close(c.done)
	}
	return err
}

// refused is what a receiver said when it ended the stream.
func (c *call) refused(r *hoppb.Refusal) error {
	return &RefusedError{
		Address: c.to.text, Code: abi.Code(r.Code), Reason: r.Reason, Message: r.Message, RetryAfter: abi.Delay(r.RetryAfterMs),
		Have: fromWire(r.Have),
	}
}

// gone says that the stream ended without a word.
func (c *call) gone(err error) error {
	message := err.Error()
	if st, ok := status.FromError(err); ok {
		message = strings.TrimPrefix(st.Message(), "connection error: desc = ")
	}
	if errors.Is(err, io.EOF) {
		message = "it has ended the stream"
	}
	if c.window == 0 && c.to.secure { // TLS 1.3 has a client hear of it after the handshake, if at all
		message += " (should this go on, the receiver's log says whether it refuses the certificate of this client)"
	}
	return errors.New(message)
}
