// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"fmt"
	"slices"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// Handover has readers go on where others end. All of it is in the trailer of one record, so that a crash leaves
// the old layout or the new one; the offset is that of the last event that anybody has seen, so that it does not
// matter which transactions come before that record.
func (c *Channel) Handover(from []string, to []channel.ReaderSpec) error {
	old, next, err := c.prepare(from, to)
	if err == nil {
		t := &tx{c: c, internal: true}
		for _, r := range slices.Concat(old, next) {
			t.changes.readers = append(t.changes.readers, r.entry)
		}
		if err = t.Submit()(); err != nil {
			c.unprepare(old, next)
		}
	}
	if err != nil {
		return fmt.Errorf("hand over from %q: %w", from, err)
	}
	c.mu.Lock()
	for _, r := range slices.Concat(old, next) {
		c.touched(c.readers[r.entry.name]) // another may stand for an old one now
	}
	for _, r := range next {
		r.inUse = false
	}
	c.mu.Unlock()
	if err := c.flushPositions(true); err != nil { // it is done all the same, and they are written later
		c.log.Warn("the positions of readers that were handed over are not written yet, will try again", "dir", c.dir, "error", err)
	}
	return nil
}

// prepare bounds the old readers and makes the new ones, in memory. Nobody can open those yet.
func (c *Channel) prepare(from []string, to []channel.ReaderSpec) (old, next []*reader, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.awaitOnly(from)
	if err := c.usable(); err != nil {
		return nil, nil, err
	}
	for _, name := range from {
		r, ok := c.readers[name]
		if !ok || r.entry.end > 0 {
			return nil, nil, fmt.Errorf("reader %s is not there, or has handed over already", name)
		}
		old = append(old, r)
	}
	for i, spec := range to {
		if err := spec.Check(); err != nil {
			return nil, nil, err
		}
		if c.readers[spec.Name] != nil || slices.ContainsFunc(to[:i], func(o channel.ReaderSpec) bool { return o.Name == spec.Name }) {
			return nil, nil, fmt.Errorf("reader %s is there already", spec.Name)
		}
	}
	var firsts []event.Offset
	for _, spec := range to {
		firsts = append(firsts, c.startOf(spec)) // before any of them counts
	}
	for i, spec := range to {
		if len(old) > 0 {
			firsts[i] = c.state.end
		}
		next = append(next, c.register(spec, firsts[i]))
	}
	for _, r := range old {
		r.entry.end = c.state.end
		r.arrived()
	}
	return old, next, nil
}

// awaitOnly waits until nothing is being written that one of these readers alone is to see: it would lie behind the reader's end, where nobody sees it. What
// comes to its turn later is refused.
func (c *Channel) awaitOnly(from []string) {
	for c.writing != nil && slices.ContainsFunc(c.writing.txs, func(t *tx) bool { return slices.Contains(from, t.changes.only) }) {
		idle := c.stepDown()
		c.mu.Unlock()
		<-idle
		c.mu.Lock()
	}
}

// unprepare takes back what did not become durable.
func (c *Channel) unprepare(old, next []*reader) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range old {
		r = c.readers[r.entry.name] // another may stand for it now
		r.ledger.Offer(c.state.count(event.Range{First: r.entry.end, Next: c.state.end}))
		r.entry.end = 0
		r.arrived()
	}
	for _, r := range next {
		delete(c.readers, r.entry.name)
	}
	c.letIn()
}
