// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrSpan means that offsets of one batch would lie 2^32 or more apart, or go back.
var ErrSpan = errors.New("offsets do not fit one batch")

// Merge copies the events of parts, whose offsets must not decrease from one to the next, into one
// batch with memory from pool. Offsets are kept. The parts stay as they are; the caller owns the result.
func Merge(pool Buffers, parts ...Batch) (Batch, error) {
	j := joint{size: HeaderSize}
	for _, b := range parts {
		if b.Len() > 0 {
			if j.count == 0 {
				j.base = b.base + Offset(deltaOf(b.data[HeaderSize:]))
			}
			j.size += len(b.data) - HeaderSize
			j.count += uint32(b.Len())
		}
	}
	return j.fill(pool, func(dst []byte) error {
		last := j.base
		for _, b := range parts {
			if b.Len() == 0 {
				continue
			}
			n := copy(dst, b.data[HeaderSize:])
			if err := j.renumber(dst[:n], b.base, &last); err != nil {
				return err
			}
			dst = dst[n:]
		}
		return nil
	})
}

// Join copies the events of parts into one batch with memory from pool, numbered 0, 1, 2… from base
// 0, as a source's are: what a channel takes. The parts stay as they are; the caller owns the result.
func Join(pool Buffers, parts ...Batch) (Batch, error) {
	j := joint{size: HeaderSize}
	for _, b := range parts {
		if b.data != nil {
			j.size += len(b.data) - HeaderSize
			j.count += uint32(b.Len())
		}
	}
	return j.fill(pool, func(dst []byte) error {
		rest := dst
		for _, b := range parts {
			if b.data != nil {
				rest = rest[copy(rest, b.data[HeaderSize:]):]
			}
		}
		number(dst)
		return nil
	})
}

// number makes the deltas of records 0, 1, 2….
func number(records []byte) {
	for i := uint32(0); len(records) > 0; i++ {
		binary.LittleEndian.PutUint32(records[20:], i)
		records = records[sizeOf(records):]
	}
}

// Renumber numbers the events of b 0, 1, 2… from base 0, as a channel takes them, where they lie: b belongs to the caller alone. It
// answers how many different offsets there were before.
func Renumber(b Batch) (numbered Batch, offsets int) {
	if b.data == nil {
		return b, 0
	}
	last := uint32(0)
	for i, r := uint32(0), b.data[HeaderSize:]; len(r) > 0; i++ {
		if delta := deltaOf(r); i == 0 || delta != last {
			last = delta
			offsets++
		}
		binary.LittleEndian.PutUint32(r[20:], i)
		r = r[sizeOf(r):]
	}
	b.base, b.summed = 0, false
	return b, offsets
}

// Assign gives the events of b these offsets, which do not decrease and of which there is one for each, where they lie: b belongs to the caller alone.
func Assign(b Batch, offsets []Offset) Batch {
	if b.Len() == 0 {
		return b
	}
	r := b.data[HeaderSize:]
	for _, o := range offsets {
		binary.LittleEndian.PutUint32(r[20:], uint32(o-offsets[0]))
		r = r[sizeOf(r):]
	}
	b.base, b.summed = offsets[0], false
	return b
}

// Slice copies the events of b whose offsets lie in span into a batch of their own, with memory from
// pool. Offsets are kept. b stays as it is; the caller owns the result.
func Slice(pool Buffers, b Batch, span Range) (Batch, error) {
	j := joint{base: b.base}
	from, to := 0, 0 // bytes: what lies in span is in one piece, since offsets do not decrease
	for at := HeaderSize; at < len(b.data); {
		r := b.data[at:]
		o := b.base + Offset(deltaOf(r))
		if o >= span.Next {
			break
		}
		at += sizeOf(r)
		if o < span.First {
			continue
		}
		if j.count == 0 {
			from = at - sizeOf(r)
		}
		j.count++
		to = at
	}
	j.size = HeaderSize + to - from
	return j.fill(pool, func(dst []byte) error {
		copy(dst, b.data[from:to])
		return nil
	})
}

// Select copies the events whose offsets keep answers true for into one batch with memory from
// pool. Offsets are kept, and must not decrease from one part to the next. keep is asked twice for
// each event and must answer the same. The parts stay as they are; the caller owns the result.
func Select(pool Buffers, keep func(Offset) bool, parts ...Batch) (Batch, error) {
	j := joint{size: HeaderSize}
	kept(keep, parts, func(o Offset, r []byte) {
		if j.count == 0 {
			j.base = o
		}
		j.size += len(r)
		j.count++
	})
	return j.fill(pool, func(dst []byte) (err error) {
		last := j.base
		kept(keep, parts, func(o Offset, r []byte) {
			n := copy(dst, r)
			if e := j.renumber(dst[:n], o-Offset(deltaOf(r)), &last); err == nil {
				err = e
			}
			dst = dst[n:]
		})
		return err
	})
}

// kept calls f with each event of parts that is to be kept, and its offset.
func kept(keep func(Offset) bool, parts []Batch, f func(Offset, []byte)) {
	for _, b := range parts {
		for at := HeaderSize; at < len(b.data); {
			n := sizeOf(b.data[at:])
			if o := b.base + Offset(deltaOf(b.data[at:])); keep(o) {
				f(o, b.data[at:at+n])
			}
			at += n
		}
	}
}

// joint is the batch that parts are joined to.
type joint struct {
	size  int
	count uint32
	base  Offset
}

// fill makes the batch; records writes its records.
func (j *joint) fill(pool Buffers, records func(dst []byte) error) (Batch, error) {
	if j.size > MaxBatch {
		return Batch{}, fmt.Errorf("%w: %d bytes in one batch, the most is %d", ErrTooBig, j.size, MaxBatch)
	}
	buf := pool.Get(j.size)
	data := buf.Bytes()
	if err := records(data[HeaderSize:]); err != nil {
		buf.Release()
		return Batch{}, err
	}
	putHeader(data, j.count, j.base)
	return Batch{data: data, base: j.base, buf: buf}, nil
}

// renumber changes the deltas of records, which count from base, so that they count from the joint's. last is the offset before.
func (j *joint) renumber(records []byte, base Offset, last *Offset) error {
	for r := records; len(r) > 0; r = r[sizeOf(r):] {
		o := base + Offset(deltaOf(r))
		if o < *last || o-j.base > 1<<32-1 {
			return fmt.Errorf("%w: %d after %d, from %d", ErrSpan, o, *last, j.base)
		}
		*last = o
		binary.LittleEndian.PutUint32(r[20:], uint32(o-j.base))
	}
	return nil
}

func sizeOf(r []byte) int     { return int(binary.LittleEndian.Uint32(r)) }
func deltaOf(r []byte) uint32 { return binary.LittleEndian.Uint32(r[20:]) }
