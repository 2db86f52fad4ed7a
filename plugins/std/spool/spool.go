// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/penstock/plugins/std/textfile"
	"github.com/penstock-io/penstock/sdk"
)

const (
	// maxLeaving bounds the files that are read and still at their place: their entries fit what a channel keeps of a cursor.
	maxLeaving = 512
	// maxTurns bounds how many pieces of files one Poll reads when nothing of them becomes an event.
	maxTurns = 256
	// renewDelay after the start, and renewEvery after that, all entries are set again, so that a channel does not forget those of
	// files that cannot be moved. A channel waits for an hour after its start, and no shorter than two days.
	renewDelay = 5 * time.Minute
	renewEvery = 12 * time.Hour
	// retryMin and retryMax bound how long what did not work is left alone: moving, and reading a file that answers with an error.
	retryMin = time.Second
	retryMax = time.Minute
)

// file is a file that was taken up.
type file struct {
	entry
	id  uint64 // its key in the cursor; in the order in which files were taken up
	seq uint64 // of the last batch that has its entry; 0: an earlier instance sent it

	dirty bool      // the entry is to be set
	tries int       // how often reading it did not work
	after time.Time // when reading it is to be tried again
	to    string    // where it was moved, or "-" when it was deleted: the directories are to be synced
}

func (f *file) key() string { return strconv.FormatUint(f.id, 10) }

// Source is the source "spool".
type Source struct {
	cfg   settings
	log   *slog.Logger
	lines textfile.Taker
	at    func(step string) error // a test's; before each change of the directories

	done, aside, lost sdk.Counter
	waiting, stuck    sdk.Gauge

	files   map[uint64]*file // all below
	current *file            // the one that is being read
	handle  *os.File         // of it
	window  window           // on it
	paused  []*file          // to be read on, the first taken up first
	leaving []*file          // read or bad
	missing []*file          // that are looked for, as they are not where they were
	forget  []string         // keys of entries that can go

	queue    []candidate // those to take up next, in order
	beyond   int         // how many more the last look has seen
	walk     *walk       // the look that is going on
	names    int         // how many one call looks at
	young    map[string]sighting
	warned   map[string]bool
	nextScan time.Time
	lookErr  error // why the directory could not be read at the last look

	next      uint64 // key
	durable   uint64 // batches up to this number are
	moveAfter time.Time
	moveTries int
	moveErr   error // why files could not be moved at the last try
	nextRenew time.Time
	value     []byte // of a cursor entry, reused
}

// New returns a source that is not open.
func New() sdk.Source { return new(Source) }

// Check looks at the arguments, and at no file.
func (s *Source) Check(o *sdk.Open) (err error) {
	var c config
	if err := o.Config(&c); err != nil {
		return err
	}
	if s.cfg, err = c.check(); err != nil {
		return err
	}
	if o.Instance.Count > 1 {
		return sdk.ConfigError("path", "would be read by %d instances, and the files of one directory are read by one, in their order", o.Instance.Count)
	}
	return nil
}

// Open takes over the cursor. Files are looked for in the first Poll.
func (s *Source) Open(o *sdk.Open) error {
	if err := s.Check(o); err != nil {
		return err
	}
	s.log = o.Log
	if s.at == nil {
		s.at = func(string) error { return nil }
	}
	s.done, s.aside, s.lost = o.Counter("spool_files_done"), o.Counter("spool_files_set_aside"), o.Counter("spool_lost_bytes")
	s.waiting, s.stuck = o.Gauge("spool_files_waiting"), o.Gauge("spool_files_stuck")
	s.lines = textfile.Taker{MaxLine: s.cfg.maxLine, Refuse: s.cfg.refuse, LongLines: o.Counter("spool_long_lines")}
	s.lines.Start, s.lines.Truncate = s.cfg.start, s.cfg.truncate
	for _, c := range []sdk.Counter{s.done, s.aside, s.lost, s.lines.LongLines} {
		c.Add(0) // so that there is a series before the first, for an alert to compare with
	}
	s.names = maxNames
	s.files, s.young, s.warned = map[uint64]*file{}, map[string]sighting{}, map[string]bool{}
	var known []*file
	for key, value := range o.Cursor {
		f, err := recall(key, value)
		if err != nil {
			return fmt.Errorf("resume: %w", err)
		}
		s.next = max(s.next, f.id)
		if strings.HasPrefix(f.path, s.cfg.root+"/") { // else of a directory that this source had before, and may have again
			known = append(known, f)
		}
	}
	slices.SortFunc(known, func(a, b *file) int { return cmp.Compare(a.id, b.id) })
	for _, f := range known {
		s.files[f.id] = f
		if f.state == reading {
			s.paused = append(s.paused, f)
		} else {
			s.leaving = append(s.leaving, f)
		}
	}
	return nil
}

