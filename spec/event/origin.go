// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/binary"
	"strconv"
)

// Attributes that tell an event from all others, wherever it goes. The host gives them to each event that a source brings, where the agent is to
// (agent { origin = true }). They have no reserved names, so that processors on the way to a sink hand them on as any others.
const (
	OriginPrefix = "origin."
	OriginStream = OriginPrefix + "stream" // AGENT/SOURCE/RUN: the agent's id, the source's address, and a random number in hex for one run of the source
	OriginNumber = OriginPrefix + "number" // in that stream, in decimal; it grows, and may have gaps
)

// Origins gives events their origin. It belongs to one goroutine.
type Origins struct {
	Stream string
	Keep   bool   // an event that has an origin already keeps it; else it gets another
	next   uint64 // number
}

// Stamp makes a batch of the events of b that have an origin each, behind their other attributes, with memory from pool. Offsets are kept, and so
// is b; the caller owns the result. It is [ErrTooBig] when that is more than [MaxBatch]. An event that has as many attributes as there may be stays as it is.
func (o *Origins) Stamp(pool Buffers, b Batch) (Batch, error) {
	j := joint{size: HeaderSize, count: uint32(b.Len()), base: b.base}
	first := o.next
	for at := HeaderSize; at < len(b.data); {
		r := b.data[at : at+sizeOf(b.data[at:])]
		j.size += len(r) + o.growth(r)
		at += len(r)
	}
	if o.next == first { // each has one
		b.Retain()
		return b, nil
	}
	last := o.next
	out, err := j.fill(pool, func(dst []byte) error {
		o.next = first
		for at := HeaderSize; at < len(b.data); {
			r := b.data[at : at+sizeOf(b.data[at:])]
			dst = dst[o.write(dst, r):]
			at += len(r)
		}
		return nil
	})
	o.next = last
	return out, err
}

// growth is by how much a record becomes longer; it takes a number if it gets one.
func (o *Origins) growth(r []byte) int {
	has, bytes := originOf(r)
	if o.keeps(r, has) {
		return 0
	}
	var digits [20]byte
	n := 2*AttributeSize + len(OriginStream) + len(o.Stream) + len(OriginNumber) + len(strconv.AppendUint(digits[:0], o.next, 10))
	o.next++
	return n - bytes
}

func (o *Origins) keeps(r []byte, has int) bool {
	return o.Keep && has > 0 || int(binary.LittleEndian.Uint16(r[4:]))-has+2 > MaxAttributes
}

// originOf is how many attributes of a record tell its origin, and how many bytes these take.
func originOf(r []byte) (n, bytes int) {
	for at, left := RecordSize, binary.LittleEndian.Uint16(r[4:]); left > 0; left-- {
		size := attributeSize(r[at:])
		if isOrigin(r[at:]) {
			n, bytes = n+1, bytes+size
		}
		at += size
	}
	return n, bytes
}

func attributeSize(a []byte) int {
	return AttributeSize + int(binary.LittleEndian.Uint16(a)) + int(binary.LittleEndian.Uint32(a[2:]))
}

func isOrigin(a []byte) bool {
	name := a[AttributeSize:][:binary.LittleEndian.Uint16(a)]
	return string(name) == OriginStream || string(name) == OriginNumber
}

// write writes a record with its origin to dst, and answers how long it is.
func (o *Origins) write(dst, r []byte) int {
	has, _ := originOf(r)
	if o.keeps(r, has) {
		return copy(dst, r)
	}
	le := binary.LittleEndian
	n, at := copy(dst, r[:RecordSize]), RecordSize
	for left := le.Uint16(r[4:]); left > 0; left-- {
		size := attributeSize(r[at:])
		if !isOrigin(r[at:]) {
			n += copy(dst[n:], r[at:at+size])
		}
		at += size
	}
	var digits [20]byte
	n += putAttribute(dst[n:], OriginStream, o.Stream)
	n += putAttribute(dst[n:], OriginNumber, string(strconv.AppendUint(digits[:0], o.next, 10)))
	n += copy(dst[n:], r[at:])
	o.next++
	le.PutUint32(dst, uint32(n))
	le.PutUint16(dst[4:], uint16(int(le.Uint16(r[4:]))-has+2))
	return n
}

func putAttribute(dst []byte, name, value string) int {
	binary.LittleEndian.PutUint16(dst, uint16(len(name)))
	binary.LittleEndian.PutUint32(dst[2:], uint32(len(value)))
	n := AttributeSize + copy(dst[AttributeSize:], name)
	return n + copy(dst[n:], value)
}
