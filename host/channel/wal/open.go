// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// Open opens the channel in o.Dir, and makes it when it is not there. A tail that was cut short is
// repaired; damage to what was acknowledged is an error that names the file, and nothing is thrown away.
func Open(o Options) (*Channel, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("open channel: %w", err)
	}
	if err := os.MkdirAll(dir, dirPerms); err != nil {
		return nil, fmt.Errorf("open channel: %w", err)
	}
	if err := syncFolder(filepath.Dir(dir)); err != nil {
		return nil, fmt.Errorf("open channel: %w", err)
	}
	held, err := lock(dir)
	if err != nil {
		return nil, fmt.Errorf("open channel: %w", err)
	}
	o.Dir = dir
	c, err := open(o, osSystem(dir))
	if err != nil {
		return nil, errors.Join(err, held.Close())
	}
	c.lock = held
	return c, nil
}

// open opens the channel on any system.
func open(o Options, sys system) (*Channel, error) {
	begun := time.Now()
	if o.SegmentSize <= 0 {
		o.SegmentSize = DefaultSegment
	}
	if o.FlushEvery <= 0 {
		o.FlushEvery = DefaultFlushEvery
	}
	c := &Channel{
		o: o, dir: o.Dir, sys: sys, pool: o.Pool, observer: o.Observer, log: o.Log, onFull: o.OnFull, onCorrupt: o.OnCorrupt, capacity: o.Capacity,
		done: make(chan struct{}), readers: map[string]*reader{}, flights: map[string]*flight{},
		opened: begun, used: map[string]bool{}, scrub: scrub{damage: map[uint64]string{}},
	}
	if c.pool == nil {
		c.pool = event.Heap{}
	}
	c.coder = newCoder(o.Compression, o.Key, o.OldKeys...)
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if err := c.start(int64(o.SegmentSize)); err != nil {
		c.mu.Lock()
		c.closed = true
		c.stopTimers()
		c.mu.Unlock()
		c.timers.Wait()
		return nil, errors.Join(fmt.Errorf("open channel %s: %w", o.Dir, err), c.letGo())
	}
	c.mu.Lock()
	c.sweepLater()
	c.scrubLater(min(c.o.Scrub, scrubDelay))
	c.mu.Unlock()
	c.stats.RecoverySecs = time.Since(begun).Seconds()
	return c, nil
}

// start goes through the steps of opening. The order is that of spec/wal.md.
func (c *Channel) start(segmentSize int64) error {
	for _, dir := range []string{logDir, posDir, quarantineDir} {
		f, err := c.sys.Open(dir, openFolder)
		if err != nil {
			return err
		}
		if dir == logDir {
			c.logDir = f
		} else if err := f.Close(); err != nil {
			return err
		}
	}
	if err := removeTemps(c.sys); err != nil {
		return err
	}
	if err := c.prepareRoom(); err != nil {
		return err
	}
	if err := c.coder.learn(c.sys, c.pool); err != nil {
		return err
	}
	rec, err := c.recall()
	if _, ok := errors.AsType[*Damage](err); ok && c.onCorrupt == Quarantine && !foreign(err) {
		if err := c.mendLog(); err != nil {
			return err
		}
		rec, err = c.recall()
	}
	if err != nil {
		return c.helpless(err)
	}
	o := &opening{rec: rec, segmentSize: segmentSize}
	if err = c.complete(o); noRoom(err) {
		return c.takesOnly(o, err)
	}
	if err != nil {
		return err
	}
	if c.o.Retain > 0 {
		c.expire()
	}
	if why, _ := c.takeStock(0); why != "" {
		c.runShort(why, false)
	}
	return nil
}

// opening is the part of an opening that needs room on the disk, and how far it has come.
type opening struct {
	rec         *recovered
	segmentSize int64
	aside       bool // what is cut off is in quarantine
	repaired    bool
	resumed     bool
}

// complete makes the end of the log good, opens it, and begins an incarnation. After an error for lack
// of room it can be called again, and goes on where it was.
func (c *Channel) complete(o *opening) error {
	if !o.repaired {
		if err := c.repair(o); err != nil {
			return fmt.Errorf("repair the end of the log: %w", err)
		}
		o.repaired = true
	}
	if !o.resumed {
		if err := c.resume(o.rec, o.segmentSize); err != nil {
			return err
		}
		o.resumed = true
	}
	return c.fence()
}

// recall finds out what the log, META and the positions say, and seats the readers.
func (c *Channel) recall() (*recovered, error) {
	names, err := listSegments(c.sys)
	if err != nil {
		return nil, err
	}
	rec := &recovered{index: 1, sum: seal{index: 1}, empty: true}
	if len(names) > 0 {
		if rec, err = recoverTail(c.sys, names, c.pool, c.coder); err != nil {
			return nil, err
		}
	}
	if err := c.identify(rec); err != nil {
		return nil, err
	}
	c.coder.uuid = c.meta.uuid
	return rec, c.restore(rec)
}

