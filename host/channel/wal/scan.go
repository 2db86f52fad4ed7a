// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// scanStep is how much is read at a time: large enough that a read costs less than the checksums,
// small enough that a reader which catches up holds little.
const scanStep = 512 << 10

// headStep is how much is read where only the first record is wanted.
const headStep = 4 << 10

// Damage is a place in the log that is not as it was written. It is an error that wraps [channel.ErrCorrupt].
type Damage struct {
	File   string // within the channel's directory
	Offset int64  // of the first byte that cannot be used
	Length int64  // how many; 0 when that is not known
	Torn   bool   // a tail that was being written when the process ended: opening the channel repairs it
	Cause  error
}

func (d *Damage) Error() string {
	return fmt.Sprintf("%s at byte %d: %v", d.File, d.Offset, d.Cause)
}

// Unwrap makes it both what it is and [channel.ErrCorrupt].
func (d *Damage) Unwrap() []error { return []error{channel.ErrCorrupt, d.Cause} }

// record is one record as it was read.
type record struct {
	header
	at   int64  // of its entry in the segment
	size int64  // of the entry
	data []byte // as stored, whole; valid until the scanner's next step, or as long as its buffer is retained; nil when skipped
	content
	closed bool // there is no key for it: it has no content
}

func (r *record) storedBody() []byte { return r.data[headerSize : headerSize+int(r.body)] }
func (r *record) storedTLV() []byte  { return r.data[headerSize+int(r.body):] }

// bodyBytes is the body, decoded; valid as long as data.
func (r *record) bodyBytes() []byte {
	if r.buf != nil {
		return r.plain
	}
	return r.storedBody()
}

// tlvBytes are the TLVs, decoded; valid as long as data.
func (r *record) tlvBytes() []byte {
	if r.buf != nil {
		return r.trailer
	}
	return r.storedTLV()
}

// scanner walks the records of one segment, and checks all that there is to check.
type scanner struct {
	window
	coder   *coder
	uuid    [16]byte      // of the channel, as META or the last STATE says
	decoded *event.Buffer // of the last record that had to be
	shared  *decoded      // what others have decoded; nil: nobody else reads
	blind   bool          // what there is no key for is returned closed
	name    string
	at      int64  // of the next entry
	end     int64  // bytes from here on do not count
	index   uint64 // of the next record
	prev    uint32 // header CRC of the record before
	chained bool   // prev is known
	step    int    // how much is read at a time, at least
	sum     seal   // of what was walked
}

func newScanner(f io.ReaderAt, index uint64, end int64, pool event.Buffers, c *coder) *scanner {
	s := &scanner{window: window{f: f, pool: pool}, coder: c, name: segmentName(index), end: end, index: index, sum: seal{index: index}, step: scanStep}
	if c != nil {
		s.uuid = c.uuid
	}
	return s
}

// follow makes the scanner check that its first record follows one with that header CRC.
func (s *scanner) follow(prev uint32) { s.prev, s.chained = prev, true }

// next returns the next record with its body and TLVs, decoded; io.EOF at the end, *Damage, or *KeyError. After an error the scanner stays where it is.
func (s *scanner) next() (record, error) {
	r, err := s.head()
	if err != nil {
		return record{}, err
	}
	skip := r.size - r.length()
	if r.data, err = s.view(s.at+skip, int(r.length()), s.step, s.end); err != nil {
		return record{}, s.damage(err)
	}
	switch {
	case checksum(r.storedBody()) != r.bodyCRC:
		return record{}, s.damage(errBody)
	case checksum(r.storedTLV()) != r.tlvCRC:
		return record{}, s.damage(errTLV)
	}
	if err := s.decode(&r); err != nil {
		return record{}, err
	}
	s.advance(&r)
	return r, nil
}

// decode makes content of what is stored, where that is something else.
func (s *scanner) decode(r *record) error {
	s.forget()
	if r.codec != NoCodec || r.key != 0 {
		got, err := s.unpack(r)
		switch {
		case errors.Is(err, channel.ErrKey) && s.blind:
			r.closed = true
			return nil
		case errors.Is(err, channel.ErrKey):
			return s.coder.keyError(s, r.key)
		case errors.Is(err, errDecode):
			return s.damage(err)
		case err != nil:
			return fmt.Errorf("%s at byte %d: %w", s.name, s.at, err)
		}
		r.content, s.decoded = got, got.buf
	}
	if b := r.bodyBytes(); r.kind == kindState && len(b) >= len(s.uuid) {
		s.uuid = [16]byte(b)
	}
	return nil
}

// unpack decodes a record, unless another reader has.
func (s *scanner) unpack(r *record) (content, error) {
	if s.shared == nil {
		return s.coder.decode(s.pool, s.uuid, r)
	}
	if got, ok := s.shared.get(r); ok {
		return got, nil
	}
	got, err := s.coder.decode(s.pool, s.uuid, r)
	if err == nil {
		s.shared.put(r, got)
	}
	return got, err
}

