// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A machine that has killed a child for its memory is slow to say so: its connection breaks long before.
func TestWhyAChildEndedIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &process{over: make(chan struct{}), dying: true}
		in := &instance{connected: &connected{process: p}}
		go func() { // until it is over, which is waited for
			time.Sleep(5 * time.Second)
			p.state = "it was ended by signal 9 (killed)"
			close(p.over)
		}()
		if err := in.lost("read", io.EOF); !strings.Contains(err.Error(), "broke in read: it was ended by signal 9 (killed)") {
			t.Error(err)
		}
	})
}
