// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"fmt"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// Handover has readers go on where others end.
func (c *Channel) Handover(from []string, to []channel.ReaderSpec) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.mayHandOver(from, to); err != nil {
		return fmt.Errorf("hand over from %q: %w", from, err)
	}
	low := c.low // before any of the new ones counts
	for _, spec := range to {
		first := low
		if len(from) > 0 || spec.Start == channel.Now {
			first = c.end
		}
		c.register(spec, first)
	}
	for _, name := range from {
		c.readers[name].bound = c.end
		c.readers[name].arrived()
	}
	c.reclaim()
	return nil
}

func (c *Channel) mayHandOver(from []string, to []channel.ReaderSpec) error {
	if c.closed {
		return channel.ErrClosed
	}
	for _, name := range from {
		if r, ok := c.readers[name]; !ok || r.bound > 0 {
			return fmt.Errorf("reader %s is not there, or has handed over already", name)
		}
	}
	names := map[string]bool{}
	for _, spec := range to {
		if err := spec.Check(); err != nil {
			return err
		}
		if c.readers[spec.Name] != nil || names[spec.Name] {
			return fmt.Errorf("reader %s is there already", spec.Name)
		}
		names[spec.Name] = true
	}
	return nil
}

// end is behind the last event that the reader may see.
func (r *reader) end() event.Offset {
	if r.bound > 0 {
		return r.bound
	}
	return r.c.end
}

// drained says whether it has handed over and committed all that was before.
func (r *reader) drained() bool { return r.bound > 0 && r.ledger.Low() >= r.bound }
