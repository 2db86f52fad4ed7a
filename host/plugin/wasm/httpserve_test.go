// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/exchange"
	. "github.com/penstock-io/penstock/host/plugin/wasm/internal/wasmtest"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

const httpRoom = 60_000 // what the guest below has for a request, at its arena

// webhook is a source that emits a batch for each request, and answers it with 200 when that is durable. When it has taken as many
// requests as fatal says it traps.
func webhook(fatal int64) *Module {
	m := NewModule()
	emit, _, _, _ := importer(m)
	next := m.Import(abi.ImportHTTPNext, three, one)
	reply := m.Import(abi.ImportHTTPReply, []byte{I32, I32, I32, I32, I64}, one)
	id, seq := m.Global(), m.Global()
	bytes := batch("x")
	at := m.Data(bytes)
	m.Plugin(0)
	boom := m.Func(none, none, Trap())
	lessOrEqual0 := Code{0x41, 0, 0x4c} // i32.const 0, i32.le_s
	m.Export(abi.ExportPoll, three, one,
		Const(Arena), Const(httpRoom), Get(2), Call(next), Set(3),
		Get(3), lessOrEqual0, If(Get(3), Return()),
		GetGlobal(id), Const64(1), Add64(), SetGlobal(id),
		GetGlobal(id), Const64(fatal), Eq64(), If(Call(boom)),
		Const(at), Const(int32(len(bytes))), Call(emit), SetGlobal(seq),
		GetGlobal(id), Wrap(), Const(200), Const(0), Const(0), GetGlobal(seq), Call(reply))
	return m
}

// client sends requests as a server does, and notes the answers.
type client struct {
	requests chan *plugin.Exchange
	mu       sync.Mutex
	answers  []string
	header   http.Header
}

func newClient() *client { return &client{requests: make(chan *plugin.Exchange)} }

func (c *client) grant(r *plugin.Request) { r.Grants.Serve = c.requests }

func (c *client) exchange(name string) *plugin.Exchange {
	r := httptest.NewRequest(http.MethodPost, "/in/"+url.PathEscape(name)+"?a=b", nil)
	return &plugin.Exchange{Request: r, Body: []byte(name), Answer: func(status int, header http.Header, _ []byte) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.answers = append(c.answers, fmt.Sprint(name, " ", status))
		c.header = header
	}}
}

func (c *client) said() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.answers)
}

// read sends a request and reads what the source makes of it.
func (c *client) read(t *testing.T, s *setup, name string) plugin.Emission {
	t.Helper()
	go func() { c.requests <- c.exchange(name) }()
	e, err := s.Source.Read(t.Context())
	if err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	e.Batch.Release()
	return e
}

func TestAnAnswerGoesOutAfterTheCommitAndWithoutTheGuest(t *testing.T) {
	c := newClient()
	s := start(t, webhook(0), abi.Source, c.grant)
	a, b := c.read(t, s, "a"), c.read(t, s, "b")
	if said := c.said(); said != nil {
		t.Fatalf("answered before anything is durable: %q", said)
	}
	in := s.Source.(*source).instance
	in.turn <- struct{}{} // somebody is inside
	if err := s.Source.Ack(t.Context(), a.Seq, nil); err != nil {
		t.Fatal(err)
	}
	if said := c.said(); !slices.Equal(said, []string{"a 200"}) {
		t.Errorf("when a is durable: %q", said)
	}
	<-in.turn
	if err := s.Source.Ack(t.Context(), b.Seq, errors.New("disk full")); err != nil {
		t.Fatal(err)
	}
	if said := c.said(); !slices.Equal(said, []string{"a 200", "b 503"}) || c.header.Get("Retry-After") == "" {
		t.Errorf("when b is refused: %q %v", said, c.header)
	}
	if n := in.serving.Open(); n != 0 {
		t.Errorf("%d requests are still counted", n)
	}
}

func TestRequestsInHandAreRefusedWhenTheInstanceEnds(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, c *client, s *setup){
		"it traps": func(t *testing.T, c *client, s *setup) {
			go func() { c.requests <- c.exchange("in hand") }()
			if _, err := s.Source.Read(t.Context()); err == nil {
				t.Fatal("did not trap")
			}
			if said := c.said(); !slices.Equal(said, []string{"in hand 503"}) {
				t.Errorf("answered %q", said)
			}
			if err := s.Source.Ack(t.Context(), 1, nil); err != nil { // it was on its way to disk, and has come there
				t.Error(err)
			}
			if said := c.said(); !slices.Equal(said, []string{"in hand 503", "durable 200"}) {
				t.Errorf("answered %q", said)
			}
			s.close(t)
		},
		"it is closed": func(t *testing.T, c *client, s *setup) { s.close(t) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient()
			s := &setup{}
			if err := s.tryOpen(t, webhook(3), abi.Source, c.grant); err != nil {
				t.Fatal(err)
			}
			c.read(t, s, "durable")
			c.read(t, s, "in doubt")
			end(t, c, s)
			if said := c.said(); !slices.Contains(said, "in doubt 503") {
				t.Errorf("answered %q", said)
			}
		})
	}
}

