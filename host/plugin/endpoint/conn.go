// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// stream is what a *net.TCPConn and a *net.UnixConn have in common.
type stream interface {
	net.Conn
	syscall.Conn
	CloseRead() error
	CloseWrite() error
}

// conn is a connection that was accepted and still counts.
type conn struct {
	stream
	l    *Listener
	peer netip.Addr // zero: not of an IP network
	once sync.Once
}

// Close ends the connection, and makes room for another.
func (c *conn) Close() error {
	c.once.Do(func() { c.l.forget(c) })
	return c.stream.Close()
}

// admit counts a connection in, or closes it and answers nil.
func (l *Listener) admit(accepted net.Conn) *conn {
	c := &conn{stream: accepted.(stream), l: l}
	if a, ok := accepted.RemoteAddr().(*net.TCPAddr); ok {
		c.peer = a.AddrPort().Addr().Unmap().WithZone("")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	crowded := c.peer.IsValid() && l.peers[c.peer] >= l.o.PerPeer
	if crowded || len(l.open) >= l.o.Connections && !l.makeRoom() {
		l.refuse(c, crowded)
		return nil
	}
	l.open[c] = struct{}{}
	if c.peer.IsValid() {
		l.peers[c.peer]++
	}
	return c
}

// refuse closes a connection that never counted.
func (l *Listener) refuse(c *conn, crowded bool) {
	_ = c.stream.Close()
	l.refused.Add(1)
	if crowded {
		l.over.tell(limitPerPeer, c.RemoteAddr(), "at", l.o.PerPeer)
	} else {
		l.over.tell(limitConnections, c.RemoteAddr(), "at", l.o.Connections)
	}
}

// forget takes a connection out of what is counted.
func (l *Listener) forget(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(c)
}

// drop is forget for those who have the lock. The second time it does nothing.
func (l *Listener) drop(c *conn) {
	if _, ok := l.open[c]; !ok {
		return
	}
	delete(l.open, c)
	if l.peers[c.peer]--; l.peers[c.peer] <= 0 {
		delete(l.peers, c.peer)
	}
}

// makeRoom ends the connection that has been quiet for longest, if that is long. The caller has the lock.
func (l *Listener) makeRoom() bool {
	if time.Since(l.madeRoom) < makeRoomEvery {
		return false
	}
	l.madeRoom = time.Now()
	var quietest *conn
	longest := l.patience
	for c := range l.open {
		if d := quiet(c.stream); d > longest {
			quietest, longest = c, d
		}
	}
	if quietest == nil {
		return false
	}
	l.end(quietest, limitConnections)
	return true
}

// end lets whoever has a connection see its end because of a limit, and counts it no more: its handle is freed when it is closed. The
// caller has the lock.
func (l *Listener) end(c *conn, limit string) {
	l.drop(c)
	l.ended.Add(1)
	l.over.count(limit)
	_ = c.CloseRead() // an error means that it has ended
	_ = c.CloseWrite()
}

// sweep ends what has been quiet for too long, until Close.
func (l *Listener) sweep(ctx context.Context) {
	for ctx.Err() == nil {
		l.mu.Lock()
		for c := range l.open {
			if quiet(c.stream) >= l.o.Idle {
				l.end(c, limitIdle)
			}
		}
		l.mu.Unlock()
		pause(ctx, min(max(l.o.Idle/8, 10*time.Millisecond), time.Minute))
	}
}
