// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/exchange"
	"github.com/penstock-io/penstock/host/plugin/promise"
	"github.com/penstock-io/penstock/host/plugin/socket"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/pluginpb"
)

const (
	// maxAhead is how many emissions a source may have in hand that it has not sent: an answer may wait for one of them.
	maxAhead = 64
	// maxRoom bounds what one read answers, and maxDatagrams how many datagrams one call brings.
	maxRoom      = 1 << 20
	maxDatagrams = 64
	// maxName bounds what a child calls a handle.
	maxName = 256
)

// calls are what an instance asks of the agent: its sockets and its requests. They are the same code that serves guests of WebAssembly; only,
// the question comes in a message.
//
// Two goroutines of the instance work for it: receive reads questions, and serve answers one after the other. What they share is atomic.
type calls struct {
	in     *instance
	stream grpc.BidiStreamingClient[pluginpb.CallReply, pluginpb.Call]
	ctx    context.Context // ends with the stream
	cancel context.CancelFunc

	coming      chan *pluginpb.Call // has room for one: more are never under way; closed by receive
	answered    atomic.Uint64       // the last id
	interrupted atomic.Uint64       // the last id that is to end
	nudge       chan struct{}       // a token: look at interrupted; never closed

	kept    promise.Set
	emitted atomic.Uint64 // the last emission that has come
	whole   atomic.Bool   // there are no others

	// What follows belongs to serve.
	sockets  *socket.Set
	requests *exchange.Client
	serving  *exchange.Server
	running  uint64 // id
	lost     error  // what there is to say about the running call's code
	timer    *time.Timer
	room     []byte
}

var (
	_ socket.Caller   = (*calls)(nil)
	_ exchange.Caller = (*calls)(nil)
)

