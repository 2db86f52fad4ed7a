// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"unicode/utf8"
)

// The fixed parts of the encoding.
const (
	Magic   = 0x31425350 // "PSB1"
	version = 1
	flagCRC = 1

	// HeaderSize is the length of a batch's header, and so of an empty batch.
	HeaderSize = 32
	// RecordSize is the length of an event with no attributes and no body.
	RecordSize = 24
	// AttributeSize is what an attribute takes beside its key and value.
	AttributeSize = 6
)

// Limits. Each bounds what one hostile or mistaken plugin can make others hold.
const (
	// DefaultBatch is the largest batch in bytes unless a pipeline says otherwise: two of them in flight fit a guest of 64 MiB.
	DefaultBatch = 4 << 20
	// MaxBatch is the largest batch in bytes that anything takes: one record of the log, which is read whole.
	MaxBatch = 16 << 20
	// EventMargin is kept free beside the largest event, for the batch's header and the event's own.
	EventMargin = 64
	// GuestAttributes is how many attributes an event may have when a plugin emits it.
	GuestAttributes = 1000
	// MaxAttributes is how many a decoder takes: the host adds some of its own.
	MaxAttributes = 1024
	// maxKey is the longest attribute name that its length field can say.
	maxKey = 1<<16 - 1
	// ReservedPrefix begins the names of attributes that only the host sets.
	ReservedPrefix = "penstock."
)

// ErrInvalid is wrapped by every error about bytes that are not a well-formed batch.
var ErrInvalid = errors.New("invalid batch")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Batch is an encoded sequence of events. The zero Batch is empty. Copies of a Batch share memory:
// whoever keeps one beyond the call that handed it over calls Retain, and later Release.
type Batch struct {
	data   []byte
	base   Offset
	sum    uint32 // CRC-32C over data, valid when summed
	summed bool
	buf    *Buffer // nil: ordinary memory
}

// Parse checks every bound of b, and the CRC if there is one, and returns it as a batch without
// copying: b must not change as long as the batch is used.
func Parse(b []byte) (Batch, error) {
	head, err := parseHeader(b)
	if err != nil {
		return Batch{}, err
	}
	if head.flags&flagCRC != 0 && crc32.Checksum(b[HeaderSize:], castagnoli) != head.crc {
		return Batch{}, fmt.Errorf("%w: checksum does not match", ErrInvalid)
	}
	w := walker{data: b, count: head.count, maxAttrs: MaxAttributes}
	if err := w.walk(len(b)); err != nil {
		return Batch{}, err
	}
	if err := w.finish(); err != nil {
		return Batch{}, err
	}
	if head.base+Offset(w.last) < head.base {
		return Batch{}, fmt.Errorf("%w: offsets go beyond the last that there is", ErrInvalid)
	}
	return Batch{data: b, base: head.base}, nil
}

// Trusted returns b as a batch without looking at it: for bytes that were checked when they were
// written, and whose checksum was compared since. It takes over the caller's hold on buf, which may be nil.
func Trusted(b []byte, base Offset, buf *Buffer) Batch {
	return Batch{data: b, base: base, buf: buf}
}

// copyStep is how much is copied, summed and checked at a time, so that the bytes are still in the nearest cache.
const copyStep = 32 << 10

// Copy copies the batch in src, which a plugin wrote and may change at any time, into memory from
// pool, checking every bound in what it copied. The events must be numbered 0, 1, 2… from base 0, as
// a source's are; no event may have attributes of the host's. The caller owns the result's one hold.
func Copy(pool Buffers, src []byte, limit int) (Batch, error) {
	if len(src) > limit {
		return Batch{}, fmt.Errorf("%w: %d bytes are over the limit of %d", ErrInvalid, len(src), limit)
	}
	if len(src) < HeaderSize {
		return Batch{}, fmt.Errorf("%w: %d bytes are no header", ErrInvalid, len(src))
	}
	buf := pool.Get(len(src))
	b, err := copyInto(buf, src)
	if err != nil {
		buf.Release()
	}
	return b, err
}

// CopyMade is Copy of what a processor made of a batch: events keep the offsets of those that they were made from, counted from
// base 0, so that they need not be 0, 1, 2…; they may be those below next.
func CopyMade(pool Buffers, src []byte, next Offset) (Batch, error) {
	buf := pool.Get(len(src))
	b, err := parseMade(buf, src, next)
	if err != nil {
		buf.Release()
	}
	return b, err
}