// holder is the memory that the record is in.
func (s *scanner) holder(r *record) *event.Buffer {
	if r.buf != nil {
		return r.buf
	}
	return s.window.buf
}

// release gives up the memory; what was retained of it stays valid.
func (s *scanner) release() {
	s.forget()
	s.window.release()
}

// forget gives up what was decoded.
func (s *scanner) forget() {
	if s.decoded != nil {
		s.decoded.Release()
		s.decoded = nil
	}
}

// skip passes over the next record having looked at its header alone.
func (s *scanner) skip() (record, error) {
	r, err := s.head()
	if err == nil {
		s.advance(&r)
	}
	return r, err
}

func (s *scanner) advance(r *record) {
	s.at += r.size
	s.index += r.stands()
	s.follow(r.crc)
	s.chained = r.flags&flagMended == 0
	s.sum.add(&r.header)
}

// head reads and checks the header of the next record.
func (s *scanner) head() (record, error) {
	if s.at >= s.end {
		return record{}, io.EOF
	}
	b, err := s.view(s.at, int(min(maxLength+headerSize, s.end-s.at)), s.step, s.end)
	if err != nil {
		return record{}, s.damage(err)
	}
	n, skip := binary.Uvarint(b) // n is 0 where there is none
	switch {
	case b[0] == 0:
		return record{}, s.damage(errZero)
	case n < headerSize || n > maxRecord:
		return record{}, s.damage(errLength)
	}
	r := record{at: s.at, size: int64(skip) + int64(n)}
	if r.header, err = parseHeader(b[skip:]); err != nil {
		return record{}, s.damage(err)
	}
	switch {
	case r.length() != int64(n):
		return record{}, s.damage(errLength)
	case r.size > s.end-s.at:
		return record{}, s.damage(errShort)
	case r.index != s.index:
		return record{}, s.damage(fmt.Errorf("%w: %d instead of %d", errIndex, r.index, s.index))
	case s.chained && r.prev != s.prev:
		return record{}, s.damage(errChain)
	}
	return r, nil
}

func (s *scanner) damage(cause error) error {
	if errors.Is(cause, io.EOF) { // the file ends where it should not: that is no end of the log
		cause = errShort
	}
	return &Damage{File: s.name, Offset: s.at, Cause: cause}
}

// resync looks behind a damaged place for the next record that is whole, at least in its header, and
// moves there. wanted says which will do.
func (s *scanner) resync(wanted func(*header) bool) bool {
	for at := s.at + 1; at < s.end; {
		b, err := s.view(at, int(min(scanStep, s.end-at)), scanStep, s.end)
		if err != nil {
			return false
		}
		i := bytes.Index(b, []byte("PSW1"))
		for i >= 0 && len(b)-i >= headerSize {
			if s.resume(at+int64(i), b[i:], wanted) {
				return true
			}
			next := bytes.Index(b[i+1:], []byte("PSW1"))
			if i += next + 1; next < 0 {
				i = -1
			}
		}
		at = nextPlace(at, i, len(b), s.end)
	}
	return false
}

// nextPlace is where to go on looking after n bytes at that place: with the magic at i, whose header
// is cut short, or with what may be the beginning of one.
func nextPlace(at int64, i, n int, end int64) int64 {
	switch {
	case at+int64(n) >= end:
		return end
	case i >= 0:
		return at + int64(i)
	}
	return at + int64(n) - 3
}

// resume moves to the record whose header b is, at that byte, if it is one.
func (s *scanner) resume(at int64, b []byte, wanted func(*header) bool) bool {
	h, err := parseHeader(b)
	if err != nil || h.index < s.index || !wanted(&h) {
		return false
	}
	start := at - (entrySize(h.length()) - h.length())
	if start <= s.at { // what is damaged is the length before this very header
		return false
	}
	s.at, s.index, s.chained = start, h.index, false
	return true
}

// window is the part of a file that is in memory.
type window struct {
	f    io.ReaderAt
	pool event.Buffers
	buf  *event.Buffer
	from int64 // where in the file buf begins
}

// view returns n bytes of the file at that place, reading at least step bytes where there are as many before end.
func (w *window) view(at int64, n, step int, end int64) ([]byte, error) {
	if w.buf != nil && at >= w.from && at+int64(n) <= w.from+int64(len(w.buf.Bytes())) {
		return w.buf.Bytes()[at-w.from:][:n:n], nil
	}
	w.release()
	buf := w.pool.Get(max(n, int(min(int64(step), end-at))))
	got, err := w.f.ReadAt(buf.Bytes(), at)
	if got < len(buf.Bytes()) {
		buf.Release()
		return nil, fmt.Errorf("read %d bytes: %w", n, err)
	}
	w.buf, w.from = buf, at
	return buf.Bytes()[:n:n], nil
}

// release gives up the memory; what was retained of it stays valid.
func (w *window) release() {
	if w.buf != nil {
		w.buf.Release()
		w.buf = nil
	}
}