func newCalls(in *instance, open plugin.Request) *calls {
	c := &calls{in: in, coming: make(chan *pluginpb.Call, 1), nudge: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
	c.timer.Stop()
	c.ctx, c.cancel = context.WithCancel(in.ctx)
	c.sockets = socket.New(c, open.Grants, open.Limits.Handles)
	c.requests = exchange.NewClient(c, open.Grants.HTTP, in.log)
	c.serving = exchange.NewServer(c, open.Grants.Serve, in.log)
	return c
}

// begin opens the stream, and starts what serves it until the instance is closed.
func (c *calls) begin() error {
	var err error
	if c.stream, err = pluginpb.NewPluginClient(c.in.conn).Calls(c.ctx); err != nil {
		return c.in.lost("open", err)
	}
	c.in.watching.Go(c.receive)
	c.in.watching.Go(c.serve)
	return nil
}

// close ends what waited for a commit. Both goroutines are over.
func (c *calls) close() {
	c.kept.Close()
	c.sockets.Close()
}

// receive reads questions until the stream ends, which it does at once where a child has none.
func (c *calls) receive() {
	defer close(c.coming)
	defer c.cancel()
	var two [2]pluginpb.Call // in turn: an interruption may come in while the other is answered
	for last := uint64(0); ; {
		q := &two[(last+1)%2]
		if c.stream.RecvMsg(q) != nil {
			return
		}
		switch {
		case q.Interrupt:
			c.interrupted.Store(q.Id)
			select {
			case c.nudge <- struct{}{}:
			default:
			}
		case q.Id != last+1 || c.answered.Load() != last:
			_ = c.in.broke("call", fmt.Sprintf("it asked for %q as call %d while call %d was the last, or under way", text(q.Name, maxName), q.Id, last))
			return
		default:
			last = q.Id
			c.coming <- q
		}
	}
}

// serve answers questions until there are no more, and frees what the instance had.
func (c *calls) serve() {
	defer func() {
		c.serving.Refuse("it was not stored")
		c.requests.Close()
		c.sockets.Abandon()
	}()
	for q := range c.coming {
		c.running, c.lost = q.Id, nil
		a := c.answer(q)
		if a.Id = q.Id; c.lost != nil && a.Result < 0 {
			a.Why = text(c.lost.Error(), abi.MaxText)
		}
		c.answered.Store(q.Id)
		if c.stream.Send(a) != nil {
			c.cancel()
		}
	}
}

// answer does what is asked.
func (c *calls) answer(q *pluginpb.Call) *pluginpb.CallReply {
	a := new(pluginpb.CallReply)
	n, code, wait := 0, abi.OK, time.Duration(q.TimeoutMs)*time.Millisecond
	var fd int32
	switch q.Name {
	case abi.ImportNetOpen:
		fd, code = c.sockets.Open(text(q.Handle, maxName), wait)
	case abi.ImportNetAccept:
		fd, code = c.sockets.Accept(q.Fd, wait)
	case abi.ImportNetRead:
		n, code = c.sockets.Read(q.Fd, c.buffer(q.Room), wait)
		a.Data = c.room[:n]
	case abi.ImportNetWrite:
		n, code = c.sockets.Write(q.Fd, q.Data, wait, int64(q.After))
	case abi.ImportNetRecvFrom:
		a.Datagrams, code = c.datagrams(q.Fd, int(q.Room), wait)
		n = len(a.Datagrams)
	case abi.ImportNetShutdown:
		code = c.sockets.Shutdown(q.Fd)
	case abi.ImportNetClose:
		code = c.sockets.CloseHandle(q.Fd)
	case abi.ImportNetPass:
		code = c.pass(q.Fd, q.Data)
	case abi.ImportNetInfo:
		a.Data, code = c.sockets.Info(q.Fd)
	case abi.ImportNetWait:
		a.Ready = make([]int32, min(q.Room, socket.MaxReady))
		n, code = c.sockets.Wait(a.Ready, wait)
		a.Ready = a.Ready[:n]
	default:
		return c.answerHTTP(q, wait)
	}
	return result(a, n+int(fd), code)
}

// pass gives a connection back while the instance is closed, if all that it emitted is here and durable: else the connection ends, and so tells its sender.
func (c *calls) pass(fd int32, rest []byte) abi.Code {
	switch {
	case !c.in.closing.Load():
		return abi.EINVAL
	case !c.whole.Load() || !c.kept.Settled(c.emitted.Load()):
		return abi.EAGAIN
	}
	return c.sockets.Pass(fd, rest)
}

// answerHTTP does what is asked of HTTP.
func (c *calls) answerHTTP(q *pluginpb.Call, wait time.Duration) *pluginpb.CallReply {
	a := new(pluginpb.CallReply)
	n, code := 0, abi.OK
	var id int32
	switch q.Name {
	case abi.ImportHTTPSend:
		id, code = c.requests.Send(text(q.Handle, maxName), q.Data, wait)
	case abi.ImportHTTPStatus:
		n, code = c.requests.Status(q.Fd, wait)
	case abi.ImportHTTPHead:
		a.Data, code = c.requests.Head(q.Fd)
	case abi.ImportHTTPRead:
		n, code = c.requests.Read(q.Fd, c.buffer(q.Room), wait)
		a.Data = c.room[:n]
	case abi.ImportHTTPClose:
		code = c.requests.CloseRequest(q.Fd)
	case abi.ImportHTTPNext:
		a.Data, code = c.serving.Next(pluginpb.MaxMessage, wait)
	case abi.ImportHTTPReply:
		code = c.serving.Reply(q.Fd, q.Status, q.Data, int64(q.After))
	default:
		code = abi.ENOSYS
	}
	return result(a, n+int(id), code)
}

// result completes an answer: n, or the code where that is negative.
func result(a *pluginpb.CallReply, n int, code abi.Code) *pluginpb.CallReply {
	if a.Result = int32(n); code < 0 {
		a.Result, a.Data, a.Ready = int32(code), nil, nil
	}
	return a
}

// buffer is where to read so many bytes to, as far as one call goes.
func (c *calls) buffer(n uint32) []byte {
	n = min(n, maxRoom)
	if uint32(cap(c.room)) < n {
		c.room = make([]byte, n)
	}
	c.room = c.room[:cap(c.room)]
	return c.room[:n]
}

// datagrams takes one, after waiting for it, and those that have come besides, as many as go with one call.
func (c *calls) datagrams(fd int32, most int, wait time.Duration) (all []*pluginpb.Datagram, code abi.Code) {
	room := c.buffer(maxRoom)
	for len(all) < maxDatagrams && (len(all) == 0 || most <= len(room)) {
		n, from, code := c.sockets.ReceiveFrom(fd, room[:min(most, len(room))], wait)
		if code < 0 {
			if len(all) > 0 {
				break
			}
			return nil, code
		}
		all = append(all, &pluginpb.Datagram{Data: room[:n:n], Sender: text(from, maxName)})
		room, wait = room[n:], 0
	}
	return all, abi.OK
}

// wanted says whether the child wants the call back, or nobody is there to answer.
func (c *calls) wanted() bool { return c.interrupted.Load() >= c.running || c.ctx.Err() != nil }

// Await implements [socket.Caller].
func (c *calls) Await(d time.Duration, ready <-chan struct{}, from *socket.Conns) (conn net.Conn, of int, code abi.Code) {
	if from == nil {
		from = &socket.Conns{}
	}
	conn, of, _, code = c.wait(d, ready, from, nil)
	return conn, of, code
}

// AwaitRequest implements [exchange.Caller].
func (c *calls) AwaitRequest(d time.Duration, ready <-chan struct{}, requests <-chan *plugin.Exchange) (*plugin.Exchange, abi.Code) {
	_, _, ex, code := c.wait(d, ready, &socket.Conns{}, requests)
	return ex, code
}

// wait waits until there is something of all that, for d at most (less than 0: for as long as it takes), or until the child wants the call back.
func (c *calls) wait(d time.Duration, ready <-chan struct{}, from *socket.Conns, requests <-chan *plugin.Exchange) (conn net.Conn, of int, ex *plugin.Exchange, code abi.Code) {
	select {
	case <-ready:
		return nil, 0, nil, abi.OK
	case ex = <-requests:
		return nil, 0, ex, abi.OK
	default:
	}
	if d == 0 {
		return nil, 0, nil, abi.EAGAIN
	}
	if d > 0 {
		c.timer.Reset(d)
		defer c.timer.Stop()
	}
	for !c.wanted() {
		select {
		case <-ready:
			return nil, 0, nil, abi.OK
		case ex = <-requests:
			return nil, 0, ex, abi.OK
		case conn = <-from[0]:
			return conn, 0, nil, abi.OK
		case conn = <-from[1]:
			return conn, 1, nil, abi.OK
		case conn = <-from[2]:
			return conn, 2, nil, abi.OK
		case conn = <-from[3]:
			return conn, 3, nil, abi.OK
		case <-c.timer.C:
			return nil, 0, nil, abi.ETIMEOUT
		case <-c.nudge:
		case <-c.ctx.Done():
		}
	}
	return nil, 0, nil, abi.EINTR
}

// Promise implements [socket.Caller] and [exchange.Caller].
func (c *calls) Promise(after int64, f func(durable bool)) abi.Code {
	switch {
	case c.in.kind != abi.Source || after <= 0 || uint64(after) > c.emitted.Load()+maxAhead:
		return abi.EINVAL
	case !c.kept.When(uint64(after), f):
		return abi.EAGAIN
	}
	return abi.OK
}

// Denied implements [socket.Caller] and [exchange.Caller].
func (c *calls) Denied(capability, what string) {
	c.in.count(capability)
	switch {
	case capability == plugin.LimitHandles && c.in.log.Once("limit "+capability):
		c.in.log.To.Warn("plugin is at its limit", slog.String("limit", "limits."+capability), slog.String("what", what))
	case capability != plugin.LimitHandles && c.in.log.Once("denied "+capability+what):
		c.in.log.To.Warn("plugin tried what was not granted", slog.String("capability", capability), slog.String("what", what))
	}
}

// Lost implements [socket.Caller] and [exchange.Caller].
func (c *calls) Lost(err error) { c.lost = err }
