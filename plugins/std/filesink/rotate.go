// SPDX-License-Identifier: Apache-2.0

package filesink

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"
)

// ready makes sure that n bytes can be written at the committed length of the output at its path.
func (s *Sink) ready(n int64) error {
	if s.dirty {
		if err := s.cut(s.state.length); err != nil {
			return err
		}
	}
	if err := s.follow(); err != nil {
		return err
	}
	if s.due(n) {
		return s.rotate()
	}
	return nil
}

// follow takes in what others did to the output since the last delivery: a logrotate that moved or
// cut it, somebody who added to it.
func (s *Sink) follow() error {
	id, size, err := statPath(s.cfg.Path)
	gone := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !gone:
		return err
	case gone || id != s.state.output || s.out == nil: // nil: the last try to reopen came only so far
		if err := s.reopen(s.state.rotated); err != nil {
			return err
		}
		s.log.Info("output was moved away; going on with what is at its path", "path", s.cfg.Path)
		return nil
	case size != s.state.length:
		s.log.Info("output was changed by somebody else; going on at its end",
			"path", s.cfg.Path, "committed", s.state.length, "size", size)
		next := s.state
		next.length = size
		return s.commit(next)
	}
	return nil
}

// due says whether the output must be rotated before n bytes more.
func (s *Sink) due(n int64) bool {
	if s.state.length == 0 {
		return false
	}
	full := s.cfg.RotateSize > 0 && s.state.length+n > s.cfg.RotateSize
	old := s.cfg.RotateEvery > 0 && s.state.since > 0 && s.now().Sub(time.Unix(0, s.state.since)) >= s.cfg.RotateEvery
	return full || old
}

// rotate moves the output out of the way and begins a new one.
func (s *Sink) rotate() error {
	n, err := s.freeNumber()
	if err != nil {
		return err
	}
	if n != s.state.rotated+1 { // recovery looks for the next number only: let the journal know that some are taken
		next := s.state
		next.rotated = n - 1
		if err := s.commit(next); err != nil {
			return err
		}
	}
	if err := s.at("rename"); err != nil {
		return err
	}
	if err := os.Rename(s.cfg.Path, s.rotatedPath(n)); err != nil {
		return fmt.Errorf("rotate: %w", err)
	}
	if err := s.reopen(n); err != nil {
		return err
	}
	return s.dropOld(n)
}

// reopen opens what is at the output's path now, and commits to it before anything is written there.
func (s *Sink) reopen(rotated uint64) error {
	if err := s.followJournal(); err != nil {
		return err
	}
	if err := s.closeOutput(); err != nil {
		return err
	}
	if err := s.openOutput(); err != nil {
		return err
	}
	id, size, err := stat(s.out)
	if err != nil {
		return err
	}
	next := s.state
	if next.output != id { // else it was moved away and back
		next.since = 0
	}
	next.output, next.length, next.rotated = id, size, rotated
	s.dirty = false
	return s.commit(next)
}

// followJournal takes up the journal that is at its path when ours is not, as when the directory was
// deleted with all that is in it: what is committed to a file without a name dies with this instance.
func (s *Sink) followJournal() error {
	path := s.cfg.Path + journalSuffix
	ours, err := s.journal.f.Stat()
	if err != nil {
		return fmt.Errorf("stat journal: %w", err)
	}
	there, err := os.Stat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("stat journal: %w", err)
	}
	if err == nil && os.SameFile(ours, there) {
		return nil
	}
	j, st, _, err := openJournal(path)
	if err != nil {
		return err
	}
	_ = s.journal.f.Close()                      // nothing of it counts any more
	s.journal, s.state.sequence = j, st.sequence // the next commit takes the slot that is not in use there
	return nil
}

// closeOutput closes the output if it is open. Whatever comes of that, it is not closed again.
func (s *Sink) closeOutput() error {
	if s.out == nil {
		return nil
	}
	err := s.out.Close()
	s.out = nil
	if err != nil {
		return fmt.Errorf("close %s: %w", s.cfg.Path, err)
	}
	return nil
}

// maxNumbers bounds the search for a free number: so many files that are not ours are a mistake to be told.
const maxNumbers = 1000

func (s *Sink) freeNumber() (uint64, error) {
	for n := s.state.rotated + 1; n <= s.state.rotated+maxNumbers; n++ {
		_, err := os.Lstat(s.rotatedPath(n))
		if errors.Is(err, fs.ErrNotExist) {
			return n, nil
		}
		if err != nil {
			return 0, fmt.Errorf("look for a free name to rotate to: %w", err)
		}
	}
	return 0, fmt.Errorf("rotate: %s and the %d names after it are taken; move those files away",
		s.rotatedPath(s.state.rotated+1), maxNumbers-1)
}

// dropOld removes rotated files beyond those to keep.
func (s *Sink) dropOld(newest uint64) error {
	if s.cfg.RotateKeep == 0 || newest <= s.cfg.RotateKeep {
		return nil
	}
	for n := newest - s.cfg.RotateKeep; n > 0; n-- {
		err := os.Remove(s.rotatedPath(n))
		if errors.Is(err, fs.ErrNotExist) {
			return nil // what is older went before
		}
		if err != nil {
			return fmt.Errorf("remove a rotated file: %w", err)
		}
	}
	return nil
}

func (s *Sink) rotatedPath(n uint64) string { return s.cfg.Path + "." + strconv.FormatUint(n, 10) }
