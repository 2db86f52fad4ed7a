// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"fmt"
	"slices"
	"testing"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/channeltest"
	"github.com/penstock-io/penstock/spec/event"
)

// TestReadersThatCatchUpTogetherDecodeOnce takes the key away when the first has read: the others need none.
func TestReadersThatCatchUpTogetherDecodeOnce(t *testing.T) {
	key := testKey(1)
	var memory channeltest.Memory
	b := newBench(t, Options{Key: &key, Compression: S2, Pool: &memory})
	var readers []channel.Reader
	for i := range 8 {
		b.reader(fmt.Sprint("sink.", i))
	}
	for i, body := range allEvents(30) {
		b.put("source.a", fmt.Sprint(i), body)
	}
	b.open() // the ring is empty
	for i := range 8 {
		readers = append(readers, b.reader(fmt.Sprint("sink.", i)))
	}
	b.drained(readers[0], allEvents(30)...)
	aead := b.c.coder.keys[key.id()]
	b.c.coder.keys[key.id()] = nil
	for _, r := range readers[1:] {
		b.drained(r, allEvents(30)...)
	}
	b.c.coder.keys[key.id()] = aead
	if n := len(b.c.decoded.order); n > 0 {
		t.Errorf("%d records are kept that every reader has committed", n)
	}
	b.close()
	if n := memory.Live(); n > 0 {
		t.Errorf("%d buffers are held", n)
	}
}

func TestWhatIsDecodedIsKeptWithinABound(t *testing.T) {
	var memory channeltest.Memory
	var d decoded
	at := func(i int) *record {
		return &record{header: header{index: uint64(i), crc: uint32(i), first: event.Offset(i), events: 1}}
	}
	const n, size = 40, 1 << 20
	for i := range n {
		buf := memory.Get(size)
		d.put(at(i), content{buf: buf})
		d.put(at(i), content{buf: buf})
		buf.Release()
	}
	if d.bytes > decodedBytes || d.bytes < decodedBytes/2 || int(memory.Live()) != len(d.order) {
		t.Errorf("%d bytes in %d buffers, of %d records", d.bytes, memory.Live(), len(d.order))
	}
	if _, ok := d.get(at(0)); ok {
		t.Error("the oldest is still there")
	}
	other := at(n - 1)
	other.crc++
	if _, ok := d.get(other); ok {
		t.Error("it gave a record for one that took its place")
	}
	got, ok := d.get(at(n - 1))
	if !ok {
		t.Fatal("the newest is gone")
	}
	d.forget(n - 1)
	if !slices.Equal(d.order, []uint64{n - 1}) {
		t.Errorf("left are %v", d.order)
	}
	d.clear()
	if memory.Live() != 1 {
		t.Errorf("%d buffers are held", memory.Live())
	}
	got.buf.Release()
}
