// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// tape reads the log for one reader: forwards, as long as it can.
type tape struct {
	c       *Channel
	gate    chan struct{} // holds the token of whoever uses what follows
	file    file
	scan    *scanner
	rec     record       // the last that was read; good while data is set
	only    string       // of rec
	next    event.Offset // behind rec
	version uint32       // of the segment, when it was opened
}

func newTape(c *Channel) *tape {
	return &tape{c: c, gate: make(chan struct{}, 1)}
}

// beginReading waits for the token of who reads the log for r; the caller gives it back.
func (r *reader) beginReading(ctx context.Context) error {
	select {
	case r.tape.gate <- struct{}{}:
	case <-r.c.done: // Close takes the token for good
		return channel.ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if r.closed { // nobody would close what is opened now
		<-r.tape.gate
		return channel.ErrClosed
	}
	return nil
}

// leaseFromDisk leases what is next and not in memory. Both nil: look again.
func (r *reader) leaseFromDisk(ctx context.Context, want channel.Want) (*lease, cut, error) {
	if err := r.beginReading(ctx); err != nil {
		return nil, cut{}, err
	}
	defer func() { <-r.tape.gate }()
	c := r.c
	c.mu.Lock()
	got := r.next(want)
	c.mu.Unlock()
	if got.next.Empty() {
		return nil, cut{}, nil
	}
	hole, err := r.tape.gather(&got, r.entry.name)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || r.closed {
		got.release()
		return nil, cut{}, channel.ErrClosed
	}
	if now := r.next(want); r.detached || now.next.First != got.next.First || now.next.Next < got.span.Next {
		got.release() // something was rolled back, finished or dropped meanwhile
		return nil, cut{}, nil
	}
	if err != nil && got.span.Empty() {
		c.mu.Unlock()
		defer c.mu.Lock()
		return nil, cut{}, r.damaged(err)
	}
	if !hole.Empty() {
		r.passHole(hole)
	}
	if got.span.Empty() {
		return nil, cut{}, nil
	}
	return r.hand(&got), got, nil
}

// hole is a range to pass over.
type hole struct {
	event.Range
	lost bool // it was damaged
}

// passHole counts what is next, and nothing for this reader, as committed. c.mu is held.
func (r *reader) passHole(h hole) {
	span := h.Intersect(event.Range{First: r.ledger.Low(), Next: r.c.state.end})
	if h.lost { // it was counted for the channel when it was set aside
		r.ledger.Drop(span, channel.LostCorrupt)
	} else {
		r.ledger.Pass(span)
	}
	r.c.touched(r)
	r.c.freed()
}

// gather adds records to the cut. When there is none at its beginning, the hole is what to pass over.
func (t *tape) gather(got *cut, reader string) (hole hole, err error) {
	for at := got.span.Next; at < got.next.Next; at = got.span.Next {
		if err := t.seek(at); err != nil {
			return hole, err
		}
		span := event.Range{First: t.rec.first, Next: t.next}
		switch {
		case t.rec.kind == kindGap:
			hole.Range, hole.lost = event.Range{First: at, Next: span.Next}, true
		case span.First > at:
			hole.Range = event.Range{First: at, Next: span.First}
		case t.only != "" && t.only != reader:
			hole.Range = event.Range{First: at, Next: span.Next}
		}
		if !hole.Empty() {
			if !got.span.Empty() {
				hole.Range = event.Range{} // it is met again at the beginning of the next
			}
			return hole, nil
		}
		b, err := t.batch()
		if err != nil {
			return hole, err
		}
		if !got.add(span, b) {
			break
		}
	}
	return hole, nil
}

// batch is what the current record holds. It is held by the scanner only.
func (t *tape) batch() (event.Batch, error) {
	body := t.rec.bodyBytes()
	b := event.Trusted(body, t.rec.first, t.scan.holder(&t.rec))
	if len(body) < event.HeaderSize || uint32(b.Len()) != t.rec.events {
		return b, &Damage{File: t.scan.name, Offset: t.rec.at, Cause: fmt.Errorf("%w: the batch has %d bytes", errContent, len(body))}
	}
	return b, nil
}

// reaches says whether the record ends behind o, or begins an incarnation there: then o was skipped, should the
// opening that did so be one of those that are forgotten.
func (h *header) reaches(o event.Offset) bool {
	return h.span().Next > o && (h.events > 0 || h.kind == kindFence)
}

// seek moves to the first record that reaches o.
func (t *tape) seek(o event.Offset) error {
	seg := t.c.locate(o)
	var err error
	switch {
	case t.scan != nil && t.scan.index == seg.index && t.scan.at >= t.scan.end:
		err = t.nextSegment()
	case t.scan == nil || t.scan.sum.index != seg.index || t.version != seg.version || t.rec.first > o: // that lies behind
		err = t.load(seg.index)
	}
	if err != nil {
		return err
	}
	t.scan.end = seg.size
	for t.rec.data == nil || t.next <= o {
		if err := t.forward(o); err != nil {
			return err
		}
	}
	return nil
}

// forward reads the next record, or passes over it when it ends before o.
func (t *tape) forward(o event.Offset) error {
	t.rec.data = nil
	peek, err := t.scan.head()
	if err == nil && peek.kind != kindGap && !peek.reaches(o) {
		t.rec, err = t.scan.skip()
		return err
	}
	if err == nil {
		t.rec, err = t.scan.next()
	}
	switch {
	case errors.Is(err, io.EOF):
		return t.nextSegment()
	case err != nil:
		return err
	case t.rec.kind == kindGap:
		return t.gap()
	}
	t.only, t.next = onlyOf(t.rec.tlvBytes()), t.rec.span().Next
	return nil
}

// gap finds out how far the current record, a GAP, reaches.
func (t *tape) gap() error {
	g, err := parseGap(t.rec.bodyBytes())
	if err != nil {
		return &Damage{File: t.scan.name, Offset: t.rec.at, Cause: err}
	}
	t.only, t.next = "", g.lost.Next
	return nil
}

// nextSegment goes on with the segment behind this one, whose first record must follow the last of this.
func (t *tape) nextSegment() error {
	index, prev, chained := t.scan.index, t.scan.prev, t.scan.chained
	if _, ok := t.c.extent(index); !ok {
		return t.scan.damage(errShort) // something durable is not there
	}
	if err := t.load(index); err != nil {
		return err
	}
	if chained {
		t.scan.follow(prev)
	}
	return nil
}

// load opens a segment.
func (t *tape) load(index uint64) error {
	if err := t.close(); err != nil {
		return err
	}
	seg, _ := t.c.extent(index)
	f, err := t.c.sys.Open(segmentName(index), readFile)
	if err != nil {
		return fmt.Errorf("%w: %w", channel.ErrCorrupt, err)
	}
	t.file, t.scan, t.version = f, newScanner(f, index, seg.size, t.c.pool, t.c.coder), seg.version
	t.scan.shared = &t.c.decoded
	return nil
}

// close gives up the file and the memory.
func (t *tape) close() error {
	if t.scan == nil {
		return nil
	}
	t.scan.release()
	t.scan, t.rec, t.only = nil, record{}, ""
	return t.file.Close()
}

// locate returns a copy of the segment that holds o. Its size is how much of it is durable.
func (c *Channel) locate(o event.Offset) segment {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := max(0, sort.Search(len(c.segments), func(i int) bool { return c.segments[i].first > o })-1)
	return *c.segments[i]
}

// extent returns a copy of the segment that begins with that record.
func (c *Channel) extent(index uint64) (s segment, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, ok := c.indexOf(index)
	if !ok {
		return s, false
	}
	return *c.segments[i], true
}

// indexOf is the place in the list of the segment that begins with that record.
func (c *Channel) indexOf(index uint64) (i int, ok bool) {
	return sort.Find(len(c.segments), func(i int) int { return cmp.Compare(index, c.segments[i].index) })
}

// onlyOf returns the reader that a trailer names, without decoding the rest of it.
func onlyOf(tlv []byte) string {
	le := binary.LittleEndian
	for len(tlv) >= 8 && uint64(le.Uint32(tlv[4:])) <= uint64(len(tlv)-8) {
		n := le.Uint32(tlv[4:])
		if le.Uint16(tlv) == tlvOnly {
			return string(tlv[8 : 8+n])
		}
		tlv = tlv[8+n:]
	}
	return ""
}
