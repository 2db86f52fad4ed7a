// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a guest that waits as an instance does, and whose batches the test makes durable.
type fake struct {
	wanted   chan struct{} // a token: the host wants the guest back
	waits    int
	denied   []string
	lost     []error
	mu       sync.Mutex
	promises map[int64][]func(bool)
}

func newFake() *fake {
	return &fake{wanted: make(chan struct{}, 1), promises: map[int64][]func(bool){}}
}

func (f *fake) Await(d time.Duration, ready <-chan struct{}, from *Conns) (net.Conn, int, abi.Code) {
	if d == 0 {
		return nil, 0, abi.EAGAIN
	}
	f.waits++
	var timer <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timer = t.C
	}
	if from == nil {
		from = &Conns{}
	}
	select {
	case <-ready:
		return nil, 0, abi.OK
	case c := <-from[0]:
		return c, 0, abi.OK
	case c := <-from[1]:
		return c, 1, abi.OK
	case <-timer:
		return nil, 0, abi.ETIMEOUT
	case <-f.wanted:
		return nil, 0, abi.EINTR
	}
}

func (f *fake) Promise(after int64, do func(bool)) abi.Code {
	f.mu.Lock()
	defer f.mu.Unlock()
	if after > 100 {
		return abi.EINVAL
	}
	f.promises[after] = append(f.promises[after], do)
	return abi.OK
}

// decide makes a batch durable, or refuses it.
func (f *fake) decide(seq int64, durable bool) {
	f.mu.Lock()
	due := f.promises[seq]
	delete(f.promises, seq)
	f.mu.Unlock()
	for _, do := range due {
		do(durable)
	}
}

func (f *fake) Denied(capability, what string) { f.denied = append(f.denied, capability+" "+what) }
func (f *fake) Lost(err error)                 { f.lost = append(f.lost, err) }

// setup is a set that may dial "out" and listen at "in"; conns are what comes in there.
type setup struct {
	*Set
	*fake
	conns chan net.Conn
	ln    net.Listener // where "out" leads
	t     testing.TB

	config *tls.Config // of the other end of "tls"
}

func start(t testing.TB, limit int) *setup {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &setup{fake: newFake(), conns: make(chan net.Conn), ln: ln, t: t}
	dialer := func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
	}
	s.Set = New(s.fake, plugin.Grants{
		Dial:   map[string]plugin.Dialer{"out": dialer},
		Listen: map[string]plugin.Listener{"in": {Conns: s.conns, Addr: ln.Addr()}},
	}, limit)
	t.Cleanup(func() { s.Close(); _ = ln.Close() })
	return s
}

// must fails the test if a call was not done.
func must[T any](t testing.TB) func(v T, code abi.Code) T {
	return func(v T, code abi.Code) T {
		t.Helper()
		if code < 0 {
			t.Fatalf("answered %s", code)
		}
		return v
	}
}

// pair is a connection: the guest's handle, and the other end.
func (s *setup) pair() (int32, *net.TCPConn) {
	s.t.Helper()
	fd := must[int32](s.t)(s.Open("out", time.Second))
	peer, err := s.ln.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = peer.Close() })
	return fd, peer.(*net.TCPConn)
}

// come has n connections come in, and answers their other ends.
func (s *setup) come(n int) []net.Conn {
	s.t.Helper()
	var peers []net.Conn
	for range n {
		c, err := net.Dial("tcp", s.ln.Addr().String())
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { _ = c.Close() })
		peers = append(peers, c)
		in, err := s.ln.Accept()
		if err != nil {
			s.t.Fatal(err)
		}
		go func() { s.conns <- in }()
	}
	return peers
}

func send(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func receive(t testing.TB, c net.Conn, n int) string {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, n)
	n, err := io.ReadFull(c, b)
	if err != nil {
		t.Fatalf("received %d bytes, %.50q, then %v", n, b[:n], err)
	}
	return string(b)
}

// ended waits until the other end has no more to say, and answers what that was.
func ended(t testing.TB, c net.Conn) string {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	b, err := io.ReadAll(c)
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		t.Fatalf("it did not end after %q", b)
	}
	return string(b)
}

func TestWhatWasNotGrantedIsNotThere(t *testing.T) {
	s := start(t, 0)
	if _, code := s.Open("else", 0); code != abi.EACCES || !slices.Equal(s.denied, []string{"net_open else"}) {
		t.Errorf("%s, denied %q", code, s.denied)
	}
	for _, fd := range []int32{-1, 0, 1, 1 << 30} {
		buf := make([]byte, 1)
		_, read := s.Read(fd, buf, 0)
		_, write := s.Write(fd, buf, 0, 0)
		_, accept := s.Accept(fd, 0)
		_, _, from := s.ReceiveFrom(fd, buf, 0)
		_, info := s.Info(fd)
		for _, code := range []abi.Code{read, write, accept, from, info, s.Shutdown(fd), s.CloseHandle(fd)} {
			if code != abi.EINVAL {
				t.Errorf("handle %d: %s", fd, code)
			}
		}
	}
}

