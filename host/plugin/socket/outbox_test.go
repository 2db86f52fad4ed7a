// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
)

// silent says that nothing comes over c.
func silent(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	b := make([]byte, 10)
	if n, err := c.Read(b); n > 0 || !os.IsTimeout(err) {
		t.Errorf("received %q, %v", b[:n], err)
	}
}

func TestAnAnswerLeavesWhenItsBatchIsDurable(t *testing.T) {
	s := start(t, 0)
	fd, peer := s.pair()
	write := func(text string, after int64) {
		t.Helper()
		if n := must[int](t)(s.Write(fd, []byte(text), 0, after)); n != len(text) {
			t.Errorf("wrote %d of %q", n, text)
		}
	}
	write("now ", 0)
	write("one ", 1)
	write("two ", 2)
	write("behind ", 0) // what was written later does not overtake
	if got := receive(t, peer, 4); got != "now " {
		t.Errorf("received %q", got)
	}
	s.decide(2, true) // as it is cumulative, one is durable too; but its promise comes first
	silent(t, peer)
	s.decide(1, true)
	if got := receive(t, peer, 15); got != "one two behind " {
		t.Errorf("received %q", got)
	}
	write("at once", 0)
	if got := receive(t, peer, 7); got != "at once" {
		t.Errorf("received %q", got)
	}
}

func TestARefusedAnswerClosesItsConnection(t *testing.T) {
	s := start(t, 0)
	fd, peer := s.pair()
	_, other := s.pair()
	must[int](t)(s.Write(fd, []byte("thanks"), 0, 1))
	s.decide(1, false)
	if got := ended(t, peer); got != "" {
		t.Errorf("received %q", got)
	}
	if _, code := s.Read(fd, make([]byte, 1), time.Second); code != abi.EOF {
		t.Errorf("the guest reads %s", code)
	}
	if _, code := s.Write(fd, []byte("more"), 0, 0); code != abi.EIO {
		t.Errorf("the guest writes %s", code)
	}
	s.CloseHandle(fd)
	silent(t, other)
	if _, code := s.Write(must[int32](t)(s.Open("out", -1)), []byte("x"), 0, 101); code != abi.EINVAL {
		t.Errorf("after a batch that is not there: %s", code)
	}
}

func TestAClosedHandleStillAnswers(t *testing.T) {
	s := start(t, 2)
	fd, peer := s.pair()
	must[int](t)(s.Write(fd, []byte("thanks"), 0, 1))
	s.CloseHandle(fd)
	silent(t, peer)
	_, second := s.pair()
	if _, code := s.Open("out", 0); code != abi.EAGAIN || len(s.denied) == 0 {
		t.Errorf("a connection that is not closed yet does not count: %s", code)
	}
	s.decide(1, true)
	if got := ended(t, peer); got != "thanks" {
		t.Errorf("received %q", got)
	}
	s.pair()
	s.Abandon() // as when the guest dies
	if got := ended(t, second); got != "" {
		t.Errorf("received %q", got)
	}
}

func TestADeadGuestStillAnswers(t *testing.T) {
	s := start(t, 0)
	fd, peer := s.pair()
	idle, other := s.pair()
	must[int](t)(s.Write(fd, []byte("thanks"), 0, 1))
	s.Abandon()
	if got := ended(t, other); got != "" || s.CloseHandle(idle) != abi.EINVAL {
		t.Errorf("received %q", got)
	}
	s.decide(1, true)
	if got := ended(t, peer); got != "thanks" {
		t.Errorf("received %q", got)
	}
}

