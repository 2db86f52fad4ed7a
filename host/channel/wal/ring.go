// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"sort"

	"github.com/penstock-io/penstock/spec/event"
)

// ring holds the newest batches for readers that keep up, within a bound. c.mu guards it.
type ring struct {
	list  []tailBatch // in order, none empty
	bytes int
}

// tailBatch is one durable batch in memory.
type tailBatch struct {
	span  event.Range
	batch event.Batch // the ring's hold
	only  string
	time  int64
	bytes int // of memory
}

// add takes over the hold on b.batch.
func (r *ring) add(b tailBatch) {
	b.bytes = b.batch.Size()
	if buf := b.batch.Buffer(); buf != nil {
		b.bytes = len(buf.Memory())
	}
	r.list = append(r.list, b)
	r.bytes += b.bytes
	for r.bytes > ringBytes {
		r.drop()
	}
}

func (r *ring) drop() {
	b := &r.list[0]
	r.bytes -= b.bytes
	b.batch.Release()
	*b = tailBatch{} // the array lives on
	r.list = r.list[1:]
}

// forget drops what lies below low, which nobody will ask for.
func (r *ring) forget(low event.Offset) {
	for len(r.list) > 0 && r.list[0].span.Next <= low {
		r.drop()
	}
}

// from returns the batches from the one that holds o on. The first begins behind o where o is not in memory any more.
func (r *ring) from(o event.Offset) []tailBatch {
	return r.list[sort.Search(len(r.list), func(i int) bool { return r.list[i].span.Next > o }):]
}

// find returns the batch that holds o, or nil.
func (r *ring) find(o event.Offset) *tailBatch {
	list := r.from(o)
	if len(list) == 0 || o < list[0].span.First {
		return nil
	}
	return &list[0]
}
