// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/penstock-io/penstock/host/address"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
)

// ListenOptions say how to listen. The zero value is ready, but for TLS.
type ListenOptions struct {
	TLS         *tls.Config   // of addresses with TLS
	Connections int           // open at a time; 0: [abi.DefaultConnections]
	PerPeer     int           // of those, from one IP address; 0: three quarters
	Idle        time.Duration // a TCP connection over which nothing came or went for so long is ended; 0: only to make room. Linux only
	Handshake   time.Duration // how long one may take; 0: [abi.DefaultHandshake]
	Mode        fs.FileMode   // of the socket of unix and unixgram; 0: DefaultMode
	Log         *slog.Logger  // nil: nowhere
	// Over is told of each thing that went over a limit, by the limit's name: "listen.connections". It does not wait. nil: nobody is
	Over func(limit string)
	// Refused is told of each handshake of TLS in which one side refused the other, as where a client has no certificate that will do. Where the
	// network broke, or the client went away, there is nobody to be told of. nil: nobody is told
	Refused func(peer net.Addr, err error)

	block string // whose limits these are; "": [listenBlock]
}

const (
	// DefaultMode lets the group in, e.g. one that a web server is in too.
	DefaultMode = 0o660
	// makeRoomAfter is how long a connection must have been quiet to be ended for a new one when all are taken.
	makeRoomAfter = time.Minute
	// makeRoomEvery bounds how often it is looked for: asking the system about 8192 connections takes milliseconds.
	makeRoomEvery = 100 * time.Millisecond
	// firstRetry and lastRetry are the pauses after an accept that failed, for want of files mostly.
	firstRetry, lastRetry = 5 * time.Millisecond, time.Second
	// maxPassed bounds what is kept of connections that are passed on to the next instance, all together: thousands with a line each, or a few with
	// the longest. They count as open, so there are never more than may be.
	maxPassed = 64 << 20
	// passedFor is how long such a connection waits: longer than any reload takes, with its way back. Later its sender is better told than kept waiting.
	passedFor = 5 * time.Minute
	// datagramBuffer is asked of the system for what comes in while nobody receives; it may give less (net.core.rmem_max).
	datagramBuffer = 8 << 20
)

// Counts are what a listener has seen so far.
type Counts struct {
	Accepted uint64 // connections that were let in, and are handed on when somebody asks
	Refused  uint64 // closed at once: no room, or too many from one address
	Ended    uint64 // that were quiet for too long, or passed on and not taken
	Passed   uint64 // how often one was passed on to the next instance
	Failed   uint64 // accepts that failed, and handshakes in which one side refused the other
	Lost     uint64 // the client, or the network, was gone before the handshake was over, or it took too long
	Open     int    // connections now
	Limit    int    // of connections; 0: there are none, but datagrams
	// Answers of an HTTP server, by the first digit of their status. Those of 0 had nobody to go to: the client had gone.
	Answers [6]uint64
}

// Listener is one address that is listened on. It accepts from the moment that Listen returns.
type Listener struct {
	address address.Address
	o       ListenOptions
	stream  net.Listener       // nil: of datagrams
	packet  net.PacketConn     // nil: of connections
	conns   chan net.Conn      // has no room, so that the system's backlog keeps those whom nobody takes; never closed
	closing <-chan struct{}    // closed by Close
	stop    context.CancelFunc // ends the goroutines
	work    sync.WaitGroup
	once    sync.Once
	closed  error
	over    overs

	accepted, refused, ended, passedOn, failed, lost atomic.Uint64

	mu       sync.Mutex
	open     map[*conn]struct{}
	peers    map[netip.Addr]int
	passed   int           // bytes that were read of connections which nobody has taken again yet
	madeRoom time.Time     // when room was looked for last
	patience time.Duration // makeRoomAfter, but in tests
}