func TestWhatIsHeldIsBounded(t *testing.T) {
	s := start(t, 0)
	fd, peer := s.pair()
	part := make([]byte, 1<<16)
	held := 0
	for {
		_, code := s.Write(fd, part, 0, 1)
		if code == abi.EAGAIN {
			break
		}
		if held++; code < 0 || held > 100 {
			t.Fatalf("%d are held, %s", held, code)
		}
	}
	if held != maxOutbox>>16-1 { // what it costs beside the bytes counts too
		t.Errorf("%d are held", held)
	}
	if _, code := s.Write(fd, make([]byte, maxParcel+1), 0, 1); code != abi.ETOOBIG {
		t.Errorf("a large one: %s", code)
	}
	for i := range 2 * maxOutboxes / maxOutbox {
		fd, _ := s.pair()
		if _, code := s.Write(fd, make([]byte, maxParcel), 0, 2); code < 0 {
			if i < maxOutboxes/maxOutbox-2 {
				t.Errorf("connection %d: %s", i, code)
			}
			break
		} else if i > maxOutboxes/maxOutbox {
			t.Fatalf("%d MiB are held", i)
		}
	}
	time.AfterFunc(10*time.Millisecond, func() { s.decide(1, true) })
	go func() { _, _ = peer.Read(make([]byte, 1<<20)) }()
	must[int](t)(s.Write(fd, part, time.Second, 3)) // there is room as soon as the others have left
	s.decide(2, false)
	s.decide(3, false)
	if n := s.spent.used(); n != 0 {
		t.Errorf("%d bytes are never given back", n)
	}
}

func TestALongAnswerToASlowReaderArrivesWhole(t *testing.T) {
	s := start(t, 0)
	fd, peer := s.pair()
	_ = peer.SetReadBuffer(1 << 16)
	want := strings.Repeat("0123456789abcdef", 1<<16-10)
	must[int](t)(s.Write(fd, []byte(want), 0, 1))
	must[int](t)(s.Write(fd, []byte("|end"), 0, 1))
	s.CloseHandle(fd)
	time.AfterFunc(time.Millisecond, func() { s.decide(1, true) })
	if got := receive(t, peer, len(want)+4); got != want+"|end" {
		t.Errorf("received %d bytes, other than were sent", len(got))
	}
	if got := ended(t, peer); got != "" {
		t.Errorf("and then %q", got)
	}
	for range 500 {
		if s.spent.used() == 0 && s.spent.closing() == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%d bytes and %d connections are left", s.spent.used(), s.spent.closing())
}

func TestDatagramsTellTheirSenders(t *testing.T) {
	s := start(t, 0)
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	gram, err := net.ListenPacket("unixgram", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer gram.Close()
	for name, c := range map[string]net.PacketConn{"udp": udp, "gram": gram} {
		s.grants.Listen[name] = plugin.Listener{Packet: c, Addr: c.LocalAddr()}
		fd := must[int32](t)(s.Open(name, 0))
		peer, err := net.Dial(c.LocalAddr().Network(), c.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
		from := peer.LocalAddr().String()
		buf := make([]byte, 5)
		if _, _, code := s.ReceiveFrom(fd, buf, 5*time.Millisecond); code != abi.ETIMEOUT {
			t.Errorf("nothing comes: %s", code)
		}
		for _, text := range []string{"one", "longer than five", "two"} {
			time.AfterFunc(5*time.Millisecond, func() { _, _ = peer.Write([]byte(text)) })
			out := make([]int32, 4)
			if n := must[int](t)(s.Wait(out, time.Second)); n != 1 || out[0] != fd {
				t.Fatalf("ready: %v", out[:n])
			}
			n, sender, code := s.ReceiveFrom(fd, buf, time.Second)
			if code < 0 || string(buf[:n]) != text[:min(len(text), 5)] || name == "udp" && sender != from {
				t.Errorf("%s: received %q from %q, %s", name, buf[:n], sender, code)
			}
		}
		s.CloseHandle(fd)
		if n, code := s.Wait(make([]int32, 1), time.Millisecond); code != abi.ETIMEOUT {
			t.Errorf("%s is closed: %d, %s", name, n, code)
		}
	}
}

// used is how much all outboxes have.
func (a *account) used() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.bytes
}
