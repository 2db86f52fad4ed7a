// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/penstock-io/penstock/host/address"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/endpoint"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/pluginpb"
)

// script is what a child does when it is opened, in its config.
type script struct {
	Steps []step
	Stays bool // then it opens, and as a source emits one batch; else it answers an error that has what came of the steps
}

// step is one call, or one connection.
type step struct {
	Call string `json:",omitempty"` // the name
	Dial string `json:",omitempty"` // the handle: it sends Data there, and reads as much
	Hold bool   `json:",omitempty"` // and keeps the connection

	Handle string `json:",omitempty"`
	Fd     int32  `json:",omitempty"`
	Data   string `json:",omitempty"`
	Room   uint32 `json:",omitempty"`
	Wait   int32  `json:",omitempty"`
	After  uint64 `json:",omitempty"`
	Status int32  `json:",omitempty"`

	ID    uint64 `json:",omitempty"` // not the next one
	Hurry bool   `json:",omitempty"` // it does not wait for the answer
}

// follow does what a script says.
func (h *hostile) follow(config []byte) (stays bool, what string, err error) {
	var s script
	if err := json.Unmarshal(config, &s); err != nil || len(s.Steps) == 0 {
		return true, "", err
	}
	stream := <-h.stream
	var said []string
	for i, one := range s.Steps {
		if one.Dial != "" {
			said = append(said, h.dial(one))
			continue
		}
		q := &pluginpb.Call{
			Id: uint64(i + 1), Name: one.Call, Handle: one.Handle, Fd: one.Fd, Data: []byte(one.Data), Room: one.Room, TimeoutMs: one.Wait, After: one.After, Status: one.Status,
		}
		if one.ID > 0 {
			q.Id = one.ID
		}
		if err := stream.Send(q); err != nil {
			return false, "", err
		}
		if one.Hurry {
			continue
		}
		a, err := stream.Recv()
		if err != nil {
			return false, "", err
		}
		text := fmt.Sprint(a.Result)
		if one.Call == abi.ImportNetRead {
			text += " " + string(a.Data)
		}
		for _, d := range a.Datagrams {
			text += " " + string(d.Data)
		}
		said = append(said, strings.TrimSpace(text+" "+a.Why))
	}
	return s.Stays, strings.Join(said, "; "), nil
}

// dial asks for a connection, and says what comes back over it.
func (h *hostile) dial(s step) string {
	c, err := net.Dial("unix", os.Getenv(pluginpb.DialKey))
	if err != nil {
		return err.Error()
	}
	if !s.Hold {
		defer c.Close()
	}
	_, werr := io.WriteString(c, s.Dial+"\n"+s.Data) // it may be refused before it has been read
	b := make([]byte, 1+len(s.Data))
	if n, err := io.ReadFull(c, b); n == 0 && werr != nil {
		return werr.Error()
	} else if err != nil || b[0] != pluginpb.DialConnected {
		rest, _ := io.ReadAll(c)
		return string(b) + string(rest)
	}
	if len(b) > 100 && string(b[1:]) == s.Data {
		return fmt.Sprint("all of ", len(s.Data))
	}
	return string(b)
}

// Calls implements [pluginpb.PluginServer].
func (h *hostile) Calls(stream grpc.BidiStreamingServer[pluginpb.CallReply, pluginpb.Call]) error {
	h.stream <- stream
	<-stream.Context().Done()
	return nil
}

// dialling is the manifest of a child that may dial by handles.
var dialling = abi.Manifest{Name: "both", Version: "1.0.0", Plugins: []abi.Plugin{
	{Kind: abi.Source, Name: "both", Needs: []abi.Need{{Handle: "to", Kind: abi.NeedDial}}},
}}

// openScript opens a source of a child that follows a script.
func openScript(t *testing.T, s *setup, what script) (plugin.Source, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(what)
	if err != nil {
		t.Fatal(err)
	}
	s.config = string(doc)
	p, err := shared.Load(t.Context(), plugin.Ref{Name: "both", Path: self, Args: []string{self, "child", "faithless", "script"}, Manifest: &dialling})
	if err != nil {
		t.Fatal(err)
	}
	in, err := p.Open(t.Context(), abi.Source, s.request(abi.Source))
	if err == nil {
		t.Cleanup(func() { _ = in.Source.Close() })
	}
	return in.Source, err
}

