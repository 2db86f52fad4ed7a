// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"encoding/binary"
	"fmt"

	"github.com/penstock-io/penstock/spec/event"
)

// gap is the body of a GAP: what stood in the place of damage, as far as what is around it tells.
//
//	 0  u64  index of the first record that is lost
//	 8  u64  number of records
//	16  u64  offset of the first event that is lost
//	24  u64  offset of the first event behind
//	32  u64  number of events that are lost, as far as it is known
//	40  u32  reason: 1 = damaged
//	44  u32  n incarnations that began in it · {u64 id, u64 first offset}*n
type gap struct {
	index, records uint64
	lost           event.Range
	events         uint64
	incarnations   []incarnation
}

const gapDamaged = 1 // the reason

func (g *gap) body() []byte {
	le := binary.LittleEndian
	b := le.AppendUint64(nil, g.index)
	b = le.AppendUint64(b, g.records)
	b = le.AppendUint64(b, uint64(g.lost.First))
	b = le.AppendUint64(b, uint64(g.lost.Next))
	b = le.AppendUint64(b, g.events)
	b = le.AppendUint32(b, gapDamaged)
	b = le.AppendUint32(b, uint32(len(g.incarnations)))
	for _, in := range g.incarnations {
		b = le.AppendUint64(b, in.id)
		b = le.AppendUint64(b, uint64(in.first))
	}
	return b
}

func parseGap(body []byte) (gap, error) {
	d := decoder{b: body}
	g := gap{index: d.u64(), records: d.u64(), lost: event.Range{First: event.Offset(d.u64()), Next: event.Offset(d.u64())}}
	g.events = d.u64()
	d.u32() // whatever the reason, it is gone
	for range d.count(16) {
		g.incarnations = append(g.incarnations, incarnation{id: d.u64(), first: event.Offset(d.u64())})
	}
	if err := d.finish(); err != nil {
		return g, fmt.Errorf("%w: GAP: %w", errContent, err)
	}
	return g, nil
}

// applyGap goes on behind what is lost.
func (s *state) applyGap(h *header, body []byte) error {
	g, err := parseGap(body)
	if err != nil {
		return err
	}
	if h.first != s.end || g.lost.First != s.end || g.lost.Next < s.end {
		return fmt.Errorf("%w: GAP of %v, the next offset is %d", errContent, g.lost, s.end)
	}
	for _, in := range g.incarnations {
		if in.first < s.end || in.first > g.lost.Next {
			return fmt.Errorf("%w: GAP of %v with an incarnation from %d on", errContent, g.lost, in.first)
		}
		s.fence(in.id, in.first)
	}
	s.end = g.lost.Next
	s.events += g.events
	if !g.lost.Empty() {
		s.lost = append(s.lost, g.lost)
	}
	return nil
}

// appendMended appends the entry of a record that stands in the place of others, and returns its header CRC.
func appendMended(dst []byte, h header, body []byte, c *coder) ([]byte, uint32) {
	h.flags |= flagDurable | flagMended
	buf := event.Heap{}.Get(len(body))
	copy(buf.Bytes(), body)
	entry := c.own(event.Heap{}, &h, buf).Frame(headerSize, 0)
	h.put(entry)
	dst = binary.AppendUvarint(dst, uint64(len(entry)))
	return append(dst, entry...), h.crc
}