func TestWhatWasEmittedAndNeverReadIsRefused(t *testing.T) {
	c := newClient()
	m := NewModule()
	emit, _, _, _ := importer(m)
	next := m.Import(abi.ImportHTTPNext, three, one)
	reply := m.Import(abi.ImportHTTPReply, []byte{I32, I32, I32, I32, I64}, one)
	bytes := batch("x")
	at := m.Data(bytes)
	m.Plugin(0)
	put := []Code{Const(at), Const(int32(len(bytes))), Call(emit), Drop()}
	body := []Code{Const(Arena), Const(httpRoom), Const(-1), Call(next), Drop()}
	body = append(append(append(body, put...), put...), Const(1), Const(200), Const(0), Const(0), Const64(2), Call(reply))
	m.Export(abi.ExportPoll, three, one, body...)
	s := &setup{}
	if err := s.tryOpen(t, m, abi.Source, c.grant); err != nil {
		t.Fatal(err)
	}
	first := c.read(t, s, "a")
	s.close(t)
	if said := c.said(); first.Seq != 1 || !slices.Equal(said, []string{"a 503"}) {
		t.Errorf("answered %q", said)
	}
}

// ram is memory for imports that are called without a guest.
type ram struct {
	api.Memory
	b []byte
}

func (m ram) Read(at, n uint32) ([]byte, bool) {
	if uint64(at)+uint64(n) > uint64(len(m.b)) {
		return nil, false
	}
	return m.b[at : at+n : at+n], true
}

// ask calls an import that answers a length or a code.
func ask(in *instance, mem api.Memory, f func(*instance, api.Memory, []uint64), parameters ...int64) (uint32, abi.Code) {
	var stack [5]uint64
	for i, p := range parameters {
		stack[i] = uint64(p)
	}
	f(in, mem, stack[:])
	if got := int64(stack[0]); got < 0 {
		return 0, abi.Code(got)
	}
	return uint32(stack[0]), abi.OK
}

// reply calls http_reply.
func reply(in *instance, mem ram, id, status, ptr, n, after int64) abi.Code {
	_, code := ask(in, mem, httpReply, id, status, ptr, n, after)
	return code
}

// send sends the request in the first n bytes, and answers its id, or a code.
func send(in *instance, mem ram, n uint32, timeout time.Duration) abi.Code {
	id, code := in.requests.Send("api", mem.b[:n], timeout)
	if code < 0 {
		return code
	}
	return abi.Code(id)
}

// statusOf is the status of a response, or a code.
func statusOf(in *instance, id int32, wait time.Duration) abi.Code {
	status, code := in.requests.Status(id, wait)
	if code < 0 {
		return code
	}
	return abi.Code(status)
}

// put encodes one event at the beginning and says how long it is.
func (m ram) put(t *testing.T, body string, attributes ...event.Attribute) uint32 {
	t.Helper()
	var b event.Builder
	if err := b.Append(event.Event{Attributes: attributes, Body: []byte(body)}); err != nil {
		t.Fatal(err)
	}
	return uint32(copy(m.b, b.Bytes()))
}

// get decodes the one event in the first n bytes.
func (m ram) get(t *testing.T, n uint32) (map[string]string, string) {
	t.Helper()
	b, err := event.Parse(m.b[:n])
	if err != nil || b.Len() != 1 {
		t.Fatal(b.Len(), err)
	}
	var e event.Event
	for _, e = range b.All() {
	}
	attributes := map[string]string{}
	for _, a := range e.Attributes {
		attributes[a.Key] += string(a.Value) + ";"
	}
	return attributes, string(e.Body)
}

// quiet is a source that does nothing, for tests that call imports in its name.
func quiet(t *testing.T, change func(*plugin.Request)) *instance {
	m := NewModule()
	m.Plugin(0)
	m.Export(abi.ExportPoll, three, one, Const(0))
	s := start(t, m, abi.Source, change)
	in := s.Source.(*source).instance
	in.call.Context = t.Context()
	return in
}

