// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"encoding/binary"
	"net"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/socket"
	"github.com/penstock-io/penstock/spec/abi"
)

// guestCalls is the instance as its sockets see it.
type guestCalls struct{ *instance }

var _ socket.Caller = guestCalls{}

// Await implements [socket.Caller].
func (in guestCalls) Await(d time.Duration, ready <-chan struct{}, from *socket.Conns) (net.Conn, int, abi.Code) {
	a, code := receive(in.instance, ready, from, d)
	return a.conn, a.of, code
}

// Promise implements [socket.Caller].
func (in guestCalls) Promise(after int64, f func(durable bool)) abi.Code { return in.promise(after, f) }

// Denied implements [socket.Caller].
func (in guestCalls) Denied(capability, what string) {
	if capability == plugin.LimitHandles {
		in.limited(capability, what)
		return
	}
	in.denied(capability, what)
}

// Lost implements [socket.Caller].
func (in guestCalls) Lost(err error) { in.lost = err }

// coded is the result of an import: n, or the code where that is negative.
func coded[N int | int32](n N, code abi.Code) uint64 {
	if code < 0 {
		return answer(code)
	}
	return uint64(n)
}

// netOpen is the import net_open.
func netOpen(in *instance, mem api.Memory, stack []uint64) {
	name, ok := text(mem, stack[0], stack[1], maxName)
	if !ok || in.inside == exportStart || in.inside == exportInitialize {
		stack[0] = answer(abi.EINVAL)
		return
	}
	stack[0] = coded(in.sockets.Open(name, wait(stack[2])))
}

func netAccept(in *instance, _ api.Memory, stack []uint64) {
	stack[0] = coded(in.sockets.Accept(int32(stack[0]), wait(stack[1])))
}

// netRead reads straight into the guest's memory, which cannot grow or go away before the guest has its answer.
func netRead(in *instance, mem api.Memory, stack []uint64) {
	view, ok := mem.Read(uint32(stack[1]), uint32(stack[2]))
	if !ok {
		stack[0] = answer(abi.EINVAL)
		return
	}
	stack[0] = coded(in.sockets.Read(int32(stack[0]), view, wait(stack[3])))
}

func netWrite(in *instance, mem api.Memory, stack []uint64) {
	view, ok := mem.Read(uint32(stack[1]), uint32(stack[2]))
	if !ok {
		stack[0] = answer(abi.EINVAL)
		return
	}
	stack[0] = coded(in.sockets.Write(int32(stack[0]), view, wait(stack[3]), int64(stack[4])))
}

// netRecvFrom has the size of the datagram in the lower half of its result, and that of the sender's address in the upper.
func netRecvFrom(in *instance, mem api.Memory, stack []uint64) {
	view, ok1 := mem.Read(uint32(stack[1]), uint32(stack[2]))
	addr, ok2 := mem.Read(uint32(stack[3]), uint32(stack[4]))
	if !ok1 || !ok2 {
		stack[0] = answer(abi.EINVAL)
		return
	}
	n, from, code := in.sockets.ReceiveFrom(int32(stack[0]), view, wait(stack[5]))
	stack[0] = coded(n, code)
	if code >= 0 {
		stack[0] |= uint64(copy(addr, from)) << 32
	}
}

func netShutdown(in *instance, _ api.Memory, stack []uint64) {
	stack[0] = answer(in.sockets.Shutdown(int32(stack[0])))
}

func netClose(in *instance, _ api.Memory, stack []uint64) {
	stack[0] = answer(in.sockets.CloseHandle(int32(stack[0])))
}

// netPass gives a connection back while the guest is closed. Where not everything that the guest emitted has become durable it does not: the connection
// then ends, and so tells its sender that something is missing.
func netPass(in *instance, mem api.Memory, stack []uint64) {
	rest, ok := mem.Read(uint32(stack[1]), uint32(stack[2]))
	switch {
	case !ok || in.inside != abi.ExportClose:
		stack[0] = answer(abi.EINVAL)
	case !in.commits.Settled(in.seq):
		stack[0] = answer(abi.EAGAIN)
	default:
		stack[0] = answer(in.sockets.Pass(int32(stack[0]), rest))
	}
}

func netInfo(in *instance, mem api.Memory, stack []uint64) {
	doc, code := in.sockets.Info(int32(stack[0]))
	if code < 0 {
		stack[0] = answer(code)
		return
	}
	stack[0] = put(mem, stack[1], stack[2], doc)
}

// netWait lists handles that are ready, four bytes each.
func netWait(in *instance, mem api.Memory, stack []uint64) {
	room := min(uint64(uint32(stack[1])), socket.MaxReady)
	view, ok := mem.Read(uint32(stack[0]), uint32(4*room))
	if !ok {
		stack[0] = answer(abi.EINVAL)
		return
	}
	var found [socket.MaxReady]int32
	n, code := in.sockets.Wait(found[:room], wait(stack[2]))
	for i, fd := range found[:n] {
		binary.LittleEndian.PutUint32(view[4*i:], uint32(fd))
	}
	stack[0] = coded(n, code)
}