// recall takes one entry out of the cursor.
func recall(key string, value []byte) (*file, error) {
	id, err := strconv.ParseUint(key, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("cursor key %q is no number", key)
	}
	e, err := parseEntry(value)
	if err != nil {
		return nil, fmt.Errorf("entry %s: %w", key, err)
	}
	return &file{entry: e, id: id}, nil
}

// Poll reads what there is, or waits for something.
func (s *Source) Poll(p *sdk.Poll) error {
	now := p.Now()
	deadline := now.Add(p.Timeout)
	for {
		s.leave(now)
		s.renew(now)
		busy, err := s.readAll(p, now)
		if err != nil {
			return err
		}
		if sent, err := s.save(p); sent || err != nil {
			return err
		}
		if err := s.halted(); err != nil {
			return err
		}
		if s.walk != nil { // the next call goes on, at once: the host does not wait after one that has slept
			return p.Sleep(time.Millisecond)
		}
		if busy || !now.Before(deadline) {
			return nil
		}
		if err := p.Sleep(max(s.nextTime(deadline).Sub(now), time.Millisecond)); err != nil {
			return err
		}
		now = p.Now()
	}
}

// halted says what keeps the source from reading, so that the agent's status does.
func (s *Source) halted() error {
	if err := s.lookErr; err != nil {
		s.lookErr = nil
		return sdk.Retry(err, 0)
	}
	if len(s.leaving) >= maxLeaving && s.moveErr != nil {
		return sdk.Retry(fmt.Errorf("%d files were read and cannot leave their places; no more are read: %w", len(s.leaving), s.moveErr), 0)
	}
	return nil
}

// nextTime is when there may be something to do, but for what an ack brings.
func (s *Source) nextTime(at time.Time) time.Time {
	if s.nextScan.Before(at) {
		at = s.nextScan
	}
	if s.moveErr != nil && s.moveAfter.Before(at) {
		at = s.moveAfter
	}
	for _, f := range s.paused {
		if f.after.Before(at) {
			at = f.after
		}
	}
	return at
}

// Ack notes how far the batches are durable. What that lets go is moved in the next Poll.
func (s *Source) Ack(seq uint64, err error) {
	if err == nil {
		s.durable = seq
	}
}

// touch notes that the entry of f has changed.
func (s *Source) touch(f *file) { f.dirty = true }

// renew has all entries set again when that is due.
func (s *Source) renew(now time.Time) {
	switch {
	case s.nextRenew.IsZero():
		s.nextRenew = now.Add(renewDelay)
	case !now.Before(s.nextRenew):
		for _, f := range s.files {
			s.touch(f)
		}
		s.nextRenew = now.Add(renewEvery)
	}
}

// save sets the entries that have changed, and sends the batch. sent: there was something to send.
func (s *Source) save(p *sdk.Poll) (sent bool, err error) {
	for _, key := range s.forget {
		if err := p.SetCursor(key, nil); err != nil {
			return true, err
		}
	}
	sent = p.Len() > 0 || len(s.forget) > 0
	s.forget = s.forget[:0]
	var set []*file
	for _, f := range s.files {
		if !f.dirty {
			continue
		}
		s.value = f.append(s.value[:0])
		if err := p.SetCursor(f.key(), s.value); err != nil {
			return true, err
		}
		set = append(set, f)
	}
	if sent = sent || len(set) > 0; !sent {
		return false, nil
	}
	seq, err := p.Flush()
	if err != nil {
		return true, err
	}
	for _, f := range set {
		f.dirty, f.seq = false, seq
	}
	return true, nil
}

// drop forgets a file.
func (s *Source) drop(f *file) {
	delete(s.files, f.id)
	s.forget = append(s.forget, f.key())
}

// Close closes what is open. Nothing depends on it.
func (s *Source) Close() error {
	var errs []error
	if s.walk != nil {
		errs = append(errs, s.walk.close())
	}
	return errors.Join(append(errs, s.shut())...)
}

// backoff is how long to leave something alone after it has not worked n times.
func backoff(n int) time.Duration {
	return min(retryMin<<min(n-1, 10), retryMax)
}

// warnOnce logs a trouble that every look would meet again.
func (s *Source) warnOnce(path, message string, err error) {
	if s.warned[path] || len(s.warned) >= maxQueue {
		return
	}
	s.warned[path] = true
	s.log.Warn(message, "path", path, "error", err)
}
