// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/binary"
	"iter"
	"unsafe"
)

// A Decoder walks batches, and keeps the scratch space between them:
//
//	for d.Reset(b); d.Next(); {
//		use(d.Offset(), d.Body())
//	}
//
// It decodes what it is asked for, when it is asked. In a WebAssembly guest, where calls are dear and so are copies, that takes a third of the
// time of [Batch.All], or less. It is not safe for concurrent use.
type Decoder struct{ reader }

// Reset begins before the first event of b.
func (d *Decoder) Reset(b Batch) { d.begin(b) }

// All yields each event of b with its offset. What it yields is valid until the next step.
func (d *Decoder) All(b Batch) iter.Seq2[Offset, Event] {
	return func(yield func(Offset, Event) bool) {
		for d.Reset(b); d.Next(); {
			if !yield(d.Offset(), *d.Event()) {
				return
			}
		}
	}
}

// reader stands at an event of a batch. What its methods return is valid as long as the batch is held, unless they say less. Most are small
// enough to be inlined: mind that (go build -gcflags=-m) when changing them.
type reader struct {
	data    []byte // the batch
	at, end int    // of the event, in data
	base    Offset
	attrs   []Attribute // scratch, as is event
	event   Event
}

func (d *reader) begin(b Batch) { d.data, d.base, d.at, d.end = b.data, b.base, 0, HeaderSize }

// Next goes to the next event and says whether there is one.
func (d *reader) Next() bool {
	d.at = d.end
	if d.at >= len(d.data) {
		return false
	}
	d.end += int(binary.LittleEndian.Uint32(d.data[d.at:]))
	return true
}

// Offset is the event's.
func (d *reader) Offset() Offset {
	return d.base + Offset(binary.LittleEndian.Uint32(d.data[d.at+20:]))
}

// Time is the event's, in unix nanoseconds.
func (d *reader) Time() int64 { return int64(binary.LittleEndian.Uint64(d.data[d.at+8:])) }

// Body is the event's.
func (d *reader) Body() []byte {
	return d.data[d.end-int(binary.LittleEndian.Uint32(d.data[d.at+16:])) : d.end : d.end]
}

// Attribute returns the value of the first attribute of that key, or nil, false.
func (d *reader) Attribute(key string) ([]byte, bool) {
	le := binary.LittleEndian
	rest := d.data[d.at+RecordSize : d.end : d.end]
	for n := le.Uint16(d.data[d.at+4:]); n > 0; n-- {
		klen, vlen := uint64(le.Uint16(rest)), uint64(le.Uint32(rest[2:]))
		rest = rest[AttributeSize:]
		if string(rest[:klen]) == key {
			return rest[klen : klen+vlen : klen+vlen], true
		}
		rest = rest[klen+vlen:]
	}
	return nil, false
}

// Attributes are the event's, in order, valid until they or the event are asked for again.
func (d *reader) Attributes() []Attribute {
	n := int(binary.LittleEndian.Uint16(d.data[d.at+4:]))
	if n == 0 {
		return nil
	}
	d.attributes(n, d.data[d.at+RecordSize:d.end:d.end])
	return d.attrs[:n:n]
}

// attributes decodes n attributes at the beginning of rest into attrs, and returns what follows them.
func (d *reader) attributes(n int, rest []byte) []byte {
	le := binary.LittleEndian
	if n > cap(d.attrs) {
		d.attrs = make([]Attribute, 2*n)
	}
	attrs := d.attrs[:n:n]
	for i := range attrs {
		klen, vlen := uint64(le.Uint16(rest)), uint64(le.Uint32(rest[2:]))
		rest = rest[AttributeSize:]
		a := &attrs[i] // field by field: as a composite it is built elsewhere and copied, which takes twice as long
		a.Key = text(rest[:klen])
		a.Value = rest[klen : klen+vlen : klen+vlen]
		rest = rest[klen+vlen:]
	}
	return rest
}

// Event is all of it, valid until it or the attributes are asked for again.
func (d *reader) Event() *Event { // a pointer, since in a guest a copy of seven words is a call
	le := binary.LittleEndian
	r, e := d.data[d.at:d.end:d.end], &d.event
	_ = r[RecordSize-1]
	e.Time = int64(le.Uint64(r[8:]))
	if n := int(le.Uint16(r[4:])); n > 0 {
		e.Body = d.attributes(n, r[RecordSize:])
		e.Attributes = d.attrs[:n:n]
		return e
	}
	e.Attributes, e.Body = nil, r[RecordSize:]
	return e
}

// text is b as a string that is as valid as the batch, like the value beside it.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
