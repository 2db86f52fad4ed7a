// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// network is a client, what stands between, and a server that took its connection.
type network struct {
	t              *testing.T
	proxy          *Proxy
	client, server *net.TCPConn
	listener       *net.TCPListener
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Listen("127.0.0.1:0", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	n := &network{t: t, proxy: p, listener: l.(*net.TCPListener)}
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run says %v", err)
		}
		_, _, _ = n.client.Close(), n.server.Close(), l.Close() // most have ended
	})
	n.client = n.dial()
	if n.server, err = n.listener.AcceptTCP(); err != nil {
		t.Fatal(err)
	}
	n.say(n.client, "hello") // what comes through is known to the proxy
	n.gets(n.server, "hello", patience)
	return n
}

func (n *network) dial() *net.TCPConn {
	n.t.Helper()
	c, err := net.Dial("tcp", n.proxy.listener.Addr().String())
	if err != nil {
		n.t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// refused checks that a new connection is reset, soon or at once.
func (n *network) refused() {
	n.t.Helper()
	c, err := net.Dial("tcp", n.proxy.listener.Addr().String())
	if err == nil {
		defer c.Close()
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		n.t.Errorf("a connection ends with %v", err)
	}
}

// gets checks what comes out at a side, within a time.
func (n *network) gets(c net.Conn, want string, within time.Duration) {
	n.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(within))
	buf := make([]byte, len(want))
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != want {
		n.t.Errorf("%q comes out, %v, not %q", buf, err, want)
	}
}

// silent checks that nothing comes out.
func (n *network) silent(c net.Conn) {
	n.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	var late net.Error
	if k, err := c.Read(make([]byte, 1)); !errors.As(err, &late) || !late.Timeout() {
		n.t.Errorf("%d bytes come out, %v", k, err)
	}
}

// ends checks how a connection ends: with that error.
func (n *network) ends(c net.Conn, want error) {
	n.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if k, err := c.Read(make([]byte, 1)); k != 0 || !errors.Is(err, want) {
		n.t.Errorf("it ends after %d bytes with %v, not %v", k, err, want)
	}
}

func (n *network) say(c net.Conn, text string) {
	n.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		n.t.Error(err)
	}
}

const patience = 10 * time.Second // of a busy machine

func TestBothWaysArePassedOnAndEndAlone(t *testing.T) {
	n := newNetwork(t)
	n.say(n.client, "question")
	n.gets(n.server, "question", patience)
	_ = n.client.CloseWrite()
	n.ends(n.server, io.EOF)
	n.say(n.server, "answer")
	n.gets(n.client, "answer", patience)
	_ = n.server.CloseWrite()
	n.ends(n.client, io.EOF)
}

func TestMuchComesOutAsItWentIn(t *testing.T) {
	n := newNetwork(t)
	want := bytes.Repeat([]byte("0123456789abcde"), 200_000)
	go func() { // until all is read, below
		_, _ = n.client.Write(want)
		_ = n.client.CloseWrite()
	}()
	_ = n.server.SetReadDeadline(time.Now().Add(patience))
	if got, err := io.ReadAll(n.server); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes come out of %d, %v", len(got), len(want), err)
	}
}

func TestACutResetsWhatThereIsAndWhatComes(t *testing.T) {
	n := newNetwork(t)
	n.proxy.Set(Fault{Cut: true})
	n.ends(n.client, syscall.ECONNRESET)
	n.ends(n.server, syscall.ECONNRESET)
	n.refused()
	n.proxy.Set(Fault{})
	again := n.dial()
	defer again.Close()
	n.say(again, "back")
	server, err := n.listener.AcceptTCP()
	for err == nil { // of those that came, the first was cut
		_ = server.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadFull(server, make([]byte, 4)); err == nil {
			break
		}
		_ = server.Close()
		server, err = n.listener.AcceptTCP()
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = server.Close()
	if n.proxy.Taken() != 3 {
		t.Errorf("%d connections came, not 3", n.proxy.Taken())
	}
}

func TestStillLetsNothingThroughInItsDirectionUntilItIsOver(t *testing.T) {
	n := newNetwork(t)
	n.proxy.Set(Fault{Still: [2]bool{Down: true}})
	n.say(n.client, "question")
	n.gets(n.server, "question", patience)
	n.say(n.server, "answer")
	n.silent(n.client)
	n.proxy.Set(Fault{})
	n.gets(n.client, "answer", patience)
}

func TestAResetEndsWhatStandsStill(t *testing.T) {
	n := newNetwork(t)
	n.proxy.Set(Fault{Still: [2]bool{true, true}})
	n.say(n.client, "question")
	n.silent(n.server)
	n.proxy.Set(Fault{Cut: true})
	n.ends(n.server, syscall.ECONNRESET)
}

func TestDelayHoldsEachPiece(t *testing.T) {
	n := newNetwork(t)
	n.proxy.Set(Fault{Delay: 100 * time.Millisecond})
	began := time.Now()
	n.say(n.client, "late")
	n.gets(n.server, "late", patience)
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("it comes after %v", took)
	}
	n.proxy.Set(Fault{Delay: time.Hour})
	n.say(n.client, "soon")
	n.silent(n.server)
	n.proxy.Set(Fault{})
	n.gets(n.server, "soon", patience)
}

func TestAHalfCloseEndsOneDirectionAndLosesWhatIsSaidInIt(t *testing.T) {
	n := newNetwork(t)
	n.proxy.HalfClose(Up)
	n.ends(n.server, io.EOF)
	n.say(n.client, "lost")
	n.say(n.server, "answer")
	n.gets(n.client, "answer", patience)
	_ = n.server.CloseWrite()
	n.ends(n.client, io.EOF)
}

func TestATearLetsSoManyBytesThrough(t *testing.T) {
	n := newNetwork(t)
	n.proxy.Tear(Up, 7)
	n.say(n.client, "abc")
	n.gets(n.server, "abc", patience)
	n.say(n.client, "defgh")
	n.gets(n.server, "defg", patience)
	n.ends(n.server, syscall.ECONNRESET)
	n.ends(n.client, syscall.ECONNRESET)
}

func TestWithoutAServerConnectionsAreReset(t *testing.T) {
	n := newNetwork(t)
	_ = n.listener.Close()
	n.refused()
}
