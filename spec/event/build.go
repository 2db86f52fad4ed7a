// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// What [Builder.Append] answers.
var (
	ErrFull   = errors.New("batch is full")           // send what there is, reset, append again
	ErrTooBig = errors.New("event is over the limit") // it will never fit
	ErrEvent  = errors.New("event cannot be encoded") // too many attributes, a name too long
)

// A Builder encodes events into one batch after another, reusing its memory. The zero Builder has a
// limit of [DefaultBatch] bytes. It is not safe for concurrent use.
type Builder struct {
	// Limit is the largest batch in bytes; 0 means DefaultBatch. An event may have Limit − EventMargin.
	Limit int

	buf   []byte
	count uint32
	last  uint32 // delta of the event before
}

// Reset forgets what was appended and keeps the memory. What Bytes returned before is overwritten.
func (w *Builder) Reset() { w.buf, w.count, w.last = w.buf[:0], 0, 0 }

// Len is the number of events appended since the last Reset.
func (w *Builder) Len() int { return int(w.count) }

// Size is the length in bytes of what Bytes would return.
func (w *Builder) Size() int { return max(len(w.buf), HeaderSize) }

// Append encodes e as the next event; it keeps nothing of it.
func (w *Builder) Append(e Event) error { return w.AppendAt(w.count, e) }

// AppendAt is Append for an event that has its offset already: delta is what it adds to the batch's
// base, and must not be lower than that of the event before.
func (w *Builder) AppendAt(delta uint32, e Event) error {
	limit := w.Limit
	if limit == 0 {
		limit = DefaultBatch
	}
	size := RecordSize + len(e.Body) + len(e.Attributes)*AttributeSize
	for i := range e.Attributes {
		a := &e.Attributes[i]
		if len(a.Key) > 0xffff {
			return fmt.Errorf("%w: attribute name of %d bytes", ErrEvent, len(a.Key))
		}
		size += len(a.Key) + len(a.Value)
	}
	switch {
	case len(e.Attributes) > MaxAttributes:
		return fmt.Errorf("%w: %d attributes", ErrEvent, len(e.Attributes))
	case size > limit-EventMargin:
		return fmt.Errorf("%w: %d bytes of %d", ErrTooBig, size, limit-EventMargin)
	case w.Size()+size > limit:
		return ErrFull
	case delta < w.last:
		return fmt.Errorf("%w: delta %d after %d", ErrEvent, delta, w.last)
	}
	w.buf = appendRecord(w.header(size), e, size, delta)
	w.count++
	w.last = delta
	return nil
}

// header makes sure that there is room for a header and n bytes more, and leaves the header blank.
func (w *Builder) header(n int) []byte {
	if len(w.buf) == 0 {
		if cap(w.buf) < HeaderSize+n {
			w.buf = make([]byte, 0, HeaderSize+n)
		}
		w.buf = w.buf[:HeaderSize]
	}
	return w.buf
}

func appendRecord(dst []byte, e Event, size int, delta uint32) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, uint32(size))
	dst = le.AppendUint16(dst, uint16(len(e.Attributes)))
	dst = le.AppendUint16(dst, 0)
	dst = le.AppendUint64(dst, uint64(e.Time))
	dst = le.AppendUint32(dst, uint32(len(e.Body)))
	dst = le.AppendUint32(dst, delta)
	for i := range e.Attributes {
		a := &e.Attributes[i]
		dst = le.AppendUint16(dst, uint16(len(a.Key)))
		dst = le.AppendUint32(dst, uint32(len(a.Value)))
		dst = append(dst, a.Key...)
		dst = append(dst, a.Value...)
	}
	return append(dst, e.Body...)
}

// Bytes returns the batch, without a CRC and with base 0, as a plugin emits it. It is valid until the next Reset.
func (w *Builder) Bytes() []byte {
	w.buf = w.header(0)
	putHeader(w.buf, w.count, 0)
	return w.buf
}

