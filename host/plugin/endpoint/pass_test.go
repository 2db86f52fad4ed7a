// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
)

func TestAConnectionThatIsPassedOnIsTakenLikeAnyOther(t *testing.T) {
	l := listen(t, "tcp://127.0.0.1:0", ListenOptions{})
	peer := dial(t, l)
	c := take(t, l)
	l.Grant().Pass(&plugin.Passed{Conn: c, Rest: []byte("begun")})
	again, ok := take(t, l).(*plugin.Passed)
	if n := l.Counts(); !ok || again.Conn != c || string(again.Rest) != "begun" || n.Accepted != 1 || n.Passed != 1 || n.Open != 1 {
		t.Errorf("%v, %+v", again, n)
	}
	l.Grant().Pass(again)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if !ends(t, peer) || l.Counts().Open != 0 {
		t.Error("it stays open when nobody listens any more")
	}
}

func TestWhatIsKeptOfConnectionsThatArePassedOnIsBounded(t *testing.T) {
	over := make(chan string, 1)
	l := listen(t, "tcp://127.0.0.1:0", ListenOptions{Over: func(limit string) { over <- limit }})
	first, second := dial(t, l), dial(t, l)
	a, b := take(t, l), take(t, l)
	rest := make([]byte, maxPassed/2+1)
	l.Grant().Pass(&plugin.Passed{Conn: a, Rest: rest})
	l.Grant().Pass(&plugin.Passed{Conn: b, Unsent: [][]byte{[]byte("last words"), rest}})
	if got := <-over; got != "listen.passed" {
		t.Errorf("over %s", got)
	}
	for _, peer := range []net.Conn{first, second} { // which of the two is a's is up to the system
		if peer.LocalAddr().String() != b.RemoteAddr().String() {
			continue
		}
		said := make([]byte, 10)
		if _, err := io.ReadFull(peer, said); err != nil || string(said) != "last words" {
			t.Errorf("%q, %v", said, err)
		}
	}
	if p, ok := take(t, l).(*plugin.Passed); !ok || p.Conn != a {
		t.Error("the first is gone as well")
	}
}

func TestAConnectionThatNobodyTakesIsClosedInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Listener{o: ListenOptions{}.orDefaults(), conns: make(chan net.Conn), closing: make(chan struct{})}
		here, there := net.Pipe()
		l.pass(&plugin.Passed{Conn: here, Rest: []byte("begun")})
		began := time.Now()
		_, err := there.Read(make([]byte, 1))
		l.work.Wait()
		if err != io.EOF || time.Since(began) != passedFor || l.Counts().Ended != 1 || l.passed != 0 {
			t.Errorf("%v after %v, %+v", err, time.Since(began), l.Counts())
		}
	})
}
