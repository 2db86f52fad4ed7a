// SPDX-License-Identifier: Apache-2.0

package tail

import (
	"bytes"
)

// The attributes that tell of a line over max_line.
const (
	// attrPartial marks an event whose line goes on in the next event of the same file.
	attrPartial = "file.partial"
	// attrTruncated marks an event whose line was longer; the rest is nowhere.
	attrTruncated = "file.truncated"
)

// skipping says what follows that is to be passed over. The numbers stand in cursors.
type skipping uint8

const (
	skipNothing skipping = iota
	skipLine             // up to the next newline
	skipEvent            // whole lines, up to one that begins an event
)

var yes = []byte("true")

// cut is what is to be taken from the front of the window.
type cut struct {
	size int    // bytes of the file; 0 = nothing yet
	emit bool   // body is an event
	body []byte // aliases the window
	mark string // an attribute to set
	skip skipping
}

// next finds the first event in data, which begins at the file's offset. With f.finishes set, what
// would wait for more is taken as it is: whole lines, and if the file is rotated or gone, the last line without its newline.
func (s *Source) next(f *file, data []byte) cut {
	switch {
	case f.skipping != skipNothing:
		return s.pass(f, data)
	case s.cfg.start != nil:
		return s.nextEvent(f, data)
	}
	return s.nextLine(f, data)
}

func (s *Source) nextLine(f *file, data []byte) cut {
	n := bytes.IndexByte(data, '\n')
	if n < 0 {
		if len(data) > s.limit+1 { // even if the last byte is a \r
			return s.tooLong(data[:s.limit])
		}
		if f.finishes && f.displaced() && !s.win.whole && len(data) > 0 {
			return cut{size: len(data), emit: true, body: chomp(data)}
		}
		return cut{}
	}
	if body := chomp(data[:n+1]); len(body) <= s.limit {
		return cut{size: n + 1, emit: true, body: body}
	}
	return s.tooLong(data[:s.limit])
}

// nextEvent finds lines up to before the next one that begins an event.
func (s *Source) nextEvent(f *file, data []byte) cut {
	end := 0 // of the whole lines that belong to the event
	for {
		n := bytes.IndexByte(data[end:], '\n')
		if n < 0 {
			break
		}
		line := data[end : end+n+1]
		if end > 0 && s.cfg.start.Match(chomp(line)) {
			return cut{size: end, emit: true, body: chomp(data[:end])}
		}
		if len(chomp(data[:end+n+1])) > s.limit {
			return s.tooLongEvent(data, end)
		}
		end += n + 1
	}
	switch {
	case len(data) > s.limit+1:
		return s.tooLongEvent(data, end)
	case !f.finishes || s.win.whole || len(data) == 0:
		return cut{}
	case f.displaced() && (end == 0 || end < len(data) && !s.cfg.start.Match(chomp(data[end:]))):
		end = len(data)
	case end == 0:
		return cut{}
	}
	return cut{size: end, emit: true, body: chomp(data[:end])}
}

// tooLongEvent cuts an event of many lines that grows over the limit, between lines if it can.
func (s *Source) tooLongEvent(data []byte, end int) cut {
	if end == 0 {
		return s.tooLong(data[:s.limit])
	}
	c := cut{size: end, emit: true, body: chomp(data[:end]), mark: attrPartial}
	if s.cfg.truncate {
		c.mark, c.skip = attrTruncated, skipEvent
	}
	return c
}

// tooLong takes the beginning of a line that does not fit one event.
func (s *Source) tooLong(body []byte) cut {
	c := cut{size: len(body), emit: true, body: body, mark: attrPartial}
	if s.cfg.truncate {
		c.mark, c.skip = attrTruncated, skipLine
	}
	return c
}

// pass passes over the rest of what was truncated.
func (s *Source) pass(f *file, data []byte) cut {
	n := bytes.IndexByte(data, '\n')
	if f.skipping == skipLine {
		switch {
		case n < 0:
			return cut{size: len(data), skip: skipLine}
		case s.cfg.start == nil:
			return cut{size: n + 1}
		}
		return cut{size: n + 1, skip: skipEvent}
	}
	last := f.finishes && f.displaced() && !s.win.whole
	if n < 0 && len(data) <= s.limit+1 && !last {
		return cut{}
	}
	line := data
	if n >= 0 {
		line = data[:n+1]
	}
	if s.cfg.start == nil || s.cfg.start.Match(chomp(line)) {
		return s.nextEvent(f, data)
	}
	if n < 0 {
		return cut{size: len(data), skip: skipLine}
	}
	return cut{size: n + 1, skip: skipEvent}
}

// chomp takes the newline, and a \r before it, off the end of a line.
func chomp(line []byte) []byte {
	n := len(line)
	if n > 0 && line[n-1] == '\n' {
		n--
	}
	if n > 0 && line[n-1] == '\r' {
		n--
	}
	return line[:n]
}
