// SPDX-License-Identifier: Apache-2.0

// Package proxy stands between two programs that speak over TCP, and does to them what networks do: it cuts connections off, also in the
// middle of what is said, ends one direction alone, lets nothing through for a while, and is slow.
//
// Invariants: bytes that go through are those that came, in their order, up to a point; nothing is made up, repeated or left out before that. What
// comes through no more is lost: a proxy holds at most one piece in each direction, which goes with its connection.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Way is a direction.
type Way int

// The directions.
const (
	Up   Way = iota // from who connected
	Down            // to who connected
)

// pieceSize is how much is read at a time, and so what a fault can hold back beside the buffers of the system.
const pieceSize = 16 << 10

// Fault is what is wrong with a network for a while. The zero value is a network that works.
type Fault struct {
	// Cut resets the connections that there are, and each new one when it has come.
	Cut bool
	// Still lets nothing through, by direction; connections stay, and new ones come, as far as the system here answers them.
	Still [2]bool
	// Delay is how long each piece is held, one after the other: so it also bounds how much goes through.
	Delay time.Duration
}

// Proxy takes connections, and makes one of its own for each. Its methods may be called at any time, from any goroutine.
type Proxy struct {
	to       string
	listener *net.TCPListener

	mu      sync.Mutex
	fault   Fault
	changed chan struct{} // closed when fault has changed, and replaced
	open    map[*pair]struct{}
	taken   int
}

// pair is a connection that came, and the one that was made for it.
type pair struct {
	conns [2]*net.TCPConn // by where a way begins: who connected, and who was connected to
	gone  chan struct{}   // closed when it is reset
	once  sync.Once

	// Proxy.mu guards these, by direction.
	ended [2]bool
	left  [2]int // bytes until it is torn; negative: it is not
}

// Listen takes connections at an address, "127.0.0.1:0", for another; Run serves them.
func Listen(address, to string) (*Proxy, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("stand before %s: %w", to, err)
	}
	return &Proxy{to: to, listener: l.(*net.TCPListener), changed: make(chan struct{}), open: map[*pair]struct{}{}}, nil
}

// Port is where it listens.
func (p *Proxy) Port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// Run serves until ctx ends; then all connections are reset. It returns when all is done.
func (p *Proxy) Run(ctx context.Context) error {
	var work sync.WaitGroup
	ended := context.AfterFunc(ctx, func() { _ = p.listener.Close() }) // once, and Accept says so
	defer ended()
	for {
		client, err := p.listener.AcceptTCP()
		if err != nil {
			p.Set(Fault{Cut: true})
			work.Wait()
			return errors.Join(context.Cause(ctx), p.unexpected(err))
		}
		work.Go(func() { p.serve(ctx, client) })
	}
}

// unexpected is an error that is not that of being closed.
func (p *Proxy) unexpected(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("take connections for %s: %w", p.to, err)
}

// Set puts a fault in the place of the one there was.
func (p *Proxy) Set(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
	close(p.changed)
	p.changed = make(chan struct{})
	if f.Cut {
		for one := range p.open {
			one.reset()
		}
	}
}

// HalfClose ends a direction of all connections as if its sender had: the receiver reads an end, and may still answer, and what the sender goes on to say is lost.
func (p *Proxy) HalfClose(w Way) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for one := range p.open {
		one.ended[w] = true
		_ = one.conns[1-w].CloseWrite() // or it has ended already
	}
}

// Tear lets so many more bytes through in a direction of each connection, and then resets it: in the middle of something, more often than not.
func (p *Proxy) Tear(w Way, after int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for one := range p.open {
		one.left[w] = after
	}
}

// Taken is how many connections have come.
func (p *Proxy) Taken() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}

// reset ends both connections, and tells both sides that something broke.
func (one *pair) reset() {
	one.once.Do(func() {
		close(one.gone)
		for _, c := range one.conns {
			_ = c.SetLinger(0) // or it has ended already, as below
			_ = c.Close()
		}
	})
}

func (p *Proxy) serve(ctx context.Context, client *net.TCPConn) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", p.to)
	if err != nil { // nobody is there: so it looks to who connected, too
		_ = client.SetLinger(0)
		_ = client.Close()
		return
	}
	one := &pair{conns: [2]*net.TCPConn{client, c.(*net.TCPConn)}, gone: make(chan struct{}), left: [2]int{-1, -1}}
	p.mu.Lock()
	p.taken++
	p.open[one] = struct{}{}
	if p.fault.Cut {
		one.reset()
	}
	p.mu.Unlock()
	var back sync.WaitGroup
	back.Go(func() { p.forward(one, Down) })
	p.forward(one, Up)
	back.Wait()
	p.mu.Lock()
	delete(p.open, one)
	p.mu.Unlock()
	for _, c := range one.conns {
		_ = c.Close() // both directions have ended, or it was reset
	}
}

// forward passes on what is said in a direction, until it ends.
func (p *Proxy) forward(one *pair, w Way) {
	from, to := one.conns[w], one.conns[1-w]
	buf := make([]byte, pieceSize)
	for {
		n, err := from.Read(buf)
		if n > 0 && !p.pass(one, w, buf[:n]) {
			one.reset()
			return
		}
		switch {
		case errors.Is(err, io.EOF):
			_ = to.CloseWrite() // or it was reset
			return
		case err != nil:
			one.reset()
			return
		}
	}
}

// pass passes a piece on, and says whether nothing broke.
func (p *Proxy) pass(one *pair, w Way, piece []byte) bool {
	piece, whole := p.held(one, w, piece)
	if len(piece) > 0 {
		if _, err := one.conns[1-w].Write(piece); err != nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			return one.ended[w] // meanwhile
		}
	}
	return whole
}

// held waits until a piece may go through, and returns what of it does; whole says that nothing broke.
func (p *Proxy) held(one *pair, w Way, piece []byte) (through []byte, whole bool) {
	for waited := false; ; {
		p.mu.Lock()
		f, changed := p.fault, p.changed
		if !f.Still[w] && (waited || f.Delay == 0) {
			defer p.mu.Unlock()
			return one.take(w, piece)
		}
		p.mu.Unlock()
		var over <-chan time.Time // never, when it stands still
		if !f.Still[w] {
			over = time.After(f.Delay)
		}
		select {
		case <-over:
			waited = true
		case <-changed:
		case <-one.gone:
			return nil, false
		}
	}
}

// take counts a piece that goes through. Proxy.mu is held.
func (one *pair) take(w Way, piece []byte) (through []byte, whole bool) {
	switch left := one.left[w]; {
	case one.ended[w]:
		return nil, true
	case left >= 0 && len(piece) >= left:
		return piece[:left], false
	case left >= 0:
		one.left[w] -= len(piece)
	}
	return piece, true
}
