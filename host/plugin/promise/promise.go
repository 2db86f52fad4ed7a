// SPDX-License-Identifier: Apache-2.0

// Package promise keeps what an instance leaves with the host to be done when a batch of its own is durable, such as to send an answer. Whoever
// acknowledges does it, without the plugin: so an answer waits for no poll, and is sent although the plugin has ended meanwhile.
package promise

import (
	"slices"
	"sync"
)

// Max bounds what an instance may leave with the host: one for each event of the batches that may be under way, and some.
const Max = 1 << 16

// Set is the promises of one instance. Its zero value is empty, and its methods may be called by many goroutines.
type Set struct {
	mu       sync.Mutex
	durable  uint64 // every batch up to it
	refused  uint64 // this one and all later; 0: none
	promises map[uint64][]func(durable bool)
	count    int
}

// When has f called as soon as batch seq is durable or refused, now if it is already. f must not wait for anything. false: the host keeps
// too many already.
func (s *Set) When(seq uint64, f func(durable bool)) bool {
	s.mu.Lock()
	undecided := seq > s.durable && (s.refused == 0 || seq < s.refused)
	full := s.count >= Max
	durable := seq <= s.durable
	if undecided && !full {
		if s.promises == nil {
			s.promises = map[uint64][]func(bool){}
		}
		s.promises[seq] = append(s.promises[seq], f)
		s.count++
	}
	s.mu.Unlock()
	if !undecided {
		f(durable)
	}
	return !undecided || !full
}

// Ack is called for each acknowledgement, in order: every batch up to seq is durable, or else seq and all later are refused.
func (s *Set) Ack(seq uint64, durable bool) {
	s.mu.Lock()
	if durable {
		s.durable = max(s.durable, seq)
	} else if s.refused == 0 || seq < s.refused {
		s.refused = max(seq, 1)
	}
	var decided []uint64
	for n := range s.promises {
		if n <= s.durable || s.refused > 0 && n >= s.refused {
			decided = append(decided, n)
		}
	}
	slices.Sort(decided)
	var due []func(bool)
	for _, n := range decided {
		due = append(due, s.promises[n]...)
		delete(s.promises, n)
	}
	s.count -= len(due)
	s.mu.Unlock()
	for _, f := range due {
		f(durable)
	}
}

// Settled says whether every batch up to seq is durable, and none was refused.
func (s *Set) Settled(seq uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused == 0 && s.durable >= seq
}

// Close refuses what is undecided, and all that comes.
func (s *Set) Close() {
	s.mu.Lock()
	seq := s.durable + 1
	s.mu.Unlock()
	s.Ack(seq, false)
}