func TestAConnectionIsDialledReadAndWritten(t *testing.T) {
	s := start(t, 0)
	fd, peer := s.pair()
	buf := make([]byte, 100)
	if _, code := s.Read(fd, buf, 0); code != abi.EAGAIN {
		t.Errorf("read of nothing: %s", code)
	}
	if _, code := s.Read(fd, buf, 5*time.Millisecond); code != abi.ETIMEOUT {
		t.Errorf("wait for nothing: %s", code)
	}
	time.AfterFunc(10*time.Millisecond, func() { _, _ = io.WriteString(peer, "hello") })
	if n := must[int](t)(s.Read(fd, buf, -1)); string(buf[:n]) != "hello" {
		t.Errorf("read %q", buf[:n])
	}
	if n := must[int](t)(s.Write(fd, []byte("answer"), 0, 0)); n != 6 || receive(t, peer, 6) != "answer" {
		t.Errorf("wrote %d", n)
	}
	if code := s.Shutdown(fd); code != abi.OK || ended(t, peer) != "" {
		t.Errorf("shutdown: %s", code)
	}
	if _, code := s.Write(fd, buf, 0, 0); code != abi.EIO {
		t.Errorf("write after shutdown: %s", code)
	}
	send(t, peer, "last")
	if n := must[int](t)(s.Read(fd, buf, time.Second)); string(buf[:n]) != "last" {
		t.Errorf("read %q after shutdown", buf[:n])
	}
	_ = peer.Close()
	for range 2 {
		if _, code := s.Read(fd, buf, time.Second); code != abi.EOF {
			t.Errorf("at the end: %s", code)
		}
	}
	info := string(must[[]byte](t)(s.Info(fd)))
	if want := fmt.Sprintf(`"remote":%q`, s.ln.Addr()); !strings.Contains(info, want) {
		t.Errorf("info %s, want %s", info, want)
	}
	if code := s.CloseHandle(fd); code != abi.OK || s.CloseHandle(fd) != abi.EINVAL {
		t.Errorf("close: %s", code)
	}
}

func TestAWriteWaitsForRoom(t *testing.T) {
	s := start(t, 0)
	fd, peer := s.pair()
	chunk := make([]byte, 1<<20)
	sent := 0
	for {
		n, code := s.Write(fd, chunk, 20*time.Millisecond, 0)
		if code == abi.ETIMEOUT {
			break
		}
		sent += must[int](t)(n, code)
	}
	go func() { _, _ = io.CopyN(io.Discard, peer, int64(sent)) }()
	must[int](t)(s.Write(fd, chunk, 5*time.Second, 0))
}

func TestADialThatIsInterruptedGoesOn(t *testing.T) {
	s := start(t, 0)
	again, dials := make(chan struct{}), 0
	s.grants.Dial["slow"] = func(ctx context.Context) (net.Conn, error) {
		dials++
		<-again
		return s.grants.Dial["out"](ctx)
	}
	for range 3 {
		s.wanted <- struct{}{}
		if _, code := s.Open("slow", time.Second); code != abi.EINTR {
			t.Fatalf("interrupted: %s", code)
		}
	}
	if _, code := s.Open("slow", 0); code != abi.EAGAIN {
		t.Errorf("without waiting: %s", code)
	}
	close(again)
	must[int32](t)(s.Open("slow", time.Second))
	if dials != 1 {
		t.Errorf("%d dials", dials)
	}
	s.grants.Dial["no"] = func(context.Context) (net.Conn, error) { return nil, fmt.Errorf("%w: loopback", plugin.ErrForbidden) }
	if _, code := s.Open("no", -1); code != abi.EIO || len(s.lost) != 1 || !slices.Equal(s.denied, []string{"dial no"}) {
		t.Errorf("a name that leads where it may not: %s, denied %q, lost %v", code, s.denied, s.lost)
	}
}

func TestWaitFindsWhatIsReady(t *testing.T) {
	s := start(t, 0)
	in := must[int32](t)(s.Open("in", 0))
	if again := must[int32](t)(s.Open("in", 0)); again != in {
		t.Errorf("the listener has handles %d and %d", in, again)
	}
	out := make([]int32, 10)
	if _, code := s.Wait(out, 0); code != abi.EAGAIN {
		t.Errorf("nothing is there: %s", code)
	}
	if _, code := s.Wait(out, 5*time.Millisecond); code != abi.ETIMEOUT {
		t.Errorf("nothing comes: %s", code)
	}
	peers := s.come(3)
	fds := map[int32]net.Conn{}
	for _, p := range peers {
		if n := must[int](t)(s.Wait(out, time.Second)); n != 1 || out[0] != in {
			t.Fatalf("ready: %v", out[:n])
		}
		fds[must[int32](t)(s.Accept(in, 0))] = p
	}
	if _, code := s.Wait(out, 0); code != abi.EAGAIN {
		t.Errorf("idle connections: %s", code)
	}
	buf := make([]byte, 10)
	for range 100 {
		go io.WriteString(peers[1], "x")
		n := must[int](t)(s.Wait(out, time.Second))
		if n != 1 {
			t.Fatalf("ready: %v", out[:n])
		}
		must[int](t)(s.Read(out[0], buf, 0))
	}
	send(t, peers[0], "x")
	send(t, peers[2], "x")
	time.Sleep(20 * time.Millisecond)
	if n := must[int](t)(s.Wait(out, time.Second)); n != 2 {
		t.Errorf("ready: %v, want both that have something", out[:n])
	}
	if n := must[int](t)(s.Wait(out[:1], time.Second)); n != 1 {
		t.Errorf("ready: %d, with room for one", n)
	}
	for _, p := range peers {
		_ = p.Close()
	}
	closed := 0
	for closed < 3 {
		for _, fd := range out[:must[int](t)(s.Wait(out, time.Second))] {
			if _, code := s.Read(fd, buf, 0); code == abi.EOF {
				closed++
				s.CloseHandle(fd)
			}
		}
	}
}

