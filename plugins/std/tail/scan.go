// SPDX-License-Identifier: Apache-2.0

package tail

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// maxFiles bounds how many files are followed, so that a scan stays short.
	maxFiles = 16384
	// maxCursor is what their entries may take: a channel keeps 2 MiB of one cursor, and refuses what is beyond.
	maxCursor = 2<<20 - 1<<10
	// scanShare bounds the part of the time that looking for files may take: one in so many.
	scanShare = 20
)

// scan looks at everything that the globs name and at the files that were named before.
func (s *Source) scan(now time.Time) {
	s.round++
	s.blind = nil
	s.dirs = map[string]*directory{}
	s.spend()
	s.adopt(s.glob(), now)
	s.gauges()
}

// adopt takes in what the globs found, and looks for what they did not. It looks into directories only now: what is not where the globs look any
// more is there under another name.
func (s *Source) adopt(named []found, now time.Time) {
	if s.round == 1 {
		s.recallRotated(named, now)
	}
	var fresh []found
	for _, fd := range named {
		if f := s.known(fd, now); f != nil {
			f.round, f.place = s.round, fd.path
			s.observe(f, fd, now)
		} else {
			fresh = append(fresh, fd)
		}
	}
	for _, f := range s.files { // in any order: one file does not depend on another here
		if f.round != s.round {
			s.locate(f, now)
		}
	}
	for _, fd := range fresh {
		s.begin(fd, now)
	}
	for _, fd := range named {
		if f := s.files[fd.id]; f != nil && f.place == fd.path {
			s.occupy(fd.path, f, now)
		}
	}
}

// spend finds out how much of the cursor is taken.
func (s *Source) spend() {
	s.spent, s.beyond = 0, 0
	for id, f := range s.files {
		s.spent += id.reserve(f.path)
	}
	for id, e := range s.resting {
		s.spent += id.reserve(e.path)
	}
}

// barren says why a pattern names nothing. Glob is silent about what it cannot read.
func (s *Source) barren(pattern string) {
	if err := peek(pattern); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.blind = err
		return
	}
	s.sayOnce(slog.LevelInfo, pattern, "nothing matches; it is looked for at each scan", "pattern", pattern)
}

