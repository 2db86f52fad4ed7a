// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// tally counts what goes over limits.
type tally struct {
	mu sync.Mutex
	n  map[string]int
}

func (t *tally) add(limit string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == nil {
		t.n = map[string]int{}
	}
	t.n[limit]++
}

func (t *tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []string
	for _, name := range slices.Sorted(maps.Keys(t.n)) {
		list = append(list, fmt.Sprintf("%s %d", name, t.n[name]))
	}
	return strings.Join(list, ", ")
}

func TestWhatAListenerRefusesHasTheNameOfALimit(t *testing.T) {
	var over tally
	var log bytes.Buffer
	l := listen(t, "tcp://127.0.0.1:0", ListenOptions{Connections: 4, PerPeer: 2, Over: over.add, Log: slog.New(slog.NewTextHandler(&log, nil))})
	for range 2 {
		dial(t, l)
		take(t, l)
	}
	for range 3 {
		if !ends(t, dial(t, l)) {
			t.Fatal("one address may have more than its part")
		}
	}
	full := listen(t, "tcp://127.0.0.1:0", ListenOptions{Connections: 1, PerPeer: 10, Over: over.add})
	dial(t, full)
	take(t, full)
	if !ends(t, dial(t, full)) {
		t.Fatal("there is room for more than one")
	}
	// Who is refused may know it before it is counted.
	eventually(t, "each is counted", func() bool { return over.String() == "listen.connections 1, listen.per_peer 3" })
	eventually(t, "and not as connected", func() bool { n := l.Counts(); return n.Limit == 4 && n.Refused == 3 })
	if err := l.Close(); err != nil { // the log is ours then
		t.Error(err)
	}
	if strings.Count(log.String(), "limit=limits.listen.per_peer") != 1 || !strings.Contains(log.String(), "at=2") || !strings.Contains(log.String(), "peer=127.0.0.1:") {
		t.Errorf("the log says not once what the limit is:\n%s", &log)
	}
}

func TestAHandshakeThatTakesTooLongHasTheNameOfALimit(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir, "server", "localhost")
	cfg, err := serverTLS(TLSOptions{Cert: dir + "/server.pem", Key: dir + "/server.key"})
	if err != nil {
		t.Fatal(err)
	}
	var over tally
	l := listen(t, "tls://127.0.0.1:0", ListenOptions{TLS: cfg, Handshake: 50 * time.Millisecond, Over: over.add})
	if !ends(t, dial(t, l)) {
		t.Error("whoever says nothing may stay")
	}
	eventually(t, "it is counted", func() bool { return over.String() == "listen.handshake_timeout 1" && l.Counts().Lost == 1 })
}

func TestALimitIsToldOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		o := overs{block: serveBlock, log: slog.New(slog.NewTextHandler(&log, nil))}
		for range 200 {
			o.tell(limitBody, nil)
			time.Sleep(time.Second)
		}
		if strings.Count(log.String(), "limits.serve.body") != 4 || strings.Count(log.String(), "others_since=59") != 3 {
			t.Errorf("%s", &log)
		}
	})
}