// said is what came of the steps of a script that does not stay.
func said(t *testing.T, s *setup, steps ...step) string {
	t.Helper()
	_, err := openScript(t, s, script{Steps: steps})
	e, ok := errors.AsType[*plugin.Error](err)
	if !ok || e.Class == abi.Fatal {
		t.Fatal(err)
	}
	return e.Message
}

// echo answers what it is sent, and says at closed when a connection is over.
func echo(t *testing.T) (d plugin.Dialer, closed chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed = make(chan struct{}, 100)
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
				closed <- struct{}{}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		work.Wait()
	})
	a, err := address.Parse(abi.NeedDial, l.Addr().String())
	if err == nil {
		d, err = endpoint.Dial(a, endpoint.DialOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return d, closed
}

// granting grants a listener "in", and "to" where everything comes back.
func granting(t *testing.T) (change func(*plugin.Request), closed chan struct{}) {
	t.Helper()
	to, closed := echo(t)
	a, err := address.Parse(abi.NeedListen, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := endpoint.Listen(a, endpoint.ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return func(r *plugin.Request) {
		r.Grants.Dial = map[string]plugin.Dialer{"to": to, "nowhere": func(context.Context) (net.Conn, error) { return nil, errors.New("nobody is there") }}
		r.Grants.Listen = map[string]plugin.Listener{"in": l.Grant()}
	}, closed
}

func (m *meter) times(capability string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.denied[capability]
}

func TestAChildHasTheSocketsThatItWasGrantedAndNoOthers(t *testing.T) {
	var s setup
	s.change, _ = granting(t)
	got := said(t, &s,
		step{Call: abi.ImportNetOpen, Handle: "in"}, step{Call: abi.ImportNetOpen, Handle: "to", Wait: -1},
		step{Call: abi.ImportNetWrite, Fd: 2, Data: "hello"}, step{Call: abi.ImportNetRead, Fd: 2, Room: 100, Wait: -1},
		step{Call: abi.ImportNetRead, Fd: 2, Room: 100}, step{Call: abi.ImportNetAccept, Fd: 1, Wait: 1},
		step{Call: abi.ImportNetOpen, Handle: "nowhere", Wait: -1},
		step{Call: abi.ImportNetOpen, Handle: "127.0.0.1:22"}, step{Call: abi.ImportNetRead, Fd: 7, Room: 1},
		step{Call: abi.ImportHTTPSend, Handle: "in"}, step{Call: abi.ImportHTTPNext}, step{Call: "net_bind"})
	if want := "1; 2; 5; 5 hello; -1; -4; -5 nobody is there; -7; -6; -7; -7; -11"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	for _, capability := range []string{abi.ImportNetOpen, "http", "serve"} {
		if s.meter.times(capability) != 1 {
			t.Errorf("%s was denied %d times", capability, s.meter.times(capability))
		}
	}
}

func TestTheHandlesOfAChildAreBounded(t *testing.T) {
	var s setup
	grant, _ := granting(t)
	s.change = func(r *plugin.Request) { grant(r); r.Limits.Handles = 2 }
	got := said(t, &s, step{Call: abi.ImportNetOpen, Handle: "in"}, step{Call: abi.ImportNetOpen, Handle: "to", Wait: -1}, step{Call: abi.ImportNetOpen, Handle: "to", Wait: -1},
		step{Dial: "to", Data: "a", Hold: true}, step{Dial: "to", Data: "b", Hold: true}, step{Dial: "to", Data: "c", Hold: true})
	if want := "1; 2; -1; +a; +b; -1 it has as many connections as limits.handles allows"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if n := s.meter.times(plugin.LimitHandles); n != 2 {
		t.Errorf("counted %d times", n)
	}
}

func TestAClientLibraryIsConnectedToWhatWasGrantedAndNothingElse(t *testing.T) {
	var s setup
	grant, closed := granting(t)
	s.change = grant
	long := strings.Repeat("0123456789", 100_000)
	got := said(t, &s, step{Dial: "to", Data: "hello"}, step{Dial: "to", Data: long}, step{Dial: "nowhere"}, step{Dial: "127.0.0.1:22"}, step{Dial: "in"}, step{Dial: strings.Repeat("x", maxName+1)})
	want := `+hello; all of 1000000; -5 nobody is there; -7 "127.0.0.1:22" was not granted; -7 "in" was not granted; ` + "\x00"
	if got != want {
		t.Errorf("%q\nwant %q", got, want)
	}
	for range 2 {
		<-closed
	}
	if n := s.meter.times(abi.ImportNetOpen); n != 2 {
		t.Errorf("denied %d times", n)
	}
}

func TestConnectionsOfClientLibrariesEndWithTheInstance(t *testing.T) {
	var s setup
	grant, closed := granting(t)
	s.change = grant
	src, err := openScript(t, &s, script{Stays: true, Steps: []step{{Dial: "to", Data: "hello", Hold: true}, {Dial: "to", Data: "x", Hold: true}}})
	if err != nil {
		t.Fatal(err)
	}
	if len(closed) > 0 {
		t.Error("a connection is over before")
	}
	path := src.(*source).dials.path
	if c, err := net.Dial("unix", path); err == nil { // this process is none of the child's
		_, _ = io.WriteString(c, "to\n")
		if n, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("a stranger is answered with %d bytes", n)
		}
		_ = c.Close()
	}
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}
	<-closed
	<-closed
	if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its directory is left: %v", err)
	}
}

