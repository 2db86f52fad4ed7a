// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"fmt"

	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

const (
	pageSize = 64 << 10 // of WebAssembly
	// MaxMemory is what 32-bit addresses can name.
	MaxMemory = 4 << 30
)

// memory is the linear memory of one instance: reserved at once, committed as it grows, so that it
// never moves, costs nothing to start, and is not on the Go heap. It belongs to the goroutine that
// has the instance's turn; nobody may hold a view of it when it is freed.
type memory struct {
	reserved []byte
	size     uint64 // committed
	limit    uint64 // bytes
	refused  bool   // a growth over the limit was asked for
}

var (
	_ experimental.MemoryAllocator = (*memory)(nil)
	_ experimental.LinearMemory    = (*memory)(nil)
)

// reserve takes address space for limit bytes. The caller frees it, unless wazero has done so.
func reserve(limit uint64) (*memory, error) {
	limit = min(limit, MaxMemory) / pageSize * pageSize
	b, err := unix.Mmap(-1, 0, int(max(limit, pageSize)), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("reserve %s of address space for a plugin: %w", size(limit), err)
	}
	return &memory{reserved: b, limit: limit}, nil
}

// Allocate implements [experimental.MemoryAllocator]: the one memory that the module has is this one.
func (m *memory) Allocate(_, _ uint64) experimental.LinearMemory { return m }

// Reallocate implements [experimental.LinearMemory]. nil makes the guest's memory.grow answer -1.
func (m *memory) Reallocate(n uint64) []byte {
	if n > m.limit || m.reserved == nil {
		m.refused = true
		return nil
	}
	if n > m.size {
		if err := unix.Mprotect(m.reserved[m.size:n], unix.PROT_READ|unix.PROT_WRITE); err != nil {
			m.refused = true
			return nil
		}
		m.size = n
	}
	return m.reserved[:n:n]
}

// Free implements [experimental.LinearMemory]. The second time it does nothing.
func (m *memory) Free() {
	if m.reserved != nil {
		_ = unix.Munmap(m.reserved) // of what Mmap gave: it cannot fail
		m.reserved, m.size = nil, 0
	}
}

// size writes bytes as people do, e.g. "64 MiB".
func size(bytes uint64) string {
	switch {
	case bytes >= 1<<30 && bytes%(1<<30) == 0:
		return fmt.Sprintf("%d GiB", bytes>>30)
	case bytes >= 1<<20:
		return fmt.Sprintf("%.4g MiB", float64(bytes)/(1<<20))
	case bytes < 1<<10:
		return fmt.Sprintf("%d bytes", bytes)
	default:
		return fmt.Sprintf("%d KiB", bytes>>10)
	}
}
