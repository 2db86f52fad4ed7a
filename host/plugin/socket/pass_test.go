// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
)

// relay is instances of one component, one after the other, that listen at "in".
type relay struct {
	t     testing.TB
	conns chan net.Conn
	*Set
	in int32
}

// next closes the instance that is there, and opens another.
func (r *relay) next() {
	r.t.Helper()
	if r.Set != nil {
		r.Close()
	}
	pass := func(c net.Conn) { r.conns <- c }
	r.Set = New(newFake(), plugin.Grants{Listen: map[string]plugin.Listener{"in": {Conns: r.conns, Pass: pass}}}, 0)
	r.in = must[int32](r.t)(r.Open("in", 0))
}

func newRelay(t testing.TB) *relay {
	r := &relay{t: t, conns: make(chan net.Conn, 4)}
	r.next()
	t.Cleanup(func() { r.Close() })
	return r
}

// connect has a connection come in, and answers its other end.
func (r *relay) connect(secure bool) net.Conn {
	r.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	in, err := ln.Accept()
	if err != nil {
		r.t.Fatal(err)
	}
	if secure {
		srv := httptest.NewTLSServer(nil)
		r.t.Cleanup(srv.Close)
		server := tls.Server(in, srv.TLS)
		client := tls.Client(c, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, ServerName: "example.com"})
		shaken := make(chan error, 1)
		go func() { shaken <- server.Handshake() }()
		if err := errors.Join(client.Handshake(), <-shaken); err != nil {
			r.t.Fatal(err)
		}
		in, c = server, client
	}
	r.conns <- in
	return c
}

func (r *relay) accept() int32 {
	r.t.Helper()
	return must[int32](r.t)(r.Accept(r.in, 10*time.Second))
}

// eachKind runs a test over plain connections and over TLS.
func eachKind(t *testing.T, test func(t *testing.T, secure bool)) {
	for name, secure := range map[string]bool{"plain": false, "tls": true} {
		t.Run(name, func(t *testing.T) { test(t, secure) })
	}
}

// TestAConnectionIsPassedOnWhole sends a stream that instance after instance reads a bit of, gives some of that back, and passes on.
func TestAConnectionIsPassedOnWhole(t *testing.T) {
	eachKind(t, func(t *testing.T, secure bool) {
		r := newRelay(t)
		peer := r.connect(secure)
		random := rand.New(rand.NewPCG(1, 2))
		want := make([]byte, 1<<20)
		for i := range want {
			want[i] = byte(random.Uint32())
		}
		sent := make(chan error, 1)
		go func() {
			_, err := peer.Write(want)
			if half, ok := peer.(interface{ CloseWrite() error }); ok && err == nil {
				err = half.CloseWrite()
			}
			sent <- err
		}()
		var got, rest []byte
		fd, passed, buf := r.accept(), 0, make([]byte, 40<<10)
		for {
			n, code := r.Read(fd, buf[:1+random.IntN(len(buf))], 10*time.Second)
			if code == abi.EOF {
				break
			}
			got = append(got, buf[:must[int](t)(n, code)]...)
			if random.IntN(3) > 0 {
				continue
			}
			rest = got[len(got)-random.IntN(min(len(got), 30<<10)):]
			got = got[:len(got)-len(rest)]
			if code := r.Pass(fd, rest); code != abi.OK {
				t.Fatalf("answered %s", code)
			}
			clear(rest) // it is the guest's
			if _, code := r.Read(fd, buf, 0); code != abi.EINVAL {
				t.Fatalf("its handle can be read: %s", code)
			}
			if passed++; passed%2 == 0 {
				r.next()
			}
			fd = r.accept()
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) || passed < 10 {
			t.Errorf("%d of %d bytes came, passed on %d times", len(got), len(want), passed)
		}
	})
}

func TestWhatIsGivenBackIsReadyAtOnce(t *testing.T) {
	eachKind(t, func(t *testing.T, secure bool) {
		r := newRelay(t)
		peer := r.connect(secure)
		if code := r.Pass(r.accept(), []byte("begun")); code != abi.OK {
			t.Fatal(code)
		}
		r.next()
		fd, ready := r.accept(), make([]int32, 4)
		if n := must[int](t)(r.Wait(ready, 0)); n != 1 || ready[0] != fd {
			t.Fatalf("ready: %v", ready[:n])
		}
		buf := make([]byte, 3)
		if n := must[int](t)(r.Read(fd, buf, 0)); string(buf[:n]) != "beg" {
			t.Fatalf("%q", buf[:n])
		}
		if code := r.Pass(fd, buf[1:]); code != abi.OK { // with what it did not come to
			t.Fatal(code)
		}
		fd, buf = r.accept(), make([]byte, 9)
		if n := must[int](t)(r.Read(fd, buf, 0)); string(buf[:n]) != "egun" {
			t.Errorf("%q", buf[:n])
		}
		if _, code := r.Read(fd, buf, 0); code != abi.EAGAIN {
			t.Errorf("there is more: %s", code)
		}
		if n, code := r.Wait(ready, 0); code != abi.EAGAIN {
			t.Errorf("ready: %v", ready[:n])
		}
		send(t, peer, "more")
		must[int](t)(r.Wait(ready, 10*time.Second))
		if n := must[int](t)(r.Read(fd, buf, 0)); string(buf[:n]) != "more" {
			t.Errorf("%q", buf[:n])
		}
	})
}

