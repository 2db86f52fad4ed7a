// SPDX-License-Identifier: Apache-2.0

package tail

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/penstock-io/penstock/plugins/std/textfile"
	"github.com/penstock-io/penstock/sdk"
)

const (
	// lookMin and lookMax bound how often the open files are asked whether they have grown: often
	// after they did, less often as they rest.
	lookMin = 10 * time.Millisecond
	lookMax = 100 * time.Millisecond
	// sweepInterval is how often entries of files that rest are looked through for those to forget.
	sweepInterval = 10 * time.Minute
	// renewDelay after the start, and renewEvery after that, all entries are set again, so that a channel does not forget
	// those of files that rest for long. A channel waits for an hour after its start, and no shorter than two days.
	renewDelay = 5 * time.Minute
	renewEvery = 12 * time.Hour
	// maxRenewed bounds the entries in bytes that one batch sets again: 2 MiB of them are spread over 64 batches.
	maxRenewed = 32 << 10
	// firstScanKey stands in the cursor when all files that were there at the first start have their
	// entries: what is met after that is new, and read from its beginning even with start = "end".
	firstScanKey = "first-scan"
	// maxTurns bounds how much one Poll reads when nothing of it becomes an event.
	maxTurns = 256
	// maxSaved bounds the entries in bytes that one batch changes beside those of its own events: a
	// quarter of what a host takes.
	maxSaved = 512 << 10
)

// Source is the source "file".
type Source struct {
	cfg       settings
	log       *slog.Logger
	lostBytes sdk.Counter
	waiting   sdk.Gauge
	followed  sdk.Gauge
	ignored   sdk.Gauge

	files   map[identity]*file
	resting map[identity]entry    // known, and not followed: finished, or gone
	at      map[string]occupant   // which file was last seen at which path
	behind  map[string]*file      // in the first scan: the last file rotated away from a path
	dirs    map[string]*directory // those read in this scan
	warned  map[string]bool
	atEnd   bool   // files met now existed before the source did, and start is "end"
	settled bool   // firstScanKey is set
	round   uint64 // of scans
	spent   int    // bytes of the cursor that the entries may come to take
	budget  int    // the most of them
	beyond  int    // files that are not followed for want of room, in this scan
	blind   error  // why there may be files that are not found, in this scan

	queue  []*file // those that may have something to read, in turn
	dirty  []*file // those whose entries are to be set
	moved  []*file // those of them whose events are in this batch
	forget []identity
	renew  []identity // those whose entries are to be set again
	opened []*file
	turns  uint64

	nextScan, nextLook, nextSweep time.Time
	nextRenew                     time.Time
	pause                         time.Duration // between looks

	win   window
	buf   []byte
	head  [printSize]byte
	lines textfile.Taker
	value []byte // of a cursor entry, reused
}

// New returns a source that is not open.
func New() sdk.Source { return new(Source) }

// Check looks at the arguments, and at no file.
func (s *Source) Check(o *sdk.Open) (err error) {
	var c config
	if err := o.Config(&c); err != nil {
		return err
	}
	s.cfg, err = c.check()
	return err
}

// Open takes over the cursor. Files are looked for in the first Poll.
func (s *Source) Open(o *sdk.Open) error {
	if err := s.Check(o); err != nil {
		return err
	}
	s.log = o.Log
	s.lostBytes = o.Counter("file_lost_bytes")
	s.lines = textfile.Taker{MaxLine: s.cfg.maxLine, LongLines: o.Counter("file_long_lines")}
	s.lines.Start, s.lines.Truncate = s.cfg.start, s.cfg.truncate
	s.lostBytes.Add(0) // so that there is a series before the first loss, for an alert to compare with
	s.lines.LongLines.Add(0)
	s.waiting, s.followed, s.ignored = o.Gauge("file_unread_bytes"), o.Gauge("file_followed"), o.Gauge("file_beyond_limit")
	s.budget = maxCursor
	s.files, s.resting = map[identity]*file{}, map[identity]entry{}
	s.at, s.warned = map[string]occupant{}, map[string]bool{}
	s.pause = lookMin
	_, s.settled = o.Cursor[firstScanKey]
	s.atEnd = s.cfg.fromEnd && !s.settled
	for key, value := range o.Cursor {
		if key == firstScanKey {
			continue
		}
		if err := s.recall(key, value); err != nil {
			return fmt.Errorf("resume: %w", err)
		}
	}
	return nil
}

// recall takes one entry out of the cursor.
func (s *Source) recall(key string, value []byte) error {
	id, err := parseKey(key)
	if err != nil {
		return err
	}
	e, err := parseEntry(value)
	if err != nil {
		return fmt.Errorf("entry %s: %w", key, err)
	}
	s.resting[id] = e
	if was, ok := s.at[e.path]; !ok || was.mtime < e.mtime {
		s.at[e.path] = occupant{id, e.mtime}
	}
	return nil
}

