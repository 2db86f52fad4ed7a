// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"slices"
	"sync"

	"github.com/penstock-io/penstock/spec/abi"
)

// maxPromises bounds what an instance may leave with the host to be done after commits: one for each event of the batches that
// may be under way, and some.
const maxPromises = 1 << 16

// commits keeps what is to be done when a batch of the instance is durable, such as to send an answer. Whoever acknowledges does it,
// without the guest: so an answer waits for no poll. Its methods may be called by many goroutines.
type commits struct {
	mu       sync.Mutex
	durable  uint64 // every batch up to it
	refused  uint64 // this one and all later; 0: none
	promises map[uint64][]func(durable bool)
	count    int
}

// when has f called as soon as batch seq is durable or refused, now if it is already. f must not wait for anything. false: the host keeps
// too many already.
func (c *commits) when(seq uint64, f func(durable bool)) bool {
	c.mu.Lock()
	undecided := seq > c.durable && (c.refused == 0 || seq < c.refused)
	full := c.count >= maxPromises
	durable := seq <= c.durable
	if undecided && !full {
		if c.promises == nil {
			c.promises = map[uint64][]func(bool){}
		}
		c.promises[seq] = append(c.promises[seq], f)
		c.count++
	}
	c.mu.Unlock()
	if !undecided {
		f(durable)
	}
	return !undecided || !full
}

// ack is called for each acknowledgement, in order: every batch up to seq is durable, or else seq and all later are refused.
func (c *commits) ack(seq uint64, durable bool) {
	c.mu.Lock()
	if durable {
		c.durable = max(c.durable, seq)
	} else if c.refused == 0 || seq < c.refused {
		c.refused = max(seq, 1)
	}
	var decided []uint64
	for s := range c.promises {
		if s <= c.durable || c.refused > 0 && s >= c.refused {
			decided = append(decided, s)
		}
	}
	slices.Sort(decided)
	var due []func(bool)
	for _, s := range decided {
		due = append(due, c.promises[s]...)
		delete(c.promises, s)
	}
	c.count -= len(due)
	c.mu.Unlock()
	for _, f := range due {
		f(durable)
	}
}

// close refuses what is undecided, and all that comes.
func (c *commits) close() {
	c.mu.Lock()
	seq := c.durable + 1
	c.mu.Unlock()
	c.ack(seq, false)
}

// promise is what imports with a parameter after do: it has f called when that batch is durable, or refused.
func (in *instance) promise(after int64, f func(durable bool)) abi.Code {
	switch {
	case in.kind != abi.Source || after <= 0 || uint64(after) > in.seq:
		return abi.EINVAL
	case !in.commits.when(uint64(after), f):
		return abi.EAGAIN
	}
	return abi.OK
}