func (o ListenOptions) orDefaults() ListenOptions {
	o.Connections = cmp.Or(o.Connections, abi.DefaultConnections)
	o.PerPeer = cmp.Or(o.PerPeer, max(1, o.Connections*3/4))
	o.Handshake = cmp.Or(o.Handshake, abi.DefaultHandshake)
	o.Mode = cmp.Or(o.Mode, DefaultMode)
	o.block = cmp.Or(o.block, listenBlock)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Listen begins to listen, and to accept. The caller closes it, after every instance that has its grant.
func Listen(a address.Address, o ListenOptions) (*Listener, error) {
	o = o.orDefaults()
	if a.Secure() && o.TLS == nil {
		return nil, fmt.Errorf("listen on %s: it needs a certificate and its key", a)
	}
	l := &Listener{address: a, o: o, conns: make(chan net.Conn), patience: makeRoomAfter, open: map[*conn]struct{}{}, peers: map[netip.Addr]int{}}
	l.over = overs{block: o.block, told: o.Over, log: o.Log.With("address", a.String())}
	ctx, stop := context.WithCancel(context.Background())
	l.stop, l.closing = stop, ctx.Done()
	if err := l.bind(ctx); err != nil {
		stop()
		return nil, fmt.Errorf("listen on %s: %w", a, explained(err))
	}
	if l.stream != nil {
		l.work.Go(func() { l.accept(ctx) })
	}
	if l.stream != nil && o.Idle > 0 {
		l.work.Go(func() { l.sweep(ctx) })
	}
	return l, nil
}

// bind opens the socket.
func (l *Listener) bind(ctx context.Context) (err error) {
	a := l.address
	c := net.ListenConfig{}
	if a.Local() {
		if err := clearPath(a); err != nil {
			return err
		}
		c.Control = l.protect
	}
	if a.Packet() {
		l.packet, err = c.ListenPacket(ctx, a.Network(), a.Target())
	} else {
		l.stream, err = c.Listen(ctx, a.Network(), a.Target())
	}
	if err == nil && a.Local() {
		err = os.Chmod(a.Path, l.o.Mode)
	}
	if err != nil {
		return errors.Join(err, l.unbind())
	}
	if b, ok := l.packet.(interface{ SetReadBuffer(int) error }); ok {
		_ = b.SetReadBuffer(datagramBuffer) // a wish
	}
	return nil
}

// protect sets the mode of a unix socket before it has a name, so that nobody connects who may not.
func (l *Listener) protect(_, _ string, c syscall.RawConn) (err error) {
	if e := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), uint32(l.o.Mode.Perm())) }); e != nil {
		return e
	}
	if errors.Is(err, syscall.EINVAL) { // not on every system
		return nil
	}
	return err
}

func (l *Listener) unbind() error {
	if l.stream != nil {
		return l.stream.Close() // removes the path of a unix socket
	}
	if l.packet == nil {
		return nil
	}
	err := l.packet.Close()
	if l.address.Local() {
		err = errors.Join(err, os.Remove(l.address.Path))
	}
	return err
}

