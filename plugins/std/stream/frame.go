// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Lines finds lines that end with a delimiter. Those longer than Max become several records. Empty ones are none.
type Lines struct {
	Delimiter byte // before '\n' a '\r' belongs to it
	Max       int
	seen      int // how much of the data has no delimiter: it is not looked through again
}

// Next implements [Framer].
func (l *Lines) Next(data []byte, end bool) (Record, error) {
	n := bytes.IndexByte(data[l.seen:], l.Delimiter)
	if n >= 0 {
		n += l.seen
	}
	switch {
	case n < 0 && len(data) > l.Max+1: // even if the last byte is a \r
		l.seen = 0
		return Record{Size: l.Max, Body: data[:l.Max], Partial: true}, nil
	case n < 0 && !end:
		l.seen = len(data)
		return Record{}, nil
	}
	l.seen = 0
	size, body := len(data), data
	if n >= 0 {
		size, body = n+1, data[:n]
	}
	if l.Delimiter == '\n' {
		body = bytes.TrimSuffix(body, []byte{'\r'})
	}
	if len(body) > l.Max {
		return Record{Size: l.Max, Body: data[:l.Max], Partial: true}, nil
	}
	return Record{Size: size, Body: body, Skip: len(body) == 0}, nil
}

// LengthSize is how many bytes a [Lengths] length has.
const LengthSize = 4

// Lengths finds records before each of which its length stands, as four bytes, the most significant first.
type Lengths struct{ Max int }

// Next implements [Framer].
func (l *Lengths) Next(data []byte, end bool) (Record, error) {
	if len(data) >= LengthSize {
		n := binary.BigEndian.Uint32(data)
		if uint64(n) > uint64(l.Max) {
			return Record{}, fmt.Errorf("a record of %d bytes is over the limit of %d", n, l.Max)
		}
		if size := LengthSize + int(n); len(data) >= size {
			return Record{Size: size, Body: data[LengthSize:size], Skip: n == 0}, nil
		}
	}
	if end {
		return Record{}, fmt.Errorf("it ended within a record, after %d bytes of it", len(data))
	}
	return Record{}, nil
}
