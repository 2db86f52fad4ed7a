// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"fmt"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// tx is one transaction, and after Submit one record on its way to the log.
type tx struct {
	c        *Channel
	one      [1]channel.Put // room for the common case
	puts     []channel.Put
	full     bool // the channel was, at Begin, and acknowledges what it has no room for
	ended    bool // submitted or rolled back
	header   header
	changes  changes
	batch    event.Batch   // to be published; empty when there are no events
	buf      *event.Buffer // the record's hold on the batch
	stored   *event.Buffer // where what is stored is not the batch as it is; nil where it is
	entry    []byte        // the record, in stored or buf
	begun    time.Time
	moves    bool // of a source that comes from another channel, or goes there: flushed at any level
	internal bool // the channel's own: it does not wait for company

	// c.mu guards these.
	waiting bool
	settled bool
	err     error
	signal  chan struct{} // one token: look again
}

// flight is what is known of a source that has something in flight, or had something refused.
type flight struct {
	count   int  // transactions
	refused bool // nothing more is taken by Submit
	broken  bool // nothing more of what is queued is taken: the leader's word
	drained chan struct{}
}

func (t *tx) Put(p channel.Put) error {
	if t.ended {
		p.Batch.Release()
		return fmt.Errorf("put of %s: transaction %w", p.Source, channel.ErrDone)
	}
	err := p.Check()
	switch {
	case err != nil:
	case t.mixes(p):
		err = errors.New("a transaction whose events are for one reader only has no others")
	}
	if err != nil {
		p.Batch.Release()
		t.c.refused("limit")
		return fmt.Errorf("put: %w", err)
	}
	if t.puts == nil {
		t.puts = t.one[:0]
	}
	t.puts = append(t.puts, p)
	return nil
}

// mixes says whether p has events for other readers than those before it.
func (t *tx) mixes(p channel.Put) bool {
	for i := range t.puts {
		if t.puts[i].Batch.Len() > 0 && p.Batch.Len() > 0 && t.puts[i].Only != p.Only {
			return true
		}
	}
	return false
}

func (t *tx) Rollback() {
	if t.ended {
		return
	}
	t.ended = true
	t.release()
}

// release gives back all memory.
func (t *tx) release() {
	for i := range t.puts {
		t.puts[i].Batch.Release()
	}
	t.puts = nil
	if t.buf != nil {
		t.buf.Release()
		t.buf = nil
	}
	if t.stored != nil {
		t.stored.Release()
		t.stored = nil
	}
	t.entry = nil
}

func (t *tx) Submit() (wait func() error) {
	if t.ended {
		return func() error { return fmt.Errorf("submit: transaction %w", channel.ErrDone) }
	}
	t.ended = true
	t.begun = time.Now()
	t.signal = make(chan struct{}, 1)
	if t.full && t.c.stillFull() {
		t.shed()
	}
	if err := t.build(); err != nil {
		return t.fail("limit", err)
	}
	return t.c.submit(t)
}

// fail refuses the transaction before it was queued.
func (t *tx) fail(reason string, err error) func() error {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	for i := range t.changes.sources {
		t.c.flight(t.changes.sources[i].Source).refused = true
	}
	t.release()
	t.c.refused(reason)
	return func() error { return fmt.Errorf("submit: %w", err) }
}

// build lays the record out around the batch, as far as the order does not matter.
func (t *tx) build() error {
	t.collect()
	batch, err := t.merge()
	if err != nil {
		return err
	}
	n, need := batch.Size(), 0
	if len(t.changes.sources)+len(t.changes.readers)+len(t.changes.forget)+len(t.changes.idle)+len(t.changes.drops) > 0 {
		need = t.changes.size()
	}
	if need > maxTrailer {
		batch.Release()
		return fmt.Errorf("%w: cursor changes of %d bytes in one transaction, the most is %d", channel.ErrLimit, need, maxTrailer)
	}
	t.header = header{kind: kindPut, events: uint32(batch.Len())}
	if !t.c.coder.plain() {
		t.encode(batch)
		return nil
	}
	sum := batch.Sum()
	t.buf = t.c.frame(batch, need)
	trailer := t.changes.append(t.buf.Frame(0, need)[n:n])
	t.entry = t.buf.Frame(headerSize, len(trailer))
	if n > 0 {
		t.batch = event.Trusted(t.buf.Bytes(), 0, t.buf)
	}
	t.header.body, t.header.raw, t.header.bodyCRC = uint32(n), uint32(n), sum
	t.header.tlv, t.header.tlvCRC = uint32(len(trailer)), checksum(trailer)
	return nil
}

