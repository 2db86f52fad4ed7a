// SPDX-License-Identifier: Apache-2.0

package textfile

import (
	"bytes"
	"regexp"
)

// Skip says what follows that is to be passed over. The numbers stand in cursors.
type Skip uint8

// What is passed over.
const (
	SkipNothing Skip = iota
	SkipLine         // up to the next newline
	SkipEvent        // whole lines, up to one that begins an event
)

// End says what is known of what follows the data.
type End uint8

// What follows.
const (
	Open  End = iota // more may follow
	Rests            // more may follow, and what is whole does not wait for it
	Final            // nothing does
)

// Splitter finds events.
type Splitter struct {
	Start    *regexp.Regexp // of a line that begins an event; nil: every line does
	Truncate bool           // what is longer than Limit, instead of making several events of it
	Limit    int            // the longest body
}

// cut is what is to be taken from the front of the data.
type cut struct {
	size int    // bytes of the file; 0 = nothing yet
	emit bool   // body is an event
	body []byte // aliases the data
	mark string // an attribute to set
	skip Skip
}

// next finds the first event in data.
func (s *Splitter) next(data []byte, skip Skip, end End) cut {
	switch {
	case skip != SkipNothing:
		return s.pass(data, skip, end)
	case s.Start != nil:
		return s.nextEvent(data, end)
	}
	return s.nextLine(data, end)
}

func (s *Splitter) nextLine(data []byte, end End) cut {
	n := bytes.IndexByte(data, '\n')
	if n < 0 {
		if len(data) > s.Limit+1 { // even if the last byte is a \r
			return s.tooLong(data[:s.Limit])
		}
		if body := chomp(data); end == Final && len(data) > 0 {
			if len(body) > s.Limit {
				return s.tooLong(data[:s.Limit])
			}
			return cut{size: len(data), emit: true, body: body}
		}
		return cut{}
	}
	if body := chomp(data[:n+1]); len(body) <= s.Limit {
		return cut{size: n + 1, emit: true, body: body}
	}
	return s.tooLong(data[:s.Limit])
}

// nextEvent finds lines up to before the next one that begins an event.
func (s *Splitter) nextEvent(data []byte, follows End) cut {
	end := 0 // of the whole lines that belong to the event
	for {
		n := bytes.IndexByte(data[end:], '\n')
		if n < 0 {
			break
		}
		line := data[end : end+n+1]
		if end > 0 && s.Start.Match(chomp(line)) {
			return cut{size: end, emit: true, body: chomp(data[:end])}
		}
		if len(chomp(data[:end+n+1])) > s.Limit {
			return s.tooLongEvent(data, end)
		}
		end += n + 1
	}
	switch {
	case len(data) > s.Limit+1:
		return s.tooLongEvent(data, end)
	case follows == Open || len(data) == 0:
		return cut{}
	case follows == Final && (end == 0 || end < len(data) && !s.Start.Match(chomp(data[end:]))):
		if len(chomp(data)) > s.Limit {
			return s.tooLongEvent(data, end)
		}
		end = len(data)
	case end == 0:
		return cut{}
	}
	return cut{size: end, emit: true, body: chomp(data[:end])}
}

// tooLongEvent cuts an event of many lines that grows over the limit, between lines if it can.
func (s *Splitter) tooLongEvent(data []byte, end int) cut {
	if end == 0 {
		return s.tooLong(data[:s.Limit])
	}
	c := cut{size: end, emit: true, body: chomp(data[:end]), mark: Partial}
	if s.Truncate {
		c.mark, c.skip = Truncated, SkipEvent
	}
	return c
}

// tooLong takes the beginning of a line that does not fit one event.
func (s *Splitter) tooLong(body []byte) cut {
	c := cut{size: len(body), emit: true, body: body, mark: Partial}
	if s.Truncate {
		c.mark, c.skip = Truncated, SkipLine
	}
	return c
}

// pass passes over the rest of what was truncated.
func (s *Splitter) pass(data []byte, skip Skip, end End) cut {
	n := bytes.IndexByte(data, '\n')
	if skip == SkipLine {
		switch {
		case n < 0:
			return cut{size: len(data), skip: SkipLine}
		case s.Start == nil:
			return cut{size: n + 1}
		}
		return cut{size: n + 1, skip: SkipEvent}
	}
	if n < 0 && len(data) <= s.Limit+1 && end != Final {
		return cut{}
	}
	line := data
	if n >= 0 {
		line = data[:n+1]
	}
	if s.Start == nil || s.Start.Match(chomp(line)) {
		return s.nextEvent(data, end)
	}
	if n < 0 {
		return cut{size: len(data), skip: SkipLine}
	}
	return cut{size: n + 1, skip: SkipEvent}
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
