// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"sync"

	"github.com/penstock-io/penstock/spec/event"
)

// decodedBytes bounds the memory of what was decoded lately: some batches, so that readers which stand near each other
// find what one of them has decompressed and decrypted.
const decodedBytes = 8 << 20

// decoded keeps records that were decoded until every reader is behind them, or others take their place. What is stored as
// it is never comes here. It is safe for concurrent use; two readers that miss the same record both decode it.
type decoded struct {
	mu    sync.Mutex
	list  map[uint64]decodedRecord // by index
	order []uint64                 // as they came
	bytes int
}

// decodedRecord is one of them.
type decodedRecord struct {
	content
	crc  uint32       // of the header: another record may take the place of a damaged one
	next event.Offset // behind its last event
}

// get returns the content of the record, with a hold on its memory.
func (d *decoded) get(r *record) (content, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	got, ok := d.list[r.index]
	if !ok || got.crc != r.crc {
		return content{}, false
	}
	got.buf.Retain()
	return got.content, true
}

// put keeps the content of a record, with a hold of its own.
func (d *decoded) put(r *record, got content) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.list[r.index]; ok {
		return
	}
	if d.list == nil {
		d.list = map[uint64]decodedRecord{}
	}
	got.buf.Retain()
	d.list[r.index] = decodedRecord{got, r.crc, r.span().Next}
	d.order = append(d.order, r.index)
	for d.bytes += len(got.buf.Memory()); d.bytes > decodedBytes; {
		d.drop()
	}
}

// forget drops what lies below low, as far as it came first.
func (d *decoded) forget(low event.Offset) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.order) > 0 && d.list[d.order[0]].next <= low {
		d.drop()
	}
}

// clear drops all.
func (d *decoded) clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.order) > 0 {
		d.drop()
	}
}

func (d *decoded) drop() {
	index := d.order[0]
	d.bytes -= len(d.list[index].buf.Memory())
	d.list[index].buf.Release()
	delete(d.list, index)
	d.order = d.order[1:]
}