// helpless says what to do about damage.
func (c *Channel) helpless(err error) error {
	if errors.Is(err, channel.ErrCorrupt) {
		return fmt.Errorf("%w; nothing was changed: run `penstock channel verify %s`, then `penstock channel repair %s`", err, c.dir, c.dir)
	}
	return withKeyHint(err)
}

// identify finds out which channel this is, from META, and from STATE where META is lost.
func (c *Channel) identify(rec *recovered) error {
	m, found, err := loadMeta(c.sys)
	switch {
	case rec.state != nil && (err != nil && errors.Is(err, channel.ErrCorrupt) || !found):
		c.log.Warn("META is lost or damaged, it is written anew from the log", "dir", c.dir, "error", err)
		c.meta = newMeta()
		c.meta.uuid = rec.state.uuid
		return c.sys.Publish(metaFile, c.meta.text())
	case err != nil && !errors.Is(err, channel.ErrCorrupt):
		return err
	case err != nil:
		return fmt.Errorf("%w: the log is empty too: to begin anew, remove META", err)
	case rec.state != nil && rec.state.uuid != m.uuid:
		return fmt.Errorf("%w: META is of channel %x, the log is of channel %x: restore the one that belongs to the other",
			channel.ErrCorrupt, m.uuid, rec.state.uuid)
	case rec.state != nil:
		c.meta = m
		return nil
	}
	return c.beginLog(m, found, rec)
}

// beginLog starts an empty log, if it is right that it is empty.
func (c *Channel) beginLog(m meta, found bool, rec *recovered) error {
	positions, err := c.sys.List(posDir)
	if err != nil {
		return fmt.Errorf("list positions: %w", err)
	}
	if len(positions) > 0 {
		return fmt.Errorf("%w: %s is empty, though readers have positions in %s: restore the log, or remove both to begin anew",
			channel.ErrCorrupt, logDir, posDir)
	}
	if !found {
		m = newMeta()
		if err := c.sys.Publish(metaFile, m.text()); err != nil {
			return fmt.Errorf("write %s: %w", metaFile, err)
		}
	}
	c.meta = m
	rec.state = newState(m.uuid)
	return nil
}

// restore puts the readers where they stood, and lists the segments that they need.
func (c *Channel) restore(rec *recovered) error {
	c.state, c.written, c.found = rec.state, rec.time, found{rec.state.end, rec.time}
	positions := map[string]position{}
	low := c.state.end
	for name, entry := range c.state.readers {
		p, err := loadPosition(c.sys, entry)
		if err != nil {
			return err
		}
		positions[name] = p
		low = min(low, p.low)
	}
	if len(positions) == 0 {
		low = 0
	}
	if rec.tail != nil {
		earlier, dead, err := heads(c.sys, rec.before(), rec.tail, low, c.keepSince(), c.pool, c.coder)
		if err != nil {
			return err
		}
		for _, f := range dead { // every reader had committed them: nobody looks into them
			c.dead = append(c.dead, &segment{index: segmentIndex(f.name)})
		}
		if err := c.unlinkDead(); err != nil {
			return err
		}
		c.segments = append(earlier, rec.tail)
		c.gone = c.oldest()
	}
	for _, name := range slices.Sorted(maps.Keys(positions)) {
		if err := c.seat(c.state.readers[name], positions[name], rec); err != nil {
			return err
		}
	}
	return nil
}

// seat puts one reader where its position says.
func (c *Channel) seat(entry readerEntry, p position, rec *recovered) error {
	for gap := range c.state.gaps { // what lies before an opening that nobody needs may be gone from the log
		if gap.First <= p.low && p.low < gap.Next {
			p.low = gap.Next
		}
	}
	if oldest := c.oldest(); p.low < oldest {
		if !p.damaged {
			return fmt.Errorf("%w: %s stands at offset %d, the log begins with %d: restore the older segments, or remove %s to go on without what they held",
				channel.ErrCorrupt, entry.name, p.low, oldest, positionName(entry.name))
		}
		p.low = oldest
	}
	if p.damaged && p.low < c.state.end {
		c.log.Warn("the position of a reader is lost or damaged, events may be delivered again", "dir", c.dir, "reader", entry.name, "from", uint64(p.low))
	}
	if p.low > c.state.end {
		relaxed := p.flags&posRelaxed != 0
		if rec.torn == nil && !relaxed {
			return fmt.Errorf("%w: %s stands at offset %d, behind the end of the log at %d, which has lost what was acknowledged: restore it, or remove %s to go on",
				channel.ErrCorrupt, entry.name, p.low, c.state.end, positionName(entry.name))
		}
		// What is cut off was damaged after it was acknowledged, or never flushed. The sources send it again, since their cursors went with it.
		say := "the end of the log is damaged: what a reader had committed behind it will come again under other offsets"
		if relaxed {
			say = "the end of the log was not flushed before a crash: what a reader had committed behind it comes again under other offsets, if its source can send it again"
		}
		c.log.Error(say, "dir", c.dir, "reader", entry.name, "position", uint64(p.low), "end", uint64(c.state.end))
		c.stats.Gaps++
		p.low, p.finished, p.shares = c.state.end, nil, nil
	}
	for i := range p.finished {
		p.finished[i] = p.finished[i].Intersect(event.Range{First: p.low, Next: c.state.end})
	}
	r := c.newReader(entry, channel.NewLedger(p.low, p.finished...))
	r.sequence, r.sharing = p.sequence, len(p.shares) > 0
	r.ledger.Restore(c.state.end, p.shares)
	r.coverGaps()
	r.ledger.Offer(r.ledger.Waiting(r.end()))
	c.readers[entry.name] = r
	return nil
}

