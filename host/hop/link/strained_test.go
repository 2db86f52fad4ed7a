// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/hoppb"
)

func TestCertificatesReplacedUnderLoadRefuseNobody(t *testing.T) {
	t.Parallel()
	const rounds, each = 40, 50
	ca := newAuthority(t)
	hour := time.Now().Add(time.Hour)
	r := newReceiver(t, ca.issue(t, "collector", hour))
	s := newSender(t, r, ca.issue(t, "edge-1", hour))
	s.ends = []event.Offset{rounds * each}
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	replaced := 0
	work.Go(func() {
		for ; ctx.Err() == nil; replaced++ { // certificate and key are two files: often one is new, and the other old
			ca.issue(t, "collector", hour)
			ca.issue(t, "edge-1", hour)
			time.Sleep(2 * time.Millisecond)
		}
	})
	for i := range event.Offset(rounds) {
		sink, _, err := s.open() // a connection of its own each time
		if err != nil {
			t.Errorf("connection %d: %v", i, err)
			break
		}
		if _, err := deliver(t, sink, i*each, (i+1)*each); err != nil {
			t.Errorf("over connection %d: %v", i, err)
		}
		_ = sink.Close()
	}
	stop()
	work.Wait()
	r.mu.Lock()
	refused := r.refused
	r.mu.Unlock()
	if refused > 0 || replaced < 5 {
		t.Errorf("%d handshakes were refused while certificates were replaced %d times", refused, replaced)
	}
	r.expect(t, rounds*each)
}

// narrow is a receiver of another kind, which takes batches of so many bytes, and refuses what is longer where it does not say so.
type narrow struct {
	hoppb.UnimplementedHopServer
	most, says int
}

func (n narrow) Send(stream grpc.BidiStreamingServer[hoppb.Up, hoppb.Down]) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	welcome := &hoppb.Welcome{Version: hoppb.Version, Window: 4, MaxBatch: uint32(n.says)}
	if err := stream.Send(&hoppb.Down{Says: &hoppb.Down_Welcome{Welcome: welcome}}); err != nil {
		return err
	}
	for messages := uint64(1); ; messages++ {
		up, err := stream.Recv()
		if err != nil {
			return err
		}
		m := up.GetMessage()
		if len(m.Batch) > n.most {
			return stream.Send(&hoppb.Down{Says: &hoppb.Down_Refusal{Refusal: &hoppb.Refusal{Code: int32(abi.ETOOBIG), Message: "it is too long"}}})
		}
		a := &hoppb.Answer{Messages: messages, Have: &hoppb.Position{Incarnation: m.Incarnation, Offset: m.Next}}
		if err := stream.Send(&hoppb.Down{Says: &hoppb.Down_Answer{Answer: a}}); err != nil {
			return err
		}
	}
}

func TestWhatIsTooMuchForAReceiverIsSaidOfTheBatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		says, limit int
	}{{"it says how much it takes", 100, 100}, {"it refuses", 0, event.MaxBatch}} {
		t.Run(c.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			server := newServer(narrow{most: 100, says: c.says})
			ended := make(chan error, 1)
			go func() { ended <- server.Serve(l) }()
			s := &sender{t: t, lives: []abi.Incarnation{{ID: 7}}, ends: []event.Offset{1000}}
			s.dial = func(ctx context.Context) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
			}
			inst, err := s.instance()
			if err != nil {
				t.Fatal(err)
			}
			sink := inst.Sink.(plugin.Streamer)
			if inst.MaxBatch != c.limit {
				t.Errorf("it sends %d bytes at most", inst.MaxBatch)
			}
			one, many := event.Range{First: 0, Next: 1}, event.Range{First: 1, Next: 100}
			if err := errors.Join(sink.Send(t.Context(), one, batch(t, one)), sink.Outcome(t.Context())); err != nil {
				t.Error(err)
			}
			if err = sink.Send(t.Context(), many, batch(t, many)); err == nil {
				err = sink.Outcome(t.Context())
			}
			if e, ok := errors.AsType[*plugin.Error](err); !ok || e.Class != abi.Reject || e.Code != abi.ETOOBIG {
				t.Errorf("error is %v", err)
			}
			if err := sink.Close(); err != nil {
				t.Error(err)
			}
			server.Stop()
			<-ended
		})
	}
}
