// SPDX-License-Identifier: Apache-2.0

// Package socket keeps the sockets of one guest behind handles.
//
// A guest names a handle or what it was granted, never an address. A plain connection costs no goroutine: all of an instance are in one
// epoll, in which the instance itself waits by way of Go's netpoller, and bytes go straight between the system and the view of guest
// memory that the caller took. A connection over TLS has a goroutine that reads ahead, a little.
//
// Invariants:
//   - The methods of a [Set] are called by whoever has the instance's turn. What runs beside it (readers, writers, promises) touches a
//     stream's inbox and outbox alone, each under its own lock.
//   - Nothing waits but in [Caller.Await]: so every wait ends as soon as the host wants the guest back. Only [Set.Pass] waits
//     for goroutines of the set to let go of a connection, over all calls for [farewell] at most.
//   - What was written to a connection leaves in that order. What waits for a commit holds up what was written after it.
//   - A connection that is given back is whole: what was read of it and not handed over comes first when it is read again.
//   - A view of guest memory is not kept beyond the call.
//   - Close frees every handle, and waits for every goroutine.
package socket

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

const (
	// MaxListeners is how many listeners for connections an instance may have open: one each for tcp, tls and unix, and one to spare.
	MaxListeners = 4
	// MaxReady bounds what one Wait finds: the guest asks again.
	MaxReady = 512
	// unclaimed is how long a connection waits for whoever dialled it to ask again, after an interruption.
	unclaimed = 10 * time.Second
	// MaxRest bounds what a guest gives back with a connection: what it had read, and not handed over. The longest record that it may wait for fits.
	MaxRest = event.MaxBatch
	// farewell is how long Close waits for what is on its way out, and Pass for who is at a connection.
	farewell = 200 * time.Millisecond
)

// Conns are listeners that a call waits for; nil where there are fewer.
type Conns [MaxListeners]<-chan net.Conn

// Caller is the guest whose calls these are.
type Caller interface {
	// Await waits until ready has something or a connection comes, for d at most (less than 0: for as long as it takes), or until the host
	// wants the guest back: OK, ETIMEOUT (EAGAIN where d is 0) or EINTR. from says which of the listeners the connection is of.
	Await(d time.Duration, ready <-chan struct{}, from *Conns) (c net.Conn, of int, code abi.Code)
	// Promise has f called, by any goroutine, once the batch that the guest emitted as after is durable or refused.
	Promise(after int64, f func(durable bool)) abi.Code
	// Denied counts what the guest tried and may not: for want of a grant, or of [plugin.LimitHandles].
	Denied(capability, what string)
	// Lost keeps what happened for the error of the running call.
	Lost(err error)
}

// Set is the sockets of one instance. It is not safe for concurrent use.
type Set struct {
	caller Caller
	grants plugin.Grants
	limit  int // of handles

	handles []any // *stream, *listener, *datagrams; nil: free. Handle n is at n-1
	free    []int32
	names   map[string]int32 // listeners that are open
	froms   Conns            // the listeners for connections
	of      [MaxListeners]*listener
	dials   map[string]*dial

	all poller // every handle that can be read
	one poller // what a single call waits for

	ready chan struct{} // a token: look again; never closed
	soft  softList      // streams with a reader of their own that can be read
	work  group         // every goroutine
	spent account       // bytes in outboxes, and connections that are being closed
	by    time.Time     // when passing on has to be over; zero: nothing was passed on
}

// New makes a set without handles. Limit 0 is [abi.DefaultHandles].
func New(caller Caller, grants plugin.Grants, limit int) *Set {
	if limit <= 0 {
		limit = abi.DefaultHandles
	}
	return &Set{caller: caller, grants: grants, limit: limit, ready: make(chan struct{}, 1)}
}

// Abandon frees every handle, as CloseHandle does, and everything that was granted: what waits for a commit may still be sent. It does
// not wait for anything.
func (s *Set) Abandon() {
	s.grants = plugin.Grants{}
	for _, d := range s.dials {
		d.cancel()
	}
	for i := range s.handles {
		s.CloseHandle(int32(i + 1))
	}
	s.all.close()
	s.one.close()
}

// Close is Abandon, and ends what is left. What waits for a commit is not sent; what does not has a moment. Afterwards nothing of the set
// runs any more.
func (s *Set) Close() {
	s.Abandon()
	for _, o := range s.spent.leaving() {
		o.abort()
	}
	s.work.close()
	s.work.Wait()
	for _, d := range s.dials {
		d.drop()
	}
	s.handles, s.free, s.dials = nil, nil, nil
}

// signal tells a call that waits to look again. Any goroutine may call it.
func (s *Set) signal() {
	select {
	case s.ready <- struct{}{}:
	default: // a token is there already
	}
}