// peek reads as much of the directory before the first wildcard as tells whether it can be read; of a pattern without one it looks at the file.
func peek(pattern string) error {
	wild := strings.IndexAny(pattern, `*?[\`)
	if wild < 0 {
		_, err := os.Lstat(pattern)
		return err
	}
	dir, err := os.Open(filepath.Dir(pattern[:wild+1]))
	if err != nil {
		return err
	}
	defer dir.Close()
	if _, err = dir.Readdirnames(1); errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// glob returns the regular files that the patterns name, in order of their paths, each file once.
func (s *Source) glob() []found {
	var paths []string
	for _, pattern := range s.cfg.paths {
		names, err := filepath.Glob(pattern)
		if err != nil { // the pattern was checked
			s.log.Warn("cannot evaluate pattern", "pattern", pattern, "error", err)
		}
		if len(names) == 0 {
			s.barren(pattern)
		}
		paths = append(paths, names...)
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	named := make([]found, 0, len(paths))
	twice := make(map[identity]bool, len(paths))
	for _, path := range paths {
		if s.cfg.excluded(path) {
			continue
		}
		fd, ok, err := statFound(path)
		if err != nil {
			s.warnOnce(path, "cannot look at file", err)
		}
		if ok && !twice[fd.id] {
			twice[fd.id] = true
			named = append(named, fd)
		}
	}
	return named
}

// known returns the file of that identity if it is followed, or was by an earlier instance.
func (s *Source) known(fd found, now time.Time) *file {
	if f := s.files[fd.id]; f != nil {
		return f
	}
	e, ok := s.resting[fd.id]
	if !ok {
		return nil
	}
	delete(s.resting, fd.id)
	f := &file{entry: e, id: fd.id, place: fd.path, grew: now, size: -1}
	if e.offset == e.high {
		f.size = e.high // if it still has that size, there is nothing to read
	}
	if f.path == "" {
		f.path = fd.path
	}
	if f.gone != 0 {
		f.gone = 0
		s.touch(f)
	}
	s.files[fd.id] = f
	return f
}

// begin follows a file that was not known.
func (s *Source) begin(fd found, now time.Time) *file {
	switch {
	case len(s.files)+len(s.resting) >= maxFiles:
		s.warnOnce("", "too many files; those beyond the limit are not read", errTooMany)
	case s.spent+fd.id.reserve(fd.path) > s.budget:
		s.warnOnce("", "too many files with long paths; those beyond the limit are not read", errTooLong)
	default:
		return s.follow(fd, now)
	}
	s.beyond++
	return nil
}

// follow begins with a file, for which there is room.
func (s *Source) follow(fd found, now time.Time) *file {
	s.spent += fd.id.reserve(fd.path)
	f := &file{id: fd.id, place: fd.path, grew: now, round: s.round, size: -1}
	f.path = fd.path
	s.files[fd.id] = f
	if s.atEnd {
		f.offset, f.high = fd.size, fd.size
	}
	s.touch(f) // even of an empty file: it may be rotated away while no agent runs
	s.observe(f, fd, now)
	return f
}

var (
	errTooMany = errors.New("limit of followed files reached; narrow the globs, share the files among several sources, or lower forget_after")
	errTooLong = errors.New("their places would not fit the 2 MiB that a channel keeps of one source; narrow the globs, " +
		"share the files among several sources, or lower forget_after")
)

// observe takes in what a look at the file said, and queues it if it has changed.
func (s *Source) observe(f *file, fd found, now time.Time) {
	if fd.size == f.size && fd.mtime == f.mtime && !f.failed && !f.astray {
		return
	}
	f.astray = false
	if fd.size < f.size { // what was there counts as lost, if it was not read
		f.high = max(f.high, f.size)
	}
	f.size, f.mtime = fd.size, fd.mtime
	f.grew, f.settled = now, false
	s.enqueue(f)
}

// locate finds out where a file is that no glob names any more. One that is nowhere, and not open, is gone the second time: a directory
// in which files are being renamed may be read so that one is missing.
func (s *Source) locate(f *file, now time.Time) {
	if f.place != "" {
		if fd, ok, err := statFound(f.place); err == nil && ok && fd.id == f.id {
			s.observe(f, fd, now)
			return
		}
	}
	if fd, ok := s.search(filepath.Dir(f.path), f.id); ok && s.same(&f.entry, fd) {
		f.place, f.grew, f.settled, f.drained = fd.path, now, false, false
		s.observe(f, fd, now)
		s.enqueue(f)
		return
	}
	switch {
	case f.place != "":
		f.place, f.grew, f.settled = "", now, false
		if f.handle != nil {
			s.enqueue(f) // its end may still be read through it
		}
	case f.handle == nil:
		s.bury(f, now)
	}
}

// bury stops following a file that is gone, and keeps its entry for a while: its disk may come back.
func (s *Source) bury(f *file, now time.Time) {
	s.lose(f, f.unread())
	f.high, f.gone = max(f.high, f.size), now.UnixNano()
	s.rest(f)
}

// rest stops following f, and keeps its entry.
func (s *Source) rest(f *file) {
	s.touch(f)
	f.drained = true
	if err := s.shut(f); err != nil {
		s.log.Warn("cannot close file", "path", f.path, "error", err)
	}
	if s.win.of == f {
		s.win = window{}
	}
	delete(s.files, f.id)
	s.resting[f.id] = f.entry
}

// directory is what a directory held when it was read.
type directory struct {
	files map[identity]found
	again bool // it was read twice in this scan
}

// search finds the file of that identity in a directory. A directory is read once a scan, and once
// more when a file is missing: one that is renamed while a directory is read may be in neither place.
func (s *Source) search(dir string, id identity) (found, bool) {
	d := s.directory(dir)
	fd, ok := d.files[id]
	if !ok && !d.again {
		delete(s.dirs, dir)
		d = s.directory(dir)
		d.again = true
		fd, ok = d.files[id]
	}
	return fd, ok
}

// directory returns the regular files in a directory.
func (s *Source) directory(dir string) *directory {
	if d := s.dirs[dir]; d != nil {
		return d
	}
	names, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.warnOnce(dir, "cannot read directory", err)
	}
	d := &directory{files: make(map[identity]found, len(names))}
	for _, name := range names {
		if info, err := name.Info(); err == nil { // else it is gone since
			if fd, ok := foundOf(filepath.Join(dir, name.Name()), info); ok {
				d.files[fd.id] = fd
			}
		}
	}
	s.dirs[dir] = d
	return d
}

// warnOnce logs a trouble that every scan would meet again.
func (s *Source) warnOnce(path, message string, err error) {
	s.sayOnce(slog.LevelWarn, path, message, "path", path, "error", strings.TrimSpace(err.Error()))
}

// sayOnce logs something once of each path or pattern.
func (s *Source) sayOnce(level slog.Level, of, message string, args ...any) {
	if s.warned[of] || len(s.warned) > maxFiles {
		return
	}
	s.warned[of] = true
	s.log.Log(context.Background(), level, message, args...)
}
