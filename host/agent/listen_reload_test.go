// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/penstock/host/admin"
)

// calls is what became of the requests, or connections, of clients.
type calls struct {
	good, busy, refused, reset, other atomic.Int64
	last                              atomic.Pointer[error] // of other
}

func (c *calls) note(err error) {
	switch {
	case err == nil:
		c.good.Add(1)
	case errors.Is(err, syscall.ECONNREFUSED):
		c.refused.Add(1)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ENOTCONN), errors.Is(err, io.EOF):
		c.reset.Add(1)
	default:
		c.other.Add(1)
		c.last.Store(&err)
	}
}

// check says what clients have seen.
func (c *calls) check(t *testing.T) {
	t.Helper()
	t.Logf("%d were taken, %d told to come again", c.good.Load(), c.busy.Load())
	if c.refused.Load()+c.reset.Load()+c.other.Load() > 0 || c.good.Load() == 0 {
		t.Errorf("%d were refused, %d reset, %d failed otherwise", c.refused.Load(), c.reset.Load(), c.other.Load())
		if err := c.last.Load(); err != nil {
			t.Error(*err)
		}
	}
}

// clients are several that do something again and again, until they are stopped.
func clients(t *testing.T, n int, do func(client, i int)) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var g errgroup.Group
	for client := range n {
		g.Go(func() error {
			for i := 0; ctx.Err() == nil; i++ {
				do(client, i)
			}
			return nil
		})
	}
	return func() {
		cancel()
		_ = g.Wait()
	}
}

// address is where a source listens.
func (r rig) address(source string) string {
	for _, l := range r.component(source).Listeners {
		_, at, _ := strings.Cut(l.Address, "://")
		return at
	}
	return ""
}

func TestNobodyIsRefusedOrResetWhileAnHTTPSourceIsReloaded(t *testing.T) {
	pipeline := `
source "http" "in" {
  into = channel.main
  config { listen = "tcp://127.0.0.1:0" }
}
channel "wal" "main" {
  durability = "os"
}
sink "file" "a" {
  from = channel.main
  config { path = "DIR/a.log" }
}
`
	r := run(t, t.TempDir(), pipeline)
	eventually(t, "it listens", func() bool { return r.component("source.in").State == admin.Running })
	url := "http://" + r.address("source.in") + "/"
	var seen calls
	const many = 8
	kept := make([]*http.Client, many) // every second one makes a connection for each request
	for i := range kept {
		kept[i] = &http.Client{Transport: &http.Transport{DisableKeepAlives: i%2 == 1}}
	}
	stop := clients(t, many, func(client, i int) {
		body := fmt.Sprintf("client %d request %d\n", client, i)
		resp, err := kept[client].Post(url, "text/plain", strings.NewReader(body))
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			err = errors.Join(err, resp.Body.Close())
			if resp.StatusCode == http.StatusServiceUnavailable {
				seen.busy.Add(1)
				return
			}
			if resp.StatusCode/100 != 2 {
				err = errors.New(resp.Status)
			}
		}
		seen.note(err)
	})
	for i := range 20 {
		before := r.started()
		changed := strings.Replace(pipeline, "into = channel.main", fmt.Sprintf("into = channel.main\n  through = [processor.f%d]", i), 1) +
			fmt.Sprintf("processor \"filter\" \"f%d\" {\n  config { matches = \"client\" }\n}\n", i)
		if err := r.reload(t, changed); err != nil {
			t.Fatal(err)
		}
		r.onlyChanged(t, before, "source.in")
	}
	stop()
	for _, c := range kept {
		c.CloseIdleConnections()
	}
	seen.check(t)
	taken := int(seen.good.Load())
	eventually(t, "everything that was answered is delivered", func() bool { return int(r.component("sink.a").Events) >= taken && r.component("sink.a").Waiting == 0 })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, line := range r.out(t, "a") {
		count[line]++
	}
	for line, n := range count {
		if n > 1 {
			t.Errorf("%q is there %d times", line, n)
		}
	}
	if len(count) < taken {
		t.Errorf("%d were answered, %d are there", taken, len(count))
	}
}

