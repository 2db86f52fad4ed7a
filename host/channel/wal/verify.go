// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// verifyIdle is how much memory Verify keeps for its next read.
const verifyIdle = 4 << 20

// maxDamages bounds a report: where there is more, the disk is what should be looked at.
const maxDamages = 1000

// Report is what Verify found.
type Report struct {
	UsedBy   string // pid of the process that has the channel open, or ""
	Segments int
	Records  uint64
	Events   uint64
	Bytes    int64
	Gaps     int               // places where damage was set aside earlier
	Lost     uint64            // events that were there
	Keys     map[string]uint64 // records by the id of the key that sealed them
	Closed   uint64            // records of which the content was not looked at, for want of a key
	Dropped  []Dropped         // that the log has on record, by reason and reader
	Damage   []Damage          // in the order of the log; at most 1000
}

// Sound says whether nothing that was acknowledged is damaged. A torn tail was not acknowledged.
func (r Report) Sound() bool {
	for _, d := range r.Damage {
		if !d.Torn {
			return false
		}
	}
	return true
}

// Verify reads a whole channel and says what is not as it was written. It changes nothing, and may run
// while the channel is in use: then a record that is just being written looks like a torn tail.
// progress, which may be nil, is told how many bytes of how many have been read.
// Where a record is sealed with a key that is not given, its checksums and its place are verified, and its content is not.
func Verify(dir string, progress func(done, total int64), keys ...Key) (Report, error) {
	report, err := verifyDir(dir, progress, keys)
	if err != nil {
		return report, fmt.Errorf("verify channel %s: %w", dir, err)
	}
	return report, nil
}

func verifyDir(dir string, progress func(done, total int64), keys []Key) (Report, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Report{}, err
	}
	holder, err := inUse(dir)
	if err != nil {
		return Report{}, err
	}
	pool := channel.NewPool(verifyIdle)
	defer pool.Close() //nolint:errcheck // it never fails
	return verify(osFiles{dir}, pool, holder, progress, coderOf(keys))
}

// verify checks the channel in sys, which that process uses.
func verify(sys files, pool event.Buffers, holder string, progress func(done, total int64), c *coder) (Report, error) {
	v := &verifier{Report: Report{Keys: map[string]uint64{}}, drops: drops{}, sys: sys, pool: pool, coder: c}
	v.UsedBy = holder
	var found bool
	var err error
	v.meta, found, err = loadMeta(v.sys)
	switch {
	case errors.Is(err, channel.ErrCorrupt):
		v.report(Damage{File: metaFile, Cause: err})
	case err != nil:
		return v.Report, err
	case !found:
		return v.Report, missing(found)
	}
	if err = c.learn(sys, pool); err == nil {
		err = v.run(progress)
	}
	v.Dropped = v.drops.list()
	return v.Report, err
}

// verifier goes through the segments in order.
type verifier struct {
	Report
	sys     files
	pool    event.Buffers
	coder   *coder
	meta    meta
	drops   drops
	state   *state // the sum so far; nil after damage, until the next STATE
	sum     seal   // of the segment before
	prev    uint32
	chained bool // prev counts
}

func (v *verifier) report(d Damage) {
	if len(v.Damage) < maxDamages {
		v.Damage = append(v.Damage, d)
	}
}

func (v *verifier) run(progress func(done, total int64)) error {
	names, err := listSegments(v.sys)
	if err != nil {
		return err
	}
	total := int64(0)
	for _, f := range names {
		total += f.size
	}
	for i, f := range names {
		err := v.segment(f, i == len(names)-1)
		if errors.Is(err, fs.ErrNotExist) && v.Segments == 0 {
			continue // its readers have committed all of it since it was listed
		}
		if err != nil {
			return err
		}
		v.Segments++
		if v.Bytes += f.size; progress != nil {
			progress(v.Bytes, total)
		}
	}
	return v.positions()
}

// segment checks one file from its first byte to its last.
func (v *verifier) segment(info fileInfo, last bool) error {
	file, err := v.sys.Open(logDir+"/"+info.name, readFile)
	if err != nil {
		return fmt.Errorf("open segment: %w", err)
	}
	s := newScanner(file, segmentIndex(info.name), info.size, v.pool, v.coder)
	s.blind = true
	defer s.release()
	if v.chained && v.sum.index != 0 && v.sum.index+v.sum.count == s.index {
		s.follow(v.prev)
	}
	for {
		err := v.record(s)
		if errors.Is(err, io.EOF) {
			break
		}
		damage, ok := errors.AsType[*Damage](err)
		if err == nil {
			continue
		}
		if !ok {
			return errors.Join(err, file.Close())
		}
		if v.pass(s, damage, last) {
			break
		}
	}
	v.sum, v.prev, v.chained = s.sum, s.prev, s.chained
	return file.Close()
}

