// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
)

const (
	// nextDial is after how long another attempt to connect begins beside those that wait: over a link that was cut, TCP asks again after 1, 3 and 7
	// seconds, and this one is to be back soon after the link is.
	nextDial = 400 * time.Millisecond
	// dials is how many attempts there are at a time.
	dials = 8
	// dialWithin is how long all of them may take.
	dialWithin = 5 * time.Second
)

// dialStaggered connects, with attempts that begin one after the other, and returns the first that succeeds.
func dialStaggered(ctx context.Context, dial plugin.Dialer) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result, dials) // one of each; never closed
	next := time.NewTicker(nextDial)
	defer next.Stop()
	for begun := 0; ; {
		if begun < dials {
			begun++
			work.Go(func() {
				c, err := dial(ctx)
				results <- result{c, err}
			})
		}
		select {
		case r := <-results:
			cancel() // what refuses refuses them all
			for range begun - 1 {
				if late := <-results; late.err == nil {
					_ = late.conn.Close()
				}
			}
			return r.conn, r.err
		case <-next.C:
		}
	}
}

// writeWithin is how long a piece of ioBuffer may take to be written. Where much was on its way when a link fell silent, the system takes no more of it, and gRPC does not
// end a connection before what it has begun to write is written, or 5 s after it has given it up: that would come on top of askAfter and askWithin.
const writeWithin = askAfter

// heardWithin is after how long a connection ends when the other machine has acknowledged nothing of what was sent. TCP itself asks after pauses that double, so that a link
// which was silent for some seconds stays so for as many more; a new connection is there as soon as the link is.
const heardWithin = 5 * time.Second

// lively is a connection that ends when what is written does not get on.
type lively struct {
	net.Conn
	failed atomic.Pointer[error] // of the write that ended it
}

// enliven makes one, of a connection that is ready.
func enliven(c net.Conn) net.Conn {
	if tcp, ok := under(c).(*net.TCPConn); ok {
		endUnheard(tcp, heardWithin)
	}
	return &lively{Conn: c}
}

// under is the connection below TLS.
func under(c net.Conn) net.Conn {
	if secure, ok := c.(*tls.Conn); ok {
		return secure.NetConn()
	}
	return c
}

// Write implements [net.Conn].
func (l *lively) Write(b []byte) (int, error) {
	if err := l.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil {
		return 0, err
	}
	n, err := l.Conn.Write(b)
	if err != nil { // so that who reads hears of it; to close TLS is to write once more
		l.failed.CompareAndSwap(nil, &err)
		_ = under(l.Conn).Close() // the error of the write says why
	}
	return n, err
}

// Read implements [net.Conn].
func (l *lively) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	if why := l.failed.Load(); err != nil && why != nil {
		err = *why
	}
	return n, err
}

// single dials once: it hands out a connection that is there already.
type single struct {
	mu   sync.Mutex
	conn net.Conn
}

var errOnce = errors.New("the connection has ended")

func (s *single) dial(context.Context, string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return nil, errOnce
	}
	c := s.conn
	s.conn = nil
	return c, nil
}

// close ends a connection that nobody took.
func (s *single) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return nil
	}
	return s.conn.Close()
}
