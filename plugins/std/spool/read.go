// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/penstock-io/penstock/plugins/std/textfile"
	"github.com/penstock-io/penstock/sdk"
)

const (
	// chunk is how much is read of a file at once: enough that the calls do not count.
	chunk = 256 << 10
	// headSize is how much of a file is looked at to tell whether it is text.
	headSize = 1 << 10
	// maxTries bounds how often reading a file is tried before it is set aside: some two minutes.
	maxTries = 7
)

// window is the piece of the current file that is in memory.
type window struct {
	buf  []byte
	at   int64 // offset of buf[0] in the file
	used bool  // what is in it is no whole event
}

// readAll reads files until the batch is full, or nothing is left. busy: there is more to do at once.
func (s *Source) readAll(p *sdk.Poll, now time.Time) (busy bool, err error) {
	defer func() { s.waiting.Set(float64(len(s.queue) + len(s.paused) + s.beyond)) }()
	for range maxTurns {
		switch {
		case s.current != nil:
			err := s.turn(p, now)
			if errors.Is(err, sdk.ErrFull) {
				return true, nil
			}
			if err != nil {
				return false, err
			}
		case len(s.leaving) >= maxLeaving:
			return false, nil
		case s.resume(now):
		case len(s.queue) > 0:
			c := s.queue[0]
			s.queue = s.queue[1:]
			s.takeUp(c.path, now)
		case s.walk != nil || !now.Before(s.nextScan):
			if s.look(now); s.walk != nil {
				return true, nil
			}
		default:
			return false, nil
		}
	}
	return true, nil
}

// takeUp begins with a file that a look has found, if it is still there and at rest.
func (s *Source) takeUp(path string, now time.Time) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		s.warnOnce(path, "cannot look at file; trying again", err)
		return
	case len(path) > maxPath:
		s.warnOnce(path, "cannot read file", fmt.Errorf("its path has %d bytes, and %d at most are kept", len(path), maxPath))
		return
	}
	o := stampOf(info)
	for _, f := range s.files { // by another name: a second link, or it was renamed just now
		if f.path == path || f.stamp == o {
			return
		}
	}
	if !s.settled(path, o, now) {
		if at := now.Add(max(s.cfg.settle, time.Millisecond)); at.Before(s.nextScan) {
			s.nextScan = at
		}
		return
	}
	if s.beyond > 0 { // what was beyond the queue comes next
		s.nextScan = now
	}
	delete(s.warned, path)
	s.next++
	f := &file{id: s.next, entry: entry{path: path, stamp: o}}
	s.files[f.id] = f
	s.touch(f)
	if !info.Mode().IsRegular() {
		s.spoil(f, "it is "+kindOf(info.Mode())+", and no regular file")
		return
	}
	s.begin(f, now)
}

func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "a symbolic link"
	case m&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}

// resume goes on with a file that was begun before, if it is time for one.
func (s *Source) resume(now time.Time) bool {
	for i, f := range s.paused {
		if now.Before(f.after) {
			continue
		}
		s.paused = append(s.paused[:i:i], s.paused[i+1:]...)
		s.goOn(f, now)
		return true
	}
	return false
}

func (s *Source) goOn(f *file, now time.Time) {
	info, err := os.Lstat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		s.seek(f, now)
		return
	}
	if err != nil {
		s.trouble(f, err, now)
		return
	}
	switch o := stampOf(info); {
	case f.stamp.same(o):
		s.begin(f, now)
	case o.ino == f.stamp.ino:
		s.spoil(f, changed("it changed after it was taken up", f.stamp, o))
	default:
		s.gone(f)
	}
}

func changed(how string, was, is stamp) string {
	if was.size != is.size {
		return fmt.Sprintf("%s: it had %d bytes, and has %d", how, was.size, is.size)
	}
	return fmt.Sprintf("%s: it was written at %s, and again at %s", how, clock(was.mtime), clock(is.mtime))
}

