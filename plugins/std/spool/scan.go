// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	// maxQueue bounds how many names are remembered of what waits; when they have been read, the directory is looked at again.
	maxQueue = 16384
	// maxLook and maxNames bound what one call does of a look, which goes on in the next: a call has a second of processor time.
	maxLook  = 50 * time.Millisecond
	maxNames = 1 << 16
	// someNames are read at once.
	someNames = 256
	// maxDepth bounds how deep directories are looked into.
	maxDepth = 16
	// scanShare bounds the part of the time that looking may take: one in so many.
	scanShare = 20
)

// candidate is a file that a look has found.
type candidate struct {
	path  string
	mtime int64 // 0 when the order is by name
}

// sighting is how a file looked that may still be written to.
type sighting struct {
	stamp
	since time.Time
}

// walk is a look at the directories, which goes on over several steps.
type walk struct {
	spent time.Duration
	dirs  []place // to be looked into
	dir   *os.File
	in    place // what dir is
	best  []candidate
	full  bool
	last  candidate // when full, what comes behind it is beyond the queue
	seen  int
	seek  []*file // to be found under other names
	blind bool    // a directory could not be read: what was not found may be there
}

type place struct {
	path  string
	depth int
}

func (w *walk) close() error {
	if w.dir == nil {
		return nil
	}
	err := w.dir.Close()
	w.dir = nil
	return err
}

// look goes on with the look at the directories, or begins one, for as long as one call may take.
func (s *Source) look(now time.Time) {
	w := s.walk
	if w == nil {
		w = &walk{dirs: []place{{path: s.cfg.root}}, seek: s.missing}
		s.walk, s.missing = w, nil
	}
	start := time.Now()
	for n := 0; n < s.names && time.Since(start) < maxLook; n += someNames {
		if err := s.step(w); err != nil {
			s.blinded(w, err)
		}
		if w.dir == nil && len(w.dirs) == 0 {
			w.spent += time.Since(start)
			s.found(w, now)
			return
		}
	}
	w.spent += time.Since(start)
}

// blinded leaves a directory that cannot be read.
func (s *Source) blinded(w *walk, err error) {
	w.blind = true
	if w.in.depth > 0 {
		s.warnOnce(w.in.path, "cannot read directory", err)
	} else {
		s.lookErr = fmt.Errorf("look into the spool: %w", err)
	}
	if err := w.close(); err != nil {
		s.log.Warn("cannot close directory", "path", w.in.path, "error", err)
	}
}

// found takes over what a look has found.
func (s *Source) found(w *walk, now time.Time) {
	s.walk = nil
	if w.blind {
		s.missing = append(w.seek, s.missing...)
	} else {
		for _, f := range w.seek {
			s.gone(f)
		}
	}
	s.trim(w)
	s.queue, s.beyond = w.best, w.seen-len(w.best)
	s.nextScan = now.Add(max(s.cfg.scan, scanShare*w.spent))
	if len(s.young) > maxQueue {
		clear(s.young)
	}
}

// step reads some names of a directory.
func (s *Source) step(w *walk) (err error) {
	if w.dir == nil {
		last := len(w.dirs) - 1
		w.in, w.dirs = w.dirs[last], w.dirs[:last]
		if w.dir, err = os.Open(w.in.path); err != nil {
			w.dir = nil
			if w.in.depth > 0 && errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
	}
	names, err := w.dir.ReadDir(someNames)
	for _, d := range names {
		s.visit(w, w.in.path+"/"+d.Name(), d)
	}
	if errors.Is(err, io.EOF) {
		delete(s.warned, w.in.path)
		return w.close()
	}
	return err
}

// visit looks at one name.
func (s *Source) visit(w *walk, path string, d fs.DirEntry) {
	if d.IsDir() {
		if (s.cfg.deep || len(w.seek) > 0) && w.in.depth < maxDepth && path != s.cfg.done && path != s.cfg.bad && !hidden(d.Name()) {
			w.dirs = append(w.dirs, place{path, w.in.depth + 1})
		}
		return
	}
	if len(w.seek) > 0 && s.recognize(w, path, d) {
		return
	}
	if w.in.depth > 0 && !s.cfg.deep || !s.cfg.wants(path[len(s.cfg.root)+1:], d.Name()) {
		return
	}
	c := candidate{path: path}
	if s.cfg.byTime {
		info, err := d.Info()
		if err != nil {
			return // it is gone since
		}
		c.mtime = info.ModTime().UnixNano()
	}
	w.seen++
	if w.full && compare(c, w.last) > 0 {
		return
	}
	if w.best = append(w.best, c); len(w.best) >= 2*maxQueue {
		s.trim(w)
		w.full, w.last = true, w.best[len(w.best)-1]
	}
}

func compare(a, b candidate) int {
	return cmp.Or(cmp.Compare(a.mtime, b.mtime), strings.Compare(a.path, b.path))
}

// trim sorts what was found, and keeps the first.
func (s *Source) trim(w *walk) {
	slices.SortFunc(w.best, compare)
	w.best = w.best[:min(len(w.best), maxQueue)]
}

// seek has a file looked for that is not where it was.
func (s *Source) seek(f *file, now time.Time) {
	s.missing = append(s.missing, f)
	s.nextScan = now
}

// recognize says whether the file at path is one that is looked for, which goes on from there.
func (s *Source) recognize(w *walk, path string, d fs.DirEntry) bool {
	info, err := d.Info()
	if err != nil {
		return false
	}
	o := stampOf(info)
	for i, f := range w.seek {
		if f.stamp != o {
			continue
		}
		s.log.Info("a file was renamed while it was read", "from", f.path, "to", path)
		w.seek = slices.Delete(w.seek, i, i+1)
		f.path = path
		s.touch(f)
		if f.state == reading {
			s.paused = append(s.paused, f)
		} else {
			s.leaving = append(s.leaving, f)
		}
		return true
	}
	return false
}

// settled says whether the file has rested for long enough to be finished. Its time may be ahead of the clock: then what counts is how
// long it was seen to rest.
func (s *Source) settled(path string, o stamp, now time.Time) bool {
	if now.Sub(time.Unix(0, o.mtime)) >= s.cfg.settle {
		delete(s.young, path)
		return true
	}
	seen, ok := s.young[path]
	if !ok || !seen.same(o) {
		seen = sighting{o, now}
		s.young[path] = seen
	}
	if now.Sub(seen.since) < s.cfg.settle {
		return false
	}
	delete(s.young, path)
	return true
}