// Batch returns what was appended as a batch over the builder's memory, valid until the next Reset.
func (w *Builder) Batch() Batch { return Batch{data: w.Bytes()} }

func putHeader(b []byte, count uint32, base Offset) {
	le := binary.LittleEndian
	le.PutUint32(b, Magic)
	le.PutUint16(b[4:], version)
	le.PutUint16(b[6:], 0)
	le.PutUint32(b[8:], count)
	le.PutUint32(b[12:], uint32(len(b)))
	le.PutUint32(b[16:], 0)
	le.PutUint32(b[20:], 0)
	le.PutUint64(b[24:], uint64(base))
}

// Seal writes base and CRC into the header of a batch that leaves the process, in b, which its caller owns.
func Seal(b []byte, base Offset) {
	le := binary.LittleEndian
	le.PutUint16(b[6:], le.Uint16(b[6:])|flagCRC)
	le.PutUint32(b[16:], crc32.Checksum(b[HeaderSize:], castagnoli))
	PutBase(b, base)
}

// PutBase writes base into the header of an encoded batch, in b, which its caller owns.
func PutBase(b []byte, base Offset) { binary.LittleEndian.PutUint64(b[24:], uint64(base)) }

// ErrSpan means that offsets of one batch would lie 2^32 or more apart.
var ErrSpan = errors.New("offsets lie too far apart for one batch")

// Merge copies the events of parts, whose offsets must not decrease from one to the next, into one
// batch with memory from pool. Offsets are kept. The parts stay as they are; the caller owns the result.
func Merge(pool Buffers, parts ...Batch) (Batch, error) {
	return Select(pool, func(Offset) bool { return true }, parts...)
}

// Slice copies the events of b whose offsets lie in r into a batch of their own, with memory from
// pool. Offsets are kept. b stays as it is; the caller owns the result.
func Slice(pool Buffers, b Batch, r Range) (Batch, error) {
	return Select(pool, func(o Offset) bool { return r.First <= o && o < r.Next }, b)
}

// Select copies the events whose offsets keep answers true for into one batch with memory from
// pool. Offsets are kept, and must not decrease from one part to the next. keep is asked twice for
// each event and must answer the same. The parts stay as they are; the caller owns the result.
func Select(pool Buffers, keep func(Offset) bool, parts ...Batch) (Batch, error) {
	size, count, base := HeaderSize, uint32(0), Offset(0)
	var last Offset
	for o, r := range records(parts) {
		if !keep(o) {
			continue
		}
		if count == 0 {
			base, last = o, o
		}
		if o < last || o-base > 0xffffffff {
			return Batch{}, fmt.Errorf("%w: %d after %d, from %d", ErrSpan, o, last, base)
		}
		size, count, last = size+len(r), count+1, o
	}
	if size > MaxBatch {
		return Batch{}, fmt.Errorf("%w: %d bytes", ErrTooBig, size)
	}
	buf := pool.Get(size)
	dst := buf.Bytes()
	at := HeaderSize
	for o, r := range records(parts) {
		if keep(o) {
			copy(dst[at:], r)
			binary.LittleEndian.PutUint32(dst[at+20:], uint32(o-base))
			at += len(r)
		}
	}
	putHeader(dst, count, base)
	return Batch{data: dst, base: base, buf: buf}, nil
}

// records yields the encoded events of parts in order.
func records(parts []Batch) func(yield func(Offset, []byte) bool) {
	return func(yield func(Offset, []byte) bool) {
		le := binary.LittleEndian
		for _, b := range parts {
			if b.data == nil {
				continue
			}
			for rest := b.data[HeaderSize:]; len(rest) > 0; {
				size := le.Uint32(rest)
				if !yield(b.base+Offset(le.Uint32(rest[20:])), rest[:size]) {
					return
				}
				rest = rest[size:]
			}
		}
	}
}
