// SPDX-License-Identifier: Apache-2.0

//go:build !wasip1

package sdk

import (
	"math"
	"time"

	"google.golang.org/grpc"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/pluginpb"
)

// attachTimeout is how long the first call waits for the agent, which opens the stream of calls before the instance: an agent that has none lacks
// what is asked for.
const attachTimeout = 5 * time.Second

// outside is the stream on which an instance asks the agent for sockets and requests, one call after the other. But for its channels it belongs to
// whoever has the turn.
type outside struct {
	attached chan grpc.BidiStreamingServer[pluginpb.CallReply, pluginpb.Call] // has the stream, once; never closed
	replies  chan *pluginpb.CallReply                                         // closed when the stream is over
	stream   grpc.BidiStreamingServer[pluginpb.CallReply, pluginpb.Call]      // nil: not yet
	id       uint64
	failed   bool
	came     map[int32][]*pluginpb.Datagram // received and not handed over, by handle
	next     []byte                         // a request that there was no room for
}

func newOutside() outside {
	return outside{
		attached: make(chan grpc.BidiStreamingServer[pluginpb.CallReply, pluginpb.Call], 1),
		replies:  make(chan *pluginpb.CallReply),
		came:     map[int32][]*pluginpb.Datagram{},
	}
}

// Calls implements [pluginpb.PluginServer]: it reads what the agent answers.
func (c *child) Calls(stream grpc.BidiStreamingServer[pluginpb.CallReply, pluginpb.Call]) error {
	select {
	case c.outside.attached <- stream:
	default:
		return nil // there is one
	}
	defer close(c.outside.replies)
	var two [2]pluginpb.CallReply // in turn: one is looked at while the next may come in
	for i := 0; ; i = 1 - i {
		if err := stream.RecvMsg(&two[i]); err != nil {
			return err
		}
		select {
		case c.outside.replies <- &two[i]:
		case <-stream.Context().Done():
			return nil
		}
	}
}

// ask makes one call, whose answer stays as it is until the next but one. The caller has the turn. A call that waits is interrupted when the agent
// wants the plugin back.
func (c *child) ask(q *pluginpb.Call) *pluginpb.CallReply {
	o := &c.outside
	if !o.attach() {
		return &pluginpb.CallReply{Result: int32(abi.ENOSYS)}
	}
	waits := q.TimeoutMs != 0 && q.Name != abi.ImportHTTPSend
	c.slept = c.slept || waits
	unwanted := waits && c.wanted()
	if unwanted {
		q.TimeoutMs = 0
	}
	o.id++
	q.Id = o.id
	if o.failed || o.stream.Send(q) != nil {
		return o.broken()
	}
	r := c.await(waits && !unwanted)
	if r.Why != "" {
		c.lost = r.Why
	}
	if unwanted && abi.Code(r.Result) == abi.EAGAIN {
		r.Result = int32(abi.EINTR)
	}
	return r
}

// await waits for the answer of the call that was sent.
func (c *child) await(waits bool) *pluginpb.CallReply {
	o := &c.outside
	for told := !waits; ; {
		if told {
			r, ok := <-o.replies
			if !ok {
				return o.broken()
			}
			return r
		}
		select {
		case r, ok := <-o.replies:
			if !ok {
				return o.broken()
			}
			return r
		case <-c.nudge:
		case <-c.closing:
		case <-c.ctx.Done():
		}
		if told = c.wanted(); told && o.stream.Send(&pluginpb.Call{Id: o.id, Interrupt: true}) != nil {
			return o.broken()
		}
	}
}

// attach makes sure that there is a stream.
func (o *outside) attach() bool {
	if o.stream == nil && !o.failed {
		select {
		case o.stream = <-o.attached:
		case <-time.After(attachTimeout):
			o.failed = true
		}
	}
	return o.stream != nil
}

// broken is the answer when the agent is gone.
func (o *outside) broken() *pluginpb.CallReply {
	o.failed = true
	return &pluginpb.CallReply{Result: int32(abi.EIO)}
}

// milliseconds is a wait as it is written: more than nothing is at least one.
func milliseconds(wait time.Duration) int32 {
	switch {
	case wait < 0:
		return -1
	case wait == 0:
		return 0
	}
	return int32(min(max(wait.Milliseconds(), 1), math.MaxInt32))
}

// code asks, and answers the result.
func (c *child) code(q *pluginpb.Call) abi.Code { return abi.Code(c.ask(q).Result) }

// fill asks for bytes, and copies them if there is room.
func (c *child) fill(into []byte, q *pluginpb.Call) abi.Code {
	r := c.ask(q)
	if r.Result < 0 {
		return abi.Code(r.Result)
	}
	if len(r.Data) <= len(into) {
		copy(into, r.Data)
	}
	return abi.Code(len(r.Data))
}