func parseMade(buf *Buffer, src []byte, next Offset) (Batch, error) {
	data := buf.Bytes()
	copy(data, src)
	head, err := parseHeader(data)
	if err != nil {
		return Batch{}, err
	}
	if head.base != 0 || head.flags != 0 {
		return Batch{}, fmt.Errorf("%w: a plugin leaves base and flags 0", ErrInvalid)
	}
	w := walker{data: data, count: head.count, maxAttrs: GuestAttributes, guest: true, made: true}
	if err := w.walk(len(data)); err != nil {
		return Batch{}, err
	}
	if head.count > 0 && Offset(w.last) >= next {
		return Batch{}, fmt.Errorf("%w: an event is numbered after the last one that was given", ErrInvalid)
	}
	return Batch{data: data, buf: buf}, w.finish()
}

func copyInto(buf *Buffer, src []byte) (Batch, error) {
	data := buf.Bytes()
	copy(data, src[:HeaderSize])
	head, err := parseHeader(data)
	if err != nil {
		return Batch{}, err
	}
	if head.base != 0 || head.flags != 0 {
		return Batch{}, fmt.Errorf("%w: a plugin leaves base and flags 0", ErrInvalid)
	}
	w := walker{data: data, count: head.count, maxAttrs: GuestAttributes, guest: true}
	sum := crc32.Update(0, castagnoli, data[:HeaderSize])
	for at := HeaderSize; at < len(data); {
		end := min(at+copyStep, len(data))
		copy(data[at:end], src[at:end])
		sum = crc32.Update(sum, castagnoli, data[at:end])
		if err := w.walk(end); err != nil {
			return Batch{}, err
		}
		at = end
	}
	if err := w.finish(); err != nil {
		return Batch{}, err
	}
	return Batch{data: data, sum: sum, summed: true, buf: buf}, nil
}

type header struct {
	flags uint16
	count uint32
	crc   uint32
	base  Offset
}

func parseHeader(b []byte) (header, error) {
	le := binary.LittleEndian
	switch {
	case len(b) < HeaderSize:
		return header{}, fmt.Errorf("%w: %d bytes are no header", ErrInvalid, len(b))
	case le.Uint32(b) != Magic:
		return header{}, fmt.Errorf("%w: magic is %#x", ErrInvalid, le.Uint32(b))
	case le.Uint16(b[4:]) != version:
		return header{}, fmt.Errorf("%w: version %d is not known", ErrInvalid, le.Uint16(b[4:]))
	case le.Uint16(b[6:])&^flagCRC != 0 || le.Uint32(b[20:]) != 0:
		return header{}, fmt.Errorf("%w: reserved bits are set", ErrInvalid)
	case le.Uint16(b[6:])&flagCRC == 0 && le.Uint32(b[16:]) != 0:
		return header{}, fmt.Errorf("%w: there is a checksum, and no flag that says so", ErrInvalid)
	case uint64(le.Uint32(b[12:])) != uint64(len(b)):
		return header{}, fmt.Errorf("%w: length says %d, there are %d bytes", ErrInvalid, le.Uint32(b[12:]), len(b))
	case len(b) > MaxBatch:
		return header{}, fmt.Errorf("%w: %d bytes are over the limit of %d", ErrInvalid, len(b), MaxBatch)
	}
	return header{le.Uint16(b[6:]), le.Uint32(b[8:]), le.Uint32(b[16:]), Offset(le.Uint64(b[24:]))}, nil
}

// walker checks the records of a batch, as far as they have been copied.
type walker struct {
	data     []byte
	at       int // of the next record, less HeaderSize
	seen     uint32
	last     uint32 // delta of the record before
	count    uint32
	maxAttrs int
	guest    bool // deltas are 0,1,2… and no attribute is the host's
	made     bool // of other events: deltas need not be 0,1,2…
}

// walk checks all records that lie wholly before end.
func (w *walker) walk(end int) error {
	for {
		left := w.data[HeaderSize+w.at:]
		there := end - HeaderSize - w.at // how much of left has been copied
		switch {
		case len(left) == 0:
			return nil
		case len(left) < RecordSize:
			return w.bad("cut short")
		case there < RecordSize:
			return nil
		}
		size := uint64(binary.LittleEndian.Uint32(left))
		switch {
		case size < RecordSize || size > uint64(len(left)):
			return w.bad("size out of bounds")
		case size > uint64(there):
			return nil
		case w.seen == w.count:
			return w.bad("more records than the header counts")
		}
		if what := w.record(left[:size]); what != "" {
			return w.bad(what)
		}
		w.at += int(size)
		w.seen++
	}
}

