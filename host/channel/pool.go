// SPDX-License-Identifier: Apache-2.0

package channel

import (
	"fmt"
	"math/bits"
	"sync"

	"github.com/penstock-io/penstock/spec/event"
)

const (
	// poolMin is the smallest block: a page.
	poolMin = 4 << 10
	// poolTrailer is kept free behind each batch, so that the cursor changes of an ordinary record fit behind it.
	poolTrailer = 1 << 10
	// poolSteps is how many sizes there are in each doubling: a block is at most a quarter larger than what was asked.
	poolSteps = 4
)

// Pool is [event.Buffers] in page-aligned memory outside the Go heap, so that a batch costs the
// garbage collector nothing. It keeps what is given back, up to a bound, and unmaps the rest.
// All methods may be called by many goroutines.
type Pool struct {
	mu     sync.Mutex
	idle   map[int][]*event.Buffer // by block size
	limit  int64
	idles  int64 // bytes kept idle
	used   int64 // bytes handed out
	closed bool
}

var _ event.Buffers = (*Pool)(nil)

// NewPool returns a pool that keeps at most idleBytes of memory which nobody uses.
func NewPool(idleBytes int64) *Pool {
	return &Pool{idle: make(map[int][]*event.Buffer), limit: idleBytes}
}

// blockSize rounds up to the next of the pool's sizes.
func blockSize(n int) int {
	if n <= poolMin {
		return poolMin
	}
	step := 1 << (bits.Len(uint(n-1)) - 1) / poolSteps
	step = max(step, poolMin)
	return (n + step - 1) / step * step
}

// Get returns a buffer of n bytes, not zeroed, with one hold. It panics when the system has no memory left, as the runtime would.
func (p *Pool) Get(n int) *event.Buffer {
	size := blockSize(event.Headroom + n + poolTrailer)
	if b := p.reuse(size); b != nil {
		b.Reset(n)
		return b
	}
	mem, err := mapMemory(size)
	if err != nil {
		panic(fmt.Sprintf("out of memory: mapping %d bytes: %v", size, err))
	}
	return event.NewBuffer(mem, n, p.put)
}

func (p *Pool) reuse(size int) *event.Buffer {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used += int64(size)
	list := p.idle[size]
	if len(list) == 0 {
		return nil
	}
	b := list[len(list)-1]
	p.idle[size] = list[:len(list)-1]
	p.idles -= int64(size)
	return b
}

func (p *Pool) put(b *event.Buffer) {
	size := len(b.Memory())
	p.mu.Lock()
	p.used -= int64(size)
	keep := !p.closed && p.idles+int64(size) <= p.limit
	if keep {
		p.idle[size] = append(p.idle[size], b)
		p.idles += int64(size)
	}
	p.mu.Unlock()
	if !keep {
		unmapMemory(b.Memory())
	}
}

// Used is how many bytes are handed out.
func (p *Pool) Used() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used
}

// Close unmaps what is idle, and later what is still held as it is released.
func (p *Pool) Close() error {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.idles, p.closed = nil, 0, true
	p.mu.Unlock()
	for _, list := range idle {
		for _, b := range list {
			unmapMemory(b.Memory())
		}
	}
	return nil
}