func (c *child) addSockets(h *Host) {
	h.NetOpen = func(handle string, wait time.Duration) abi.Code {
		return c.code(&pluginpb.Call{Name: abi.ImportNetOpen, Handle: valid(handle, abi.MaxText), TimeoutMs: milliseconds(wait)})
	}
	h.NetAccept = func(fd int32, wait time.Duration) abi.Code {
		return c.code(&pluginpb.Call{Name: abi.ImportNetAccept, Fd: fd, TimeoutMs: milliseconds(wait)})
	}
	h.NetRead = func(fd int32, into []byte, wait time.Duration) abi.Code {
		return c.fill(into, &pluginpb.Call{Name: abi.ImportNetRead, Fd: fd, Room: uint32(len(into)), TimeoutMs: milliseconds(wait)})
	}
	h.NetWrite = func(fd int32, data []byte, wait time.Duration, after int64) abi.Code {
		if after < 0 {
			return abi.EINVAL
		}
		if after == 0 {
			data = data[:min(len(data), maxWrite)]
		}
		return c.code(&pluginpb.Call{Name: abi.ImportNetWrite, Fd: fd, Data: data, TimeoutMs: milliseconds(wait), After: uint64(after)})
	}
	h.NetReceive = c.receive
	h.NetShutdown = func(fd int32) abi.Code { return c.code(&pluginpb.Call{Name: abi.ImportNetShutdown, Fd: fd}) }
	h.NetClose = func(fd int32) abi.Code {
		delete(c.outside.came, fd)
		return c.code(&pluginpb.Call{Name: abi.ImportNetClose, Fd: fd})
	}
	h.NetPass = func(fd int32, rest []byte) abi.Code {
		if len(rest) > event.MaxBatch { // more than fits a message
			return abi.ETOOBIG
		}
		return c.code(&pluginpb.Call{Name: abi.ImportNetPass, Fd: fd, Data: rest})
	}
	h.NetInfo = func(fd int32, into []byte) abi.Code {
		return c.fill(into, &pluginpb.Call{Name: abi.ImportNetInfo, Fd: fd})
	}
	h.NetWait = c.netWait
}

// maxWrite is how much of a write goes in one call: the rest is written by the next.
const maxWrite = 4 << 20

// receive takes one datagram, of those that came with another, or asks.
func (c *child) receive(fd int32, into, from []byte, wait time.Duration) int64 {
	came := c.outside.came[fd]
	if len(came) == 0 {
		r := c.ask(&pluginpb.Call{Name: abi.ImportNetRecvFrom, Fd: fd, Room: uint32(len(into)), TimeoutMs: milliseconds(wait)})
		switch {
		case r.Result < 0:
			return int64(r.Result)
		case len(r.Datagrams) == 0:
			return int64(abi.EIO)
		}
		came = r.Datagrams
		r.Datagrams = nil
	}
	one := came[0]
	if c.outside.came[fd] = came[1:]; len(came) == 1 {
		delete(c.outside.came, fd)
	}
	return int64(copy(into, one.Data)) | int64(copy(from, one.Sender))<<32
}

// netWait waits for handles. Those whose datagrams are here already are ready.
func (c *child) netWait(ready []int32, wait time.Duration) abi.Code {
	n := 0
	for fd := range c.outside.came {
		if n < len(ready) {
			ready[n] = fd
			n++
		}
	}
	if n > 0 {
		wait = 0
	}
	if n > 0 && n == len(ready) {
		return abi.Code(n)
	}
	r := c.ask(&pluginpb.Call{Name: abi.ImportNetWait, Room: uint32(len(ready) - n), TimeoutMs: milliseconds(wait)})
	if r.Result < 0 && n == 0 {
		return abi.Code(r.Result)
	}
	for _, fd := range r.Ready {
		if _, twice := c.outside.came[fd]; !twice && n < len(ready) {
			ready[n] = fd
			n++
		}
	}
	return abi.Code(n)
}

func (c *child) addHTTP(h *Host) {
	h.HTTPSend = func(handle string, request []byte, timeout time.Duration) abi.Code {
		return c.code(&pluginpb.Call{Name: abi.ImportHTTPSend, Handle: valid(handle, abi.MaxText), Data: request, TimeoutMs: milliseconds(timeout)})
	}
	h.HTTPStatus = func(id int32, wait time.Duration) abi.Code {
		return c.code(&pluginpb.Call{Name: abi.ImportHTTPStatus, Fd: id, TimeoutMs: milliseconds(wait)})
	}
	h.HTTPHead = func(id int32, into []byte) abi.Code {
		return c.fill(into, &pluginpb.Call{Name: abi.ImportHTTPHead, Fd: id})
	}
	h.HTTPRead = func(id int32, into []byte, wait time.Duration) abi.Code {
		return c.fill(into, &pluginpb.Call{Name: abi.ImportHTTPRead, Fd: id, Room: uint32(len(into)), TimeoutMs: milliseconds(wait)})
	}
	h.HTTPClose = func(id int32) abi.Code { return c.code(&pluginpb.Call{Name: abi.ImportHTTPClose, Fd: id}) }
	h.HTTPNext = c.httpNext
	h.HTTPReply = func(id int32, status int, answer []byte, after int64) abi.Code {
		if after < 0 {
			return abi.EINVAL
		}
		return c.code(&pluginpb.Call{Name: abi.ImportHTTPReply, Fd: id, Status: int32(status), Data: answer, After: uint64(after)})
	}
}

// httpNext takes a request, and keeps it here while there is no room for it.
func (c *child) httpNext(into []byte, wait time.Duration) abi.Code {
	o := &c.outside
	if o.next == nil {
		r := c.ask(&pluginpb.Call{Name: abi.ImportHTTPNext, TimeoutMs: milliseconds(wait)})
		if r.Result < 0 {
			return abi.Code(r.Result)
		}
		if len(r.Data) > len(into) {
			o.next = append([]byte(nil), r.Data...)
		}
		copy(into, r.Data)
		return abi.Code(len(r.Data))
	}
	n := len(o.next)
	if n <= len(into) {
		copy(into, o.next)
		o.next = nil
	}
	return abi.Code(n)
}
