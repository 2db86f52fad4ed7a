// SPDX-License-Identifier: Apache-2.0

package tail

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// maxOpen bounds how many files are open at once. Those beyond it are opened for each chunk.
	maxOpen = 128
	// grace is how long a file that was rotated away or deleted may rest before it counts as finished: its
	// writer may not have noticed yet.
	grace = 5 * time.Second
)

// file is a file that is being followed.
type file struct {
	entry
	id    identity
	place string // where it is now; "" = nowhere: it was deleted, and we may still have it open

	handle *os.File
	used   uint64 // when the handle was used last, counted in turns

	size   int64 // when last looked at
	grew   time.Time
	after  *file  // rotated away from the same path before: read that to its end first
	round  uint64 // the last scan in which a glob named it
	queued bool
	dirty  bool // the cursor is to be set
	moved  bool // and must be with this batch
	failed bool // it could not be opened or read, and that was said
	astray bool // it was not at its place; the next scan finds out where it is, and those that wait for it wait

	drained  bool // read to its end since it was displaced, or cannot be read
	settled  bool // what had waited for more was taken, and it has not grown since
	finishes bool // take what waits for more in the next turn
}

// displaced says that the file is no longer at the path it was found under.
func (f *file) displaced() bool { return f.place != f.path }

// unread is how many bytes are known to be there and were not taken.
func (f *file) unread() int64 { return max(f.size, f.high) - f.offset }

// found is a file that a glob or a directory named.
type found struct {
	id    identity
	path  string
	size  int64
	mtime int64
}

// statFound looks at the file at path; ok only if it is a regular one.
func statFound(path string) (fd found, ok bool, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return found{}, false, nil
	}
	if err != nil {
		return found{}, false, fmt.Errorf("look at a file: %w", err)
	}
	fd, ok = foundOf(path, info)
	return fd, ok, nil
}

func foundOf(path string, info fs.FileInfo) (found, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return found{}, false
	}
	id := identity{uint64(st.Dev), uint64(st.Ino)}
	return found{id, path, info.Size(), info.ModTime().UnixNano()}, true
}

var (
	// errElsewhere means that the file is no longer where it was last seen.
	errElsewhere = errors.New("another file is at its place")
	// errReplaced means that its content is another, and not one that is wanted: what was to be read is gone.
	errReplaced = errors.New("its content is another")
)

// open makes sure that f has a handle, closing the one that was not used for longest if there are too many.
func (s *Source) open(f *file) error {
	s.turns++
	f.used = s.turns
	if f.handle != nil {
		return nil
	}
	if f.place == "" {
		return errElsewhere
	}
	h, err := os.Open(f.place)
	if errors.Is(err, fs.ErrNotExist) {
		return errElsewhere
	}
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	info, err := h.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("look at open file: %w", err), h.Close())
	}
	if fd, ok := foundOf(f.place, info); !ok || fd.id != f.id {
		return errors.Join(errElsewhere, h.Close())
	}
	if len(s.opened) >= maxOpen {
		if err := s.shut(s.leastUsed()); err != nil {
			return errors.Join(err, h.Close())
		}
	}
	f.handle = h
	s.opened = append(s.opened, f)
	return nil
}

// leastUsed chooses the handle to close: a deleted file, which could not be opened again, only if there is no other.
func (s *Source) leastUsed() *file {
	best := s.opened[0]
	for _, f := range s.opened[1:] {
		kept, bestKept := f.place == "", best.place == ""
		if kept != bestKept {
			if bestKept {
				best = f
			}
		} else if f.used < best.used {
			best = f
		}
	}
	return best
}

// shut closes the handle of f, if it has one.
func (s *Source) shut(f *file) error {
	if f.handle == nil {
		return nil
	}
	for i, o := range s.opened {
		if o == f {
			s.opened[i] = s.opened[len(s.opened)-1]
			s.opened = s.opened[:len(s.opened)-1]
			break
		}
	}
	err := f.handle.Close()
	f.handle = nil
	if err != nil {
		return fmt.Errorf("close %s: %w", f.path, err)
	}
	return nil
}

// readAt fills b from the file at that offset; fewer bytes mean that the file ends there.
func readAt(h *os.File, b []byte, at int64) (int, error) {
	n, err := h.ReadAt(b, at)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, fmt.Errorf("read at %d: %w", at, err)
	}
	return n, nil
}

// verify compares the beginning of the file with its fingerprint, and lets the fingerprint grow with
// the file. false: the content is another than the one that offset speaks of.
func (s *Source) verify(f *file, size int64) (bool, error) {
	n, err := readAt(f.handle, s.head[:], 0)
	if err != nil {
		return false, err
	}
	head := s.head[:n]
	if size < f.offset || !f.print.matches(head) {
		return false, nil
	}
	if n > f.print.n {
		f.print = printOf(head)
	}
	f.high = max(f.high, size)
	return true, nil
}

// restart begins with the file anew, since its content is another. A file that no glob names was
// not replaced by one that is wanted: it is gone.
func (s *Source) restart(f *file) error {
	if f.round != s.round {
		f.size = f.high // of which what was not read is lost
		return errReplaced
	}
	lost := f.high - f.offset
	s.log.Info("file was cut or replaced; reading it from its beginning", "path", f.place, "was_read_to", f.offset)
	s.lose(f, lost)
	f.entry = entry{path: f.place, mtime: f.mtime}
	s.touch(f)
	return nil
}

// same says whether a file of the same identity is what the entry speaks of.
func (s *Source) same(e *entry, fd found) bool {
	if e.print.n == 0 { // nothing is known of it but its inode
		return fd.path == e.path || rotatedFrom(filepath.Base(e.path), filepath.Base(fd.path))
	}
	h, err := os.Open(fd.path)
	if err != nil {
		return false
	}
	n, err := readAt(h, s.head[:], 0)
	if err := errors.Join(err, h.Close()); err != nil {
		return false
	}
	return fd.size >= e.offset && e.print.matches(s.head[:n])
}

// lose says what is gone unread.
func (s *Source) lose(f *file, lost int64) {
	if lost <= 0 {
		return
	}
	s.log.Warn("bytes are gone before they could be read; a file should stay for a while after it is rotated",
		"path", f.path, "bytes", lost, "read_to", f.offset)
	s.lostBytes.Add(float64(lost))
}
