// SPDX-License-Identifier: Apache-2.0

package tail

import (
	"fmt"
	"time"

	"github.com/penstock-io/penstock/plugins/std/textfile"
	"github.com/penstock-io/penstock/sdk"
)

// chunk is how much is read of a file in one turn: enough that the calls do not count, little enough to be fair.
const chunk = 256 << 10

// window is the one piece of a file that is in memory.
type window struct {
	of    *file
	at    int64 // offset of data[0] in the file
	data  []byte
	whole bool // it was filled to the brim: there is probably more behind it
}

// holds says whether the window has bytes of f from its offset on.
func (w *window) holds(f *file) bool {
	return w.of == f && w.at <= f.offset && f.offset < w.at+int64(len(w.data))
}

// rest are the bytes from the offset of the file on.
func (w *window) rest() []byte { return w.data[w.of.offset-w.at:] }

// turn reads one chunk of f and appends its lines. more says that there is more to read at once.
// ErrFull: the batch is full, and the turn is to go on with the next batch.
func (s *Source) turn(p *sdk.Poll, f *file, now time.Time) (more bool, err error) {
	kept := s.win.holds(f) // from the batch before: the file may have grown behind it
	if !kept {
		if ok, err := s.load(f); !ok || err != nil {
			return !ok && err == nil, err
		}
	}
	for {
		if err := s.take(p, f, now); err != nil {
			return true, err
		}
		if !s.win.whole || f.offset > s.win.at {
			break
		}
		if err := s.widen(f); err != nil { // one line fills it all
			return false, err
		}
		if s.win.of == nil { // the file began anew
			return true, nil
		}
	}
	behind := kept || s.win.whole
	s.win = window{} // only a full batch leaves lines in it
	if behind {
		return true, nil
	}
	f.drained, f.failed = true, false
	if f.finishes {
		f.finishes, f.settled = false, true
	}
	return false, nil
}

// load reads a chunk from the file's offset on into the window. not ok: the content turned out to be
// another, and the file begins anew.
func (s *Source) load(f *file) (ok bool, err error) {
	if err := s.open(f); err != nil {
		return false, err
	}
	if s.buf == nil {
		s.buf = make([]byte, chunk)
	}
	n, err := readAt(f.handle, s.buf[:chunk], f.offset)
	if err != nil {
		return false, err
	}
	size := f.offset + int64(n)
	if n == 0 {
		info, err := f.handle.Stat()
		if err != nil {
			return false, fmt.Errorf("look at open file: %w", err)
		}
		size = info.Size()
	}
	s.win = window{} // whatever comes of it, the old one is overwritten
	ok, err = s.verify(f, size)
	if !ok && err == nil {
		err = s.restart(f)
	}
	if !ok || err != nil {
		return false, err
	}
	if n < chunk && size < f.high { // its end was cut off, behind what was read
		s.lose(f, f.high-size)
		f.high = size
		s.touch(f)
	}
	s.win = window{of: f, at: f.offset, data: s.buf[:n], whole: n == chunk}
	return true, nil
}

// widen reads on behind a window that holds no whole line, up to one byte more than the longest line
// with its \r\n: take finds an event in that.
func (s *Source) widen(f *file) error {
	have := len(s.win.data)
	want := min(have+chunk, s.lines.Limit+len("\r\n"))
	if want <= have {
		panic("BUG: no event in a window as long as the longest line")
	}
	if cap(s.buf) < want {
		s.buf = append(make([]byte, 0, max(want, min(2*have, s.lines.Limit+len("\r\n")))), s.win.data...)
	}
	n, err := readAt(f.handle, s.buf[have:want], s.win.at+int64(have))
	if err != nil {
		return err
	}
	w := window{of: f, at: s.win.at, data: s.buf[:have+n], whole: have+n == want}
	s.win = window{}
	ok, err := s.verify(f, w.at+int64(have+n))
	switch {
	case err != nil:
		return err
	case !ok:
		return s.restart(f)
	}
	s.win = w
	return nil
}

// take appends all events that the window holds wholly, and moves the file past them.
func (s *Source) take(p *sdk.Poll, f *file, now time.Time) error {
	if s.win.of != f || len(s.win.data) == 0 {
		return nil
	}
	end := textfile.Open
	if f.finishes && !s.win.whole {
		if end = textfile.Rests; f.displaced() {
			end = textfile.Final
		}
	}
	at := textfile.Place{Offset: f.offset, Skip: f.skipping}
	err := s.lines.Take(p, f.path, &at, s.win.rest(), end, now.UnixNano())
	if at.Offset != f.offset {
		s.touch(f)
		if !f.moved {
			f.moved = true
			s.moved = append(s.moved, f)
		}
	}
	f.offset, f.skipping = at.Offset, at.Skip
	return err
}
