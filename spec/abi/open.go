// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// An OpenRequest is what penstock_open gets. In the arena it lies as
//
//	u32 json_len · JSON · cursor map
//
// and the cursor map, here and wherever cursors are stored, is
//
//	u32 n · { u16 klen · u32 vlen · key · value }*n       little-endian, keys in byte order
type OpenRequest struct {
	Plugin       string            `json:"plugin"`
	Kind         Kind              `json:"kind"`
	Config       json.RawMessage   `json:"config"`
	Instance     Instance          `json:"instance"`
	Stream       string            `json:"stream,omitempty"`       // sink: the key under which it stores what it holds
	Incarnations []Incarnation     `json:"incarnations,omitempty"` // sink: what may be reported through position
	Cursor       map[string][]byte `json:"-"`
}

// Instance says which of how many instances of one component this is.
type Instance struct {
	Index int `json:"index"`
	Count int `json:"count"`
}

// An Incarnation is one opening of a channel: its offsets start at First.
// (incarnation, offset) is never used twice.
type Incarnation struct {
	ID    uint64 `json:"id,string"` // random; a string in JSON, whose numbers end at 2^53
	First uint64 `json:"first,string"`
}

// Append encodes the request onto dst.
func (r OpenRequest) Append(dst []byte) ([]byte, error) {
	doc, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode open request: %w", err)
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(doc)))
	dst = append(dst, doc...)
	return AppendCursor(dst, r.Cursor), nil
}

// ParseOpenRequest decodes what [OpenRequest.Append] wrote. The result does not alias b.
func ParseOpenRequest(b []byte) (OpenRequest, error) {
	var r OpenRequest
	if len(b) < 4 || uint64(len(b)-4) < uint64(binary.LittleEndian.Uint32(b)) {
		return r, errors.New("parse open request: cut short")
	}
	n := 4 + int(binary.LittleEndian.Uint32(b))
	if err := json.Unmarshal(b[4:n], &r); err != nil {
		return r, fmt.Errorf("parse open request: %w", err)
	}
	cursor, rest, err := ParseCursor(b[n:])
	if err != nil {
		return r, err
	}
	if len(rest) != 0 {
		return r, errors.New("parse open request: bytes left over")
	}
	r.Cursor = cursor
	return r, nil
}

// AppendCursor encodes a cursor map onto dst, keys in byte order.
// Keys over [MaxKey] and values over [MaxValue] must have been refused before.
func AppendCursor(dst []byte, cursor map[string][]byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(cursor)))
	for _, k := range slices.Sorted(maps.Keys(cursor)) {
		v := cursor[k]
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(k)))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(v)))
		dst = append(dst, k...)
		dst = append(dst, v...)
	}
	return dst
}

// ParseCursor decodes a cursor map and returns what follows it. The map does not alias b. Only what
// [AppendCursor] can have written is taken, so that a map has one encoding.
func ParseCursor(b []byte) (cursor map[string][]byte, rest []byte, err error) {
	const entry = 6 // the least an entry takes
	if len(b) < 4 {
		return nil, nil, errors.New("parse cursor: cut short")
	}
	n := binary.LittleEndian.Uint32(b)
	b = b[4:]
	if uint64(n)*entry > uint64(len(b)) {
		return nil, nil, fmt.Errorf("parse cursor: %d entries do not fit %d bytes", n, len(b))
	}
	cursor = make(map[string][]byte, n)
	last := ""
	for i := range n {
		if len(b) < entry {
			return nil, nil, errors.New("parse cursor: cut short")
		}
		klen, vlen := int(binary.LittleEndian.Uint16(b)), uint64(binary.LittleEndian.Uint32(b[2:]))
		b = b[entry:]
		if klen > MaxKey || vlen > MaxValue || uint64(len(b)) < uint64(klen)+vlen {
			return nil, nil, errors.New("parse cursor: entry out of bounds")
		}
		key := string(b[:klen])
		if i > 0 && key <= last {
			return nil, nil, errors.New("parse cursor: keys are not in order")
		}
		last = key
		cursor[key] = slices.Clone(b[klen : klen+int(vlen)])
		b = b[klen+int(vlen):]
	}
	return cursor, b, nil
}