func TestConnectionsOutliveReloadsOfATCPSource(t *testing.T) {
	for name, secure := range map[string]string{"plain": "", "tls": `
  tls = tls.server`} {
		t.Run(name, func(t *testing.T) {
			pipeline := `
source "tcp" "in" {
  into = channel.main` + secure + `
  config { listen = "SCHEME://127.0.0.1:0" }
}
channel "wal" "main" {
  durability = "os"
}
sink "file" "a" {
  from = channel.main
  config { path = "DIR/a.log" }
}
`
			dial := func(at string) (net.Conn, error) { return net.Dial("tcp", at) }
			scheme := "tcp"
			if secure != "" {
				scheme = "tls"
				pipeline += serverTLS(t)
				dial = func(at string) (net.Conn, error) { return tls.Dial("tcp", at, &tls.Config{InsecureSkipVerify: true}) }
			}
			outlive(t, strings.Replace(pipeline, "SCHEME", scheme, 1), dial)
		})
	}
}

// outlive has senders write all the time, each over one connection, while its source is reloaded again and again.
func outlive(t *testing.T, pipeline string, dial func(at string) (net.Conn, error)) {
	r := run(t, t.TempDir(), pipeline)
	eventually(t, "it listens", func() bool { return r.component("source.in").State == admin.Running })
	at := r.address("source.in")
	const many, reloads = 8, 10
	var conns [many]net.Conn
	var sent [many]int
	for i := range conns {
		c, err := dial(at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns[i] = c
	}
	var seen calls
	var text [many][]byte // not written yet
	stop := clients(t, many, func(client, _ int) {
		for len(text[client]) < 4<<10 {
			text[client] = fmt.Appendf(text[client], "client %d line %d\n", client, sent[client])
			sent[client]++
		}
		n, err := conns[client].Write(text[client][:1+(sent[client]*7919)%len(text[client])]) // most end within a line
		text[client] = append(text[client][:0], text[client][n:]...)
		seen.note(err)
		time.Sleep(time.Millisecond)
	})
	for i := range reloads {
		before := r.started()
		changed := strings.Replace(pipeline, "into = channel.main", fmt.Sprintf("into = channel.main\n  through = [processor.f%d]", i), 1) +
			fmt.Sprintf("processor \"filter\" \"f%d\" {\n  config { matches = \"client\" }\n}\n", i)
		if err := r.reload(t, changed); err != nil {
			t.Fatal(err)
		}
		r.onlyChanged(t, before, "source.in")
	}
	stop()
	for i, c := range conns {
		_, err := c.Write(text[i])
		if err == nil {
			err = c.(interface{ CloseWrite() error }).CloseWrite()
		}
		if err == nil {
			_, err = io.Copy(io.Discard, c) // until the other side has read it all, and closes
		}
		seen.note(err)
	}
	seen.check(t)
	total := 0
	for _, n := range sent {
		total += n
	}
	eventually(t, "all is delivered", func() bool { return int(r.component("sink.a").Events) >= total && r.component("sink.a").Waiting == 0 })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	next := map[int]int{}
	for _, line := range r.out(t, "a") {
		var client, n int
		if _, err := fmt.Sscanf(line, "client %d line %d", &client, &n); err != nil || n != next[client] {
			t.Fatalf("client %d: %q, wanted line %d", client, line, next[client])
		}
		next[client]++
	}
	for i, n := range sent {
		if next[i] != n {
			t.Errorf("client %d has sent %d lines, %d are there", i, n, next[i])
		}
	}
}

// serverTLS is a tls block with a certificate of its own.
func serverTLS(t *testing.T) string {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	pair := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, "key.pem": {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf(`
tls "server" {
  cert = %q
  key  = %q
}
`, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
}
