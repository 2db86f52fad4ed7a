// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// reader is one registered reader, whether anybody has it open or not.
type reader struct {
	c     *Channel
	entry readerEntry
	tape  *tape // how it reads what is not in memory any more

	// c.mu guards these.
	order    channel.Order
	lag      channel.Lag
	inUse    bool
	closed   bool // by Close: another stands for the registration now
	detached bool // by its policy
	ledger   *channel.Ledger
	leases   map[*lease]struct{} // that have not ended
	wake     chan struct{}       // closed when something came or went that a taker may wait for; nil while none waits
	dirty    bool                // the position is to be written

	// c.flushing guards these.
	file     *positionFile // nil until it is needed
	sequence uint64        // of the position written last
	unsynced bool          // what was written may not be on disk
	sharing  bool          // it had shares since it was opened: one slot at least is always on disk that knows of all
}

var _ channel.Reader = (*reader)(nil)

func (c *Channel) newReader(entry readerEntry, ledger *channel.Ledger) *reader {
	return &reader{c: c, entry: entry, ledger: ledger, tape: newTape(c), leases: map[*lease]struct{}{}}
}

// Reader registers a reader, or finds it again.
func (c *Channel) Reader(spec channel.ReaderSpec) (channel.Reader, error) {
	r, registration, err := c.claim(spec)
	if err == nil && registration != nil {
		err = registration()
	}
	if err == nil {
		err = c.keepPosition(r)
	}
	if err != nil {
		if r != nil {
			c.disclaim(r, registration != nil)
		}
		return nil, fmt.Errorf("reader %.64s: %w", spec.Name, err)
	}
	return r, nil
}

// claim takes the name for the caller. A new reader holds what it will read from here on, and has a registration to wait for.
func (c *Channel) claim(spec channel.ReaderSpec) (r *reader, registration func() error, err error) {
	if err := spec.Check(); err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	if err := c.usable(); err != nil {
		c.mu.Unlock()
		return nil, nil, err
	}
	r = c.readers[spec.Name]
	if r != nil {
		defer c.mu.Unlock()
		if r.inUse {
			return nil, nil, errors.New("the name is in use")
		}
		if r.entry.lane != spec.Lane {
			return nil, nil, channel.OtherLane(r.entry.lane, spec.Lane)
		}
		r.seat(spec)
		return r, nil, nil
	}
	r = c.register(spec, c.startOf(spec))
	c.mu.Unlock()
	t := &tx{c: c, internal: true, changes: changes{readers: []readerEntry{r.entry}}}
	return r, t.Submit(), nil
}

// startOf is where a new reader begins.
func (c *Channel) startOf(spec channel.ReaderSpec) event.Offset {
	if spec.Start == channel.Oldest {
		return c.lowest()
	}
	return c.state.end
}

// register adds a reader that is not in the log yet.
func (c *Channel) register(spec channel.ReaderSpec, first event.Offset) *reader {
	var id [8]byte
	rand.Read(id[:]) // never fails
	entry := readerEntry{id: binary.LittleEndian.Uint64(id[:]), generation: 1, first: first, lane: spec.Lane, name: spec.Name}
	r := c.newReader(entry, channel.NewLedger(first))
	r.begin()
	r.seat(spec)
	return r
}

// seat gives the reader to who asked for it.
func (r *reader) seat(spec channel.ReaderSpec) {
	r.c.readers[spec.Name] = r
	r.inUse, r.order, r.lag = true, spec.Order, spec.Lag
	r.c.letIn() // should the reader be one that makes room
	r.c.watchAge()
}

// disclaim gives a name back; a reader that could not be registered is gone.
func (c *Channel) disclaim(r *reader, isNew bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.inUse = false
	if _, kept := c.state.readers[r.entry.name]; isNew && !kept {
		delete(c.readers, r.entry.name)
		c.letIn()
	}
}

// Forget drops a reader that nobody has open.
func (c *Channel) Forget(name string) error {
	r, err := c.seize(name)
	if err == nil {
		t := &tx{c: c, internal: true, changes: changes{forget: []string{name}}}
		if err = t.Submit()(); err != nil {
			c.disclaim(r, false)
		}
	}
	if err == nil {
		err = c.drop(r)
	}
	if err != nil {
		return fmt.Errorf("forget reader %s: %w", name, err)
	}
	return nil
}

// drop removes what is left of a reader that is forgotten.
func (c *Channel) drop(r *reader) error {
	c.flushing.Lock()
	defer c.flushing.Unlock()
	c.mu.Lock()
	another := c.readers[r.entry.name] != nil && c.readers[r.entry.name] != r // has the name now, and the file
	if !another {
		delete(c.readers, r.entry.name)
	}
	c.freed()
	c.flushAfter(positionDelay) // what only it needed can be unlinked
	c.mu.Unlock()
	var err error
	if r.file != nil {
		err = r.file.Close()
		r.file = nil
	}
	if another {
		return err
	}
	if rerr := c.sys.Remove(positionName(r.entry.name)); !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return err
}

