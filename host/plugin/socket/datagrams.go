// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock-io/penstock/spec/abi"
)

// datagrams is a socket that datagrams come in by. It is shared by all instances of a component, and not ours to close.
type datagrams struct {
	name string
	conn net.PacketConn
	fd   int
	raw  syscall.RawConn

	try  func(fd uintptr) bool
	view []byte // of the call that is running
	n    int
	from unix.Sockaddr
	err  error

	last  netip.AddrPort // the sender of the last one
	known string         // as text
}

func (s *Set) receive(name string, conn net.PacketConn) (*datagrams, abi.Code) {
	d := &datagrams{name: name, conn: conn}
	c, ok := conn.(syscall.Conn)
	if !ok {
		return nil, abi.ENOSYS
	}
	raw, err := c.SyscallConn()
	if err == nil {
		d.raw = raw
		d.fd, err = fdOf(raw)
	}
	if err != nil {
		s.caller.Lost(err)
		return nil, abi.EIO
	}
	d.try = func(fd uintptr) bool {
		for {
			d.n, d.from, d.err = unix.Recvfrom(int(fd), d.view, 0)
			if d.err != unix.EINTR {
				return true
			}
		}
	}
	return d, abi.OK
}

// receive takes one datagram, without waiting.
func (d *datagrams) receive(view []byte) (int, error) {
	d.view = view
	err := d.raw.Read(d.try)
	d.view = nil
	switch {
	case err != nil:
		return 0, err
	case d.err == unix.EAGAIN:
		return 0, errAgain
	case d.err != nil:
		return 0, d.err
	}
	return d.n, nil
}

// sender is where the last datagram came from, as text; "" where it has no name.
func (d *datagrams) sender() string {
	var at netip.AddrPort
	switch a := d.from.(type) {
	case *unix.SockaddrInet4:
		at = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		at = netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	case *unix.SockaddrUnix:
		return a.Name
	default:
		return ""
	}
	if at != d.last {
		d.last, d.known = at, at.String()
	}
	return d.known
}

// ReceiveFrom takes one datagram into view, cut to its length, and answers its size and who sent it.
func (s *Set) ReceiveFrom(fd int32, view []byte, timeout time.Duration) (n int, from string, code abi.Code) {
	d, ok := find[*datagrams](s, fd)
	if !ok {
		return 0, "", abi.EINVAL
	}
	n, err := d.receive(view)
	if err == errAgain {
		n, err = s.block(d.fd, false, timeout, func() (int, error) { return d.receive(view) })
	}
	if err != nil {
		n, code = s.result(nil, n, err)
		return n, "", code
	}
	return n, d.sender(), abi.OK
}
