// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/penstock-io/penstock/spec/event"
)

// The fixed parts of a record. The numbers are for ever.
const (
	magic         = 0x31575350 // "PSW1"
	recordVersion = 1
	headerSize    = 72
	// maxLength is the longest length field of an entry that we write: 5 bytes hold 35 bits.
	maxLength = 5
	// maxRecord bounds what a length field may make a reader allocate: the largest batch and the
	// largest STATE (all cursors, and names) fit with room to spare.
	maxRecord = 64 << 20
	// maxTrailer bounds the TLVs of a transaction: a whole cursor in its smallest entries fits.
	maxTrailer = 32 << 20
)

// kind says what a record is for.
type kind uint8

const (
	kindPut   kind = 1 // events, cursor changes, changes of readers: any of them
	kindState kind = 2 // all that a reader of the rest of the log must know of what was before
	kindFence kind = 3 // the channel was opened
	kindGap   kind = 4 // stands for what was damaged: see gap
)

// flagDurable says that all records before this one had been flushed when it was written. So damage
// that is followed by such a record struck acknowledged data, and damage that is not may be a torn tail.
const flagDurable = 1

// flagMended says that this record was put in the place of damaged ones, of which a GAP says in the
// field raw how many they were. The record behind it does not hold its header CRC.
const flagMended = 2

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

func updateCRC(crc uint32, b []byte) uint32 { return crc32.Update(crc, castagnoli, b) }

// header is the fixed part of a record.
type header struct {
	kind    kind
	flags   uint16
	codec   Codec
	key     uint32
	index   uint64
	prev    uint32
	events  uint32
	first   event.Offset
	time    int64
	body    uint32
	raw     uint32
	tlv     uint32
	bodyCRC uint32
	tlvCRC  uint32
	crc     uint32 // set by put and parseHeader
}

// put encodes h into b and sets its CRC.
func (h *header) put(b []byte) {
	le := binary.LittleEndian
	le.PutUint32(b, magic)
	b[4], b[5] = byte(h.kind), recordVersion
	le.PutUint16(b[6:], h.flags)
	b[8], b[9], b[10], b[11] = byte(h.codec), 0, 0, 0
	le.PutUint32(b[12:], h.key)
	le.PutUint64(b[16:], h.index)
	le.PutUint32(b[24:], h.prev)
	le.PutUint32(b[28:], h.events)
	le.PutUint64(b[32:], uint64(h.first))
	le.PutUint64(b[40:], uint64(h.time))
	le.PutUint32(b[48:], h.body)
	le.PutUint32(b[52:], h.raw)
	le.PutUint32(b[56:], h.tlv)
	le.PutUint32(b[60:], h.bodyCRC)
	le.PutUint32(b[64:], h.tlvCRC)
	h.crc = checksum(b[:68])
	le.PutUint32(b[68:], h.crc)
}

// What is wrong with a record, in the words that verify prints.
var (
	errMagic    = errors.New("no record begins here")
	errHeader   = errors.New("header checksum does not match")
	errVersion  = errors.New("written by a newer version")
	errBody     = errors.New("body checksum does not match")
	errTLV      = errors.New("trailer checksum does not match")
	errLength   = errors.New("length does not fit the record")
	errShort    = errors.New("record is cut short")
	errZero     = errors.New("zeros where a record should be")
	errIndex    = errors.New("record has another index than its place in the log")
	errChain    = errors.New("record does not follow the one before it")
	errContent  = errors.New("record is well-formed, but not what may stand here")
	errTrailing = errors.New("bytes are left over")
)

// parseHeader decodes and checks the header at the beginning of b.
func parseHeader(b []byte) (h header, err error) {
	le := binary.LittleEndian
	switch {
	case len(b) < headerSize:
		return h, errShort
	case le.Uint32(b) != magic:
		return h, errMagic
	}
	h = header{
		kind: kind(b[4]), flags: le.Uint16(b[6:]), codec: Codec(b[8]), key: le.Uint32(b[12:]),
		index: le.Uint64(b[16:]), prev: le.Uint32(b[24:]), events: le.Uint32(b[28:]), first: event.Offset(le.Uint64(b[32:])),
		time: int64(le.Uint64(b[40:])), body: le.Uint32(b[48:]), raw: le.Uint32(b[52:]), tlv: le.Uint32(b[56:]),
		bodyCRC: le.Uint32(b[60:]), tlvCRC: le.Uint32(b[64:]), crc: le.Uint32(b[68:]),
	}
	switch {
	case checksum(b[:68]) != h.crc:
		return h, errHeader
	case b[5] != recordVersion:
		return h, fmt.Errorf("%w: %d, this program knows %d", errVersion, b[5], recordVersion)
	case h.codec > Zstd:
		return h, fmt.Errorf("%w: codec %d, this program knows %d", errVersion, h.codec, Zstd)
	}
	return h, nil
}

// span is the range of the record's events.
func (h *header) span() event.Range {
	return event.Range{First: h.first, Next: h.first + event.Offset(h.events)}
}

// stands is for how many records it stands: itself, or those that it replaces.
func (h *header) stands() uint64 {
	if h.kind == kindGap && h.flags&flagMended != 0 {
		return uint64(h.raw)
	}
	return 1
}

// length is that of the whole record.
func (h *header) length() int64 { return headerSize + int64(h.body) + int64(h.tlv) }

// entrySize is how many bytes of a segment a record of n bytes takes.
func entrySize(n int64) int64 {
	size := n + 1
	for u := uint64(n); u >= 0x80; u >>= 7 {
		size++
	}
	return size
}