// TestWhatAServerRefusesHasTheNameOfALimit brings about each refusal of an HTTP server, and looks that it is counted under one name, and that
// whoever is told anything is told that name.
func TestWhatAServerRefusesHasTheNameOfALimit(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	post := func(r func() io.Reader) func(t *testing.T, b *bench) string {
		return func(t *testing.T, b *bench) string { return b.post(t, r()).body }
	}
	slow := func(text string) func(t *testing.T, b *bench) string {
		return func(t *testing.T, b *bench) string {
			_, _ = b.raw(t, func(c net.Conn) { _, _ = io.WriteString(c, text) })
			return ""
		}
	}
	for name, c := range map[string]struct {
		o    ServeOptions
		do   func(t *testing.T, b *bench) string
		want string
		said bool
		of   int // the answer's first digit; 0: there is none
	}{
		"body announced": {ServeOptions{MaxBody: 10}, post(func() io.Reader { return strings.NewReader(long) }), "body", true, 4},
		"body chunked":   {ServeOptions{MaxBody: 10}, post(func() io.Reader { return struct{ io.Reader }{strings.NewReader(long)} }), "body", true, 4},
		"bodies":         {ServeOptions{MaxBody: 10, MaxHeld: 10}, post(func() io.Reader { return strings.NewReader("12345678901") }), "body", true, 4},
		"header":         {ServeOptions{MaxHeader: 100}, slow("POST / HTTP/1.1\r\nHost: server\r\nX-A: " + long + "\r\n\r\n"), "header", false, 4},
		"slow header":    {ServeOptions{Header: time.Second}, slow("POST / HTTP/1.1\r\nHost: server\r\nX-A: "), "header_timeout", false, 0},
		"silent":         {ServeOptions{Header: time.Second}, slow(""), "header_timeout", false, 0},
		"slow body":      {ServeOptions{Body: time.Second}, slow("POST / HTTP/1.1\r\nHost: server\r\nContent-Length: 9\r\n\r\nx"), "body_timeout", false, 4},
		"not taken":      {ServeOptions{}, post(func() io.Reader { return nil }), "queue_timeout", true, 5},
		"not answered": {ServeOptions{}, func(t *testing.T, b *bench) string {
			go func() { <-b.Requests() }()
			return b.post(t, nil).body
		}, "answer_timeout", true, 5},
		"held": {ServeOptions{MaxBody: 5000, MaxHeld: 6000}, func(t *testing.T, b *bench) string {
			var first sync.WaitGroup
			defer first.Wait()
			first.Go(func() { b.post(t, strings.NewReader(long[:5000])) })
			(<-b.Requests()).Answer(http.StatusOK, nil, nil)
			first.Wait()
			first.Go(func() { b.post(t, strings.NewReader(long[:5000])) })
			ex := <-b.Requests()
			defer ex.Answer(http.StatusOK, nil, nil)
			return b.post(t, strings.NewReader(long[:5000])).body
		}, "held", true, 5},
		"requests": {ServeOptions{MaxWaiting: 1}, func(t *testing.T, b *bench) string {
			var first sync.WaitGroup
			defer first.Wait()
			first.Go(func() { b.post(t, nil) })
			ex := <-b.Requests()
			defer ex.Answer(http.StatusOK, nil, nil)
			return b.post(t, nil).body
		}, "requests", true, 5},
	} {
		t.Run(name, func(t *testing.T) {
			var over tally
			c.o.Over = over.add
			inBubble(t, c.o, func(t *testing.T, b *bench) {
				said := c.do(t, b)
				synctest.Wait()
				if got := over.String(); got != "serve."+c.want+" 1" {
					t.Errorf("counted: %q", got)
				}
				if c.said && !strings.Contains(said, "(limits.serve."+c.want+")") {
					t.Errorf("said: %q", said)
				}
				if n := b.Counts().Answers; c.of > 0 && n[c.of] != 1 {
					t.Errorf("answers: %v", n)
				}
			})
		})
	}
}

func TestAConnectionAtRestIsNotCountedAsSlow(t *testing.T) {
	var over tally
	inBubble(t, ServeOptions{Idle: 3 * time.Second, Over: over.add}, func(t *testing.T, b *bench) {
		go func() { (<-b.Requests()).Answer(http.StatusOK, nil, nil) }()
		if got := b.post(t, strings.NewReader("x")); got.status != http.StatusOK {
			t.Errorf("%+v", got)
		}
		time.Sleep(time.Minute) // its end is that of idle_timeout
		synctest.Wait()
		if got := over.String(); got != "" {
			t.Error(got)
		}
		if n := b.Counts().Answers; n != [6]uint64{0, 0, 1} {
			t.Error(n)
		}
	})
}

func TestALaterHeaderThatIsSlowIsCountedToo(t *testing.T) {
	var over tally
	inBubble(t, ServeOptions{Header: time.Second, Over: over.add}, func(t *testing.T, b *bench) {
		c, err := b.pipes.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		go func() { (<-b.Requests()).Answer(http.StatusOK, nil, nil) }()
		if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: server\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, c) }()
		synctest.Wait()
		if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: ser"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if got := over.String(); got != "serve.header_timeout 1" {
			t.Error(got)
		}
	})
}
