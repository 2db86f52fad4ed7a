// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"encoding/binary"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/abi"
)

// appendCursors encodes all cursors as they stand in a STATE.
func appendCursors(dst []byte, c *channel.Cursors) []byte {
	le := binary.LittleEndian
	names := c.Sources()
	dst = le.AppendUint32(dst, uint32(len(names)))
	for _, name := range names {
		info, entries := c.Info(name), c.Entries(name)
		dst = appendString(dst, name)
		dst = le.AppendUint32(dst, info.Version)
		dst = le.AppendUint32(dst, info.Move)
		dst = le.AppendUint32(dst, uint32(len(entries)))
		for _, e := range entries {
			dst = appendString(dst, e.Key)
			dst = le.AppendUint16(dst, uint16(len(e.Value)))
			dst = le.AppendUint32(dst, e.Set)
			dst = append(dst, e.Value...)
		}
	}
	return dst
}

// The least that a source and an entry take in a STATE.
const (
	leastSource = 14
	leastEntry  = 8
)

// cursors decodes what appendCursors gave into c. Nothing aliases d.b.
func (d *decoder) cursors(c *channel.Cursors) {
	for range d.count(leastSource) {
		name, version, move := d.text(), d.u32(), d.u32()
		entries := make([]channel.CursorEntry, d.count(leastEntry)) // one piece of memory for all
		list := make([]*channel.CursorEntry, len(entries))
		for i := range entries {
			e := &entries[i]
			e.Key = d.text()
			n := int(d.u16())
			e.Set = d.u32()
			e.Value = d.bytes(n)
			if d.err == nil && (len(e.Key) > abi.MaxKey || n > abi.MaxValue) {
				d.err = errLength
			}
			list[i] = e
		}
		if d.err == nil {
			d.err = c.Restore(name, version, move, list)
		}
		if d.err != nil {
			return
		}
	}
}