// Poll reads what there is, or waits for something.
func (s *Source) Poll(p *sdk.Poll) error {
	now := p.Now()
	deadline := now.Add(p.Timeout)
	for {
		s.survey(now)
		if err := s.blind; err != nil {
			err = fmt.Errorf("look for files: %w; give the user that the agent runs as the right to read it", err)
			if len(s.files) == 0 {
				return sdk.Retry(err, 0)
			}
			s.sayOnce(slog.LevelWarn, err.Error(), "some files may not be found", "error", err)
		}
		busy := s.readAll(p, now)
		if sent, err := s.save(p); sent || err != nil {
			return err
		}
		if busy || !now.Before(deadline) {
			return nil
		}
		next := slices.MinFunc([]time.Time{s.nextScan, s.nextLook, deadline}, time.Time.Compare)
		if err := p.Sleep(max(next.Sub(now), time.Millisecond)); err != nil {
			return err
		}
		now = p.Now()
	}
}

// survey looks for files, and at files, as far as that is due.
func (s *Source) survey(now time.Time) {
	switch {
	case !now.Before(s.nextScan):
		s.scan(now)
		s.atEnd, s.behind = false, nil
		for _, f := range s.files {
			s.settle(f, now)
		}
		took := time.Since(now)
		s.nextScan = now.Add(max(s.cfg.scan, scanShare*took))
	case !now.Before(s.nextLook):
		s.look(now)
	}
	if !now.Before(s.nextSweep) {
		s.sweep(now)
		s.nextSweep = now.Add(sweepInterval)
	}
	switch {
	case s.nextRenew.IsZero():
		s.nextRenew = now.Add(renewDelay)
	case !now.Before(s.nextRenew):
		s.renew = slices.AppendSeq(slices.Collect(maps.Keys(s.files)), maps.Keys(s.resting))
		s.nextRenew = now.Add(renewEvery)
	}
}

// look asks the open files whether they have grown.
func (s *Source) look(now time.Time) {
	waiting := len(s.queue)
	for _, f := range slices.Backward(s.opened) { // trouble takes out the one it is about
		info, err := f.handle.Stat()
		if err != nil {
			s.trouble(f, fmt.Errorf("look at open file: %w", err), now)
			continue
		}
		if fd, ok := foundOf(f.place, info); ok {
			s.observe(f, fd, now)
		}
		s.settle(f, now)
	}
	s.pause = min(2*s.pause, lookMax)
	if len(s.queue) > waiting {
		s.pause = lookMin
	}
	s.nextLook = now.Add(s.pause)
}

// settle queues a file for what waits for more, when it has rested long enough.
func (s *Source) settle(f *file, now time.Time) {
	if f.settled || f.queued {
		return
	}
	rested := now.Sub(f.grew)
	done := f.displaced() && rested >= grace
	whole := s.cfg.start != nil && f.offset < f.size && rested >= s.cfg.maxWait
	if done || whole {
		f.finishes = true
		s.enqueue(f)
	}
}

func (s *Source) enqueue(f *file) {
	if !f.queued {
		f.queued = true
		s.queue = append(s.queue, f)
	}
}

// readAll gives each file in the queue its turns until the batch is full or nothing is left. busy: there is more.
func (s *Source) readAll(p *sdk.Poll, now time.Time) (busy bool) {
	blocked, turns := 0, 0
	for len(s.queue) > blocked {
		f := s.queue[0]
		if turns++; turns > maxTurns {
			return true
		}
		if f.after != nil && !f.after.drained {
			s.queue = append(s.queue[1:], f)
			blocked++
			continue
		}
		f.after = nil
		more, err := s.turn(p, f, now)
		if errors.Is(err, sdk.ErrFull) {
			return true // its turn goes on with the next batch
		}
		if err != nil {
			s.trouble(f, err, now)
		}
		blocked = 0 // somebody may have waited for this file
		if s.queue = s.queue[1:]; more {
			s.queue = append(s.queue, f)
			continue
		}
		f.queued = false
		s.leave(f, now)
	}
	return false
}

// trouble says what is wrong with a file, once, and lets those go on that wait for it, unless it will be found elsewhere.
func (s *Source) trouble(f *file, err error, now time.Time) {
	switch {
	case errors.Is(err, errElsewhere):
		f.astray = true
		return
	case errors.Is(err, errReplaced):
		s.bury(f, now)
		return
	}
	f.drained = true
	if !f.failed {
		s.log.Warn("cannot read file; trying again at each scan", "path", f.path, "error", err)
	}
	f.failed = true
	if err := s.shut(f); err != nil {
		s.log.Warn("cannot close file", "path", f.path, "error", err)
	}
}

// leave stops following a file that is rotated away or deleted, and finished.
func (s *Source) leave(f *file, now time.Time) {
	if !f.settled || !f.displaced() || s.files[f.id] != f {
		return
	}
	switch {
	case f.place == "":
		s.bury(f, now)
	case f.round != s.round: // no glob names it any more
		s.rest(f)
	}
}

