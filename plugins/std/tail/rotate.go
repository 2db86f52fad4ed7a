// SPDX-License-Identifier: Apache-2.0

package tail

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// occupy notes that f is at path. When another was there before, f waits until that one, and what
// came and went in between, has been read to its end.
func (s *Source) occupy(path string, f *file, now time.Time) {
	before, ok := s.at[path]
	s.at[path] = occupant{f.id, f.mtime}
	if !ok {
		return
	}
	last := s.behind[path]
	if before.id == f.id {
		if last != nil && !last.waitsFor(f) {
			f.after = last
		}
		return
	}
	if b := s.files[before.id]; b != nil && !last.waitsFor(b) { // else one that was rotated away later waits for it already
		last = b
	}
	if last != nil && (last.path != path || last.waitsFor(f)) {
		return // files changed names: none comes before the other
	}
	if last != nil {
		last.drained = false
		s.enqueue(last)
	}
	for _, fd := range s.between(path, before.mtime, f.id) {
		g := s.files[fd.id]
		if g == nil {
			if g = s.begin(fd, now); g == nil {
				break
			}
			g.path = path
			s.log.Info("reading a file that was rotated away before it was seen", "path", path, "now_at", fd.path)
		}
		g.after, last = last, g
	}
	f.after = last
}

// waitsFor says whether f is not read before o has been.
func (f *file) waitsFor(o *file) bool {
	for ; f != nil; f = f.after {
		if f == o {
			return true
		}
	}
	return false
}

// lineUp lets the files that were rotated away from one path wait for each other, oldest first, and
// remembers the last of each path for the file that is there now.
func (s *Source) lineUp(rotated []*file) {
	slices.SortFunc(rotated, func(a, b *file) int { return older(a.mtime, a.place, b.mtime, b.place) })
	s.behind = map[string]*file{}
	for _, f := range rotated {
		f.after = s.behind[f.path]
		s.behind[f.path] = f
	}
}

// occupant is the file that was last seen at a path.
type occupant struct {
	id    identity
	mtime int64
}

// between returns the files beside path that look rotated away from it, were written last at or after
// since, and were never seen before this scan: oldest first.
func (s *Source) between(path string, since int64, except identity) []found {
	dir, base := filepath.Split(path)
	var all []found
	for _, fd := range s.directory(filepath.Clean(dir)).files {
		_, resting := s.resting[fd.id]
		f := s.files[fd.id]
		old := f != nil && (f.offset > 0 || f.after != nil || f.round != s.round || f.path != fd.path)
		if fd.id == except || resting || old || fd.mtime < since || !rotatedFrom(base, filepath.Base(fd.path)) {
			continue
		}
		all = append(all, fd)
	}
	slices.SortFunc(all, func(a, b found) int { return older(a.mtime, a.path, b.mtime, b.path) })
	return all
}

// older compares when two files were written last; of one moment, app.log.2 is older than app.log.1.
func older(a int64, atA string, b int64, atB string) int {
	return cmp.Or(cmp.Compare(a, b), strings.Compare(atB, atA))
}

// rotatedFrom says whether name looks like what a rotation makes of base: app.log.1, app.log-20261122,
// app-2026-11-22T10.log. Compressed files and those of other tools (app.log.pos) do not.
func rotatedFrom(base, name string) bool {
	if rest, ok := strings.CutPrefix(name, base); ok {
		return rotationMark(rest)
	}
	ext := filepath.Ext(base)
	rest, ok := strings.CutPrefix(name, strings.TrimSuffix(base, ext))
	if !ok || ext == "" {
		return false
	}
	rest, ok = strings.CutSuffix(rest, ext)
	return ok && rotationMark(rest)
}

// rotationMark says whether s is a number or a time behind a separator, or ".old".
func rotationMark(s string) bool {
	if s == ".old" {
		return true
	}
	return len(s) > 1 && strings.ContainsAny(s[:1], ".-_") && strings.ContainsAny(s, "0123456789") &&
		strings.Trim(s, "0123456789.-_:+TZ") == ""
}