func clock(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

// begin opens the file, which becomes the current one.
func (s *Source) begin(f *file, now time.Time) {
	h, err := os.Open(f.path)
	if err != nil {
		s.trouble(f, err, now)
		return
	}
	s.current, s.handle = f, h
	s.window = window{buf: s.window.buf[:0], at: f.place.Offset, used: true}
}

// turn reads one piece of the current file, and appends its events.
func (s *Source) turn(p *sdk.Poll, now time.Time) error {
	f := s.current
	if s.window.used && f.place.Offset < f.stamp.size {
		if err := s.fill(f); err != nil {
			s.trouble(f, err, now)
			return nil
		}
		if s.current == nil { // it turned out to be bad
			return nil
		}
	}
	end := textfile.Open
	if s.window.at+int64(len(s.window.buf)) == f.stamp.size {
		end = textfile.Final
	}
	from := f.place
	err := s.lines.Take(p, f.path, &f.place, s.window.buf[f.place.Offset-s.window.at:], end, now.UnixNano())
	if f.place != from {
		s.touch(f)
	}
	switch {
	case errors.Is(err, textfile.ErrLong):
		s.spoil(f, fmt.Sprintf("the line that begins at byte %d is longer than max_line, %d bytes", f.place.Offset, s.lines.Limit))
		return nil
	case err != nil:
		return err
	}
	s.window.used = true
	if f.place.Offset == f.stamp.size {
		f.state = read
		s.touch(f)
		s.release(f)
	}
	return nil
}

// fill reads on behind what is left in the window. It counts only when the file is still what it was.
func (s *Source) fill(f *file) error {
	w := &s.window
	rest := w.buf[f.place.Offset-w.at:]
	size := min(len(rest)+chunk, int(f.stamp.size-f.place.Offset))
	buf := w.buf
	if cap(buf) < size {
		buf = make([]byte, size, max(size, chunk))
	}
	have := copy(buf[:size], rest)
	n, err := s.handle.ReadAt(buf[have:size], f.place.Offset+int64(have))
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	info, err := s.handle.Stat()
	if err != nil {
		return err
	}
	o := stampOf(info)
	switch {
	case !f.stamp.same(o):
		s.spoil(f, changed("it changed while it was read", f.stamp, o))
	case have+n < size:
		s.spoil(f, fmt.Sprintf("it ends at byte %d, though its size is %d", f.place.Offset+int64(have+n), f.stamp.size))
	default:
		if f.place.Offset == 0 && !s.cfg.binary {
			if what := binaryOf(buf[:min(size, headSize)]); what != "" {
				s.spoil(f, what)
				return nil
			}
		}
		*w = window{buf: buf[:size], at: f.place.Offset}
	}
	return nil
}

// binaryOf says what is wrong with a file that begins with head and is no text; "": nothing.
func binaryOf(head []byte) string {
	for _, k := range []struct{ magic, name string }{{"\x1f\x8b", "gzip"}, {"BZh", "bzip2"}, {"\xfd7zXZ\x00", "xz"}, {"\x28\xb5\x2f\xfd", "zstd"}, {"PK\x03\x04", "zip"}} {
		if bytes.HasPrefix(head, []byte(k.magic)) && bytes.ContainsFunc(head, func(r rune) bool { return r < ' ' && r != '\n' && r != '\r' && r != '\t' }) {
			return "it is compressed (" + k.name + "): put it into the spool decompressed"
		}
	}
	if n := bytes.IndexByte(head, 0); n >= 0 {
		return fmt.Sprintf("it is no text: byte %d is 0; on_binary = \"read\" takes such files", n)
	}
	return ""
}

// trouble notes that a file could not be read. That may pass, but for one that may not be read.
func (s *Source) trouble(f *file, err error, now time.Time) {
	f.tries++
	switch {
	case errors.Is(err, fs.ErrPermission), f.tries > maxTries:
		s.spoil(f, "it cannot be read: "+err.Error())
		return
	case f.tries == 1:
		s.log.Warn("cannot read file; trying again", "path", f.path, "read_to", f.place.Offset, "error", err)
	}
	s.unhand(f)
	f.after = now.Add(backoff(f.tries))
	s.paused = append(s.paused, f)
}

// spoil has a file set aside.
func (s *Source) spoil(f *file, reason string) {
	f.state, f.reason = bad, reason[:min(len(reason), maxReason)]
	s.touch(f)
	s.release(f)
}

// release hands a file over to those that leave.
func (s *Source) release(f *file) {
	s.unhand(f)
	s.leaving = append(s.leaving, f)
}

// unhand makes f no longer the current file.
func (s *Source) unhand(f *file) {
	if s.current != f {
		return
	}
	if err := s.shut(); err != nil {
		s.log.Warn("cannot close file", "path", f.path, "error", err)
	}
	s.current = nil
}

func (s *Source) shut() error {
	if s.handle == nil {
		return nil
	}
	err := s.handle.Close()
	s.handle = nil
	return err
}

// gone takes leave of a file that is no longer there, or has become another.
func (s *Source) gone(f *file) {
	if rest := f.stamp.size - f.place.Offset; f.state == reading && rest > 0 {
		s.log.Warn("a file was taken away before it was read to its end", "path", f.path, "read_to", f.place.Offset, "lost_bytes", rest)
		s.lost.Add(float64(rest))
	} else {
		s.log.Info("a file that was done with is not at its place: it was moved before the agent ended, or somebody took it", "path", f.path)
	}
	s.drop(f)
}