func TestWhatAGuestLearnsOfARequest(t *testing.T) {
	c := newClient()
	in := quiet(t, c.grant)
	ex := c.exchange("x")
	ex.Request.Header = http.Header{"X-B": {"1", "2"}, "Content-Type": {"text/plain"}, "Penstock.Evil": {"1"}}
	go func() { c.requests <- ex }()
	mem := ram{b: make([]byte, 4096)}
	n, code := ask(in, mem, httpNext, 0, int64(10), -1)
	if code != abi.OK || n <= 10 || mem.b[0] != 0 {
		t.Fatalf("too little room: %d, %s", n, code)
	}
	again, code := ask(in, mem, httpNext, 0, int64(n), 0)
	if code != abi.OK || again != n {
		t.Fatalf("asked again: %d, %s", again, code)
	}
	attributes, body := mem.get(t, n)
	want := map[string]string{":id": "1;", ":method": "POST;", ":path": "/in/x?a=b;", ":remote": "192.0.2.1:1234;", "host": "example.com;",
		"content-type": "text/plain;", "x-b": "1;2;"}
	if fmt.Sprint(attributes) != fmt.Sprint(want) || body != "x" {
		t.Errorf("%v, %q", attributes, body)
	}
	if _, code := ask(in, mem, httpNext, 0, int64(4096), 0); code != abi.EAGAIN {
		t.Errorf("nothing there: %s", code)
	}
}

func TestAReplyThatIsWrongLeavesTheRequest(t *testing.T) {
	c := newClient()
	in := quiet(t, c.grant)
	go func() { c.requests <- c.exchange("x") }()
	mem := ram{b: make([]byte, 4096)}
	if _, code := ask(in, mem, httpNext, 0, int64(4096), -1); code != abi.OK {
		t.Fatal(code)
	}
	n := mem.put(t, "", event.Attribute{Key: "transfer-encoding", Value: []byte("chunked")})
	for name, code := range map[string]abi.Code{
		"unknown id":        reply(in, mem, 2, 200, 0, 0, 0),
		"status 99":         reply(in, mem, 1, 99, 0, 0, 0),
		"status 1000":       reply(in, mem, 1, 1000, 0, 0, 0),
		"not emitted yet":   reply(in, mem, 1, 200, 0, 0, 1),
		"a negative number": reply(in, mem, 1, 200, 0, 0, -1),
		"no such memory":    reply(in, mem, 1, 200, 4000, 100, 0),
		"not a batch":       reply(in, mem, 1, 200, 2000, 100, 0),
		"the host's header": reply(in, mem, 1, 200, 0, int64(n), 0),
	} {
		if code != abi.EINVAL {
			t.Errorf("%s: %s", name, code)
		}
	}
	if said := c.said(); said != nil {
		t.Errorf("answered %q", said)
	}
	n = mem.put(t, "hello", event.Attribute{Key: "x-a", Value: []byte("1")})
	if code := reply(in, mem, 1, 201, 0, int64(n), 0); code != abi.OK || c.header.Get("X-A") != "1" {
		t.Errorf("%s %v", code, c.header)
	}
	if code := reply(in, mem, 1, 201, 0, int64(n), 0); code != abi.EINVAL {
		t.Errorf("twice: %s", code)
	}
	if said := c.said(); !slices.Equal(said, []string{"x 201"}) {
		t.Errorf("answered %q", said)
	}
}

func TestAWaitForARequestEndsAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		timeout time.Duration
		during  func(c *client, in *instance)
		code    abi.Code
		after   time.Duration
	}{
		"when one comes":    {-1, func(c *client, _ *instance) { c.requests <- c.exchange("x") }, abi.OK, time.Minute},
		"for an ack":        {-1, func(_ *client, in *instance) { _ = in.enterSoon(context.Background()) }, abi.EINTR, time.Minute},
		"when it is closed": {-1, func(_ *client, in *instance) { close(in.closing) }, abi.EINTR, time.Minute},
		"in time":           {1500 * time.Millisecond, func(*client, *instance) {}, abi.ETIMEOUT, 1500 * time.Millisecond},
		"without waiting":   {0, func(*client, *instance) {}, abi.EAGAIN, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := newClient()
				in := &instance{
					kind: abi.Source, turn: make(chan struct{}, 1), nudge: make(chan struct{}, 1), closing: make(chan struct{}), timer: time.NewTimer(time.Hour),
				}
				in.call.Context = t.Context()
				in.serving = exchange.NewServer(guestCalls{in}, client.requests, nil)
				in.timer.Stop()
				in.turn <- struct{}{}
				go func() { time.Sleep(time.Minute); c.during(client, in) }()
				start := time.Now()
				if _, code := in.serving.Next(1<<20, c.timeout); code != c.code || time.Since(start) != c.after {
					t.Errorf("%s after %v, want %s after %v", code, time.Since(start), c.code, c.after)
				}
				<-in.turn
				time.Sleep(2 * time.Minute)
			})
		})
	}
}

