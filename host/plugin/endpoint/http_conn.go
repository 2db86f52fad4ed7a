// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"sync/atomic"
)

// watching hands net/http connections that tell what it refuses by itself: headers that are too long, or come too slowly.
type watching struct {
	net.Listener
	s *HTTPServer
}

// Accept waits for a connection.
func (w watching) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &httpConn{Conn: c, s: w.s}, nil
}

// httpConn is a connection of an HTTP server.
type httpConn struct {
	net.Conn
	s     *HTTPServer
	phase atomic.Int32
}

// The phases of a connection.
const (
	inHeader  = iota // a request is awaited that must come now, or its header comes
	inHandler        // or after it: what is left of the body
	atRest           // between two requests
)

type connKey struct{}

// withConn lets a handler find its connection.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// connOf finds it. Without one, as in a test of the handler alone, it answers one that is of no use to anybody.
func connOf(ctx context.Context) *httpConn {
	if c, ok := ctx.Value(connKey{}).(*httpConn); ok {
		return c
	}
	return &httpConn{}
}

// connState is told by net/http when a request has been dealt with.
func connState(c net.Conn, state http.ConnState) {
	if h, ok := c.(*httpConn); ok && state == http.StateIdle {
		h.phase.Store(atRest)
	}
}

func (c *httpConn) handled() { c.phase.Store(inHandler) }

func (c *httpConn) peer() net.Addr {
	if c.Conn == nil {
		return nil
	}
	return c.RemoteAddr()
}

// Read sees a client that takes too long for a header.
func (c *httpConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.phase.CompareAndSwap(atRest, inHeader)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && c.phase.CompareAndSwap(inHeader, inHandler) {
		c.s.over.tell(limitHeaderTimeout, c.peer())
	}
	return n, err
}

// tooLongHeader begins what net/http writes in place of a handler's answer.
var tooLongHeader = []byte("HTTP/1.1 431 ")

// Write sees a header that is too long.
func (c *httpConn) Write(b []byte) (int, error) {
	if bytes.HasPrefix(b, tooLongHeader) && c.phase.CompareAndSwap(inHeader, inHandler) {
		c.s.over.tell(limitHeader, c.peer())
		c.s.answers[http.StatusRequestHeaderFieldsTooLarge/100].Add(1)
	}
	return c.Conn.Write(b)
}

// CloseWrite is what net/http does before it hangs up on somebody who still sends, so that the answer arrives.
func (c *httpConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}
