// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// maxIncarnations is how many openings a log remembers. A destination that holds ranges of an older
// one is not known any more; with ten openings a day that is three months.
const maxIncarnations = 1024

// offsetStep is what each opening rounds up to, so that offsets lost with an unflushed tail are never given again.
const offsetStep = 1 << 32

// state is the sum of all records up to some point: what STATE holds.
type state struct {
	uuid         [16]byte
	end          event.Offset // of the next event
	events       uint64       // put, ever
	bytes        uint64       // of their batches
	cursors      *channel.Cursors
	readers      map[string]readerEntry
	incarnations []incarnation
	before       seal          // the segment before
	lost         []event.Range // that GAPs stand for, in the segments that were read; not in STATE
}

// incarnation is one opening of the channel.
type incarnation struct {
	id    uint64
	first event.Offset
	next  event.Offset // after its last event; of the last incarnation, state.end is right
}

// seal is what tells a whole segment from a changed one.
type seal struct {
	index   uint64 // of its first record; 0 = there is no segment before
	count   uint64 // of records
	headers uint32 // CRC-32C over all header CRCs, each of which covers its record
}

func (s *seal) add(h *header) {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], h.crc)
	s.headers = updateCRC(s.headers, b[:])
	s.count += h.stands()
}

func newState(uuid [16]byte) *state {
	return &state{uuid: uuid, cursors: channel.NewCursors(), readers: map[string]readerEntry{}}
}

// apply adds what a record says. The record has been checked against its checksums.
func (s *state) apply(h *header, c *changes) error {
	if h.kind != kindFence && h.first != s.end {
		return fmt.Errorf("%w: it begins with offset %d, the next is %d", errContent, h.first, s.end)
	}
	s.end += event.Offset(h.events)
	if h.events > 0 {
		s.events += uint64(h.events)
		s.bytes += uint64(h.raw)
	}
	for i := range c.sources {
		s.cursors.Change(&c.sources[i], channel.Seconds(h.time))
	}
	for _, i := range c.idle {
		s.cursors.Forget(i.Source, i.Before)
	}
	for _, r := range c.readers {
		s.readers[r.name] = r
	}
	for i := range c.drops {
		s.drop(&c.drops[i])
	}
	for _, name := range c.forget {
		delete(s.readers, name)
	}
	return nil
}

// drop remembers up to where a reader has given up what it had not committed. Of what was picked here and there, its position says so.
func (s *state) drop(d *drop) {
	if r, ok := s.readers[d.reader]; ok && d.loss != channel.LostNewest && d.loss != channel.LostPicked {
		r.floor = max(r.floor, d.span.Next)
		s.readers[d.reader] = r
	}
}

// fence begins a new incarnation.
func (s *state) fence(id uint64, first event.Offset) {
	if n := len(s.incarnations); n > 0 {
		s.incarnations[n-1].next = s.end
	}
	s.end = first
	s.incarnations = append(s.incarnations, incarnation{id: id, first: first, next: first})
	if extra := len(s.incarnations) - maxIncarnations; extra > 0 {
		s.incarnations = slices.Delete(s.incarnations, 0, extra)
	}
}

// current is the id of the newest incarnation, 0 before the first.
func (s *state) current() uint64 {
	if len(s.incarnations) == 0 {
		return 0
	}
	return s.incarnations[len(s.incarnations)-1].id
}

// openings are the incarnations, for those who deliver. The newest one goes on.
func (s *state) openings() (list []channel.Incarnation) {
	for at, i := range s.incarnations {
		o := channel.Incarnation{ID: i.id, First: i.first}
		if at+1 < len(s.incarnations) {
			o.Next = i.next
		}
		list = append(list, o)
	}
	return list
}

// gaps yields the ranges in which there is no event: between incarnations there never was one.
func (s *state) gaps(yield func(event.Range) bool) {
	for _, r := range s.lost {
		if !yield(r) {
			return
		}
	}
	for i := 1; i < len(s.incarnations); i++ {
		r := event.Range{First: s.incarnations[i-1].next, Next: s.incarnations[i].first}
		if !r.Empty() && !yield(r) {
			return
		}
	}
}

// count is the number of events in a range, of which offsets that were skipped at an opening are none.
func (s *state) count(r event.Range) (n uint64) {
	last := len(s.incarnations) - 1
	for i, in := range s.incarnations {
		next := in.next
		if i == last {
			next = s.end
		}
		n += r.Intersect(event.Range{First: in.first, Next: next}).Len()
	}
	return n
}

// append encodes the state as the body of a STATE.
func (s *state) append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = append(dst, s.uuid[:]...)
	dst = le.AppendUint64(dst, s.events)
	dst = le.AppendUint64(dst, s.bytes)
	dst = le.AppendUint64(dst, s.before.index)
	dst = le.AppendUint64(dst, s.before.count)
	dst = le.AppendUint32(dst, s.before.headers)
	dst = appendCursors(dst, s.cursors)
	dst = le.AppendUint32(dst, uint32(len(s.readers)))
	for _, name := range slices.Sorted(maps.Keys(s.readers)) {
		r := s.readers[name]
		dst = r.appendValue(dst)
	}
	dst = le.AppendUint32(dst, uint32(len(s.incarnations)))
	for _, i := range s.incarnations {
		dst = le.AppendUint64(dst, i.id)
		dst = le.AppendUint64(dst, uint64(i.first))
		dst = le.AppendUint64(dst, uint64(i.next))
	}
	return dst
}

// size bounds the length of what append gives.
func (s *state) size() int {
	const fixed = 32 // more than the fixed part of each thing in it
	n := 4*fixed + fixed*len(s.incarnations) + s.cursors.Bytes() + fixed*s.cursors.Len()
	for _, name := range s.cursors.Sources() {
		n += fixed + len(name)
	}
	for name, r := range s.readers {
		n += 2*fixed + len(name) + len(r.lane.Key)
	}
	return n
}

// parseState decodes the body of a STATE whose header is h.
func parseState(h *header, body []byte) (*state, error) {
	d := decoder{b: body}
	s := newState([16]byte(d.take(16)))
	s.end = h.first
	s.events, s.bytes = d.u64(), d.u64()
	s.before = seal{index: d.u64(), count: d.u64(), headers: d.u32()}
	d.cursors(s.cursors)
	for range d.count(48) {
		r := d.reader()
		s.readers[r.name] = r
	}
	for range d.count(24) {
		s.incarnations = append(s.incarnations, incarnation{d.u64(), event.Offset(d.u64()), event.Offset(d.u64())})
	}
	if err := d.finish(); err != nil {
		return nil, fmt.Errorf("parse STATE: %w", err)
	}
	return s, nil
}

// fenceBody is the body of a FENCE: incarnation, parent's incarnation, where the parent's offsets ended.
const fenceBody = 24

func (s *state) appendFence(dst []byte, id uint64) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, id)
	dst = le.AppendUint64(dst, s.current())
	return le.AppendUint64(dst, uint64(s.end))
}

// applyFence checks a FENCE whose header is h and begins its incarnation.
func (s *state) applyFence(h *header, body []byte) error {
	if len(body) != fenceBody {
		return fmt.Errorf("%w: FENCE of %d bytes", errContent, len(body))
	}
	d := decoder{b: body}
	id, parent, end := d.u64(), d.u64(), event.Offset(d.u64())
	if parent != s.current() || end != s.end || h.first < end || h.first%offsetStep != 0 {
		return fmt.Errorf("%w: FENCE of parent %x at %d, the log is in %x at %d", errContent, parent, end, s.current(), s.end)
	}
	s.fence(id, h.first)
	return nil
}
