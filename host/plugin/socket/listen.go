// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"net"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
)

// listener is where connections are dealt from.
type listener struct {
	name    string
	conns   <-chan net.Conn
	pass    func(net.Conn) // gives one back; nil: cannot
	addr    net.Addr
	slot    int      // in Set.froms
	pending net.Conn // taken by a wait, for the next accept
}

// take tries to have a connection at hand.
func (l *listener) take() bool {
	if l.pending != nil {
		return true
	}
	select {
	case l.pending = <-l.conns:
	default:
	}
	return l.pending != nil
}

// drop gives back the connection that nobody came for.
func (l *listener) drop() {
	switch {
	case l.pending == nil:
	case l.pass != nil:
		l.pass(l.pending)
	default:
		_ = l.pending.Close()
	}
	l.pending = nil
}

// listen opens the listener that was granted as name.
func (s *Set) listen(name string, g plugin.Listener) (int32, abi.Code) {
	if fd, ok := s.names[name]; ok {
		return fd, abi.OK
	}
	if !s.room() {
		return 0, s.full()
	}
	var h any
	if g.Packet != nil {
		d, code := s.receive(name, g.Packet)
		if code < 0 {
			return 0, code
		}
		h = d
	} else {
		slot := 0
		for slot < MaxListeners && s.of[slot] != nil {
			slot++
		}
		if slot == MaxListeners {
			return 0, s.full()
		}
		l := &listener{name: name, conns: g.Conns, pass: g.Pass, addr: g.Addr, slot: slot}
		s.froms[slot], s.of[slot] = g.Conns, l
		h = l
	}
	fd := s.add(h)
	if d, ok := h.(*datagrams); ok {
		if err := s.all.add(s, d.fd, fd); err != nil {
			s.caller.Lost(err)
			s.handles[fd-1] = nil
			s.free = append(s.free, fd)
			return 0, abi.EIO
		}
	}
	if s.names == nil {
		s.names = map[string]int32{}
	}
	s.names[name] = fd
	return fd, abi.OK
}

// Accept takes the next connection of a listener.
func (s *Set) Accept(fd int32, timeout time.Duration) (int32, abi.Code) {
	l, ok := find[*listener](s, fd)
	switch {
	case !ok:
		return 0, abi.EINVAL
	case !s.room():
		return 0, s.full()
	}
	var from Conns
	from[l.slot] = l.conns
	for until := deadlineOf(timeout); !l.take(); {
		c, _, code := s.await(until, &from)
		if code < 0 {
			return 0, code
		}
		l.pending = c
	}
	conn := l.pending
	l.pending = nil
	return s.adopt(conn, l)
}

// adopt gives a connection a handle. It was accepted from l, or dialled where that is nil.
func (s *Set) adopt(conn net.Conn, l *listener) (int32, abi.Code) {
	var before plugin.Passed
	if p, ok := conn.(*plugin.Passed); ok {
		conn, before = p.Conn, *p
	}
	st, err := s.newStream(conn, l == nil)
	if err == nil {
		st.handle = s.add(st)
		err = s.all.add(s, st.fd, st.handle)
	}
	if err != nil {
		s.caller.Lost(err)
		if st != nil && st.handle != 0 {
			s.handles[st.handle-1] = nil
			s.free = append(s.free, st.handle)
		}
		_ = conn.Close()
		return 0, abi.EIO
	}
	if l != nil {
		st.pass = l.pass
	}
	st.begin(before.Rest)
	st.out.resume(before.Unsent)
	return st.handle, abi.OK
}

// Wait finds handles that can be read, received or accepted from, and puts them into out: as many as there is room for.
func (s *Set) Wait(out []int32, timeout time.Duration) (int, abi.Code) {
	if len(out) == 0 {
		return 0, abi.EINVAL
	}
	until := deadlineOf(timeout)
	for {
		n, err := s.collect(out[:min(len(out), MaxReady)])
		if err != nil {
			s.caller.Lost(err)
			return 0, abi.EIO
		}
		if n > 0 {
			return n, abi.OK
		}
		var from *Conns
		if s.room() {
			from = &s.froms
		}
		s.all.arm(s)
		c, of, code := s.await(until, from)
		if code < 0 {
			return 0, code
		}
		if c != nil {
			s.of[of].pending = c
		}
	}
}

// collect looks once.
func (s *Set) collect(out []int32) (n int, err error) {
	for fd, l := range s.of {
		if l != nil && n < len(out) && s.room() && l.take() {
			out[n] = s.names[s.of[fd].name]
			n++
		}
	}
	n += s.soft.collect(out[n:])
	if n == len(out) {
		return n, nil
	}
	m, err := s.all.poll(out[n:])
	return n + m, err
}

// deadline is when a wait is over.
type deadline struct {
	at   time.Time
	kind int8 // < 0: never, 0: at once
}

func deadlineOf(timeout time.Duration) deadline {
	switch {
	case timeout < 0:
		return deadline{kind: -1}
	case timeout == 0:
		return deadline{}
	}
	return deadline{time.Now().Add(timeout), 1}
}

// await waits until there is something to look at.
func (s *Set) await(until deadline, from *Conns) (net.Conn, int, abi.Code) {
	d := time.Duration(until.kind)
	if until.kind > 0 {
		if d = time.Until(until.at); d <= 0 {
			return nil, 0, abi.ETIMEOUT
		}
	}
	return s.caller.Await(d, s.ready, from)
}
