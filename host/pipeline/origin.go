// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"fmt"
	"math/rand/v2"

	"github.com/penstock-io/penstock/spec/event"
)

// Origin has each event that a source puts carry what tells it from all others, wherever it goes: see [event.OriginStream].
type Origin struct {
	Agent string // its id
	Keep  bool   // events come from another agent, and those that have an origin keep it
}

// origins begins a run of the source. The number is random, since it must not be that of a run before, of which nothing else may be known any more:
// an event that was refused, and that the source reads again, is stored under the origin of the second time alone.
func (s *Source) origins() *event.Origins {
	if s.Origin == nil {
		return nil
	}
	return &event.Origins{Stream: fmt.Sprintf("%s/%s/%016x", s.Origin.Agent, s.Address, rand.Uint64()), Keep: s.Origin.Keep}
}

// stamp gives the events of b, which it takes over, their origins.
func (c *chain) stamp(pool event.Buffers, b event.Batch) (event.Batch, error) {
	if c.origins == nil || b.Len() == 0 {
		return b, nil
	}
	out, err := c.origins.Stamp(pool, b)
	b.Release()
	if err != nil {
		return out, fmt.Errorf("the batch is too large with where each event comes from (agent { origin = true }): %w; have its source read less at a time: "+
			"limits { batch } of its plugin, or, of what another agent sends, the batch block of that sink: %w", err, errHold)
	}
	return out, nil
}