func TestWithoutAGrantThereIsNoHTTP(t *testing.T) {
	s := &setup{}
	m := NewModule()
	m.Plugin(0)
	m.Export(abi.ExportPoll, three, one, Const(0))
	if err := s.tryOpen(t, m, abi.Source, nil); err != nil {
		t.Fatal(err)
	}
	defer s.close(t)
	in := s.Source.(*source).instance
	in.call.Context = t.Context()
	mem := ram{b: make([]byte, 100)}
	_, next := ask(in, mem, httpNext, 0, int64(100), -1)
	send := send(in, mem, 0, -1)
	if reply := reply(in, mem, 1, 200, 0, 0, 0); next != abi.EACCES || send != abi.EACCES || reply != abi.EACCES {
		t.Errorf("next %s, send %s, reply %s", next, send, reply)
	}
	if s.meter.denied("serve") != 2 || s.meter.denied("http") != 1 {
		t.Errorf("denied: %v", s.meter.denies)
	}
}

func TestAnInstanceTakesOnlySoManyRequests(t *testing.T) {
	c := newClient()
	in := quiet(t, c.grant)
	mem := ram{b: make([]byte, 4096)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	gone := ctx
	send := func() {
		go func() {
			ex := c.exchange("x")
			ex.Request = ex.Request.WithContext(gone)
			select {
			case c.requests <- ex:
			case <-t.Context().Done():
			}
		}()
	}
	for i := range exchange.MaxTaken {
		send()
		if _, code := ask(in, mem, httpNext, 0, int64(4096), -1); code != abi.OK {
			t.Fatalf("request %d: %s", i, code)
		}
	}
	gone = t.Context()
	send()
	if _, code := ask(in, mem, httpNext, 0, int64(4096), -1); code != abi.EAGAIN {
		t.Errorf("one more: %s", code)
	}
	cancel() // their clients go away
	if _, code := ask(in, mem, httpNext, 0, int64(4096), -1); code != abi.OK || in.serving.Open() != 1 {
		t.Errorf("when the others have gone: %s, %d", code, in.serving.Open())
	}
}

func TestRequestsGoOutAndResponsesComeBack(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Seen", fmt.Sprint(r.Method, " ", r.URL.RequestURI(), " ", r.Header.Get("X-A"), " ", r.Header.Get("User-Agent")))
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(strings.Repeat(string(body), 10_000)))
	}))
	defer srv.Close()
	in := fetcher(t, srv.URL+"/base", 1<<20)
	mem := ram{b: make([]byte, 4096)}
	n := mem.put(t, "0123456789", event.Attribute{Key: abi.HTTPMethod, Value: []byte("PUT")},
		event.Attribute{Key: abi.HTTPPath, Value: []byte("/x?y=z")}, event.Attribute{Key: "x-a", Value: []byte("1")})
	code := send(in, mem, n, 10*time.Second)
	if code < 0 {
		t.Fatal(code)
	}
	id := int32(code)
	if code := statusOf(in, id, -1); code != http.StatusCreated {
		t.Fatalf("status %d: %v", code, in.lost)
	}
	long, _ := ask(in, mem, httpHead, int64(id), 0, int64(0))
	if n, _ := ask(in, mem, httpHead, int64(id), 0, int64(long)); n != long {
		t.Errorf("head of %d bytes, then of %d", long, n)
	}
	if attributes, _ := mem.get(t, long); attributes["x-seen"] != "PUT /base/x?y=z 1 penstock;" {
		t.Errorf("%v", attributes)
	}
	total := 0
	for code = 0; code == abi.OK; {
		var n uint32
		n, code = ask(in, mem, httpRead, int64(id), 0, 4096, -1)
		total += int(n)
	}
	if code != abi.EOF || total != 100_000 {
		t.Errorf("%d bytes, then %s", total, code)
	}
	stack := []uint64{uint64(id)}
	for _, want := range []abi.Code{abi.OK, abi.EINVAL} {
		stack[0] = uint64(id)
		if httpClose(in, mem, stack); stack[0] != answer(want) {
			t.Errorf("close answers %d, want %s", int64(stack[0]), want)
		}
	}
}

