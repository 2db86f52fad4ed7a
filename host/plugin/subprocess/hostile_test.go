// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"context"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/pluginpb"
)

// hostile is a child that makes the connection as it should, and then answers what it should not.
type hostile struct {
	pluginpb.UnimplementedPluginServer
	pluginpb.UnimplementedSourceServer
	pluginpb.UnimplementedSinkServer
	pluginpb.UnimplementedProcessorServer
	how    string
	stream chan grpc.BidiStreamingServer[pluginpb.CallReply, pluginpb.Call] // has the one of calls; never closed
	said   string                                                           // what came of a script
}

// faithlessMain serves it as all three kinds.
func faithlessMain(how string) error {
	path := filepath.Join(os.Getenv(pluginpb.SocketDirKey), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	s, h := grpc.NewServer(), &hostile{how: how, stream: make(chan grpc.BidiStreamingServer[pluginpb.CallReply, pluginpb.Call], 1)}
	pluginpb.RegisterPluginServer(s, h)
	pluginpb.RegisterSourceServer(s, h)
	pluginpb.RegisterSinkServer(s, h)
	pluginpb.RegisterProcessorServer(s, h)
	up := health.NewServer()
	up.SetServingStatus(pluginpb.HealthService, grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(s, up)
	fmt.Printf(pluginpb.Handshake, 1, path)
	return s.Serve(l)
}

func (h *hostile) Reports(_ *pluginpb.ReportsRequest, to grpc.ServerStreamingServer[pluginpb.Report]) error {
	for i := range 200 {
		name := fmt.Sprint("m", i)
		if err := to.Send(&pluginpb.Report{Metrics: []*pluginpb.Metric{{Name: name, Value: 1}, {Name: name, Value: math.NaN()}, {Name: "no name", Value: 1}}}); err != nil {
			return err
		}
	}
	return nil
}

func (h *hostile) Open(_ context.Context, r *pluginpb.OpenRequest) (*pluginpb.OpenResponse, error) {
	a := &pluginpb.OpenResponse{Acks: true}
	switch h.how {
	case "script":
		stays, said, err := h.follow(r.Config)
		if h.said = said; !stays {
			a.Status = &pluginpb.Status{Code: int32(abi.EAGAIN), Message: said}
		}
		return a, err
	case "empty range":
		a.Held = []*pluginpb.Held{{First: 3, Next: 3}}
	case "many ranges":
		for range maxHeld + 1 {
			a.Held = append(a.Held, &pluginpb.Held{Next: 1})
		}
	}
	return a, nil
}

func (h *hostile) Close(context.Context, *pluginpb.CloseRequest) (*pluginpb.CloseResponse, error) {
	return &pluginpb.CloseResponse{}, nil
}

func (h *hostile) Read(s grpc.BidiStreamingServer[pluginpb.ReadRequest, pluginpb.Emission]) error {
	e := &pluginpb.Emission{Seq: 1}
	switch h.how {
	case "script":
		var err error
		if e.Batch, err = scripted(h.said); err != nil {
			return err
		}
	case "end":
		return nil
	case "no batch":
		e.Batch = []byte("this is no batch, but it is as long as the head of one")
	case "seq":
		e.Seq = 2
	case "cursor":
		e.Changed = []*pluginpb.CursorEntry{{Key: "", Value: []byte("x")}}
	case "large":
		e.Batch = make([]byte, 2<<20)
	case "unasked":
		for range 100 {
			if err := s.Send(&pluginpb.Emission{Seq: 7}); err != nil {
				return err
			}
		}
	}
	for {
		if _, err := s.Recv(); err != nil {
			return err
		}
		if err := s.Send(e); err != nil {
			return err
		}
	}
}

func (h *hostile) Write(s grpc.BidiStreamingServer[pluginpb.WriteRequest, pluginpb.WriteReply]) error {
	a := &pluginpb.WriteReply{Credit: 1, Done: true}
	switch h.how {
	case "index":
		a.Rejected = []*pluginpb.Rejection{{Index: 1, Code: -10}}
	case "code":
		a.Rejected = []*pluginpb.Rejection{{Index: 0, Code: 1}}
	case "unknown code":
		a.Status = &pluginpb.Status{Code: -4711, Message: strings.Repeat("x", 1<<20)}
	}
	for err := s.Send(&pluginpb.WriteReply{Credit: 1}); ; err = s.Send(a) {
		if err != nil {
			return err
		}
		if _, err := s.Recv(); err != nil {
			return err
		}
	}
}

func (h *hostile) Process(s grpc.BidiStreamingServer[pluginpb.ProcessRequest, pluginpb.ProcessReply]) error {
	var w event.Builder
	if err := w.AppendAt(9, &event.Event{Body: []byte("x")}); err != nil { // behind what it was given
		return err
	}
	for err := s.Send(&pluginpb.ProcessReply{Credit: 1}); ; err = s.Send(&pluginpb.ProcessReply{Credit: 1, Done: true, Batch: w.Bytes()}) {
		if err != nil {
			return err
		}
		if _, err := s.Recv(); err != nil {
			return err
		}
	}
}

// openHostile opens an instance of a child that answers wrongly in that way.
func openHostile(t *testing.T, s *setup, how string, kind abi.Kind) (plugin.Instance, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, err := load(t, self, self, "child", "faithless", how).Open(t.Context(), kind, s.request(kind))
	if err == nil {
		t.Cleanup(func() { _ = closeOf(in) })
	}
	return in, err
}

func TestWhatBreaksTheContractBreaksTheInstance(t *testing.T) {
	for _, c := range []struct {
		kind abi.Kind
		how  string
		want string
	}{
		{abi.Source, "end", "it ended its stream"},
		{abi.Source, "no batch", "it emitted what is not a batch"},
		{abi.Source, "seq", "it emitted batch 2 after batch 0"},
		{abi.Source, "cursor", "it set an entry of its cursor of 0 + 1 bytes"},
		{abi.Source, "large", "it emitted what is not a batch"},
		{abi.Source, "unasked", "it emitted batch 7 after batch 0"},
		{abi.Sink, "empty range", "it reports the range [3,3) as held"},
		{abi.Sink, "many ranges", "it reports 65537 ranges"},
		{abi.Sink, "index", "it rejects event 1 of 1 with code -10"},
		{abi.Sink, "code", "it rejects event 0 of 1 with code 1"},
		{abi.Processor, "", "it made what is not a batch"},
	} {
		s := setup{change: func(r *plugin.Request) { r.Limits.BatchBytes = 1 << 20 }}
		in, err := openHostile(t, &s, c.how, c.kind)
		switch {
		case err != nil:
		case c.kind == abi.Source:
			_, err = in.Source.Read(t.Context())
		case c.kind == abi.Sink:
			_, err = in.Sink.Write(t.Context(), event.Range{Next: 1}, batch(t, "a"))
		default:
			_, _, err = in.Processor.Process(t.Context(), batch(t, "a"))
		}
		if err == nil || plugin.ClassOf(err) != abi.Fatal || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %q: %v: %v", c.kind, c.how, plugin.ClassOf(err), err)
		}
	}
}

func TestWhatIsSaidIsBounded(t *testing.T) {
	var s setup
	in, err := openHostile(t, &s, "unknown code", abi.Sink)
	if err != nil {
		t.Fatal(err)
	}
	_, err = in.Sink.Write(t.Context(), event.Range{Next: 1}, batch(t, "a"))
	if err == nil || plugin.ClassOf(err) != abi.Retry || len(err.Error()) > abi.MaxText+100 {
		t.Errorf("%v, and %d bytes are said", plugin.ClassOf(err), len(fmt.Sprint(err)))
	}
	refused := func() int {
		s.meter.mu.Lock()
		defer s.meter.mu.Unlock()
		return s.meter.denied[plugin.LimitMetrics]
	}
	for end := time.Now().Add(10 * time.Second); refused() == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	if err := in.Sink.Close(); err != nil {
		t.Fatal(err)
	}
	s.meter.mu.Lock()
	defer s.meter.mu.Unlock()
	if n := len(s.meter.reported); n > abi.DefaultMetrics || n == 0 || s.meter.denied[plugin.LimitMetrics] == 0 {
		t.Errorf("%d metrics are taken, %d are refused", n, s.meter.denied[plugin.LimitMetrics])
	}
	if _, ok := s.meter.reported["no name"]; ok || s.meter.reported["m0"] != 1 {
		t.Errorf("reported: %v", s.meter.reported)
	}
}
