// SPDX-License-Identifier: Apache-2.0

//go:build !wasip1

package sdk

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/pluginpb"
)

// asker is a source that does something with its network in each poll.
type asker struct {
	poll  func(n Network, p *Poll) error
	net   Network
	acked []uint64
}

func (s *asker) Open(o *Open) error              { s.net = o.Network(); return nil }
func (s *asker) Poll(p *Poll) error              { return s.poll(s.net, p) }
func (s *asker) Ack(seq uint64, _ error)         { s.acked = append(s.acked, seq) }
func (s *asker) plugin() Plugin                  { return Plugin{Source: func() Source { return s }} }
func (s *asker) emit(p *Poll, text string) error { return p.Append(event.Event{Body: []byte(text)}) }

// agent is the other side of the calls of a child.
type agent struct {
	t *testing.T
	grpc.BidiStreamingClient[pluginpb.CallReply, pluginpb.Call]
	read grpc.BidiStreamingClient[pluginpb.ReadRequest, pluginpb.Emission]
	src  pluginpb.SourceClient
}

func newAgent(t *testing.T, s *asker) *agent {
	conn := served(t, s.plugin())
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	calls, err := pluginpb.NewPluginClient(conn).Calls(ctx)
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{t: t, BidiStreamingClient: calls, src: openServed(t, conn, &pluginpb.OpenRequest{})}
	if a.read, err = a.src.Read(ctx); err == nil {
		err = a.read.Send(&pluginpb.ReadRequest{Credit: 1, MaxEvents: 10, MaxBytes: 1 << 20})
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// asked waits for a call.
func (a *agent) asked(name string) *pluginpb.Call {
	a.t.Helper()
	q, err := a.Recv()
	if err != nil || q.Name != name {
		a.t.Fatalf("%v, %v, want %s", q, err, name)
	}
	return q
}

func (a *agent) answer(r *pluginpb.CallReply) {
	a.t.Helper()
	if err := a.Send(r); err != nil {
		a.t.Fatal(err)
	}
}

// body waits for the batch of the one credit.
func (a *agent) body() string {
	a.t.Helper()
	e, err := a.read.Recv()
	if err != nil || e.Status != nil {
		a.t.Fatal(e, err)
	}
	b, err := event.Parse(e.Batch)
	if err != nil {
		a.t.Fatal(err)
	}
	var all []string
	for _, ev := range b.All() {
		all = append(all, string(ev.Body))
	}
	return strings.Join(all, " ")
}

func TestAnAcknowledgementInterruptsACallThatWaits(t *testing.T) {
	s := &asker{}
	s.poll = func(n Network, p *Poll) error {
		_, err := n.Wait(make([]int32, 4), Forever)
		if err == nil {
			return s.emit(p, "ready")
		}
		return err
	}
	a := newAgent(t, s)
	q := a.asked(abi.ImportNetWait)
	if q.TimeoutMs != -1 || q.Room != 4 {
		t.Errorf("%v", q)
	}
	acked := make(chan error)
	go func() {
		_, err := a.src.Ack(context.Background(), &pluginpb.AckRequest{Seq: 5})
		acked <- err
	}()
	stop, err := a.Recv()
	if err != nil || !stop.Interrupt || stop.Id != q.Id {
		t.Fatal(stop, err)
	}
	select {
	case <-acked:
		t.Fatal("it came in beside the call")
	case <-time.After(20 * time.Millisecond):
	}
	a.answer(&pluginpb.CallReply{Id: q.Id, Result: int32(abi.EINTR)})
	if err := <-acked; err != nil || len(s.acked) != 1 {
		t.Errorf("%v, %v", err, s.acked)
	}
	q = a.asked(abi.ImportNetWait)
	a.answer(&pluginpb.CallReply{Id: q.Id, Result: 1, Ready: []int32{1}})
	if got := a.body(); got != "ready" {
		t.Errorf("%q", got)
	}
}

func TestDatagramsThatCameTogetherAreHandedOutOneByOne(t *testing.T) {
	s := &asker{}
	s.poll = func(n Network, p *Poll) error {
		ready := make([]int32, 4)
		l := &Listener{ID: 1, host: n.host}
		var b, from [10]byte
		for range 3 {
			size, sender, err := l.Receive(b[:], from[:], Forever)
			if err != nil {
				return err
			}
			found, err := n.Wait(ready, Forever)
			if err != nil {
				return err
			}
			if err := s.emit(p, string(b[:size])+string(sender)+strings.Repeat("!", found)); err != nil {
				return err
			}
		}
		return nil
	}
	a := newAgent(t, s)
	q := a.asked(abi.ImportNetRecvFrom)
	a.answer(&pluginpb.CallReply{Id: q.Id, Result: 2, Datagrams: []*pluginpb.Datagram{{Data: []byte("a"), Sender: "x"}, {Data: []byte("more than ten"), Sender: "y"}}})
	q = a.asked(abi.ImportNetWait) // one is here, so it does not wait
	if q.TimeoutMs != 0 {
		t.Errorf("it waits for %d", q.TimeoutMs)
	}
	a.answer(&pluginpb.CallReply{Id: q.Id, Result: 2, Ready: []int32{1, 7}})
	q = a.asked(abi.ImportNetWait)
	if q.TimeoutMs != -1 {
		t.Errorf("it waits for %d", q.TimeoutMs)
	}
	a.answer(&pluginpb.CallReply{Id: q.Id, Result: 1, Ready: []int32{1}})
	q = a.asked(abi.ImportNetRecvFrom)
	a.answer(&pluginpb.CallReply{Id: q.Id, Result: 1, Datagrams: []*pluginpb.Datagram{{Data: []byte("c")}}})
	q = a.asked(abi.ImportNetWait)
	a.answer(&pluginpb.CallReply{Id: q.Id, Result: 1, Ready: []int32{1}})
	if got := a.body(); got != "ax!! more than y! c!" {
		t.Errorf("%q", got)
	}
}

func TestWhatTheAgentSaysOfACallGoesWithTheError(t *testing.T) {
	s := &asker{}
	s.poll = func(n Network, _ *Poll) error {
		_, err := n.Dial("db", time.Second)
		return err
	}
	a := newAgent(t, s)
	q := a.asked(abi.ImportNetOpen)
	a.answer(&pluginpb.CallReply{Id: q.Id, Result: int32(abi.EIO), Why: "connection refused"})
	e, err := a.read.Recv()
	if err != nil || abi.Code(e.Status.GetCode()) != abi.EIO || !strings.HasSuffix(e.Status.Message, "dial db: the host answers EIO: connection refused") {
		t.Errorf("%v, %v", e, err)
	}
}

// dialSocket is what an agent offers: it answers with what serve says.
func dialSocket(t *testing.T, serve func(c net.Conn, handle string)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "d")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 100)
			n, _ := c.Read(b)
			serve(c, strings.TrimSpace(string(b[:n])))
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-over })
	t.Setenv(pluginpb.DialKey, path)
}

func TestAClientLibraryDialsByTheHandle(t *testing.T) {
	waits := make(chan struct{})
	dialSocket(t, func(c net.Conn, handle string) {
		switch handle {
		case "db":
			_, _ = c.Write([]byte("+hello"))
		case "slow":
			<-waits
		default:
			_, _ = c.Write([]byte(`-7 "` + handle + `" was not granted`))
		}
	})
	o := &Open{}
	c, err := o.DialContext("db")(t.Context(), "tcp", "somewhere:1")
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	if n, err := c.Read(b); err != nil || string(b[:n]) != "hello" {
		t.Errorf("%q, %v", b[:n], err)
	}
	_ = c.Close()
	_, err = o.DialContext("other")(t.Context(), "tcp", "somewhere:1")
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != abi.EACCES || e.Error() != `dial other: "other" was not granted` {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err = o.DialContext("slow")(ctx, "tcp", "somewhere:1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	close(waits)
}