// clearPath removes the socket that a process left behind that was killed. Anything else there it leaves alone.
func clearPath(a address.Address) error {
	info, err := os.Lstat(a.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there, and is no socket; remove it, or choose another path", a.Path)
	}
	c, err := net.DialTimeout(a.Network(), a.Path, time.Second)
	if err == nil {
		return errors.Join(syscall.EADDRINUSE, c.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(a.Path)
}

// explained says what the user can do.
func explained(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: another process, or another component, listens there", err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w: ports below 1024 need the capability CAP_NET_BIND_SERVICE, sockets a directory that can be written", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w: this machine does not have that address", err)
	}
	return err
}

// Grant is what the instances of a component get.
func (l *Listener) Grant() plugin.Listener {
	if l.packet != nil {
		return plugin.Listener{Packet: l.packet, Addr: l.packet.LocalAddr()}
	}
	return plugin.Listener{Conns: l.conns, Addr: l.stream.Addr(), Pass: l.pass}
}

// pass hands on a connection that an instance gives back, whenever somebody takes it. It does not wait.
func (l *Listener) pass(c net.Conn) {
	n := sizeOf(c)
	l.mu.Lock()
	full := n > 0 && l.passed+n > maxPassed
	if !full {
		l.passed += n
	}
	l.mu.Unlock()
	if full {
		l.over.tell(limitPassed, c.RemoteAddr(), "bytes", n)
		l.work.Go(func() { _ = c.Close() })
		return
	}
	l.passedOn.Add(1)
	l.work.Go(func() {
		late := time.NewTimer(passedFor)
		defer late.Stop()
		select {
		case l.conns <- c:
		case <-late.C:
			l.ended.Add(1)
			l.o.Log.Warn("a connection is closed that was passed on: no instance has taken it", "address", l.address.String(),
				"peer", c.RemoteAddr().String(), "bytes", n, "waited", passedFor)
			_ = c.Close()
		case <-l.closing:
			if n > 0 {
				l.o.Log.Warn("a connection is closed, and what had been read of it and was not stored is lost: nobody listens any more",
					"address", l.address.String(), "peer", c.RemoteAddr().String(), "bytes", n)
			}
			_ = c.Close()
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.passed -= n
	})
}

// sizeOf is how much is kept of a connection that is passed on.
func sizeOf(c net.Conn) int {
	if p, ok := c.(*plugin.Passed); ok {
		return p.Size()
	}
	return 0
}

// Counts says what was seen so far.
func (l *Listener) Counts() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := Counts{Accepted: l.accepted.Load(), Refused: l.refused.Load(), Ended: l.ended.Load(), Passed: l.passedOn.Load(), Failed: l.failed.Load(), Lost: l.lost.Load(), Open: len(l.open)}
	if l.stream != nil {
		n.Limit = l.o.Connections
	}
	return n
}

// Close ends the listening and waits for its goroutines. Connections that were handed on stay open. The second time it does nothing.
func (l *Listener) Close() error {
	l.once.Do(func() {
		l.stop()
		l.closed = l.unbind()
		l.work.Wait()
	})
	return l.closed
}

// accept takes connections until Close.
func (l *Listener) accept(ctx context.Context) {
	retry := firstRetry
	for {
		c, err := l.stream.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = c.Close()
			}
			return
		case err != nil:
			l.failed.Add(1)
			if retry == firstRetry {
				l.o.Log.Warn("accepting connections, trying again", "address", l.address.String(), "error", err)
			}
			pause(ctx, retry)
			retry = min(2*retry, lastRetry)
			continue
		}
		retry = firstRetry
		if in := l.admit(c); in != nil {
			l.welcome(ctx, in)
		}
	}
}

// welcome hands a connection on, without waiting for what its other end says.
func (l *Listener) welcome(ctx context.Context, c *conn) {
	if !l.address.Secure() {
		l.hand(ctx, c, c)
		return
	}
	l.work.Go(func() {
		limited, cancel := context.WithTimeout(ctx, l.o.Handshake)
		defer cancel()
		secure := tls.Server(c, l.o.TLS)
		if err := secure.HandshakeContext(limited); err != nil {
			if limited.Err() != nil && ctx.Err() == nil {
				l.over.tell(limitHandshake, c.RemoteAddr())
			}
			l.unmet(c, err)
			_ = c.Close()
			return
		}
		l.hand(ctx, c, secure)
	})
}

// unmet counts a handshake that came to nothing, and tells of it.
func (l *Listener) unmet(c *conn, err error) {
	if gone(err) {
		l.lost.Add(1)
		l.o.Log.Debug("a client was gone before the handshake of TLS was over", "address", l.address.String(), "peer", c.RemoteAddr().String(), "error", err)
		return
	}
	l.failed.Add(1)
	l.o.Log.Debug("handshake", "address", l.address.String(), "peer", c.RemoteAddr().String(), "error", err)
	if l.o.Refused != nil {
		l.o.Refused(c.RemoteAddr(), err)
	}
}

// gone says that a handshake ended since the network broke, the client went away, or it took too long: nobody has refused anybody. A probe that
// connects and hangs up looks the same.
func gone(err error) bool {
	if _, ok := errors.AsType[syscall.Errno](err); ok { // reset, broken pipe, no route
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// hand waits until somebody takes the connection: c itself, or what is over it.
func (l *Listener) hand(ctx context.Context, c *conn, over net.Conn) {
	l.accepted.Add(1)
	select {
	case l.conns <- over:
	case <-ctx.Done():
		_ = c.Close()
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
