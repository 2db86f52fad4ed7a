// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
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

	buf   []byte
	count uint32
}

// Reset forgets what was appended and keeps the memory. What Bytes returned before is overwritten.
func (w *Builder) Reset() { w.buf, w.count = w.buf[:0], 0 }

// Len is the number of events appended since the last Reset.
func (w *Builder) Len() int { return int(w.count) }

// Size is the length in bytes of what Bytes would return.
func (w *Builder) Size() int { return max(len(w.buf), HeaderSize) }

// Append encodes e as the next event; it keeps nothing of it. On an error the batch is as it was.
func (w *Builder) Append(e Event) error { return w.AppendEvent(&e) }

// AppendEvent is Append without a copy of e, which counts in a WebAssembly guest.
func (w *Builder) AppendEvent(e *Event) error { return w.AppendNumbered(e, w.count) }

// AppendRecord is AppendNumbered of an event as a [Decoder] has it: it was checked then.
func (w *Builder) AppendRecord(record []byte, delta uint32) error {
	limit := w.Limit
	if limit == 0 {
		limit = DefaultBatch
	}
	at := w.Size()
	switch {
	case len(record) > limit-EventMargin:
		return fmt.Errorf("%w: %d bytes of %d", ErrTooBig, len(record), limit-EventMargin)
	case at+len(record) > limit:
		return ErrFull
	}
	if cap(w.buf) < at+len(record) {
		w.grow(at + len(record))
	}
	w.buf = w.buf[:at+len(record)]
	copy(w.buf[at:], record)
	binary.LittleEndian.PutUint32(w.buf[at+20:], delta)
	w.count++
	return nil
}

// AppendNumbered is AppendEvent of an event that was made from one with that delta, which must not be below the one before.
func (w *Builder) AppendNumbered(e *Event, delta uint32) error {
	limit := w.Limit
	if limit == 0 {
		limit = DefaultBatch
	}
	size := RecordSize + len(e.Body)
	if len(e.Attributes) > 0 {
		more, err := w.measure(e.Attributes)
		if err != nil {
			return err
		}
		size += more
	}
	at := max(len(w.buf), HeaderSize)
	if size > limit-EventMargin {
		return fmt.Errorf("%w: %d bytes of %d", ErrTooBig, size, limit-EventMargin)
	}
	if at+size > limit {
		return ErrFull
	}
	if at+size > cap(w.buf) {
		w.grow(at + size)
	}
	w.buf = w.buf[:at+size]
	r := w.buf[at:]
	le := binary.LittleEndian
	_ = r[RecordSize-1]
	le.PutUint32(r, uint32(size))
	le.PutUint32(r[4:], uint32(len(e.Attributes))) // and a type of 0
	le.PutUint64(r[8:], uint64(e.Time))
	le.PutUint32(r[16:], uint32(len(e.Body)))
	le.PutUint32(r[20:], delta)
	r = r[RecordSize:]
	if len(e.Attributes) > 0 {
		r = putAttributes(r, e.Attributes)
	}
	copy(r, e.Body)
	w.count++
	return nil
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
	w.grow(w.Size())
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
