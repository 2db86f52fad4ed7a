// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

// Lines finds lines that end with a delimiter. Those longer than Max become several records. Empty ones are none.
type Lines struct {
	Delimiter byte // before '\n' a '\r' belongs to it
	Max       int
	seen      int // how much of the data has no delimiter: it is not looked through again
}

// Next implements [Framer].
func (l *Lines) Next(data []byte, end bool) (Record, error) {
	if n := l.empty(data); n > 0 {
		l.seen = 0
		return Record{Size: n, Skip: true}, nil
	}
	n := index(data[l.seen:], l.Delimiter)
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

// appendTo appends ordinary lines, one after the other, and answers how many bytes they take with what is around them. It leaves to Next what
// is no such line: an empty one, one that is too long, one that has not ended. What a line costs in a Go guest is mostly its calls: this has two.
func (l *Lines) appendTo(p *sdk.Poll, list *event.AttributeList, data []byte, now int64) (taken int, err error) {
	most := min(l.Max, room(p))
	for {
		rest := data[taken:]
		n := index(rest[l.seen:], l.Delimiter)
		if n < 0 {
			l.seen = len(rest)
			return taken, nil
		}
		n += l.seen
		l.seen = 0
		body := rest[:n]
		if n > 0 && body[n-1] == '\r' && l.Delimiter == '\n' {
			body = body[:n-1]
		}
		if len(body) == 0 || len(body) > most {
			return taken, nil
		}
		if err := p.AppendList(now, list, body); err != nil {
			return taken, err
		}
		taken += n + 1
	}
}

// empty is how many bytes of empty lines data begins with: a flood of them costs little.
func (l *Lines) empty(data []byte) (n int) {
	for n < len(data) {
		switch {
		case data[n] == l.Delimiter:
			n++
		case l.Delimiter == '\n' && data[n] == '\r' && n+1 < len(data) && data[n+1] == '\n':
			n += 2
		default:
			return n
		}
	}
	return n
}

// index is [bytes.IndexByte], which for WebAssembly looks at one byte at a time: most of the time of a line went there.
func index(b []byte, c byte) int {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	want, n := ones*uint64(c), 0
	for ; len(b)-n >= 32; n += 32 {
		w := b[n : n+32]
		x0, x1 := binary.LittleEndian.Uint64(w)^want, binary.LittleEndian.Uint64(w[8:])^want
		x2, x3 := binary.LittleEndian.Uint64(w[16:])^want, binary.LittleEndian.Uint64(w[24:])^want
		if ((x0-ones)&^x0|(x1-ones)&^x1|(x2-ones)&^x2|(x3-ones)&^x3)&high != 0 { // one of the bytes became 0
			break
		}
	}
	for ; len(b)-n >= 8; n += 8 {
		x := binary.LittleEndian.Uint64(b[n:]) ^ want
		if zero := (x - ones) &^ x & high; zero != 0 {
			return n + bits.TrailingZeros64(zero)/8
		}
	}
	for ; n < len(b); n++ {
		if b[n] == c {
			return n
		}
	}
	return -1
}

// LengthSize is how many bytes a [Lengths] length has.
const LengthSize = 4

// Lengths finds records before each of which its length stands, as four bytes, the most significant first.
type Lengths struct{ Max int }

// Next implements [Framer].
func (l *Lengths) Next(data []byte, end bool) (Record, error) {
	empty := 0
	for len(data)-empty >= LengthSize && binary.BigEndian.Uint32(data[empty:]) == 0 {
		empty += LengthSize
	}
	if empty > 0 {
		return Record{Size: empty, Skip: true}, nil
	}
	if len(data) >= LengthSize {
		n := binary.BigEndian.Uint32(data)
		if uint64(n) > uint64(l.Max) {
			return Record{}, fmt.Errorf("a record of %d bytes is over the limit of %d", n, l.Max)
		}
		if size := LengthSize + int(n); len(data) >= size {
			return Record{Size: size, Body: data[LengthSize:size]}, nil
		}
	}
	if end {
		return Record{}, fmt.Errorf("it ended within a record, after %d bytes of it", len(data))
	}
	return Record{}, nil
}