// coverGaps marks the offsets that openings skipped as committed: there never was an event.
func (r *reader) coverGaps() {
	for gap := range r.c.state.gaps {
		r.ledger.Cover(gap.Intersect(event.Range{First: r.ledger.Low(), Next: gap.Next}))
	}
}

// end is behind the last event that the reader may see.
func (r *reader) end() event.Offset {
	if r.entry.end > 0 {
		return min(r.entry.end, r.c.state.end)
	}
	return r.c.state.end
}

// takes says whether an event with that offset is for this reader, or for those to whom it has handed over.
func (r *reader) takes(o event.Offset) bool { return r.entry.end == 0 || o < r.entry.end }

// drained says whether it has handed over and committed all that was before.
func (r *reader) drained() bool { return r.entry.end > 0 && r.ledger.Low() >= r.entry.end }

// pass leaves out a record that is for another reader only.
func (r *reader) pass(span event.Range, only string) {
	if r.passes(only) && span.Next > r.ledger.Low() && r.ledger.Pass(span) {
		r.c.touched(r)
	}
}

// passes says whether a record that is for that reader only, or for all, is none of this one's.
func (r *reader) passes(only string) bool { return only != "" && only != r.entry.name }

// arrived wakes the takers.
func (r *reader) arrived() {
	if r.wake != nil {
		close(r.wake)
		r.wake = nil
	}
}

func (r *reader) Info() channel.ReaderInfo {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	return r.info()
}

func (r *reader) info() channel.ReaderInfo {
	info := channel.ReaderInfo{
		Stream:   stream(r.c.meta.uuid, r.entry),
		Low:      r.ledger.Low(),
		Finished: slices.Collect(r.ledger.Finished()),
		Oldest:   r.c.gone,
		Waiting:  r.ledger.Waiting(r.end()),
		Lane:     r.entry.lane,
		End:      r.entry.end,
		Leased:   r.ledger.Leased(),
		Tally:    r.ledger.Tally(),
		InUse:    r.inUse,
		Detached: r.detached,
		InDoubt:  r.ledger.InDoubt(),
	}
	info.Incarnations = r.c.state.openings()
	return info
}

// stream is the key under which a destination stores what it holds of this reader.
func stream(uuid [16]byte, r readerEntry) string {
	return fmt.Sprintf("%s/%016x/%d", hex.EncodeToString(uuid[:]), r.id, r.generation)
}

func (r *reader) Finish(held ...event.Range) error {
	c := r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || r.closed {
		return fmt.Errorf("finish of reader %s: %w", r.entry.name, channel.ErrClosed)
	}
	err := r.ledger.Finish(r.end(), held...)
	c.touched(r)
	c.freed()
	r.arrived() // what a taker saw may be gone
	if err != nil {
		return fmt.Errorf("finish of reader %s: %w", r.entry.name, err)
	}
	return nil
}

// freed looks what is not needed any more, since a reader moved on.
func (c *Channel) freed() {
	if len(c.readers) > 0 {
		low := c.lowest()
		c.ring.forget(low)
		c.decoded.forget(low)
	}
	c.letIn()
}

// rollback ends a lease without a commit.
func (r *reader) rollback(l *lease) {
	if n := r.ledger.Rollback(l.delivery.Range, l.delivery.Attempt); n > 0 {
		r.c.dropped(channel.Drop{Loss: r.ledger.Loss(), Reader: r.entry.name, Range: l.delivery.Range, Events: n})
	}
}

// lease is a range on its way.
type lease struct {
	r        *reader
	delivery channel.Delivery
	ended    bool
	member   string // whose it is; "" = nobody's
	fresh    bool   // and that is not written yet
}

var _ channel.Lease = (*lease)(nil)

func (l *lease) Delivery() channel.Delivery { return l.delivery }

func (l *lease) Commit() error {
	c := l.r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case l.ended:
		return fmt.Errorf("commit of %v for %s: lease %w", l.delivery.Range, l.r.entry.name, channel.ErrDone)
	case c.closed || l.r.closed:
		l.end()
		return fmt.Errorf("commit of %v for %s: %w", l.delivery.Range, l.r.entry.name, channel.ErrClosed)
	}
	events := uint64(l.delivery.Batch.Len())
	l.end()
	l.r.ledger.Commit(l.delivery.Range, events)
	c.touched(l.r)
	c.freed()
	l.r.arrived() // in order, one at a time: now the next may go
	return nil
}

func (l *lease) Rollback() {
	c := l.r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.ended {
		return
	}
	if !l.r.closed { // else its range was rolled back then
		l.r.rollback(l)
	}
	l.end()
	l.r.arrived()
}

func (l *lease) end() {
	l.ended = true
	delete(l.r.leases, l)
	l.delivery.Batch.Release()
}
