// SPDX-License-Identifier: Apache-2.0

// Package event defines the unit of data that flows through an agent, and its encoding.
//
// An [Event] is a time, some attributes and a body. Events travel in a [Batch], which is encoded
// once, by the source's SDK, and decoded once, by the sink's: what lies between validates and moves
// bytes. The same bytes are guest memory, log record, and frame between processes.
//
// The encoding is PSB1: little-endian, no padding.
//
//	header, 32 bytes
//	  0  u32  magic "PSB1"
//	  4  u16  version = 1
//	  6  u16  flags: bit 0 = crc present; others 0
//	  8  u32  count of events
//	 12  u32  total length in bytes, header included
//	 16  u32  CRC-32C of bytes 32..end, or 0 when flag bit 0 is clear
//	 20  u32  reserved = 0
//	 24  u64  base: the offset to which each delta adds; 0 from a source
//	record, count times
//	  0  u32  size, this field included
//	  4  u16  nattr
//	  6  u16  type and flags = 0
//	  8  i64  time, unix nanoseconds
//	 16  u32  body length
//	 20  u32  delta: the event's offset is base + delta; deltas never decrease
//	 24  { u16 klen · u32 vlen · key · value } × nattr · body
//
// Invariants: a Batch that [Parse] or [Copy] returned has every bound checked, so that walking it
// cannot fail; a batch handed on is never written again; memory that comes from [Buffers] is
// counted, and goes back when the last holder releases it.
package event

import (
	"cmp"
	"fmt"
)

// Event is one unit of data.
type Event struct {
	Time       int64       // unix nanoseconds
	Attributes []Attribute // pairs in order; the first of equal keys counts
	Body       []byte
}

// Attribute is one pair. Keys are UTF-8; names that begin with "penstock." are the host's.
type Attribute struct {
	Key   string
	Value []byte
}

// Attribute returns the value of the first attribute of that key, or nil, false.
func (e Event) Attribute(key string) ([]byte, bool) {
	for i := range e.Attributes {
		if e.Attributes[i].Key == key {
			return e.Attributes[i].Value, true
		}
	}
	return nil, false
}

// Offset is the number of an event in its channel. It is given when the event is committed and never used twice.
type Offset uint64

// Range is a half-open range of offsets. What a filter left out counts as covered.
type Range struct{ First, Next Offset }

// Len is the number of offsets in the range.
func (r Range) Len() uint64 { return uint64(r.Next - r.First) }

// Empty says whether the range holds nothing.
func (r Range) Empty() bool { return r.Next <= r.First }

// Intersect returns what lies in both.
func (r Range) Intersect(o Range) Range {
	return Range{max(r.First, o.First), max(max(r.First, o.First), min(r.Next, o.Next))}
}

// Compare orders ranges by where they begin, then by where they end.
func (r Range) Compare(o Range) int {
	return cmp.Or(cmp.Compare(r.First, o.First), cmp.Compare(r.Next, o.Next))
}

// String gives "[first,next)".
func (r Range) String() string { return fmt.Sprintf("[%d,%d)", r.First, r.Next) }

// Cursor is where a source has read to, by key (a file, a partition, an upstream). The values are
// the source's own. As a set of changes, an empty value deletes its key.
type Cursor map[string][]byte
