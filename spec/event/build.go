// SPDX-License-Identifier: Apache-2.0

package event

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"unsafe"
)

// What [Builder.Append] answers.
var (
	ErrFull   = errors.New("batch is full")           // send what there is, reset, append again
	ErrTooBig = errors.New("event is over the limit") // it will never fit
	ErrEvent  = errors.New("event cannot be encoded") // too many attributes, a name too long
)

// A Builder encodes events into one batch after another, reusing its memory. The zero Builder has a
// limit of [DefaultBatch] bytes, and takes what a plugin may emit. It is not safe for concurrent use.
type Builder struct {
	// Limit is the largest batch in bytes; 0 means DefaultBatch. An event may have Limit − EventMargin.
	Limit int
	// Host allows what only the host may do: [MaxAttributes], and names that begin with [ReservedPrefix].
	Host bool
	// Base is the offset that the batch counts from, where its events are made from those of another.
	Base Offset

	buf   []byte
	count uint32
	last  uint32 // delta of the last event in buf
	kept  Keeper
}

// Reset forgets what was appended and keeps the memory. What Bytes returned before is overwritten.
func (w *Builder) Reset() {
	w.buf, w.count, w.last = w.buf[:0], 0, 0
	w.kept.data, w.kept.count, w.kept.until = nil, 0, 0
}

// Len is the number of events appended since the last Reset.
func (w *Builder) Len() int { return int(w.count + w.kept.count) }

// Size is the length in bytes of what Bytes would return.
func (w *Builder) Size() int {
	n := max(len(w.buf), HeaderSize)
	if w.kept.count > 0 {
		n += w.kept.until - w.kept.from
	}
	return n
}

// Append encodes e as the next event; it keeps nothing of it. On an error the batch is as it was.
func (w *Builder) Append(e Event) error { return w.append(&e, Offset(w.Len())) }

// AppendEvent is Append without a copy of e, which counts in a WebAssembly guest.
func (w *Builder) AppendEvent(e *Event) error { return w.append(e, Offset(w.Len())) }

// AppendAt is AppendEvent of an event that was made from the one at that offset, which is neither below Base nor below the one before.
func (w *Builder) AppendAt(at Offset, e *Event) error { return w.append(e, at-w.Base) }

// append is the work of these. It is one function, and what it rarely needs is another: calls are dear in a WebAssembly guest.
func (w *Builder) append(e *Event, delta Offset) error {
	if w.kept.count > 0 {
		w.kept.copy()
	}
	size, limit := RecordSize+len(e.Body), w.Limit
	if len(e.Attributes) > 0 {
		more, err := w.measure(e.Attributes)
		if err != nil {
			return err
		}
		size += more
	}
	if limit == 0 {
		limit = DefaultBatch
	}
	at := max(len(w.buf), HeaderSize)
	if at+size > limit || size > limit-EventMargin || delta < Offset(w.last) || delta > math.MaxUint32 {
		return w.refuse(size, delta)
	}
	if at+size > cap(w.buf) {
		w.grow(at + size)
	}
	w.buf = w.buf[:at+size]
	r := w.buf[at : at+size]
	le := binary.LittleEndian
	_ = r[RecordSize-1]
	le.PutUint32(r, uint32(size))
	le.PutUint32(r[4:], uint32(len(e.Attributes))) // and a type of 0
	le.PutUint64(r[8:], uint64(e.Time))
	le.PutUint32(r[16:], uint32(len(e.Body)))
	le.PutUint32(r[20:], uint32(delta))
	r = r[RecordSize:]
	if len(e.Attributes) > 0 {
		r = putAttributes(r, e.Attributes)
	}
	copy(r, e.Body)
	w.last = uint32(delta)
	w.count++
	return nil
}

// refuse says why an event of that size and delta does not go into the batch.
func (w *Builder) refuse(size int, delta Offset) error {
	limit := cmp.Or(w.Limit, DefaultBatch)
	switch {
	case size > limit-EventMargin:
		return fmt.Errorf("%w: %d bytes of %d", ErrTooBig, size, limit-EventMargin)
	case delta < Offset(w.last) || delta > math.MaxUint32:
		return fmt.Errorf("%w: %d after %d, from %d", ErrSpan, w.Base+delta, w.Base+Offset(w.last), w.Base)
	}
	return ErrFull
}

// measure returns how many bytes attributes take, or why they cannot be encoded: said here, of one event, rather than of the whole batch later.
func (w *Builder) measure(attributes []Attribute) (int, error) {
	most := GuestAttributes
	if w.Host {
		most = MaxAttributes
	}
	if len(attributes) > most {
		return 0, fmt.Errorf("%w: %d attributes of %d", ErrEvent, len(attributes), most)
	}
	size := len(attributes) * AttributeSize
	for i := range attributes {
		a := &attributes[i]
		switch {
		case len(a.Key) > maxKey:
			return 0, fmt.Errorf("%w: attribute name of %d bytes of %d", ErrEvent, len(a.Key), maxKey)
		case !validKey(raw(a.Key)):
			return 0, fmt.Errorf("%w: attribute name %q is not UTF-8", ErrEvent, a.Key)
		case !w.Host && reserved(raw(a.Key)):
			return 0, fmt.Errorf("%w: attribute name %q: those that begin with %s are the host's", ErrEvent, a.Key, ReservedPrefix)
		}
		size += len(a.Key) + len(a.Value)
	}
	return size, nil
}

// raw is s as bytes, to be read only.
func raw(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// grow makes the buffer n bytes long; what is new in it is written by the caller.

//go:noinline
func (w *Builder) grow(n int) {
	w.buf = slices.Grow(w.buf, n-len(w.buf))[:n]
}

// putAttributes writes attributes into r and returns what follows them.
func putAttributes(r []byte, attributes []Attribute) []byte {
	le := binary.LittleEndian
	for i := range attributes {
		a := &attributes[i]
		le.PutUint16(r, uint16(len(a.Key)))
		le.PutUint32(r[2:], uint32(len(a.Value)))
		r = r[AttributeSize:]
		r = r[copy(r, a.Key):]
		r = r[copy(r, a.Value):]
	}
	return r
}

// Bytes returns the batch, without a CRC and with base 0, as a plugin emits it. It is valid until the next Reset.
func (w *Builder) Bytes() []byte {
	w.kept.copy()
	w.grow(max(len(w.buf), HeaderSize))
	putHeader(w.buf, w.count, 0)
	return w.buf
}

// Batch returns what was appended as a batch over the builder's memory, valid until the next Reset.
func (w *Builder) Batch() Batch { return Batch{data: w.Bytes(), base: w.Base} }

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
