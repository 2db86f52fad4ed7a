// SPDX-License-Identifier: Apache-2.0

package filesink

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/penstock-io/penstock/plugins/std/filesink/line"
	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

// journalSuffix is added to the output's path.
const journalSuffix = ".penstock"

type config struct {
	Path        string        `json:"path"`
	Format      string        `json:"format"`
	RotateSize  int64         `json:"rotate_size"`
	RotateEvery time.Duration `json:"rotate_every"`
	RotateKeep  uint64        `json:"rotate_keep"`
}

// Sink is the sink "file".
type Sink struct {
	cfg     config
	lines   *line.Encoder
	open    *sdk.Open
	log     *slog.Logger
	out     *os.File // nil when it was closed and could not be opened again; then nothing is dirty
	journal *journal
	state   state // what the journal says
	dirty   bool  // beyond the committed length there may be bytes of ours
	now     func() time.Time

	buf []byte // the lines of one delivery, reused

	// at is called before each step that a kill can fall between: for tests that do that.
	at func(step string) error
}

// New returns a sink that is not open.
func New() sdk.Sink {
	return &Sink{at: func(string) error { return nil }, now: time.Now}
}

// Check looks at the arguments as far as that needs no file.
func (s *Sink) Check(o *sdk.Open) error {
	if err := o.Config(&s.cfg); err != nil {
		return err
	}
	format, err := line.Parse(s.cfg.Format)
	if err != nil {
		return err
	}
	s.lines = line.New(format)
	switch {
	case s.cfg.Path == "":
		return sdk.ConfigError("path", "is empty, wanted the file to write to")
	case o.Instance.Count > 1:
		return sdk.ConfigError("path", "is written by %d instances, and one file takes one: leave connections at 1", o.Instance.Count)
	}
	return nil
}

// Open finds out what is committed, cuts off what is not, and reports the ranges.
func (s *Sink) Open(o *sdk.Open) error {
	if err := s.Check(o); err != nil {
		return err
	}
	s.open, s.log = o, o.Log
	j, st, fresh, err := openJournal(s.cfg.Path + journalSuffix)
	if err != nil {
		return err
	}
	s.journal, s.state = j, st
	if err := s.recover(fresh); err != nil {
		return errors.Join(err, s.Close())
	}
	for _, h := range s.state.held {
		if err := o.Held(h.incarnation, h.Range); err != nil {
			return errors.Join(err, s.Close())
		}
	}
	return nil
}

// recover opens the output and makes it what the journal says.
func (s *Sink) recover(fresh bool) (err error) {
	if !fresh {
		if err := s.finishRotation(); err != nil {
			return err
		}
	}
	if err := s.openOutput(); err != nil {
		return err
	}
	id, size, err := stat(s.out)
	if err != nil {
		return err
	}
	next := s.state
	if fresh {
		next = state{output: id, length: size}
	} else if next.output != id {
		next.output, next.length, next.since = id, size, 0
	}
	switch {
	case size < next.length:
		s.log.Warn("output is shorter than what was committed to it; somebody cut it, going on at its end",
			"path", s.cfg.Path, "committed", next.length, "size", size)
		next.length = size
	case size > next.length:
		s.log.Info("cutting off what was written and not committed", "path", s.cfg.Path, "bytes", size-next.length)
		if err := s.cut(next.length); err != nil {
			return err
		}
	}
	if next.stream != s.open.Stream {
		next.stream, next.held = s.open.Stream, nil
	}
	return s.commit(next)
}

