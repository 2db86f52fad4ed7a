// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/address"
	"github.com/penstock-io/penstock/spec/abi"
)

// pipes is a listener whose connections are in memory, so that a bubble sees all that waits.
type pipes struct {
	conns chan net.Conn // closed by nobody
	ended chan struct{} // closed by Close
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), ended: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.ended:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.ended) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-p.ended:
		return nil, net.ErrClosed
	}
}

// bench is a server in a bubble, and a client.
type bench struct {
	*HTTPServer
	pipes  *pipes
	client *http.Client
}

// inBubble runs f with a server over pipes, where time is that of synctest.
func inBubble(t *testing.T, o ServeOptions, f func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		transport := &http.Transport{DialContext: p.dial}
		b := &bench{serve(p, o), p, &http.Client{Transport: transport}}
		f(t, b)
		transport.CloseIdleConnections()
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// echo answers requests with their bodies until ctx ends.
func (b *bench) echo(ctx context.Context) {
	for {
		select {
		case ex := <-b.Requests():
			ex.Answer(http.StatusOK, nil, ex.Body)
		case <-ctx.Done():
			return
		}
	}
}

type told struct {
	status int
	body   string
	header http.Header
}

func (b *bench) post(t *testing.T, body io.Reader) told {
	t.Helper()
	resp, err := b.client.Post("http://server/path", "text/plain", body)
	if err != nil {
		t.Errorf("post: %v", err)
		return told{}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("read the answer: %v", err)
	}
	return told{resp.StatusCode, string(text), resp.Header}
}

func TestARequestComesWholeAndIsAnswered(t *testing.T) {
	inBubble(t, ServeOptions{}, func(t *testing.T, b *bench) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go b.echo(ctx)
		body := strings.Repeat("x", 100_000)
		for _, r := range []io.Reader{strings.NewReader(body), struct{ io.Reader }{strings.NewReader(body)}} { // announced, chunked
			if got := b.post(t, r); got.status != http.StatusOK || got.body != body {
				t.Errorf("answered %d with %d bytes", got.status, len(got.body))
			}
		}
		if got := b.post(t, nil); got.status != http.StatusOK || got.body != "" {
			t.Errorf("empty body: %+v", got)
		}
	})
}

func TestAHugeBodyIsRefusedAndSeenByNobody(t *testing.T) {
	inBubble(t, ServeOptions{MaxBody: 1000}, func(t *testing.T, b *bench) {
		for name, r := range map[string]io.Reader{
			"announced": strings.NewReader(strings.Repeat("x", 1001)),
			"chunked":   struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 1001))},
		} {
			if got := b.post(t, r); got.status != http.StatusRequestEntityTooLarge {
				t.Errorf("%s: %+v", name, got)
			}
		}
		go func() { (<-b.Requests()).Answer(http.StatusOK, nil, nil) }()
		if got := b.post(t, strings.NewReader(strings.Repeat("x", 1000))); got.status != http.StatusOK {
			t.Errorf("as much as may be: %+v", got)
		}
	})
}

func TestARequestThatNobodyTakesIsRefusedAfterAWhile(t *testing.T) {
	inBubble(t, ServeOptions{}, func(t *testing.T, b *bench) {
		start := time.Now()
		got := b.post(t, strings.NewReader("x"))
		if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") != "1" || time.Since(start) != abi.DefaultHTTPQueueTimeout {
			t.Errorf("after %v: %+v", time.Since(start), got)
		}
		synctest.Wait()
		select {
		case ex := <-b.Requests():
			t.Errorf("the refused request came out: %q", ex.Body)
		default:
		}
	})
}

func TestARequestThatIsTakenAndNotAnsweredIsRefusedInTheEnd(t *testing.T) {
	inBubble(t, ServeOptions{}, func(t *testing.T, b *bench) {
		start := time.Now()
		go func() { <-b.Requests() }()
		if got := b.post(t, nil); got.status != http.StatusServiceUnavailable || time.Since(start) != abi.DefaultHTTPAnswerTimeout {
			t.Errorf("after %v: %+v", time.Since(start), got)
		}
	})
}

