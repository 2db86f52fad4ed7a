// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/admin"
)

// addsUp holds an agent that stands still to the law of conservation: each reader's events are committed, passed, dropped, or wait; and what
// the readers of a sink have committed, it has delivered, left out, or given to the dead letters. (After a replay, and under another name, a reader counts anew, and the
// sink does not, or the other way round: so it may have delivered more. One that a reload has made may have been there before, and counts anew, which its reader does
// not: so only those that were there at first are compared.)
func addsUp(t testing.TB, first, s admin.Status) {
	t.Helper()
	committed := map[string]uint64{}
	for _, c := range s.Channels {
		for _, r := range c.Readers {
			if r.Unaccounted != 0 {
				t.Errorf("%s: of %d events for %s it is not known what became: %+v", c.Address, r.Unaccounted, r.Name, r)
			}
			sink, _, _ := strings.Cut(r.Name, "/")
			committed[sink] += r.Committed - r.Held
		}
	}
	for _, c := range s.Components {
		if c.Kind == "sink" && slices.ContainsFunc(first.Components, func(f admin.Component) bool { return f.Address == c.Address }) && committed[c.Address] > c.Events+c.Filtered+c.Consumed+c.Dead {
			t.Errorf("%s has committed %d events, delivered %d, left out %d, consumed %d, and given %d to the dead letters", c.Address, committed[c.Address], c.Events, c.Filtered, c.Consumed, c.Dead)
		}
	}
}
