// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock-io/penstock/spec/abi"
)

// stream is a connection, or a socket of datagrams that has one other end.
type stream struct {
	conn    net.Conn
	handle  int32
	fd      int            // of a plain connection; -1: it has a reader of its own
	message bool           // each read and write is one datagram
	dialled bool           // its errors are the call's
	pass    func(net.Conn) // gives it back; nil: cannot
	raw     rawIO          // for reads
	in      inbox          // of what has a reader of its own, and what was read before it came
	out     outbox         // of what cannot be written at once
}

// newStream looks what kind of connection it is.
func (s *Set) newStream(conn net.Conn, dialled bool) (*stream, error) {
	st := &stream{conn: conn, fd: -1, dialled: dialled}
	network := conn.RemoteAddr().Network()
	st.message = strings.HasPrefix(network, "udp") || network == "unixgram"
	st.in.set, st.out.set = s, s
	st.in.st, st.out.st = st, st
	plain, ok := conn.(syscall.Conn)
	if _, secure := conn.(*tls.Conn); !ok || secure {
		return st, nil
	}
	raw, err := plain.SyscallConn()
	if err != nil {
		return nil, err
	}
	st.raw.raw, st.out.raw.raw = raw, raw
	if st.fd, err = fdOf(raw); err != nil {
		return nil, err
	}
	return st, nil
}

// begin has rest read first, and starts the reader of a connection that needs one.
func (st *stream) begin(rest []byte) {
	if len(rest) > 0 {
		st.in.buf, st.in.to = rest, len(rest)
		st.in.set.soft.put(&st.in)
	}
	if st.fd < 0 {
		st.in.begin()
	}
}

// fdOf is good as long as the connection is open.
func fdOf(raw syscall.RawConn) (n int, err error) {
	err = raw.Control(func(fd uintptr) { n = int(fd) })
	return n, err
}

// errAgain is what does not wait answers when there is nothing.
var errAgain = errors.New("not now")

// rawIO is system calls on a connection that do not wait. It allocates once.
type rawIO struct {
	raw      syscall.RawConn
	readFrom func(fd uintptr) bool
	writeTo  func(fd uintptr) bool
	view     []byte // of the call that is running
	n        int
	err      error
}

// read takes what is there: errAgain when that is nothing.
func (r *rawIO) read(view []byte) (int, error) {
	if r.readFrom == nil {
		r.readFrom = func(fd uintptr) bool {
			r.n, r.err = ignoringEINTR(unix.Read, int(fd), r.view)
			return true
		}
	}
	r.view = view
	err := r.raw.Read(r.readFrom)
	return r.result(err)
}

// write gives as much as there is room for: errAgain when there is none.
func (r *rawIO) write(view []byte) (int, error) {
	if r.writeTo == nil {
		r.writeTo = func(fd uintptr) bool {
			r.n, r.err = ignoringEINTR(unix.Write, int(fd), r.view)
			return true
		}
	}
	r.view = view
	err := r.raw.Write(r.writeTo)
	return r.result(err)
}

func (r *rawIO) result(err error) (int, error) {
	r.view = nil
	switch {
	case err != nil:
		return 0, err
	case r.err == unix.EAGAIN:
		return 0, errAgain
	case r.err != nil:
		return 0, r.err
	}
	return r.n, nil
}