// group is the goroutines of a set: once it is closed none is added, so that Wait ends.
type group struct {
	sync.WaitGroup
	mu     sync.Mutex
	closed bool
}

// run starts f, or answers false.
func (g *group) run(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.Go(f)
	return true
}

func (g *group) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

// room says whether one more handle may be opened.
func (s *Set) room() bool { return len(s.handles)-len(s.free)+s.spent.closing() < s.limit }

// full refuses a handle, for now.
func (s *Set) full() abi.Code {
	s.caller.Denied(plugin.LimitHandles, "one more connection or listener")
	return abi.EAGAIN
}

// add gives h a handle. The caller has asked for room.
func (s *Set) add(h any) int32 {
	if n := len(s.free); n > 0 {
		fd := s.free[n-1]
		s.free = s.free[:n-1]
		s.handles[fd-1] = h
		return fd
	}
	s.handles = append(s.handles, h)
	return int32(len(s.handles))
}

// find is the handle fd as a T.
func find[T any](s *Set, fd int32) (h T, ok bool) {
	if fd < 1 || int(fd) > len(s.handles) {
		return h, false
	}
	h, ok = s.handles[fd-1].(T)
	return h, ok
}

// Shutdown ends what is written to a connection, after what waits to be written.
func (s *Set) Shutdown(fd int32) abi.Code {
	st, ok := find[*stream](s, fd)
	if !ok {
		return abi.EINVAL
	}
	st.out.finish(false)
	return abi.OK
}

// CloseHandle frees a handle. A connection ends after what waits to be written.
func (s *Set) CloseHandle(fd int32) abi.Code {
	switch h := s.handleAt(fd).(type) {
	case *stream:
		s.all.remove(h.fd)
		h.in.close()
		h.out.finish(true)
	case *datagrams:
		s.all.remove(h.fd)
		delete(s.names, h.name)
	case *listener:
		h.drop()
		delete(s.names, h.name)
		s.froms[h.slot], s.of[h.slot] = nil, nil
	default:
		return abi.EINVAL
	}
	s.forget(fd)
	return abi.OK
}

// forget frees the handle of what is closed, or passed on.
func (s *Set) forget(fd int32) {
	s.handles[fd-1] = nil
	s.free = append(s.free, fd)
}

func (s *Set) handleAt(fd int32) any {
	h, _ := find[any](s, fd)
	return h
}

// Open dials what was granted as name, or opens its listener; a listener that is open already has the handle it had. A dial that a
// timeout or an interruption ended goes on, for the call that asks again.
func (s *Set) Open(name string, timeout time.Duration) (int32, abi.Code) {
	if g, ok := s.grants.Listen[name]; ok {
		return s.listen(name, g)
	}
	dialer, ok := s.grants.Dial[name]
	switch {
	case !ok:
		s.caller.Denied(abi.ImportNetOpen, name)
		return 0, abi.EACCES
	case !s.room():
		return 0, s.full()
	}
	conn, code := s.dial(name, dialer, timeout)
	if code < 0 {
		return 0, code
	}
	return s.adopt(conn, nil)
}

// dial is one that is under way.
type dial struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when it is over
	conn   net.Conn
	err    error
	at     time.Time // when it was over
}

func (s *Set) dial(name string, dialer plugin.Dialer, timeout time.Duration) (net.Conn, abi.Code) {
	d := s.dials[name]
	if d == nil || d.stale() {
		if d = s.startDial(dialer); d == nil {
			return nil, abi.EIO
		}
		if s.dials == nil {
			s.dials = map[string]*dial{}
		}
		s.dials[name] = d
	}
	select {
	case <-d.done:
	default:
		if _, _, code := s.caller.Await(timeout, d.done, nil); code < 0 {
			return nil, code
		}
	}
	delete(s.dials, name)
	d.cancel()
	if d.err != nil {
		if errors.Is(d.err, plugin.ErrForbidden) {
			s.caller.Denied("dial", name)
		}
		s.caller.Lost(d.err)
		return nil, codeOf(d.err)
	}
	return d.conn, abi.OK
}

func (s *Set) startDial(dialer plugin.Dialer) *dial {
	ctx, cancel := context.WithCancel(context.Background())
	d := &dial{cancel: cancel, done: make(chan struct{})}
	started := s.work.run(func() {
		d.conn, d.err = dialer(ctx)
		d.at = time.Now()
		close(d.done)
	})
	if !started {
		cancel()
		return nil
	}
	return d
}

// stale says whether the connection has waited so long that its other end may have given up, and then closes it.
func (d *dial) stale() bool {
	select {
	case <-d.done:
	default:
		return false
	}
	if d.err != nil || time.Since(d.at) < unclaimed {
		return false
	}
	d.drop()
	return true
}

// drop closes a connection that nobody came for. The dial is over.
func (d *dial) drop() {
	if d.err == nil {
		_ = d.conn.Close()
	}
}
