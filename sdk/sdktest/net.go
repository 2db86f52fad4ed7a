// SPDX-License-Identifier: Apache-2.0

package sdktest

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/abi"
)

// Network is what lies beyond the sockets of a plugin under test: a source listens at each handle that it opens, a sink dials it. Nothing
// happens in it but what the test does, between calls into the plugin; a wait for anything else takes its time and is over.
type Network struct {
	// Refuse has every dial fail.
	Refuse bool
	// Peers are the other ends of all connections so far, in order.
	Peers []*Peer

	t         testing.TB
	dials     bool
	fds       []any // *Peer, string (a listener's handle), nil (closed). Handle n is at n-1
	listeners map[string]int32
	waiting   map[string][]*Peer // not accepted yet
	datagrams map[string][]datagram
	durable   int64
}

type datagram struct{ from, text string }

// Peer is the other end of a connection.
type Peer struct {
	Received string // what the plugin wrote, and the host sent
	Closed   bool   // by the plugin, also for writing only
	// Room is how many bytes the next writes take, all together; less than 0, as it is at first: any.
	Room int

	remote string
	handle string // of the listener; "": it was dialled
	sent   string // not read by the plugin yet
	ended  abi.Code
	held   []held
}

type held struct {
	after int64
	text  string
}

// Send has the other end write something.
func (p *Peer) Send(text string) { p.sent += text }

// Close ends the connection from the other end: what it sent is still read.
func (p *Peer) Close() { p.ended = abi.EOF }

// Break ends the connection as when the other end fails: what it sent is still read, and writes fail.
func (p *Peer) Break() { p.ended = abi.EIO }

// Connect has somebody connect to the listener at the handle.
func (n *Network) Connect(handle, remote string) *Peer {
	p := &Peer{remote: remote, handle: handle, Room: -1}
	n.Peers = append(n.Peers, p)
	n.waiting[handle] = append(n.waiting[handle], p)
	return p
}

// Datagram has somebody send a datagram to the listener at the handle.
func (n *Network) Datagram(handle, remote, text string) {
	n.datagrams[handle] = append(n.datagrams[handle], datagram{remote, text})
}

func newNetwork(t testing.TB) *Network {
	return &Network{t: t, listeners: map[string]int32{}, waiting: map[string][]*Peer{}, datagrams: map[string][]datagram{}}
}

// restart closes every connection, as when an instance ends.
func (n *Network) restart() {
	for _, h := range n.fds {
		if p, ok := h.(*Peer); ok {
			p.Closed, p.held = true, nil
		}
	}
	n.fds, n.durable = nil, 0
	clear(n.listeners)
}

// attach makes the plugin's sockets those of n.
func (n *Network) attach(h *sdk.Host, dials bool) {
	n.restart()
	n.dials = dials
	h.NetOpen, h.NetAccept, h.NetRead, h.NetWrite = n.open, n.accept, n.read, n.write
	h.NetReceive, h.NetShutdown, h.NetClose, h.NetPass, h.NetInfo, h.NetWait = n.receive, n.shutdown, n.close, n.pass, n.info, n.wait
}

func (n *Network) add(h any) int32 {
	n.fds = append(n.fds, h)
	return int32(len(n.fds))
}

// nothing is the answer of a call for which there is nothing, after it has waited.
func nothing(wait time.Duration) abi.Code {
	switch {
	case wait == 0:
		return abi.EAGAIN
	case wait < 0:
		return abi.EINTR // nothing will come
	}
	time.Sleep(wait)
	return abi.ETIMEOUT
}

func (n *Network) at(fd int32) any {
	if fd < 1 || int(fd) > len(n.fds) {
		return nil
	}
	return n.fds[fd-1]
}

func (n *Network) open(handle string, _ time.Duration) abi.Code {
	if n.dials {
		if n.Refuse {
			return abi.EIO
		}
		p := &Peer{remote: handle, Room: -1}
		n.Peers = append(n.Peers, p)
		return abi.Code(n.add(p))
	}
	if _, ok := n.listeners[handle]; !ok {
		n.listeners[handle] = n.add(handle)
	}
	return abi.Code(n.listeners[handle])
}

