// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"io"
	"testing"
	"time"
)

func TestQuietConnectionsAreEnded(t *testing.T) {
	l := listen(t, "tcp://127.0.0.1:0", ListenOptions{Idle: 300 * time.Millisecond})
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
	if n := l.Counts(); n.Ended != 1 || n.Open != 2 {
		t.Errorf("counts %+v", n)
	}
}
