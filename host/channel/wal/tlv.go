// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// Types of TLV. The numbers are for ever.
const (
	tlvSource = 1 // how a source's cursor changes
	tlvReader = 2 // a reader is registered
	tlvForget = 3 // a reader is forgotten
	tlvOnly   = 4 // the one reader that sees the events
	tlvTrace  = 5 // reserved
	tlvDrop   = 6 // events are given up
	tlvIdle   = 8 // cursor entries of a source that were not set for long are forgotten
)

// changes is what the trailer of a record says.
type changes struct {
	sources []channel.CursorChange
	readers []readerEntry
	forget  []string // names of readers
	drops   []drop
	only    string
	idle    []channel.Idle
}

// readerEntry is a registered reader.
type readerEntry struct {
	id         uint64
	generation uint32
	first      event.Offset // where it began
	floor      event.Offset // nothing below is given to it any more: a policy gave it up
	end        event.Offset // where it hands over to others; 0: there is no end
	lane       channel.Lane
	name       string
}

// drop says that events are given up: before next, by one reader, or, of LostNewest, those of this very record: then
// first and next count from its offset.
type drop struct {
	loss   channel.Loss
	span   event.Range
	events uint64
	reader string        // "": all
	picked []event.Range // of LostPicked: which, within span; where the reader stands says so, and no record
}

// appendTLV encodes one TLV onto dst, with the value that fill appends.
func appendTLV(dst []byte, typ uint16, fill func([]byte) []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint16(dst, typ)
	dst = le.AppendUint16(dst, 0)
	at := len(dst)
	dst = le.AppendUint32(dst, 0)
	dst = fill(dst)
	le.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}

func appendString(dst []byte, s string) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

func appendChange(dst []byte, c *channel.CursorChange) []byte {
	return appendTLV(dst, tlvSource, func(dst []byte) []byte {
		le := binary.LittleEndian
		dst = appendString(dst, c.Source)
		dst = le.AppendUint32(dst, c.Version)
		dst = le.AppendUint32(dst, c.Move)
		removed := byte(0)
		if c.Removed {
			removed = 1
		}
		return abi.AppendCursor(append(dst, removed), c.Changed)
	})
}

func (r *readerEntry) appendValue(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, r.id)
	dst = le.AppendUint32(dst, r.generation)
	dst = le.AppendUint64(dst, uint64(r.first))
	dst = le.AppendUint64(dst, uint64(r.floor))
	dst = le.AppendUint64(dst, uint64(r.end))
	dst = le.AppendUint32(dst, r.lane.Index)
	dst = le.AppendUint32(dst, r.lane.Count)
	dst = appendString(dst, r.lane.Key)
	return appendString(dst, r.name)
}

func (d *drop) appendValue(dst []byte) []byte {
	le := binary.LittleEndian
	dst = append(dst, byte(d.loss))
	dst = le.AppendUint64(dst, uint64(d.span.First))
	dst = le.AppendUint64(dst, uint64(d.span.Next))
	dst = le.AppendUint64(dst, d.events)
	return appendString(dst, d.reader)
}

func (c *changes) append(dst []byte) []byte {
	for i := range c.sources {
		dst = appendChange(dst, &c.sources[i])
	}
	for i := range c.readers {
		dst = appendTLV(dst, tlvReader, c.readers[i].appendValue)
	}
	for _, name := range c.forget {
		dst = appendTLV(dst, tlvForget, func(dst []byte) []byte { return append(dst, name...) })
	}
	for i := range c.idle {
		dst = appendIdle(dst, &c.idle[i])
	}
	for i := range c.drops {
		dst = appendTLV(dst, tlvDrop, c.drops[i].appendValue)
	}
	if c.only != "" {
		dst = appendTLV(dst, tlvOnly, func(dst []byte) []byte { return append(dst, c.only...) })
	}
	return dst
}