// finishRotation goes on with a rotation that was killed after its rename.
func (s *Sink) finishRotation() error {
	id, _, err := statPath(s.cfg.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && id == s.state.output {
		return nil
	}
	moved, _, err := statPath(s.rotatedPath(s.state.rotated + 1))
	switch {
	case err == nil && moved == s.state.output:
		s.state.rotated++
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case s.state.length > 0:
		s.log.Warn("output is not the file that was written to; somebody moved it, going on with what is there",
			"path", s.cfg.Path, "committed", s.state.length)
	}
	return nil
}

// openOutput opens the output, creating it if it is not there.
func (s *Sink) openOutput() error {
	if err := s.at("create"); err != nil {
		return err
	}
	f, err := os.OpenFile(s.cfg.Path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("open output: %w", err)
	}
	s.out = f
	if err := s.at("directory sync"); err != nil {
		return err
	}
	return s.syncDir()
}

// cut takes off what lies beyond the committed length.
func (s *Sink) cut(length int64) error {
	if err := s.at("cut"); err != nil {
		return err
	}
	if err := s.out.Truncate(length); err != nil {
		return fmt.Errorf("cut %s to its committed length of %d: %w", s.cfg.Path, length, err)
	}
	s.dirty = false
	return nil
}

// commit makes next what the journal says.
func (s *Sink) commit(next state) error {
	next.sequence = s.state.sequence + 1
	if err := s.journal.write(&next, s.at); err != nil {
		return err
	}
	s.state = next
	return nil
}

// Write appends the lines of b that are not there yet, and returns when they and the ranges are on disk.
func (s *Sink) Write(r event.Range, b event.Batch, _ *sdk.Delivery) error {
	inc, ok := s.open.Incarnation(r.First)
	if !ok && len(s.open.Incarnations) > 0 {
		return fmt.Errorf("write %v: the host named no incarnation that it belongs to", r)
	}
	missing := s.state.held.missing(inc.ID, r)
	if missing == 0 {
		return nil
	}
	s.render(inc.ID, b, missing == r.Len())
	if err := s.ready(int64(len(s.buf))); err != nil {
		return err
	}
	next := s.state
	next.held = next.held.with(inc.ID, r)
	if len(s.buf) > 0 {
		if err := s.append(); err != nil {
			return err
		}
		next.length += int64(len(s.buf))
		if next.since == 0 {
			next.since = s.now().UnixNano()
		}
	}
	if err := s.commit(next); err != nil {
		return err
	}
	s.dirty = false
	return nil
}

// render makes the lines of the events that are not held; all says that none is.
func (s *Sink) render(incarnation uint64, b event.Batch, all bool) {
	skip := func(at event.Offset) bool { return s.state.held.contains(incarnation, at) }
	if all {
		skip = nil
	}
	s.buf = s.lines.AppendBatch(s.buf[:0], b, skip)
}

// append writes the lines behind what is committed, and syncs.
func (s *Sink) append() error {
	if err := s.at("write"); err != nil {
		return err
	}
	s.dirty = true
	if _, err := s.out.WriteAt(s.buf, s.state.length); err != nil {
		return fmt.Errorf("write %d bytes at %d of %s: %w", len(s.buf), s.state.length, s.cfg.Path, err)
	}
	if err := s.at("sync"); err != nil {
		return err
	}
	if err := s.out.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", s.cfg.Path, err) // the next try writes all of it again, so that its sync tells the truth
	}
	return nil
}

// Prune forgets ranges that will not be asked for again. They go from disk with the next delivery.
func (s *Sink) Prune(low event.Offset) error {
	s.state.held = s.state.held.from(low)
	return nil
}

// Idle rotates by time when nothing is delivered.
func (s *Sink) Idle() error {
	if s.due(0) {
		return s.ready(0) // not rotate alone: bytes of a delivery that failed must not go with the file
	}
	return nil
}

// Close closes the files. Nothing depends on it.
func (s *Sink) Close() error {
	err := s.closeOutput()
	if s.journal != nil {
		err = errors.Join(err, s.journal.f.Close())
		s.journal = nil
	}
	return err
}

func stat(f *os.File) (identity, int64, error) {
	info, err := f.Stat()
	if err != nil {
		return identity{}, 0, fmt.Errorf("stat output: %w", err)
	}
	return identify(info), info.Size(), nil
}

func statPath(path string) (identity, int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return identity{}, 0, fmt.Errorf("stat output: %w", err)
	}
	return identify(info), info.Size(), nil
}

func identify(info fs.FileInfo) identity {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return identity{}
	}
	return identity{uint64(st.Dev), uint64(st.Ino)}
}

// syncDir makes the names in the output's directory durable.
func (s *Sink) syncDir() error {
	dir, err := os.Open(filepath.Dir(s.cfg.Path))
	if err != nil {
		return fmt.Errorf("open directory to sync it: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("sync directory of %s: %w", s.cfg.Path, err)
	}
	return nil
}