// pass reports damage and goes on with the next whole record behind it; done is true when there is none.
func (v *verifier) pass(s *scanner, d *Damage, last bool) (done bool) {
	d.Torn = last && torn(s, d)
	v.state = nil
	found := s.resync(func(*header) bool { return true })
	d.Length = s.end - d.Offset
	if found && !d.Torn {
		d.Length = s.at - d.Offset
	}
	v.report(*d)
	return !found || d.Torn
}

// record checks the next record, and that it fits what was before.
func (v *verifier) record(s *scanner) error {
	at := s.at
	rec, err := s.next()
	if err != nil {
		return err
	}
	if err := v.fits(&rec, s); err != nil {
		// It is whole: the next one can be looked at.
		v.report(Damage{File: s.name, Offset: at, Length: rec.size, Cause: err})
		v.state = nil
	}
	if rec.key != 0 {
		v.Keys[keyName(rec.key)]++
	}
	v.Records++
	v.Events += uint64(rec.events)
	return nil
}

// fits checks what a record says against the sum of those before.
func (v *verifier) fits(rec *record, s *scanner) error {
	if rec.closed {
		v.Closed++
		v.state = nil
		return v.closedFits(rec, s)
	}
	if rec.kind == kindState {
		return v.stateFits(rec, s)
	}
	if rec.kind == kindPut && rec.body > 0 {
		b, err := event.Parse(rec.bodyBytes())
		if err != nil {
			return fmt.Errorf("%w: %w", errContent, err)
		}
		if uint32(b.Len()) != rec.events {
			return fmt.Errorf("%w: the header counts %d events, the batch holds %d", errContent, rec.events, b.Len())
		}
	}
	if rec.kind == kindGap {
		return v.gap(rec)
	}
	if rec.index == s.sum.index {
		return fmt.Errorf("%w: a segment begins with a STATE", errContent)
	}
	if rec.kind == kindPut && rec.events == 0 { // no other gives anything up
		changes, err := parseChanges(rec.tlvBytes())
		if err != nil {
			return fmt.Errorf("%w: %w", errContent, err)
		}
		v.drops.add(rec.first, changes.drops)
	}
	if v.state == nil {
		return nil
	}
	r := recovered{state: v.state}
	return r.interpret(rec)
}

// closedFits checks of a record that cannot be opened that it stands where its kind may.
func (v *verifier) closedFits(rec *record, s *scanner) error {
	if (rec.kind == kindState) != (rec.index == s.sum.index) {
		return fmt.Errorf("%w: a STATE stands first in each segment, and only there", errContent)
	}
	return nil
}

// gap counts what repair had to leave out. From there to the next STATE the sum is not known.
func (v *verifier) gap(rec *record) error {
	g, err := parseGap(rec.bodyBytes())
	if err != nil {
		return err
	}
	v.Gaps++
	v.Lost += g.events
	v.state = nil
	return nil
}

// stateFits compares a STATE with the sum of all that was before it.
func (v *verifier) stateFits(rec *record, s *scanner) error {
	if rec.index != s.sum.index {
		return fmt.Errorf("%w: a STATE stands first in a segment", errContent)
	}
	now, err := parseState(&rec.header, rec.bodyBytes())
	if err != nil {
		return fmt.Errorf("%w: %w", errContent, err)
	}
	sum := v.state
	v.state = now
	if rec.flags&flagMended != 0 { // what repair knew of it
		v.state = nil
	}
	if v.meta.created.IsZero() { // META is damaged
		v.meta.uuid = now.uuid
	}
	switch {
	case now.uuid != v.meta.uuid:
		return fmt.Errorf("%w: the segment is of channel %x, META says %x", errContent, now.uuid, v.meta.uuid)
	case v.sum.index == 0: // the oldest segment that is there
		return nil
	case v.sum.index != now.before.index || sum != nil && v.sum.count != now.before.count:
		return fmt.Errorf("%w: the %d records before it, from %d on, are not what is there", errContent, now.before.count, now.before.index)
	case sum == nil: // damage was reported before
		return nil
	}
	sum.before = v.sum
	if !bytes.Equal(sum.append(nil), rec.bodyBytes()) {
		return fmt.Errorf("%w: STATE is not the sum of what was before it", errContent)
	}
	return nil
}

// positions checks the readers' files, as far as the readers are known.
func (v *verifier) positions() error {
	if v.state == nil {
		return nil
	}
	for _, r := range v.state.readers {
		p, err := loadPosition(v.sys, r)
		if err != nil {
			return err
		}
		if p.damaged && v.UsedBy == "" { // one is written now and then while the channel is in use
			v.report(Damage{File: positionName(r.name), Cause: fmt.Errorf("%w: what the reader had committed may be delivered again", errPosition)})
		}
	}
	return nil
}

var errPosition = errors.New("a position cannot be read")
