// SPDX-License-Identifier: Apache-2.0

package event

import "sync/atomic"

// Headroom is how much room a [Buffer] keeps before its bytes: the header of a log record and the
// length that the log puts before it fit there, so that a batch is never moved to be written.
const Headroom = 128

// Buffers gives out counted memory. Get blocks never; n is at most [MaxBatch] and some.
// The bytes are not zeroed.
type Buffers interface {
	Get(n int) *Buffer
}

// Buffer is a block of memory that one batch keeps from the plugin's emit to the sink's delivery.
// It starts with one hold. Its bytes are written by whoever got it, before it is handed on, and by nobody after.
type Buffer struct {
	mem  []byte // headroom, bytes, trailer
	n    int
	refs atomic.Int32
	free func(*Buffer)
}

// NewBuffer wraps mem, of which the first [Headroom] bytes are headroom, the next n the buffer's
// bytes, and the rest room for a trailer. free is called with the buffer when the last hold is released; it may be nil.
func NewBuffer(mem []byte, n int, free func(*Buffer)) *Buffer {
	b := &Buffer{mem: mem, free: free}
	b.Reset(n)
	return b
}

// Reset makes a freed buffer new, with n bytes and one hold: for those who implement [Buffers].
func (b *Buffer) Reset(n int) {
	if n > b.Cap() {
		panic("BUG: buffer is smaller than what is asked of it")
	}
	b.n = n
	b.refs.Store(1)
}

// Bytes returns the buffer's bytes.
func (b *Buffer) Bytes() []byte { return b.mem[Headroom : Headroom+b.n : Headroom+b.n] }

// Cap is the most bytes that the buffer can hold beside its headroom.
func (b *Buffer) Cap() int { return len(b.mem) - Headroom }

// Memory returns the whole block, headroom first.
func (b *Buffer) Memory() []byte { return b.mem }

// Trailer is how much room there is after the bytes.
func (b *Buffer) Trailer() int { return b.Cap() - b.n }

// Frame returns the bytes together with head bytes before and tail bytes after them, as one slice
// to be written. head is at most [Headroom], tail at most [Buffer.Trailer].
func (b *Buffer) Frame(head, tail int) []byte {
	return b.mem[Headroom-head : Headroom+b.n+tail]
}

// Retain adds a hold.
func (b *Buffer) Retain() { b.refs.Add(1) }

// Sole says whether there is one hold only: then its owner may use headroom and trailer, which nobody else looks at.
func (b *Buffer) Sole() bool { return b.refs.Load() == 1 }

// Release gives a hold back. After the last one the memory may serve another batch.
func (b *Buffer) Release() {
	switch n := b.refs.Add(-1); {
	case n == 0 && b.free != nil:
		b.free(b)
	case n < 0:
		panic("BUG: buffer released more often than it was held")
	}
}

// Heap is [Buffers] from ordinary memory: for tests, and where nothing is pooled.
type Heap struct{}

// Get allocates.
func (Heap) Get(n int) *Buffer {
	const trailer = 512
	return NewBuffer(make([]byte, Headroom+n+trailer), n, nil)
}