// repair puts aside what follows the last good record, and after an unclean stop writes the last segment
// anew: what a failed flush left in memory would be read as if it were on disk.
func (c *Channel) repair(o *opening) error {
	rec := o.rec
	if rec.torn != nil && !o.aside {
		if err := c.setAside(rec); err != nil {
			return err
		}
		o.aside = true
	}
	kept, err := c.sys.List(quarantineDir)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.stats.QuarantineSize = 0
	for _, f := range kept {
		c.stats.QuarantineSize += uint64(f.size)
	}
	c.mu.Unlock()
	if len(rec.names) == 0 || rec.torn == nil && closedClean(c.sys, rec.index, rec.prev) {
		return nil
	}
	name := segmentName(rec.sum.index)
	good, err := c.part(name, 0, rec.size)
	if err != nil {
		return err
	}
	defer good.Release()
	c.step("repair")
	return c.sys.Publish(name, good.Bytes())
}

// setAside copies what will be cut off into quarantine.
func (c *Channel) setAside(rec *recovered) error {
	cut, err := c.part(rec.torn.File, rec.torn.Offset, rec.torn.Offset+rec.torn.Length)
	if err != nil {
		return err
	}
	defer cut.Release()
	name := fmt.Sprintf("%s/%020d-%d-%d", quarantineDir, rec.sum.index, rec.torn.Offset, time.Now().UnixNano())
	c.log.Warn("the log ends in the middle of a record, as after a power cut: the rest is cut off and kept", "dir", c.dir,
		"file", rec.torn.File, "offset", rec.torn.Offset, "bytes", rec.torn.Length, "cause", rec.torn.Cause, "kept", name)
	if err := c.sys.Publish(name, cut.Bytes()); err != nil {
		return err
	}
	c.mu.Lock()
	c.stats.CorruptRecords++
	c.mu.Unlock()
	return nil
}

// part reads the bytes of a file from one place to another.
func (c *Channel) part(name string, from, to int64) (*event.Buffer, error) {
	f, err := c.sys.Open(name, readFile)
	if err != nil {
		return nil, err
	}
	buf := c.pool.Get(int(to - from))
	n, err := f.ReadAt(buf.Bytes(), from)
	if n == len(buf.Bytes()) || errors.Is(err, io.EOF) {
		err = nil
	}
	if err = errors.Join(err, f.Close()); err != nil {
		buf.Release()
		return nil, err
	}
	return buf, nil
}

// resume opens the log for appending and begins a new incarnation.
func (c *Channel) resume(rec *recovered, segmentSize int64) error {
	if err := c.sys.Remove(cleanFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	limit := segmentLimit(segmentSize, c.state)
	c.tail = tail{index: rec.index, prev: rec.prev, end: c.state.end, size: rec.size, sum: rec.sum}
	if rec.size >= limit { // the library would roll too, but not always before the next record
		if err := c.sys.Publish(segmentName(rec.index), nil); err != nil {
			return fmt.Errorf("begin a segment: %w", err)
		}
		c.state.before = rec.sum
		c.tail.size, c.tail.sum = 0, seal{index: rec.index}
	}
	return c.reopen(limit)
}

// fence writes the record that begins this opening's incarnation.
func (c *Channel) fence() error {
	var id [8]byte
	rand.Read(id[:]) // never fails
	c.tail.incarnation = binary.LittleEndian.Uint64(id[:])
	first := event.Offset(0)
	if len(c.state.incarnations) > 0 {
		first = (c.state.end/offsetStep + 1) * offsetStep
	}
	t := &tx{c: c, internal: true, ended: true, begun: time.Now(), signal: make(chan struct{}, 1)}
	t.buf = c.pool.Get(fenceBody)
	c.state.appendFence(t.buf.Bytes()[:0], c.tail.incarnation)
	t.header = header{kind: kindFence, first: first}
	t.buf = c.coder.own(c.pool, &t.header, t.buf)
	t.entry = t.buf.Frame(headerSize, 0)
	if err := c.submit(t)(); err != nil {
		return fmt.Errorf("begin an incarnation: %w", err)
	}
	return nil
}
