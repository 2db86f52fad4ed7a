// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"syscall"
	"testing"
	"time"
)

// TestAPipeIsSetAside: opening one would wait for a writer.
func TestAPipeIsSetAside(t *testing.T) {
	spooling(t, config{}, func(b *bed) {
		b.must(syscall.Mkfifo(b.path("a"), 0o644))
		b.put("b", "b\n", time.Hour)
		b.start()
		time.Sleep(time.Hour)
		b.read("b")
		b.holds("bad/a", "bad/a.reason", "done/b")
		b.reason("a", "a named pipe")
	})
}