func TestAConnectionThatHasEndedIsPassedOnWithItsEnd(t *testing.T) {
	eachKind(t, func(t *testing.T, secure bool) {
		r := newRelay(t)
		peer := r.connect(secure)
		fd, buf := r.accept(), make([]byte, 9)
		send(t, peer, "last")
		_ = peer.Close()
		for n := 0; n < 4; {
			n += must[int](t)(r.Read(fd, buf[n:], 10*time.Second))
		}
		if _, code := r.Read(fd, buf[4:], 10*time.Second); code != abi.EOF {
			t.Fatalf("%q, %s", buf, code)
		}
		if code := r.Pass(fd, buf[:4]); code != abi.OK {
			t.Fatal(code)
		}
		fd = r.accept()
		if n := must[int](t)(r.Read(fd, buf, 0)); string(buf[:n]) != "last" {
			t.Errorf("%q", buf[:n])
		}
		if _, code := r.Read(fd, buf, 10*time.Second); code != abi.EOF {
			t.Errorf("it has not ended: %s", code)
		}
	})
}

func TestWhatCannotBePassedOnStays(t *testing.T) {
	r := newRelay(t)
	peer := r.connect(false)
	fd := r.accept()
	if code := r.Pass(r.in, nil); code != abi.EINVAL {
		t.Errorf("a listener: %s", code)
	}
	if code := r.Pass(fd, make([]byte, MaxRest+1)); code != abi.ETOOBIG {
		t.Errorf("too much: %s", code)
	}
	must[int](t)(r.Write(fd, []byte("held"), 0, 1))
	if code := r.Pass(fd, nil); code != abi.EAGAIN {
		t.Errorf("something waits to be written: %s", code)
	}
	r.caller.(*fake).decide(1, true)
	if got := receive(t, peer, 4); got != "held" {
		t.Errorf("received %q", got)
	}
	if code := r.Pass(fd, nil); code != abi.OK {
		t.Errorf("afterwards: %s", code)
	}
	s := start(t, 0)
	fd, _ = s.pair()
	if code := s.Pass(fd, nil); code != abi.EINVAL {
		t.Errorf("a connection that was dialled: %s", code)
	}
}

func TestWhoWasNotAcceptedYetIsPassedOn(t *testing.T) {
	r := newRelay(t)
	peer := r.connect(false)
	must[int](t)(r.Wait(make([]int32, 1), 10*time.Second)) // has it at hand
	r.next()
	fd := r.accept()
	send(t, peer, "x")
	if n := must[int](t)(r.Read(fd, make([]byte, 1), 10*time.Second)); n != 1 {
		t.Error(n)
	}
	_ = peer.Close()
	if _, code := r.Read(fd, make([]byte, 1), 10*time.Second); code != abi.EOF {
		t.Errorf("%s, not %v", code, io.EOF)
	}
}

// TestWhatHasNotLeftIsSentByTheNext has more to send than the system takes while the other end does not read.
func TestWhatHasNotLeftIsSentByTheNext(t *testing.T) {
	for name, held := range map[string]bool{"written": false, "released": true} {
		t.Run(name, func(t *testing.T) {
			r := newRelay(t)
			peer := r.connect(false)
			fd := r.accept()
			var want []byte
			for full := false; !full && len(want) < 64<<20; {
				piece := bytes.Repeat([]byte{byte(len(want))}, 100<<10)
				n, code := r.Write(fd, piece, 0, 0)
				want, full = append(want, piece[:max(n, 0)]...), code == abi.EAGAIN
			}
			if held { // and then finds no room
				must[int](t)(r.Write(fd, []byte("released"), 0, 1))
				want = append(want, "released"...)
				r.caller.(*fake).decide(1, true)
			}
			if code := r.Pass(fd, []byte("rest")); code != abi.OK {
				t.Fatal(code)
			}
			r.next()
			fd = r.accept()
			buf := make([]byte, 10)
			if n := must[int](t)(r.Read(fd, buf, 0)); string(buf[:n]) != "rest" {
				t.Errorf("%q", buf[:n])
			}
			written := make(chan error, 1)
			go func() {
				got := make([]byte, len(want)+3)
				_, err := io.ReadFull(peer, got)
				if err == nil && string(got) != string(want)+"end" {
					err = errors.New("something else comes")
				}
				written <- err
			}()
			must[int](t)(r.Write(fd, []byte("end"), 10*time.Second, 0))
			if err := <-written; err != nil {
				t.Error(err)
			}
		})
	}
}
