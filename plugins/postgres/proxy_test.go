// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/penstock-io/penstock/plugins/postgres/pgtest"
)

// proxy stands between a client and the server, on a unix socket.
type proxy struct {
	dir     string
	swallow atomic.Value // a string: what follows a message of the client that has it reaches the server, and no answer the client, who is cut off
	work    sync.WaitGroup
	// rewrite makes another of what the server says; its zero value, none, leaves it.
	rewrite atomic.Pointer[func([]byte) []byte]
}

func newProxy(t *testing.T, srv *pgtest.Server) *proxy {
	t.Helper()
	dir, err := os.MkdirTemp("", "px") // short: the path of a socket has some 100 bytes
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{dir: dir}
	p.swallow.Store("")
	name := fmt.Sprintf(".s.PGSQL.%d", srv.Port)
	l, err := net.Listen("unix", filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	p.work.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("unix", filepath.Join(srv.Dir, name))
			if err != nil {
				_ = client.Close()
				continue
			}
			p.work.Go(func() { p.forward(client, server) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.work.Wait()
		_ = os.RemoveAll(dir)
	})
	return p
}

func (p *proxy) forward(client, server net.Conn) {
	var deaf atomic.Bool
	var back sync.WaitGroup
	back.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if deaf.Load() || err != nil {
				_ = client.Close()
				_, _ = io.Copy(io.Discard, server)
				return
			}
			said := buf[:n]
			if f := p.rewrite.Load(); f != nil {
				said = (*f)(said)
			}
			_, _ = client.Write(said)
		}
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			break
		}
		if word := p.swallow.Load().(string); word != "" && bytes.Contains(buf[:n], []byte(word)) {
			deaf.Store(true)
		}
		_, _ = server.Write(buf[:n])
	}
	_ = server.(*net.UnixConn).CloseWrite()
	back.Wait()
	_ = server.Close()
}