// size bounds the length of what append gives, so that room can be made before.
func (c *changes) size() int {
	const fixed = 64 // more than the fixed part of any TLV
	n := fixed + len(c.only)
	for i := range c.sources {
		n += fixed + len(c.sources[i].Source)
		for k, v := range c.sources[i].Changed {
			n += fixed + len(k) + len(v)
		}
	}
	for _, r := range c.readers {
		n += fixed + len(r.name) + len(r.lane.Key)
	}
	for _, name := range c.forget {
		n += fixed + len(name)
	}
	for _, i := range c.idle {
		n += fixed + len(i.Source)
	}
	for i := range c.drops {
		n += fixed + len(c.drops[i].reader)
	}
	return n
}

// parseChanges decodes a trailer. Nothing in the result aliases b. Types that are not known are passed over.
func parseChanges(b []byte) (changes, error) {
	var c changes
	le := binary.LittleEndian
	for len(b) > 0 {
		if len(b) < 8 || uint64(le.Uint32(b[4:])) > uint64(len(b)-8) {
			return c, fmt.Errorf("parse trailer: %w", errShort)
		}
		typ, n := le.Uint16(b), le.Uint32(b[4:])
		d := decoder{b: b[8 : 8+n]}
		b = b[8+n:]
		switch typ {
		case tlvSource:
			s := channel.CursorChange{Source: d.text(), Version: d.u32(), Move: d.u32(), Removed: d.u8() == 1}
			s.Changed = d.cursor()
			c.sources = append(c.sources, s)
		case tlvReader:
			c.readers = append(c.readers, d.reader())
		case tlvForget:
			c.forget = append(c.forget, d.rest())
		case tlvIdle:
			c.idle = append(c.idle, channel.Idle{Before: d.u32(), Source: d.rest()})
		case tlvDrop:
			c.drops = append(c.drops, d.drop())
		case tlvOnly:
			c.only = d.rest()
		default:
			continue
		}
		if err := d.finish(); err != nil {
			return c, fmt.Errorf("parse trailer: type %d: %w", typ, err)
		}
	}
	return c, nil
}

// decoder takes values off the front of b. After an error it gives zeros.
type decoder struct {
	b   []byte
	err error
}

// take returns the next n bytes.
func (d *decoder) take(n int) []byte {
	if d.err == nil && len(d.b) < n {
		d.err = errShort
	}
	if d.err != nil {
		return make([]byte, min(n, 16)) // enough for the fixed fields; text and rest do not look at it
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) u8() uint8   { return d.take(1)[0] }
func (d *decoder) u16() uint16 { return binary.LittleEndian.Uint16(d.take(2)) }
func (d *decoder) u32() uint32 { return binary.LittleEndian.Uint32(d.take(4)) }
func (d *decoder) u64() uint64 { return binary.LittleEndian.Uint64(d.take(8)) }

func (d *decoder) text() string {
	n := int(d.u16())
	return string(d.take(n))
}

// bytes returns a copy of the next n bytes.
func (d *decoder) bytes(n int) []byte {
	return bytes.Clone(d.take(n))
}

func (d *decoder) rest() string { return string(d.take(len(d.b))) }

func (d *decoder) cursor() event.Cursor {
	if d.err != nil {
		return nil
	}
	var c map[string][]byte
	c, d.b, d.err = abi.ParseCursor(d.b)
	return c
}

func (d *decoder) reader() readerEntry {
	r := readerEntry{id: d.u64(), generation: d.u32(), first: event.Offset(d.u64()), floor: event.Offset(d.u64()), end: event.Offset(d.u64())}
	r.lane.Index, r.lane.Count, r.lane.Key = d.u32(), d.u32(), d.text()
	r.name = d.text()
	if d.err == nil && (r.name == "" || len(r.name) > channel.MaxName || r.lane.Check() != nil) {
		d.err = errLength
	}
	return r
}

func (d *decoder) drop() drop {
	return drop{
		loss: channel.Loss(d.u8()), span: event.Range{First: event.Offset(d.u64()), Next: event.Offset(d.u64())},
		events: d.u64(), reader: d.text(),
	}
}

// count is a number of things of at least size bytes each, which must still be there.
func (d *decoder) count(size int) int {
	n := d.u32()
	if uint64(n)*uint64(size) > uint64(len(d.b)) {
		d.err = errShort
		return 0
	}
	return int(n)
}

func (d *decoder) finish() error {
	if d.err == nil && len(d.b) > 0 {
		return errTrailing
	}
	return d.err
}