// record says what is wrong with r, which has room for the fixed part; "" is nothing.
func (w *walker) record(r []byte) (what string) {
	le := binary.LittleEndian
	_ = r[RecordSize-1]
	delta := le.Uint32(r[20:])
	nattr := int(le.Uint16(r[4:]))
	switch {
	case le.Uint16(r[6:]) != 0:
		return "type is not 0"
	case delta < w.last, w.guest && !w.made && delta != w.seen:
		return "delta out of order"
	case nattr > w.maxAttrs:
		return "too many attributes"
	}
	w.last = delta
	rest := r[RecordSize:]
	for range nattr {
		if len(rest) < AttributeSize {
			return "attribute out of bounds"
		}
		klen, vlen := int(le.Uint16(rest)), uint64(le.Uint32(rest[2:]))
		rest = rest[AttributeSize:]
		if uint64(klen)+vlen > uint64(len(rest)) {
			return "attribute out of bounds"
		}
		if key := rest[:klen]; !validKey(key) {
			return "attribute name is not UTF-8"
		} else if w.guest && reserved(key) {
			return "attribute names that begin with " + ReservedPrefix + " are the host's"
		}
		rest = rest[uint64(klen)+vlen:]
	}
	if int(le.Uint32(r[16:])) != len(rest) {
		return "body length out of bounds"
	}
	return ""
}

// validKey says whether a key is UTF-8. Keys are short and nearly always ASCII: this loop, which is
// inlined, sees that sooner than a call of utf8.Valid, which steps through eight bytes at a time.
func validKey(key []byte) bool {
	for _, c := range key {
		if c >= utf8.RuneSelf {
			return utf8.Valid(key)
		}
	}
	return true
}

func reserved(key []byte) bool {
	return len(key) >= len(ReservedPrefix) && string(key[:len(ReservedPrefix)]) == ReservedPrefix
}

func (w *walker) finish() error {
	if HeaderSize+w.at != len(w.data) || w.seen != w.count {
		return fmt.Errorf("%w: header counts %d events, there are %d", ErrInvalid, w.count, w.seen)
	}
	return nil
}

func (w *walker) bad(what string) error {
	return fmt.Errorf("%w: record %d at byte %d: %s", ErrInvalid, w.seen, HeaderSize+w.at, what)
}

// Len is the number of events.
func (b Batch) Len() int {
	if b.data == nil {
		return 0
	}
	return int(binary.LittleEndian.Uint32(b.data[8:]))
}

// Bytes returns the encoding, which must not be changed. Its base field may be out of date: [Batch.Base] is right.
func (b Batch) Bytes() []byte { return b.data }

// Size is the length of the encoding in bytes.
func (b Batch) Size() int { return len(b.data) }

// Base is the offset to which each event's delta adds.
func (b Batch) Base() Offset { return b.base }

// WithBase returns the same batch, sharing memory and hold, with its offsets counted from base.
func (b Batch) WithBase(base Offset) Batch {
	b.base = base
	return b
}

// Sum returns the CRC-32C over Bytes, which [Copy] has already computed on its way.
func (b Batch) Sum() uint32 {
	if b.summed {
		return b.sum
	}
	return crc32.Checksum(b.data, castagnoli)
}

// Numbered says whether the events are numbered base, base + 1, base + 2…, as a channel needs them.
// [Copy] has already made sure of it.
func (b Batch) Numbered() bool {
	if b.summed || b.data == nil {
		return true
	}
	want := uint32(0)
	for rest := b.data[HeaderSize:]; len(rest) > 0; want++ {
		if binary.LittleEndian.Uint32(rest[20:]) != want {
			return false
		}
		rest = rest[binary.LittleEndian.Uint32(rest):]
	}
	return true
}

// Last is the offset of the last event, or the base where there is none. It looks at no more than the size of each, and at none where [Copy] has.
func (b Batch) Last() Offset {
	if n := b.Len(); b.summed && n > 0 { // so that they are numbered
		return b.base + Offset(n-1)
	}
	le := binary.LittleEndian
	delta := uint32(0)
	for n, at := b.Len(), HeaderSize; n > 0; n-- {
		r := b.data[at:]
		delta = le.Uint32(r[20:])
		at += int(le.Uint32(r))
	}
	return b.base + Offset(delta)
}

// Buffer returns the counted memory that holds the batch, or nil for ordinary memory.
func (b Batch) Buffer() *Buffer { return b.buf }

// Retain adds a hold on the batch's memory.
func (b Batch) Retain() {
	if b.buf != nil {
		b.buf.Retain()
	}
}

// Release gives one hold back; after the last one the bytes may be anything.
func (b Batch) Release() {
	if b.buf != nil {
		b.buf.Release()
	}
}

// All yields each event with its offset. What it yields is valid until the next step, and its
// memory as long as the batch is held. It allocates once; a [Decoder] kept by the caller does not.
func (b Batch) All() iter.Seq2[Offset, Event] { return new(Decoder).All(b) }