// encode lays the record out beside the batch, which readers get as it is.
func (t *tx) encode(batch event.Batch) {
	if t.batch, t.buf = batch, batch.Buffer(); t.buf == nil && batch.Size() > 0 { // ordinary memory, which may change
		t.buf = t.c.frame(batch, 0)
		t.batch = event.Trusted(t.buf.Bytes(), 0, t.buf)
	}
	t.stored = t.c.coder.encode(t.c.pool, &t.header, batch.Bytes(), &t.changes)
	t.entry = t.stored.Frame(headerSize, 0)
}

// collect makes the changes of all puts those of the record.
func (t *tx) collect() {
	for i := range t.puts {
		p := &t.puts[i]
		t.changes.sources = append(t.changes.sources,
			channel.CursorChange{Source: p.Source, Version: p.Version, Move: p.Move, Removed: p.Removed, Changed: p.Changed})
		if p.Only != "" && p.Batch.Len() > 0 {
			t.changes.only = p.Only
		}
	}
}

// only is the one reader that the events are for, whether they are kept or not; "": for all.
func (t *tx) only() string {
	for i := range t.changes.drops {
		if d := &t.changes.drops[i]; d.loss == channel.LostNewest {
			return d.reader
		}
	}
	return t.changes.only
}

// merge makes one batch of all that are not empty, numbered without gaps, and ends the holds of the others.
func (t *tx) merge() (event.Batch, error) {
	var full []event.Batch
	for i := range t.puts {
		if b := t.puts[i].Batch; b.Len() > 0 {
			full = append(full, b)
		} else {
			b.Release()
		}
	}
	t.puts = nil
	switch {
	case len(full) == 0:
		return event.Batch{}, nil
	case len(full) == 1 && full[0].Numbered():
		return full[0], nil
	}
	joined, err := event.Join(t.c.pool, full...)
	for _, b := range full {
		b.Release()
	}
	if err != nil {
		err = fmt.Errorf("%w: make one record of the transaction: %w", channel.ErrLimit, err)
	}
	return joined, err
}

// frame returns a buffer that holds the batch and nothing else, with room for a trailer, and takes over the
// hold on the batch: its own memory where nobody else uses that, else a copy.
func (c *Channel) frame(b event.Batch, trailer int) *event.Buffer {
	if buf := b.Buffer(); buf != nil && buf.Sole() && buf.Trailer() >= trailer && whole(b, buf) {
		return buf
	}
	buf := c.pool.Get(b.Size() + trailer)
	buf.Reset(b.Size())
	copy(buf.Bytes(), b.Bytes())
	b.Release()
	return buf
}

// whole says whether b is all that buf holds.
func whole(b event.Batch, buf *event.Buffer) bool {
	return b.Size() == len(buf.Bytes()) && &b.Bytes()[0] == &buf.Bytes()[0]
}

// size is how much of a segment the record takes.
func (t *tx) size() int64 { return entrySize(int64(len(t.entry))) }

// lazy says whether the transaction may wait for company.
func (t *tx) lazy() bool {
	return t.header.events == 0 && !t.internal && !t.moves && len(t.changes.drops) == 0
}

// events is how many its source put, whether they are kept or not.
func (t *tx) events() int {
	n := int(t.header.events)
	for i := range t.changes.drops {
		if t.changes.drops[i].loss == channel.LostNewest {
			n += int(t.changes.drops[i].events)
		}
	}
	return n
}
