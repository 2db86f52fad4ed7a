// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/penstock-io/penstock/spec/event"
)

// errUnfit ends a COPY before an event that no line can be made of.
var errUnfit = errors.New("an event of the delivery does not fit into its columns")

// errOver ends a Read that comes when its COPY is over.
var errOver = errors.New("the COPY is over")

// lines are the events of a delivery as COPY takes them. They are made when they are asked for, so that the server works on the first
// while the later are made, and are kept for those who have to look at them again. The buffers are reused.
type lines struct {
	encode  encoder
	decoder event.Decoder
	count   int // events of the delivery
	text    []byte
	ends    []int // of the lines made so far, in text
	offsets []event.Offset
	refused []refusal
}

// refusal is an event that no line can be made of.
type refusal struct {
	index int
	why   error
}

// reset begins a delivery. The batch is read until the last line is made.
func (l *lines) reset(b event.Batch) {
	l.text, l.ends, l.offsets, l.refused = l.text[:0], l.ends[:0], l.offsets[:0], l.refused[:0]
	l.count = b.Len()
	l.decoder.Reset(b)
}

// next makes one more line, and says whether there was an event left. That of a refused event is empty.
func (l *lines) next() bool {
	if !l.decoder.Next() {
		return false
	}
	before := len(l.text)
	text, err := l.encode.append(l.text, l.decoder.Offset(), l.decoder.Event())
	if err != nil {
		l.refused = append(l.refused, refusal{len(l.ends), err})
		text = text[:before]
	}
	l.text = text
	l.ends, l.offsets = append(l.ends, len(text)), append(l.offsets, l.decoder.Offset())
	return true
}

// all makes what is left, and says whether every event fits.
func (l *lines) all() bool {
	for l.next() {
	}
	return len(l.refused) == 0
}

// begin is where line i begins, if those before it are made.
func (l *lines) begin(i int) int {
	if i == 0 {
		return 0
	}
	return l.ends[i-1]
}

// within says which events lie in a range, once all are made.
func (l *lines) within(r event.Range) (from, to int) {
	from, _ = slices.BinarySearch(l.offsets, r.First)
	to, _ = slices.BinarySearch(l.offsets, r.Next)
	return from, to
}

// stream reads the lines [from, to), and makes those that are not there yet. A client that gives up a COPY since its connection is gone may
// leave its reader running for a moment: after end that one touches nothing.
type stream struct {
	mu    sync.Mutex
	lines *lines
	at    int // in text
	to    int
	over  bool
}

// read begins with a line of which all before are made. At least one line is read.
func (l *lines) read(from, to int) *stream { return &stream{lines: l, at: l.begin(from), to: to} }

// Read implements [io.Reader]. It fails once an event is refused, be it a later one than those that were asked for.
func (s *stream) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return 0, errOver
	}
	l := s.lines
	for len(l.ends) < s.to && len(l.text)-s.at < len(p) && l.next() {
	}
	if len(l.refused) > 0 {
		return 0, errUnfit
	}
	n := copy(p, l.text[s.at:l.ends[min(s.to, len(l.ends))-1]])
	if s.at += n; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// end waits for a Read that is under way, and lets no other begin.
func (s *stream) end() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
}
