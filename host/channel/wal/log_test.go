// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"testing"
)

// TestTheLibraryIsGivenItsMemory fails when a new release of the library is built in another way: the log would still
// work, at half the speed.
func TestTheLibraryIsGivenItsMemory(t *testing.T) {
	const size = 1000
	a, err := openTidwall(t.TempDir(), size)
	if err != nil {
		t.Fatal(err)
	}
	l := a.(*tidwallLog)
	for i := range uint64(30) {
		if err := l.Append(i+1, [][]byte{make([]byte, 90)}); err != nil {
			t.Fatal(err)
		}
		tail := tailBuffer(l.log)
		if len(*tail) == 0 { // it has just rolled
			l.Trim()
		}
		if tail = tailBuffer(l.log); cap(*tail) != cap(l.memory) || cap(*tail) != size+roomBehind {
			t.Fatalf("after %d entries the tail has room for %d bytes", i+1, cap(*tail))
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