func TestAChildAsksOneThingAfterTheOther(t *testing.T) {
	for name, steps := range map[string][]step{
		"two at once":    {{Call: abi.ImportNetWait, Room: 1, Wait: -1, Hurry: true}, {Call: abi.ImportNetWait, Room: 1}},
		"another number": {{Call: abi.ImportNetWait, Room: 1, ID: 7}},
		"one twice":      {{Call: abi.ImportNetWait, Room: 1}, {Call: abi.ImportNetWait, Room: 1, ID: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := openScript(t, &setup{}, script{Steps: steps})
			if err == nil || plugin.ClassOf(err) != abi.Fatal || !strings.Contains(err.Error(), `it asked for "net_wait" as call`) {
				t.Errorf("%v: %v", plugin.ClassOf(err), err)
			}
		})
	}
}

// asked are requests for a source to answer, and what became of them.
type asked struct {
	requests chan *plugin.Exchange
	mu       sync.Mutex
	answers  []int
}

func (a *asked) exchange() *plugin.Exchange {
	return &plugin.Exchange{Request: httptest.NewRequest("POST", "/", nil), Body: []byte("x"), Answer: func(status int, _ http.Header, _ []byte) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.answers = append(a.answers, status)
	}}
}

func (a *asked) said() []int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.answers)
}

// An answer that waits for a commit is the agent's: it goes out although the child is dead by then, and 503 goes out for what is refused or still in
// the child's hands.
func TestAnAnswerOutlivesTheChildThatGaveIt(t *testing.T) {
	for _, c := range []struct {
		name   string
		refuse error
		want   []int
	}{
		{"durable", nil, []int{503, 201}}, {"refused", errors.New("disk full"), []int{503, 503}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s setup
			a := &asked{requests: make(chan *plugin.Exchange, 2)}
			a.requests <- a.exchange()
			a.requests <- a.exchange()
			s.change = func(r *plugin.Request) { r.Grants.Serve = a.requests }
			src, err := openScript(t, &s, script{Stays: true, Steps: []step{
				{Call: abi.ImportHTTPNext, Wait: -1}, {Call: abi.ImportHTTPReply, Fd: 1, Status: 200, After: maxAhead + 1},
				{Call: abi.ImportHTTPReply, Fd: 1, Status: 201, After: 1}, {Call: abi.ImportHTTPNext, Wait: -1},
			}})
			if err != nil {
				t.Fatal(err)
			}
			e, err := src.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := bodies(e.Batch); len(got) != 1 || !strings.HasSuffix(got[0], "; -6; 0; 0") {
				t.Errorf("%q", got)
			}
			e.Batch.Release()
			if got := a.said(); got != nil {
				t.Errorf("answered %v before anything is durable", got)
			}
			src.(*source).process.kill()
			for end := time.Now().Add(10 * time.Second); len(a.said()) == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
			}
			_ = src.Ack(t.Context(), e.Seq, c.refuse) // it says that it is dead
			if got := a.said(); !slices.Equal(got, c.want) {
				t.Errorf("answered %v, want %v", got, c.want)
			}
		})
	}
}

// scripted is the batch of a source that has followed its script.
func scripted(what string) ([]byte, error) {
	var w event.Builder
	err := w.Append(event.Event{Body: []byte(what)})
	return w.Bytes(), err
}