func TestOnlySoManyRequestsWait(t *testing.T) {
	inBubble(t, ServeOptions{MaxWaiting: 3}, func(t *testing.T, b *bench) {
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { b.post(t, nil) })
		}
		synctest.Wait()
		start := time.Now()
		if got := b.post(t, nil); got.status != http.StatusServiceUnavailable || time.Since(start) > 0 {
			t.Errorf("one more, after %v: %+v", time.Since(start), got)
		}
		all.Wait()
	})
}

func TestBodiesTogetherHaveABound(t *testing.T) {
	const size = 100 << 10
	inBubble(t, ServeOptions{MaxBody: size, MaxHeld: 3*size + 100}, func(t *testing.T, b *bench) {
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { b.post(t, strings.NewReader(strings.Repeat("x", size))) })
		}
		synctest.Wait()
		start := time.Now()
		if got := b.post(t, strings.NewReader(strings.Repeat("x", size))); got.status != http.StatusServiceUnavailable || time.Since(start) > 0 {
			t.Errorf("one more, after %v: %+v", time.Since(start), got)
		}
		all.Wait()
		go func() { (<-b.Requests()).Answer(http.StatusOK, nil, nil) }()
		if got := b.post(t, strings.NewReader(strings.Repeat("x", size))); got.status != http.StatusOK {
			t.Errorf("when the others have gone: %+v", got)
		}
	})
}

func TestAClientThatHasGoneIsNotHandedOver(t *testing.T) {
	inBubble(t, ServeOptions{Wait: time.Hour}, func(t *testing.T, b *bench) {
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://server/", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if resp, err := b.client.Do(req); err == nil {
				resp.Body.Close()
			}
		}()
		synctest.Wait()
		cancel()
		synctest.Wait()
		select {
		case ex := <-b.Requests():
			t.Errorf("came out: %q", ex.Body)
		default:
		}
	})
}

// raw writes to a connection and answers the first line that comes back, or why none did, and after how long.
func (b *bench) raw(t *testing.T, write func(c net.Conn)) (string, time.Duration) {
	t.Helper()
	c, err := b.pipes.dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	var writer sync.WaitGroup
	defer writer.Wait()
	defer c.Close()
	writer.Go(func() { write(c) })
	start := time.Now()
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		line = err.Error()
	}
	return strings.TrimSpace(line), time.Since(start)
}

func TestASlowClientIsCutOff(t *testing.T) {
	drip := func(c net.Conn, s string) {
		for i := range s {
			if _, err := c.Write([]byte{s[i]}); err != nil {
				return
			}
			time.Sleep(time.Second)
		}
	}
	for name, c := range map[string]struct {
		once, then string
		want       string
		after      time.Duration
	}{
		"nothing sent": {"", "", "EOF", abi.DefaultHTTPHeaderTimeout},
		"header":       {"", "POST / HTTP/1.1\r\nHost: server\r\nX-A: " + strings.Repeat("x", 100), "HTTP/1.1 400 Bad Request", abi.DefaultHTTPHeaderTimeout},
		"body":         {"POST / HTTP/1.1\r\nHost: server\r\nContent-Length: 100\r\n\r\n", strings.Repeat("x", 100), "HTTP/1.1 408 Request Timeout", abi.DefaultHTTPBodyTimeout},
		"chunked body": {"POST / HTTP/1.1\r\nHost: server\r\nTransfer-Encoding: chunked\r\n\r\n", "64\r\n" + strings.Repeat("x", 100), "HTTP/1.1 408 Request Timeout", abi.DefaultHTTPBodyTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, ServeOptions{}, func(t *testing.T, b *bench) {
				got, after := b.raw(t, func(conn net.Conn) {
					_, _ = io.WriteString(conn, c.once)
					drip(conn, c.then)
				})
				if got != c.want || after != c.after {
					t.Errorf("after %v: %s", after, got)
				}
			})
		})
	}
}

