// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/spec/abi"
)

// secure is a connection over TLS: the guest's handle, and the other end.
func (s *setup) secure(t *testing.T) (int32, *tls.Conn) {
	t.Helper()
	if s.grants.Dial["tls"] == nil {
		srv := httptest.NewTLSServer(nil)
		t.Cleanup(srv.Close)
		s.config = srv.TLS
		s.grants.Dial["tls"] = func(ctx context.Context) (net.Conn, error) {
			c, err := s.grants.Dial["out"](ctx)
			if err != nil {
				return nil, err
			}
			secure := tls.Client(c, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, ServerName: "example.com"})
			return secure, secure.HandshakeContext(ctx)
		}
	}
	peers := make(chan *tls.Conn, 1)
	go func() {
		c, err := s.ln.Accept()
		if err != nil {
			close(peers)
			return
		}
		secure := tls.Server(c, s.config)
		if err := secure.Handshake(); err != nil {
			t.Error(err)
		}
		peers <- secure
	}()
	fd := must[int32](t)(s.Open("tls", 5*time.Second))
	peer := <-peers
	t.Cleanup(func() { _ = peer.NetConn().Close() })
	return fd, peer
}

func TestAConnectionOverTLSIsReadAheadAndWritten(t *testing.T) {
	s := start(t, 0)
	fd, peer := s.secure(t)
	buf := make([]byte, 100)
	if _, code := s.Read(fd, buf, 0); code != abi.EAGAIN {
		t.Errorf("read of nothing: %s", code)
	}
	if _, code := s.Read(fd, buf, 5*time.Millisecond); code != abi.ETIMEOUT {
		t.Errorf("wait for nothing: %s", code)
	}
	out := make([]int32, 4)
	for range 50 {
		go func() { _, _ = io.WriteString(peer, "hello") }()
		if n := must[int](t)(s.Wait(out, 5*time.Second)); n != 1 || out[0] != fd {
			t.Fatalf("ready: %v", out[:n])
		}
		if n := must[int](t)(s.Read(fd, buf, 0)); string(buf[:n]) != "hello" {
			t.Errorf("read %q", buf[:n])
		}
	}
	if _, code := s.Wait(out, 0); code != abi.EAGAIN {
		t.Errorf("idle: %s", code)
	}
	want := strings.Repeat("0123456789", 50_000)
	go func() { _, _ = io.WriteString(peer, want) }()
	var got bytes.Buffer
	for got.Len() < len(want) {
		n := must[int](t)(s.Read(fd, buf, 5*time.Second))
		got.Write(buf[:n])
	}
	if got.String() != want {
		t.Error("read other than was sent")
	}
	echo := make(chan string)
	go func() {
		b := make([]byte, len(want))
		_, _ = io.ReadFull(peer, b)
		echo <- string(b)
	}()
	for sent := 0; sent < len(want); {
		sent += must[int](t)(s.Write(fd, []byte(want)[sent:], 5*time.Second, 0))
	}
	if <-echo != want {
		t.Error("received other than was written")
	}
	info := string(must[[]byte](t)(s.Info(fd)))
	if !strings.Contains(info, `"tls":{"version":"TLS 1.3","server_name":"example.com","peer":{"subject":`) {
		t.Errorf("info: %s", info)
	}
	_ = peer.Close()
	if n := must[int](t)(s.Wait(out, 5*time.Second)); n != 1 {
		t.Errorf("at the end: %v", out[:n])
	}
	if _, code := s.Read(fd, buf, 0); code != abi.EOF {
		t.Errorf("at the end: %s", code)
	}
	s.CloseHandle(fd)
	if _, code := s.Wait(out, 5*time.Millisecond); code != abi.ETIMEOUT {
		t.Errorf("after it was closed: %s", code)
	}
}

func TestAnAnswerOverTLSLeavesWhenItsBatchIsDurable(t *testing.T) {
	s := start(t, 0)
	fd, peer := s.secure(t)
	refused, lost := s.secure(t)
	must[int](t)(s.Write(fd, []byte("thanks"), 0, 1))
	must[int](t)(s.Write(refused, []byte("thanks"), 0, 2))
	must[int](t)(s.Write(fd, []byte(", and more"), 0, 0))
	s.CloseHandle(fd)
	silent(t, peer.NetConn())
	s.decide(1, true)
	if got := receive(t, peer, 16); got != "thanks, and more" {
		t.Errorf("received %q", got)
	}
	if n, err := peer.Read(make([]byte, 1)); n > 0 || err != io.EOF { // it says goodbye
		t.Errorf("at the end: %d, %v", n, err)
	}
	s.decide(2, false)
	if n, err := lost.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Errorf("refused: %d, %v", n, err)
	}
	if _, code := s.Read(refused, make([]byte, 1), 5*time.Second); code != abi.EOF {
		t.Errorf("the guest reads %s", code)
	}
}

func TestAWriteOverTLSThatFailsSaysSo(t *testing.T) {
	s := start(t, 0)
	fd, peer := s.secure(t)
	_ = peer.NetConn().(*net.TCPConn).SetLinger(0)
	_ = peer.NetConn().Close() // a reset
	if _, code := s.Read(fd, make([]byte, 1), 5*time.Second); code != abi.EIO {
		t.Errorf("read: %s", code)
	}
	if _, code := s.Write(fd, []byte("x"), 5*time.Second, 0); code != abi.EIO || len(s.lost) == 0 { // the first already, though it was encrypted elsewhere
		t.Errorf("write: %s, %v", code, s.lost)
	}
}

func TestEveryWaitOverTLSEndsWhenTheHostWantsTheGuest(t *testing.T) {
	s := start(t, 0)
	fd, _ := s.secure(t)
	chunk := make([]byte, 1<<20)
	for {
		if _, code := s.Write(fd, chunk, 50*time.Millisecond, 0); code < 0 {
			break
		}
	}
	for name, call := range map[string]func() abi.Code{
		"read":  func() abi.Code { _, code := s.Read(fd, chunk, -1); return code },
		"write": func() abi.Code { _, code := s.Write(fd, chunk, -1, 0); return code },
	} {
		s.returnsAtOnce(name, call)
	}
	began := time.Now()
	s.Set.Close() // does not wait for a peer that does not read
	if took := time.Since(began); took > 5*farewell {
		t.Errorf("close took %v", took)
	}
}