// touch notes that the entry of f has changed.
func (s *Source) touch(f *file) {
	if !f.dirty {
		f.dirty = true
		s.dirty = append(s.dirty, f)
	}
}

// set sets the entry of f.
func (s *Source) set(p *sdk.Poll, f *file) error {
	f.moved = false
	s.value = f.append(s.value[:0])
	return p.SetCursor(f.id.key(), s.value)
}

// save sets the entries that have changed. sent: there is something to send.
func (s *Source) save(p *sdk.Poll) (sent bool, err error) {
	n := 0
	for size := 0; n < len(s.dirty) && size < maxSaved; n++ {
		f := s.dirty[n]
		f.dirty = false
		if back := s.files[f.id]; back != nil {
			f = back // it was gone, and is followed again: that is what is true now
		}
		if err := s.set(p, f); err != nil {
			return true, err
		}
		size += len(s.value)
	}
	s.dirty = slices.Delete(s.dirty, 0, n)
	for _, f := range s.moved {
		if f.moved { // an entry behind that bound, which must go with its events
			if err := s.set(p, f); err != nil {
				return true, err
			}
		}
	}
	s.moved = s.moved[:0]
	for _, id := range s.forget {
		if err := p.SetCursor(id.key(), nil); err != nil {
			return true, err
		}
	}
	renewed, err := s.setAgain(p)
	if err != nil {
		return true, err
	}
	sent = p.Len() > 0 || n > 0 || len(s.forget) > 0 || renewed
	s.forget = s.forget[:0]
	if s.cfg.fromEnd && !s.settled && s.round > 0 && len(s.dirty) == 0 {
		s.settled = true
		return true, p.SetCursor(firstScanKey, []byte("done"))
	}
	return sent, nil
}

// setAgain sets some of the entries again that are to be kept, and with the last of them that the first scan is over.
func (s *Source) setAgain(p *sdk.Poll) (sent bool, err error) {
	for size := 0; len(s.renew) > 0 && size < maxRenewed; s.renew = s.renew[1:] {
		id := s.renew[0]
		f := s.files[id]
		if e, ok := s.resting[id]; ok {
			f = &file{entry: e, id: id}
		}
		if f == nil { // forgotten meanwhile
			continue
		}
		if err := s.set(p, f); err != nil {
			return true, err
		}
		size += len(s.value)
		sent = true
	}
	if sent && len(s.renew) == 0 && s.settled {
		return true, p.SetCursor(firstScanKey, []byte("done"))
	}
	return sent, nil
}

// recallRotated finds, in the first scan, the files of the cursor that are no longer where they were: rotated away while no agent ran, to names
// that no glob need match. named is what the globs found before: a file that is renamed meanwhile is in one of the two places, or in both.
func (s *Source) recallRotated(named []found, now time.Time) {
	at := make(map[identity]string, len(named))
	for _, fd := range named {
		at[fd.id] = fd.path
	}
	var rotated []*file
	for _, id := range slices.SortedFunc(maps.Keys(s.resting), identity.compare) {
		e := s.resting[id]
		if !s.cfg.wants(e.path) || at[id] == e.path { // there it is found anyway, or another with its inode
			continue
		}
		fd, ok := s.search(filepath.Dir(e.path), id)
		ok = ok && s.same(&e, fd)
		switch {
		case ok && fd.size == e.offset && fd.mtime == e.mtime:
			// It was rotated away and read to its end.
		case ok:
			f := s.known(fd, now)
			s.observe(f, fd, now)
			rotated = append(rotated, f)
		case e.gone == 0:
			s.bury(&file{entry: e, id: id}, now)
		}
	}
	s.lineUp(rotated)
}

// sweep notes which resting files are gone, and forgets those that are gone for long.
func (s *Source) sweep(now time.Time) {
	s.dirs = map[string]*directory{}
	for id, e := range s.resting {
		there := false
		if e.path != "" {
			_, there = s.search(filepath.Dir(e.path), id)
		}
		switch {
		case !there && e.gone != 0 && now.Sub(e.goneSince()) >= s.cfg.forget:
			delete(s.resting, id)
			s.forget = append(s.forget, id)
			continue
		case there == (e.gone == 0):
			continue
		case there:
			e.gone = 0
		default:
			e.gone = now.UnixNano()
		}
		s.resting[id] = e
		s.touch(&file{entry: e, id: id})
	}
}

// gauges reports how much waits.
func (s *Source) gauges() {
	unread := int64(0)
	for _, f := range s.files {
		unread += max(0, f.unread())
	}
	s.waiting.Set(float64(unread))
	s.followed.Set(float64(len(s.files)))
	s.ignored.Set(float64(s.beyond))
}

func (id identity) compare(o identity) int {
	return cmp.Or(cmp.Compare(id.dev, o.dev), cmp.Compare(id.ino, o.ino))
}

// Close closes what is open. Nothing depends on it.
func (s *Source) Close() error {
	var errs []error
	for len(s.opened) > 0 {
		errs = append(errs, s.shut(s.opened[0]))
	}
	return errors.Join(errs...)
}
