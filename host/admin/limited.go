// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"net"
	"sync"
)

// maxConnections bounds who is connected over TCP at a time. A scraper has one; more than this is somebody who holds them.
const maxConnections = 256

// limited is a listener that takes a connection when there are fewer.
type limited struct {
	net.Listener
	places chan struct{} // holds one for each connection
	once   sync.Once
	closed chan struct{} // closed by Close
}

func newLimited(l net.Listener) *limited {
	return &limited{Listener: l, places: make(chan struct{}, maxConnections), closed: make(chan struct{})}
}

// Accept implements [net.Listener].
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &limitedConn{Conn: c, leave: sync.OnceFunc(func() { <-l.places })}, nil
}

// Close implements [net.Listener].
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// limitedConn gives its place back when it is closed.
type limitedConn struct {
	net.Conn
	leave func()
}

// Close implements [net.Conn].
func (c *limitedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
