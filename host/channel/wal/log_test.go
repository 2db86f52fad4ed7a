// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"os"
	"reflect"
	"testing"

	tidwall "github.com/tidwall/wal"
)

// TestTheLibraryFlushesOnlyASegmentThatIsFull, and a flush that fails is told from other failures: a pipe stands in for its
// file, which takes what is written and cannot be flushed.
func TestTheLibraryFlushesOnlyASegmentThatIsFull(t *testing.T) {
	const size = 1000
	a, err := openTidwall(t.TempDir(), size)
	if err != nil {
		t.Fatal(err)
	}
	l := a.(*tidwallLog)
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	file := (**os.File)(reflect.ValueOf(l.log).Elem().FieldByName("sfile").Addr().UnsafePointer())
	real := *file
	*file = in
	if err := l.Append(1, [][]byte{make([]byte, size/2)}); err != nil {
		t.Errorf("within a segment: %v", err)
	}
	if err := l.Append(2, [][]byte{make([]byte, size)}); !errors.Is(err, errFlush) {
		t.Errorf("at the end of a segment: %v", err)
	}
	*file = real
	if err := errors.Join(l.Close(), out.Close(), in.Close()); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(3, [][]byte{{1}}); !errors.Is(err, tidwall.ErrClosed) || errors.Is(err, errFlush) {
		t.Errorf("after it was closed: %v", err)
	}
}

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
