// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/penstock-io/penstock/host/channel/wal"
	"github.com/penstock-io/penstock/spec/event"
)

// droppedEvents is what a log has on record that was given up, for one reason and of one reader.
type droppedEvents struct {
	Reason  string       `json:"reason"`
	Reader  string       `json:"reader,omitempty"` // empty: all
	First   event.Offset `json:"first"`            // they lie from here
	Next    event.Offset `json:"next"`             // to before this; of "newest", where they would have begun
	Events  uint64       `json:"events"`           // what was being delivered at the time counts
	Records uint64       `json:"records"`
}

func droppedOf(list []wal.Dropped) []droppedEvents {
	out := make([]droppedEvents, 0, len(list))
	for _, d := range list {
		out = append(out, droppedEvents{d.Loss.String(), d.Reader, d.Range.First, d.Range.Next, d.Events, d.Records})
	}
	return out
}

// printDropped has a line for each reason and reader.
func printDropped(t *terminal, list []droppedEvents, where string) {
	for _, d := range list {
		if d.Events == 0 {
			continue // somebody gave up what was nothing any more
		}
		whose := d.Reader
		if whose == "" {
			whose = "all sinks"
		}
		t.printf("  given up%s: %s for %s, by %s, offsets %d to %d, in %s\n", where, plural(d.Events, "event"), whose, d.Reason, d.First, d.Next-1, plural(d.Records, "record"))
	}
}
