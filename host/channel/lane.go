// SPDX-License-Identifier: Apache-2.0

package channel

import (
	"fmt"

	"github.com/penstock-io/penstock/spec/event"
)

// MaxLanes bounds the lanes of a layout: each is a reader, which looks at every event.
const MaxLanes = 64

// Lane is one of Count parts of a channel's events: those whose key, the value of an attribute, belongs to it. All events
// of one key are in one lane, so that a reader for each lane keeps the order of each key. The zero Lane holds all events.
type Lane struct {
	Key   string // of the attribute; an event without it has the empty key
	Index uint32 // 0 … Count-1
	Count uint32 // 0: there are no lanes
}

// All says whether there are no lanes: all events are the reader's.
func (l Lane) All() bool { return l.Count == 0 }

// String gives "customer/1-of-4".
func (l Lane) String() string {
	if l.All() {
		return "all events"
	}
	return fmt.Sprintf("%s/%d-of-%d", l.Key, l.Index, l.Count)
}

// Check says whether a reader can have the lane.
func (l Lane) Check() error {
	switch {
	case l == Lane{}:
		return nil
	case l.Count > MaxLanes || l.Index >= l.Count:
		return fmt.Errorf("%w: lane %d of %d, there may be 1 to %d", ErrLimit, l.Index, l.Count, MaxLanes)
	case l.Key == "" || len(l.Key) > MaxName:
		return fmt.Errorf("%w: the key of a lane has %d bytes, it may have 1 to %d", ErrLimit, len(l.Key), MaxName)
	}
	return nil
}

// OtherLane is the error of whoever opens a reader for another lane than it was registered for.
func OtherLane(registered, asked Lane) error {
	return fmt.Errorf("it was registered for %v, and cannot be opened for %v: what it has committed would mean something else", registered, asked)
}

// Has says whether the event is in the lane.
func (l Lane) Has(e *event.Event) bool {
	if l.All() {
		return true
	}
	key, _ := e.Attribute(l.Key)
	return uint32(hashKey(key)%uint64(l.Count)) == l.Index
}

// hashKey deals keys over lanes. It must never change: positions on disk say what a lane has committed. It is FNV-1a of
// 64 bits, of which the low ones hardly depend on the high ones of a key, and then the finalizer of MurmurHash3.
func hashKey(key []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, b := range key {
		h = (h ^ uint64(b)) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// Pick finds which events of b that lie in span are in the lane, up to one for which there is no room. next is the
// end of span, or that event; what lies before it and is not in mine is another lane's.
func (l Lane) Pick(b event.Batch, span event.Range, room func(event.Event) bool) (mine Ranges, next event.Offset) {
	var d event.Decoder
	for d.Reset(b); d.Next() && d.Offset() < span.Next; {
		at, e := d.Offset(), d.Event()
		if at < span.First || !l.Has(e) {
			continue
		}
		if !room(*e) {
			return mine, at
		}
		mine.Add(event.Range{First: at, Next: at + 1})
	}
	return mine, span.Next
}
