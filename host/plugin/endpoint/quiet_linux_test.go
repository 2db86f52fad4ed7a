// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"io"
	"testing"
	"time"
)

func TestQuietConnectionsAreEnded(t *testing.T) {
	var over tally
	l := listen(t, "tcp://127.0.0.1:0", ListenOptions{Idle: 300 * time.Millisecond, Over: over.add})
	still, busy, unread := dial(t, l), dial(t, l), dial(t, l)
	take(t, l)
	heard := take(t, l)
	take(t, l)
	go func() { _, _ = io.Copy(io.Discard, heard) }()
	_, _ = io.WriteString(unread, "nobody reads this yet")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20 {
			_, _ = io.WriteString(busy, "x")
			time.Sleep(50 * time.Millisecond)
		}
	}()
	if !ends(t, still) {
		t.Error("a connection over which nothing comes stays open")
	}
	<-done
	if n := l.Counts(); n.Ended != 1 || n.Open != 2 || over.String() != "listen.idle_timeout 1" {
		t.Errorf("counts %+v, over %s", n, &over)
	}
}

func TestTheQuietestMakesRoom(t *testing.T) {
	l := listen(t, "tcp://127.0.0.1:0", ListenOptions{Connections: 2, PerPeer: 10})
	l.patience = 100 * time.Millisecond
	loris, reader := dial(t, l), dial(t, l)
	take(t, l)
	heard := take(t, l)
	go func() { _, _ = io.Copy(io.Discard, heard) }()
	time.Sleep(200 * time.Millisecond)
	_, _ = io.WriteString(reader, "still here")
	fresh := dial(t, l)
	in := take(t, l)
	if !ends(t, loris) {
		t.Error("who says nothing keeps a newcomer out")
	}
	_, _ = io.WriteString(fresh, "x")
	if _, err := in.Read(make([]byte, 1)); err != nil {
		t.Errorf("the newcomer: %v", err)
	}
	if n := l.Counts(); n.Ended != 1 || n.Refused != 0 || n.Open != 2 {
		t.Errorf("counts %+v", n)
	}
}
