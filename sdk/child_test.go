// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/pluginpb"
)

// counter is a source of so many events, several batches of which go out in one poll.
type counter struct {
	next, count int
	wait        time.Duration
	acked       []uint64
}

func (s *counter) Open(o *Open) error {
	if at, ok := o.Cursor["next"]; ok {
		s.next, _ = strconv.Atoi(string(at))
	}
	secret, err := o.Secret("token")
	if err == nil {
		o.Log.Info("opened with " + secret)
	}
	return nil
}

func (s *counter) Poll(p *Poll) error {
	if s.wait > 0 {
		if err := p.Sleep(s.wait); err != nil {
			return err
		}
	}
	for range 3 {
		if s.next == s.count {
			return Done
		}
		if err := p.Append(event.Event{Body: strconv.AppendInt(nil, int64(s.next), 10)}); err != nil {
			return err
		}
		s.next++
		if err := p.SetCursor("next", strconv.AppendInt(nil, int64(s.next), 10)); err != nil {
			return err
		}
		if _, err := p.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func (s *counter) Ack(seq uint64, _ error) { s.acked = append(s.acked, seq) }

// served serves an instance in this process, as a child serves it, and connects to it.
func served(t *testing.T, p Plugin) *grpc.ClientConn {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.ForceServerCodecV2(pluginpb.Codec{}))
	newChild(map[string]Plugin{"p": p}).register(s)
	over := make(chan error)
	go func() { over <- s.Serve(l) }()
	conn, err := grpc.NewClient("unix:"+l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		s.Stop()
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
	return conn
}

func openServed(t *testing.T, conn *grpc.ClientConn, r *pluginpb.OpenRequest) pluginpb.SourceClient {
	t.Helper()
	r.Plugin, r.Config, r.Count = "p", []byte("{}"), 1
	src := pluginpb.NewSourceClient(conn)
	a, err := src.Open(t.Context(), r)
	if err != nil || a.Status.GetCode() != 0 {
		t.Fatalf("%v, %v", a, err)
	}
	return src
}

func TestAChildSendsABatchForEachCreditAndNoMore(t *testing.T) {
	s := &counter{count: 8}
	src := openServed(t, served(t, Plugin{Source: func() Source { return s }}), &pluginpb.OpenRequest{Cursor: map[string][]byte{"next": []byte("1")}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := src.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, credit := range []int{1, 4, 2} {
		if err := stream.Send(&pluginpb.ReadRequest{Credit: uint32(credit), MaxEvents: 10, MaxBytes: 1 << 20}); err != nil {
			t.Fatal(err)
		}
		for range credit {
			e, err := stream.Recv()
			if err != nil || e.Status.GetCode() != 0 || int(e.Seq) != len(got)+1 {
				t.Fatalf("%v, %v", e, err)
			}
			b, err := event.Parse(e.Batch)
			if err != nil {
				t.Fatal(err)
			}
			for _, ev := range b.All() {
				got = append(got, string(ev.Body))
			}
			if at := string(e.Changed[0].Value); at != strconv.Itoa(len(got)+1) {
				t.Errorf("after %q the cursor is %s", got, at)
			}
		}
		if s.next > len(got)+1+3 {
			t.Errorf("it has gone on to %d, and %d batches were asked for", s.next, len(got))
		}
	}
	if want := []string{"1", "2", "3", "4", "5", "6", "7"}; !slices.Equal(got, want) {
		t.Errorf("read %q", got)
	}
	for range 2 { // the end is the end
		if err := stream.Send(&pluginpb.ReadRequest{Credit: 1}); err != nil {
			t.Fatal(err)
		}
		if e, err := stream.Recv(); err != nil || abi.Code(e.Status.GetCode()) != abi.EOF || e.Seq != 0 {
			t.Fatalf("%v, %v", e, err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end of the stream: %v", err)
	}
}

func TestAnAckAndACloseGetInWhileASourceWaits(t *testing.T) {
	s := &counter{count: 8, wait: time.Hour}
	src := openServed(t, served(t, Plugin{Source: func() Source { return s }}), &pluginpb.OpenRequest{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stream, err := src.Read(ctx)
	if err == nil {
		err = stream.Send(&pluginpb.ReadRequest{Credit: 1})
	}
	if err != nil {
		t.Fatal(err)
	}
	for seq := range uint64(3) {
		if _, err := src.Ack(ctx, &pluginpb.AckRequest{Seq: seq}); err != nil {
			t.Fatal(err)
		}
	}
	a, err := src.Close(ctx, &pluginpb.CloseRequest{})
	if err != nil || a.Status.GetCode() != 0 {
		t.Fatalf("%v, %v", a, err)
	}
	if !slices.Equal(s.acked, []uint64{0, 1, 2}) || s.next != 0 {
		t.Errorf("it has acknowledged %v, and is at %d", s.acked, s.next)
	}
}

func TestAChildReportsUntilItCloses(t *testing.T) {
	conn := served(t, Plugin{Source: func() Source { return &counter{} }})
	src := openServed(t, conn, &pluginpb.OpenRequest{Secrets: map[string]string{"token": "hunter2"}})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stream, err := pluginpb.NewPluginClient(conn).Reports(ctx, &pluginpb.ReportsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := stream.Recv()
	if err != nil || len(r.Lines) != 1 || r.Lines[0].Text != "opened with hunter2" {
		t.Errorf("%v, %v", r, err)
	}
	again, err := src.Open(ctx, &pluginpb.OpenRequest{Plugin: "p", Config: []byte("{}")})
	if err != nil || abi.Code(again.Status.GetCode()) != abi.ENOSYS {
		t.Errorf("an instance is opened twice: %v, %v", again, err)
	}
	other, err := pluginpb.NewSinkClient(conn).Open(ctx, &pluginpb.OpenRequest{Plugin: "p", Config: []byte("{}")})
	if err != nil || other.Status.GetCode() >= 0 {
		t.Errorf("a source is opened as a sink: %v, %v", other, err)
	}
}

func TestWhatAChildHasNoRoomForIsSaidOnce(t *testing.T) {
	r := newReports()
	for range maxLines + 5 {
		r.log(abi.LevelInfo, []byte("line"))
	}
	r.metric(abi.MetricCounter, "n", 2)
	r.metric(abi.MetricCounter, "n", 3)
	r.metric(abi.MetricGauge, "g", 2)
	r.metric(abi.MetricGauge, "g", 3)
	got := r.take()
	if n := len(got.Lines); n != maxLines+1 || got.Lines[n-1].Level != abi.LevelWarn {
		t.Errorf("%d lines", n)
	}
	for _, m := range got.Metrics {
		if want := map[string]float64{"n": 5, "g": 3}[m.Name]; m.Value != want {
			t.Errorf("%s is %v", m.Name, m.Value)
		}
	}
	if left := r.take(); len(left.Lines)+len(left.Metrics) > 0 {
		t.Errorf("%v is told again", left)
	}
}