func (n *Network) accept(fd int32, wait time.Duration) abi.Code {
	handle, ok := n.at(fd).(string)
	switch {
	case !ok:
		return abi.EINVAL
	case len(n.waiting[handle]) == 0:
		return nothing(wait)
	}
	p := n.waiting[handle][0]
	n.waiting[handle] = n.waiting[handle][1:]
	return abi.Code(n.add(p))
}

func (n *Network) read(fd int32, into []byte, wait time.Duration) abi.Code {
	p, ok := n.at(fd).(*Peer)
	switch {
	case !ok || len(into) == 0:
		return abi.EINVAL
	case p.sent == "" && p.ended == 0:
		return nothing(wait)
	case p.sent == "":
		return p.ended
	}
	size := copy(into, p.sent)
	p.sent = p.sent[size:]
	return abi.Code(size)
}

func (n *Network) write(fd int32, data []byte, wait time.Duration, after int64) abi.Code {
	p, ok := n.at(fd).(*Peer)
	switch {
	case !ok || after < 0:
		return abi.EINVAL
	case p.ended == abi.EIO || p.Closed:
		return abi.EIO
	case after > n.durable || len(p.held) > 0:
		p.held = append(p.held, held{after, string(data)})
		return abi.Code(len(data))
	case p.Room == 0 && len(data) > 0:
		return nothing(wait)
	case p.Room > 0:
		data = data[:min(len(data), p.Room)]
		p.Room -= len(data)
	}
	p.Received += string(data)
	return abi.Code(len(data))
}

// commit sends what waits for no batch beyond durable.
func (n *Network) commit(durable int64) {
	n.durable = durable
	for _, p := range n.Peers {
		for len(p.held) > 0 && p.held[0].after <= durable {
			p.Received += p.held[0].text
			p.held = p.held[1:]
		}
	}
}

func (n *Network) receive(fd int32, into, from []byte, wait time.Duration) int64 {
	handle, ok := n.at(fd).(string)
	switch {
	case !ok:
		return int64(abi.EINVAL)
	case len(n.datagrams[handle]) == 0:
		return int64(nothing(wait))
	}
	d := n.datagrams[handle][0]
	n.datagrams[handle] = n.datagrams[handle][1:]
	return int64(copy(into, d.text)) | int64(copy(from, d.from))<<32
}

func (n *Network) shutdown(fd int32) abi.Code {
	p, ok := n.at(fd).(*Peer)
	if !ok {
		return abi.EINVAL
	}
	p.Closed = true
	return abi.OK
}

func (n *Network) close(fd int32) abi.Code {
	switch h := n.at(fd).(type) {
	case *Peer:
		h.Closed = true
	case string:
		delete(n.listeners, h)
	default:
		return abi.EINVAL
	}
	n.fds[fd-1] = nil
	return abi.OK
}

// pass has the connection accepted again, with what was read of it before all else.
func (n *Network) pass(fd int32, rest []byte) abi.Code {
	p, ok := n.at(fd).(*Peer)
	switch {
	case !ok || p.handle == "":
		return abi.EINVAL
	case len(p.held) > 0:
		return abi.EAGAIN
	}
	p.sent = string(rest) + p.sent
	n.waiting[p.handle] = append(n.waiting[p.handle], p)
	n.fds[fd-1] = nil
	return abi.OK
}

func (n *Network) info(fd int32, into []byte) abi.Code {
	p, ok := n.at(fd).(*Peer)
	if !ok {
		return abi.EINVAL
	}
	doc, err := json.Marshal(map[string]string{"local": "192.0.2.2:514", "remote": p.remote})
	if err != nil {
		n.t.Fatal(err)
	}
	if len(doc) <= len(into) {
		copy(into, doc)
	}
	return abi.Code(len(doc))
}

func (n *Network) wait(ready []int32, wait time.Duration) abi.Code {
	found := 0
	for i, h := range n.fds {
		can := false
		switch h := h.(type) {
		case *Peer:
			can = h.sent != "" || h.ended != 0
		case string:
			can = len(n.waiting[h])+len(n.datagrams[h]) > 0
		}
		if can && found < len(ready) {
			ready[found] = int32(i + 1)
			found++
		}
	}
	if found == 0 {
		return nothing(wait)
	}
	return abi.Code(found)
}