// fetcher is an instance that may send requests to base.
func fetcher(t *testing.T, base string, longest int64) *instance {
	t.Helper()
	req := httptest.NewRequest(http.MethodGet, base, nil)
	transport := &http.Transport{DisableKeepAlives: true}
	t.Cleanup(transport.CloseIdleConnections)
	client := plugin.HTTPClient{Base: req.URL, Client: &http.Client{Transport: transport}, MaxResponse: longest}
	return quiet(t, func(r *plugin.Request) { r.Grants.HTTP = map[string]plugin.HTTPClient{"api": client} })
}

func TestRequestsThatGoWrong(t *testing.T) {
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			<-release
		case "/long":
			_, _ = w.Write(make([]byte, 5000))
		case "/cut":
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write(make([]byte, 10))
		}
	}))
	defer srv.Close()
	defer close(release)
	in := fetcher(t, srv.URL, 4999)
	refused := fetcher(t, "http://127.0.0.1:1", 100)
	mem := ram{b: make([]byte, 8192)}
	fetch := func(in *instance, timeout time.Duration, attributes ...event.Attribute) abi.Code {
		code := send(in, mem, mem.put(t, "", attributes...), timeout)
		if code < 0 {
			return code
		}
		id := int32(code)
		defer httpClose(in, mem, []uint64{uint64(id)})
		if code := statusOf(in, id, -1); code < 0 {
			return code
		}
		for {
			if _, code := ask(in, mem, httpRead, int64(id), 0, 8192, -1); code != abi.OK {
				return code
			}
		}
	}
	path := func(p string) event.Attribute { return event.Attribute{Key: abi.HTTPPath, Value: []byte(p)} }
	for name, c := range map[string]struct{ got, want abi.Code }{
		"nothing wrong":        {fetch(in, 5*time.Second, path("/")), abi.EOF},
		"it takes too long":    {fetch(in, 20*time.Millisecond, path("/slow")), abi.ETIMEOUT},
		"a response too long":  {fetch(in, 5*time.Second, path("/long")), abi.ETOOBIG},
		"a response cut short": {fetch(in, 5*time.Second, path("/cut")), abi.EIO},
		"nobody listens":       {fetch(refused, 5*time.Second), abi.EIO},
		"a path that goes up":  {fetch(in, 5*time.Second, path("/../x")), abi.EINVAL},
		"a host of its own":    {fetch(in, 5*time.Second, event.Attribute{Key: "host", Value: []byte("evil")}), abi.EINVAL},
		"a method that is not": {fetch(in, 5*time.Second, event.Attribute{Key: abi.HTTPMethod, Value: []byte("G T")}), abi.EINVAL},
		"a header that is not": {fetch(in, 5*time.Second, event.Attribute{Key: "x", Value: []byte("a\r\nb: c")}), abi.EIO},
	} {
		if c.got != c.want {
			t.Errorf("%s: %s, want %s", name, c.got, c.want)
		}
	}
	if err := refused.failed(abi.EIO); !strings.Contains(err.Message, "connection refused") {
		t.Errorf("the error does not say why: %v", err)
	}
	if code := statusOf(in, 99, 0); code != abi.EINVAL {
		t.Errorf("unknown id: %s", code)
	}
}

func TestOpenRequestsAreBoundedAndEndWithTheInstance(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(srv.Close) // after the instance has ended, and with it the requests that hang there
	in := fetcher(t, srv.URL, 100)
	mem := ram{b: make([]byte, 4096)}
	n := mem.put(t, "")
	for i := range exchange.MaxSent {
		if code := send(in, mem, n, -1); code < 0 {
			t.Fatalf("request %d: %s", i, code)
		}
	}
	if code := send(in, mem, n, -1); code != abi.EAGAIN {
		t.Errorf("one more: %s", code)
	}
	if code := statusOf(in, 1, 0); code != abi.EAGAIN {
		t.Errorf("no status yet: %s", code)
	}
	in.turn <- struct{}{}
	acked := make(chan error)
	go func() { acked <- in.enterSoon(context.Background()) }()
	if code := statusOf(in, 1, -1); code != abi.EINTR {
		t.Errorf("an ack waits: %s", code)
	}
	in.leave()
	if err := <-acked; err != nil {
		t.Error(err)
	}
	in.leave()
}
