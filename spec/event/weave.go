// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/binary"
	"fmt"
)

// Pick copies the events of b at some places into a batch of their own, with memory from pool. places are in order; the first event is at
// place 0. The result is numbered 0, 1, 2… from base 0. b stays as it is; the caller owns the result.
func Pick(pool Buffers, b Batch, places []uint32) (Batch, error) {
	j := joint{size: HeaderSize, count: uint32(len(places))}
	byPlace(b, places, func(r []byte, picked bool) {
		if picked {
			j.size += len(r)
		}
	})
	return j.fill(pool, func(dst []byte) error {
		rest := dst
		byPlace(b, places, func(r []byte, picked bool) {
			if picked {
				rest = rest[copy(rest, r):]
			}
		})
		number(dst)
		return nil
	})
}

// byPlace calls f with each record of b, and whether its place is among places.
func byPlace(b Batch, places []uint32, f func(r []byte, picked bool)) {
	place := uint32(0)
	for at := HeaderSize; at < len(b.data); place++ {
		n := sizeOf(b.data[at:])
		picked := len(places) > 0 && places[0] == place
		if picked {
			places = places[1:]
		}
		f(b.data[at:at+n], picked)
		at += n
	}
}

// Weave puts what was made of the events that [Pick] took out of b back into their places: an event of made with offset i was made of the
// one at places[i], and takes its place, also when there are several or none. All others are copied from b as they are. The offsets of made must not
// decrease from one part to the next. The result is numbered 0, 1, 2… from base 0; b and the parts stay as they are; the caller owns the result.
func Weave(pool Buffers, b Batch, places []uint32, made ...Batch) (Batch, error) {
	j := joint{size: HeaderSize, count: uint32(b.Len() - len(places))}
	byPlace(b, places, func(r []byte, picked bool) {
		if !picked {
			j.size += len(r)
		}
	})
	for _, m := range made {
		j.size += max(m.Size(), HeaderSize) - HeaderSize
		j.count += uint32(m.Len())
	}
	return j.fill(pool, func(dst []byte) error {
		rest, from, i := dst, parts{made, HeaderSize}, Offset(0)
		byPlace(b, places, func(r []byte, picked bool) {
			if !picked {
				rest = rest[copy(rest, r):]
				return
			}
			for r := from.run(i); len(r) > 0; r = from.run(i) {
				rest = rest[copy(rest, r):]
			}
			i++
		})
		if len(rest) > 0 {
			return fmt.Errorf("%w: something was made of an event that was not there", ErrSpan)
		}
		number(dst)
		return nil
	})
}

// parts are batches that are read one after the other.
type parts struct {
	left []Batch
	at   int // in the first of them
}

// run takes the records of offset i that come next, as far as they lie in one batch; none when what comes next has another.
func (p *parts) run(i Offset) []byte {
	for ; len(p.left) > 0; p.left, p.at = p.left[1:], HeaderSize {
		m, from := p.left[0], p.at
		if from >= len(m.data) {
			continue
		}
		for p.at < len(m.data) && m.base+Offset(deltaOf(m.data[p.at:])) == i {
			p.at += sizeOf(m.data[p.at:])
		}
		return m.data[from:p.at]
	}
	return nil
}

// Offsets is how many different offsets the events of b have: those made of one event share it.
func (b Batch) Offsets() (n int) {
	last := uint32(0)
	for at := HeaderSize; at < len(b.data); {
		r := b.data[at:]
		if delta := binary.LittleEndian.Uint32(r[20:]); n == 0 || delta != last {
			last = delta
			n++
		}
		at += sizeOf(r)
	}
	return n
}
