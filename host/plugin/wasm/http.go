// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/exchange"
	"github.com/penstock-io/penstock/spec/abi"
)

var _ exchange.Caller = guestCalls{}

// AwaitRequest implements [exchange.Caller].
func (in guestCalls) AwaitRequest(d time.Duration, ready <-chan struct{}, requests <-chan *plugin.Exchange) (*plugin.Exchange, abi.Code) {
	if requests == nil {
		return nil, in.await(d, ready)
	}
	a, code := receive(in.instance, requests, nil, d)
	if code == abi.OK {
		in.slept = true // something came, so the next poll need not wait
	}
	return a.v, code
}

// httpSend begins a request.
func httpSend(in *instance, mem api.Memory, stack []uint64) {
	name, ok1 := text(mem, stack[0], stack[1], maxName)
	request, ok2 := mem.Read(uint32(stack[2]), uint32(stack[3]))
	if !ok1 || !ok2 || in.inside == exportStart || in.inside == exportInitialize {
		stack[0] = answer(abi.EINVAL)
		return
	}
	stack[0] = coded(in.requests.Send(name, request, wait(stack[4])))
}

// httpStatus waits for the head of a response.
func httpStatus(in *instance, _ api.Memory, stack []uint64) {
	stack[0] = coded(in.requests.Status(int32(stack[0]), wait(stack[1])))
}

// httpHead writes the headers of a response that has come.
func httpHead(in *instance, mem api.Memory, stack []uint64) {
	head, code := in.requests.Head(int32(stack[0]))
	if code != abi.OK {
		stack[0] = answer(code)
		return
	}
	stack[0] = put(mem, stack[1], stack[2], head)
}

// httpRead reads of the body of a response.
func httpRead(in *instance, mem api.Memory, stack []uint64) {
	view, ok := mem.Read(uint32(stack[1]), uint32(stack[2]))
	if !ok {
		stack[0] = answer(abi.EINVAL)
		return
	}
	stack[0] = coded(in.requests.Read(int32(stack[0]), view, wait(stack[3])))
}

// httpClose gives a request up.
func httpClose(in *instance, _ api.Memory, stack []uint64) {
	stack[0] = answer(in.requests.CloseRequest(int32(stack[0])))
}

// httpNext waits for a request to answer.
func httpNext(in *instance, mem api.Memory, stack []uint64) {
	if in.grants.Serve != nil && in.kind != abi.Source {
		stack[0] = answer(abi.EINVAL)
		return
	}
	next, code := in.serving.Next(int(uint32(stack[1])), wait(stack[2]))
	if code != abi.OK {
		stack[0] = answer(code)
		return
	}
	stack[0] = put(mem, stack[0], stack[1], next)
}

// httpReply answers a request, now or when a batch is durable.
func httpReply(in *instance, mem api.Memory, stack []uint64) {
	view, ok := mem.Read(uint32(stack[2]), uint32(stack[3]))
	if !ok {
		stack[0] = answer(abi.EINVAL)
		return
	}
	stack[0] = answer(in.serving.Reply(int32(stack[0]), int32(stack[1]), view, int64(stack[4])))
}