func TestManyWhoSendSlowlyKeepNobodyOut(t *testing.T) {
	inBubble(t, ServeOptions{MaxWaiting: 3}, func(t *testing.T, b *bench) {
		var slow sync.WaitGroup
		for range 1000 {
			slow.Go(func() {
				got, _ := b.raw(t, func(c net.Conn) {
					_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: server\r\nContent-Length: 1000000\r\n\r\nx")
				})
				if got != "HTTP/1.1 408 Request Timeout" {
					t.Error(got)
				}
			})
		}
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go b.echo(ctx)
		if got := b.post(t, strings.NewReader(strings.Repeat("x", 100_000))); got.status != http.StatusOK {
			t.Errorf("%+v", got)
		}
		slow.Wait()
	})
}

func TestAHugeHeaderIsRefused(t *testing.T) {
	inBubble(t, ServeOptions{}, func(t *testing.T, b *bench) {
		got, _ := b.raw(t, func(c net.Conn) {
			_, _ = fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: server\r\nX-A: %s\r\n\r\n", strings.Repeat("x", 2*abi.DefaultHTTPHeader))
		})
		if got != "HTTP/1.1 431 Request Header Fields Too Large" {
			t.Error(got)
		}
	})
}

func TestCloseRefusesWhatWaitsAndSendsWhatIsAnswered(t *testing.T) {
	inBubble(t, ServeOptions{Wait: time.Hour}, func(t *testing.T, b *bench) {
		var all sync.WaitGroup
		all.Go(func() {
			if got := b.post(t, strings.NewReader("taken")); got.status != http.StatusOK {
				t.Errorf("taken: %+v", got)
			}
		})
		ex := <-b.Requests()
		all.Go(func() {
			if got := b.post(t, strings.NewReader("waits")); got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
				t.Errorf("waits: %+v", got)
			}
		})
		synctest.Wait()
		all.Go(func() { time.Sleep(time.Second); ex.Answer(http.StatusOK, nil, nil) })
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		all.Wait()
	})
}

func TestCloseDoesNotWaitForEverForAnAnswer(t *testing.T) {
	inBubble(t, ServeOptions{}, func(t *testing.T, b *bench) {
		var all sync.WaitGroup
		all.Go(func() {
			if resp, err := b.client.Post("http://server/", "", nil); err == nil {
				resp.Body.Close()
				t.Errorf("answered %s", resp.Status)
			}
		})
		<-b.Requests()
		start := time.Now()
		if err := b.Close(); err != nil || time.Since(start) > httpShutdown {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		all.Wait()
	})
}

func TestAServerListensOverTCPAndFreesItsAddress(t *testing.T) {
	a, err := address.Parse(abi.NeedServe, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Serve(a, ServeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	go func() { (<-s.Requests()).Answer(http.StatusTeapot, http.Header{"x-one": {"1", "2"}}, []byte("hello")) }()
	transport := &http.Transport{}
	resp, err := (&http.Client{Transport: transport}).Get("http://" + s.Addr().String() + "/x?y=z")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusTeapot || string(body) != "hello" || len(resp.Header["X-One"]) != 2 {
		t.Errorf("%s %q %v", resp.Status, body, resp.Header)
	}
	transport.CloseIdleConnections()
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	again, err := net.Listen("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestRequestsComeOverTLS(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir, "server", "localhost")
	secure, err := serverTLS(TLSOptions{Cert: dir + "/server.pem", Key: dir + "/server.key"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Serve(address.Address{Scheme: "tls", Host: "127.0.0.1"}, ServeOptions{TLS: secure})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	trusting, err := clientTLS("localhost", TLSOptions{CA: dir + "/server.pem"})
	if err != nil {
		t.Fatal(err)
	}
	c := clientOf(t, fmt.Sprintf("https://localhost:%d/in", s.Addr().(*net.TCPAddr).Port), HTTPOptions{TLS: trusting})
	go func() { (<-s.Requests()).Answer(http.StatusOK, nil, nil) }()
	resp, err := c.Client.Post(c.Base.String(), "", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
	if _, err := Serve(address.Address{Scheme: "tls", Host: "127.0.0.1"}, ServeOptions{}); err == nil {
		t.Error("without a certificate it serves, in plain")
	}
	if _, err := Serve(address.Address{Scheme: "udp", Host: "127.0.0.1"}, ServeOptions{}); err == nil {
		t.Error("it serves datagrams")
	}
}