func TestEveryWaitEndsWhenTheHostWantsTheGuest(t *testing.T) {
	s := start(t, 0)
	fd, peer := s.pair()
	st, _ := find[*stream](s.Set, fd)
	_, _ = st.conn.(*net.TCPConn).SetWriteBuffer(1<<16), peer.SetReadBuffer(1<<16) // so that the system does not make them larger
	in := must[int32](t)(s.Open("in", 0))
	full := make([]byte, 1<<20)
	for {
		if _, code := s.Write(fd, full, 50*time.Millisecond, 0); code < 0 {
			break
		}
	}
	for name, call := range map[string]func() abi.Code{
		"read": func() abi.Code { _, code := s.Read(fd, full, -1); return code },
		"write": func() (code abi.Code) {
			for code >= 0 { // the system may find some room yet
				_, code = s.Write(fd, full, -1, 0)
			}
			return code
		},
		"accept": func() abi.Code { _, code := s.Accept(in, -1); return code },
		"wait":   func() abi.Code { _, code := s.Wait(make([]int32, 1), -1); return code },
	} {
		s.returnsAtOnce(name, call)
	}
}

// returnsAtOnce interrupts a call: on a machine that is busy it is tried again.
func (s *setup) returnsAtOnce(name string, call func() abi.Code) {
	s.t.Helper()
	least := time.Hour
	for range 50 {
		interrupted := make(chan time.Time, 1)
		time.AfterFunc(5*time.Millisecond, func() { interrupted <- time.Now(); s.wanted <- struct{}{} })
		if code := call(); code != abi.EINTR {
			s.t.Fatalf("%s: %s", name, code)
		}
		if least = min(least, time.Since(<-interrupted)); least < time.Millisecond {
			return
		}
	}
	s.t.Errorf("%s returns after %v", name, least)
}

func TestHandlesAreBoundedAndFreed(t *testing.T) {
	s := start(t, 3)
	in := must[int32](t)(s.Open("in", 0))
	s.come(3)
	a := must[int32](t)(s.Accept(in, time.Second))
	b := must[int32](t)(s.Accept(in, time.Second))
	if _, code := s.Accept(in, time.Second); code != abi.EAGAIN || len(s.denied) != 1 {
		t.Errorf("one too many: %s, denied %q", code, s.denied)
	}
	if _, code := s.Open("out", time.Second); code != abi.EAGAIN || len(s.denied) != 2 {
		t.Errorf("a dial too many: %s, denied %q", code, s.denied)
	}
	if _, code := s.Wait(make([]int32, 3), 20*time.Millisecond); code != abi.ETIMEOUT {
		t.Errorf("the listener is ready although there is no handle: %s", code)
	}
	s.CloseHandle(a)
	must[int](t)(s.Wait(make([]int32, 3), time.Second)) // has it at hand, but something else takes the handle
	d, _ := s.pair()
	if _, code := s.Wait(make([]int32, 3), 20*time.Millisecond); code != abi.ETIMEOUT {
		t.Errorf("the listener is ready although there is no handle any more: %s", code)
	}
	s.CloseHandle(d)
	c := must[int32](t)(s.Accept(in, time.Second))
	if c != a || c == b {
		t.Errorf("handles %d, %d and %d", a, b, c)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	s := start(t, 0)
	in := must[int32](t)(s.Open("in", 0))
	peers := s.come(2)
	must[int32](t)(s.Accept(in, time.Second))
	must[int](t)(s.Wait(make([]int32, 1), time.Second)) // takes the other for the next accept
	fd, peer := s.pair()
	must[int](t)(s.Write(fd, []byte("held"), 0, 1))
	s.Set.Close()
	for _, p := range append(peers, peer) {
		if got := ended(t, p); got != "" {
			t.Errorf("received %q", got)
		}
	}
	s.decide(1, true) // comes too late, and does no harm
	if _, code := s.Open("out", 0); code != abi.EACCES {
		t.Errorf("afterwards: %s", code)
	}
}