func ignoringEINTR(call func(int, []byte) (int, error), fd int, b []byte) (int, error) {
	for {
		n, err := call(fd, b)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// read does not wait. io.EOF at the end.
func (st *stream) read(view []byte) (int, error) {
	if st.fd < 0 || st.in.from < st.in.to { // of a plain connection the guest alone reads
		return st.in.read(view)
	}
	for {
		n, err := st.raw.read(view)
		if n == 0 && err == nil {
			if st.message {
				continue // an empty datagram says nothing
			}
			return 0, io.EOF
		}
		return n, err
	}
}

// Read takes what has come over a connection into view, straight from the system where it is plain: 1 byte or more, EOF at the end.
func (s *Set) Read(fd int32, view []byte, timeout time.Duration) (int, abi.Code) {
	st, ok := find[*stream](s, fd)
	if !ok || len(view) == 0 {
		return 0, abi.EINVAL
	}
	n, err := st.read(view)
	if err == errAgain {
		n, err = s.block(st.fd, false, timeout, func() (int, error) { return st.read(view) })
	}
	return s.result(st, n, err)
}

// block repeats try until it does something else than errAgain. fd < 0: whoever makes it so signals.
func (s *Set) block(fd int, write bool, timeout time.Duration, try func() (int, error)) (int, error) {
	until := deadlineOf(timeout)
	if fd >= 0 && until.kind != 0 {
		if err := s.one.addOne(s, fd, write); err != nil {
			return 0, err
		}
		defer s.one.remove(fd)
	}
	for {
		if fd >= 0 && until.kind != 0 {
			s.one.arm(s)
		}
		if _, _, code := s.await(until, nil); code < 0 {
			return 0, codeError(code)
		}
		if n, err := try(); err != errAgain {
			return n, err
		}
	}
}

// codeError is the end of a wait.
type codeError abi.Code

// Error names the code.
func (e codeError) Error() string { return abi.Code(e).String() }

// result makes a code of an error, which it keeps for the call that had it.
func (s *Set) result(st *stream, n int, err error) (int, abi.Code) {
	if err == nil {
		return n, abi.OK
	}
	code := codeOf(err)
	if code == abi.EIO && st != nil && st.dialled {
		s.caller.Lost(err)
	}
	return 0, code
}

// codeOf says what err is to a guest.
func codeOf(err error) abi.Code {
	if c, ok := errors.AsType[codeError](err); ok {
		return abi.Code(c)
	}
	timeout, ok := errors.AsType[net.Error](err)
	switch {
	case err == errAgain:
		return abi.EAGAIN
	case errors.Is(err, io.EOF):
		return abi.EOF
	case errors.Is(err, unix.EMSGSIZE):
		return abi.ETOOBIG
	case ok && timeout.Timeout():
		return abi.ETIMEOUT
	}
	return abi.EIO
}

// Write sends view over a connection, and answers how much of it. After 0 it leaves at once, but not before what was written earlier; else
// when the batch that was emitted as after is durable, and until then it is kept here. What is over TLS has been handed to the system when
// Write returns, unless the wait ended before.
func (s *Set) Write(fd int32, view []byte, timeout time.Duration, after int64) (int, abi.Code) {
	st, ok := find[*stream](s, fd)
	switch {
	case !ok:
		return 0, abi.EINVAL
	case after != 0:
		return s.writeAfter(st, view, timeout, after)
	case len(view) == 0 && !st.message:
		return 0, abi.OK
	}
	n, err := st.out.write(view)
	if err == errAgain {
		wait := -1 // for room in the outbox
		if st.out.direct() {
			wait = st.fd
		}
		n, err = s.block(wait, true, timeout, func() (int, error) { return st.out.write(view) })
	}
	if err == nil && st.fd < 0 {
		_, late := st.out.drained()
		if late == errAgain && timeout != 0 {
			_, late = s.block(-1, true, timeout, st.out.drained)
		}
		if late != nil && codeOf(late) == abi.EIO {
			n, err = 0, late
		}
	}
	return s.result(st, n, err)
}

// writeAfter keeps a copy of view until batch after is durable.
func (s *Set) writeAfter(st *stream, view []byte, timeout time.Duration, after int64) (int, abi.Code) {
	if len(view) > maxParcel {
		return 0, abi.ETOOBIG
	}
	p, err := st.out.hold(view)
	if err == errAgain {
		_, err = s.block(-1, true, timeout, func() (n int, err error) {
			p, err = st.out.hold(view)
			return 0, err
		})
	}
	if err != nil {
		return s.result(st, 0, err)
	}
	if code := s.caller.Promise(after, func(durable bool) { st.out.release(p, durable) }); code < 0 {
		st.out.withdraw(p)
		return 0, code
	}
	return len(view), abi.OK
}

// Info describes a handle in JSON.
func (s *Set) Info(fd int32) ([]byte, abi.Code) {
	var doc any
	switch h := s.handleAt(fd).(type) {
	case *stream:
		doc = describe(h.conn)
	case *listener:
		doc = info{Local: text(h.addr)}
	case *datagrams:
		doc = info{Local: text(h.conn.LocalAddr())}
	default:
		return nil, abi.EINVAL
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, abi.EIO
	}
	return b, abi.OK
}
