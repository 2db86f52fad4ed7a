// SPDX-License-Identifier: Apache-2.0

package syslog

import (
	"bytes"
	"time"
)

// message is what was found in one message. Fields alias it, or are "".
type message struct {
	priority int // -1: it has none
	version  int // 1: RFC 5424; 0: RFC 3164, or what looks a little like it
	time     int64
	hasTime  bool
	host     []byte
	app      []byte
	pid      []byte
	id       []byte
	data     []byte // structured data, as it stands
	text     []byte
}

// parse reads a message of RFC 5424 or RFC 3164. It never fails: what has no header is all text. now tells the year of an RFC 3164 time, and
// zone where it was written.
func parse(b []byte, now time.Time, zone *time.Location) message {
	m := message{priority: -1, text: b}
	rest, ok := m.readPriority(b)
	if !ok {
		return m
	}
	m.text = rest
	if m.read5424(rest) {
		return m
	}
	m.read3164(rest, now, zone)
	return m
}

// readPriority reads "<13>".
func (m *message) readPriority(b []byte) (rest []byte, ok bool) {
	end := bytes.IndexByte(b[:min(len(b), 5)], '>')
	if end < 2 || b[0] != '<' {
		return b, false
	}
	n, ok := number(b[1:end])
	if !ok || n > 191 {
		return b, false
	}
	m.priority = n
	return b[end+1:], true
}

// number reads a few digits.
func number(b []byte) (n int, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, len(b) > 0
}

// read5424 reads "1 TIME HOST APP PID ID DATA TEXT". false: it is none of these, and m is as it was.
func (m *message) read5424(b []byte) bool {
	if len(b) < 2 || b[0] != '1' || b[1] != ' ' {
		return false
	}
	var fields [5][]byte
	rest := b[2:]
	for i := range fields {
		field, after, ok := bytes.Cut(rest, []byte{' '})
		if !ok || len(field) == 0 {
			return false
		}
		fields[i], rest = field, after
	}
	data, text, ok := structured(rest)
	if !ok {
		return false
	}
	if string(fields[0]) != "-" {
		t, err := time.Parse(time.RFC3339Nano, string(fields[0]))
		if err != nil {
			return false
		}
		m.time, m.hasTime = t.UnixNano(), true
	}
	m.version = 1
	m.host, m.app, m.pid, m.id, m.data = value(fields[1]), value(fields[2]), value(fields[3]), value(fields[4]), value(data)
	m.text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")) // a mark that it is UTF-8
	return true
}

// value is a field, without the sign that there is none.
func value(b []byte) []byte {
	if string(b) == "-" {
		return nil
	}
	return b
}

// structured splits "[id name=\"value\"][…] text".
func structured(b []byte) (data, text []byte, ok bool) {
	if len(b) > 0 && b[0] == '-' {
		return b[:1], bytes.TrimPrefix(b[1:], []byte{' '}), len(b) == 1 || b[1] == ' '
	}
	end, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case i == end && c != '[':
			return b[:end], bytes.TrimPrefix(b[end:], []byte{' '}), end > 0 && c == ' '
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ']' && !quoted:
			end = i + 1
		}
	}
	return b[:end], nil, end > 0 && end == len(b)
}

// read3164 reads "Jan _2 15:04:05 HOST TAG[PID]: TEXT" as far as it is there.
func (m *message) read3164(b []byte, now time.Time, zone *time.Location) {
	rest, ok := m.readTime(b, now, zone)
	if !ok {
		m.readTag(b) // as programs write it that speak to a socket of this machine
		return
	}
	m.text = rest
	host, after, ok := bytes.Cut(rest, []byte{' '})
	if ok && len(host) > 0 && !bytes.ContainsAny(host, ":[") {
		m.host, m.text = host, after
		rest = after
	}
	m.readTag(rest)
}

// maxTime is longer than a time of RFC 3339 with nanoseconds.
const maxTime = 40

// readTime reads "Jan _2 15:04:05 ", or a time as in RFC 3339, which many write instead.
func (m *message) readTime(b []byte, now time.Time, zone *time.Location) (rest []byte, ok bool) {
	const size = len(time.Stamp)
	if len(b) > size && b[size] == ' ' {
		if t, err := time.ParseInLocation(time.Stamp, string(b[:size]), zone); err == nil {
			m.time, m.hasTime = inYear(t, now.In(zone)).UnixNano(), true
			return b[size+1:], true
		}
	}
	if end := bytes.IndexByte(b[:min(len(b), maxTime)], ' '); end >= len(time.DateTime) {
		if t, err := time.Parse(time.RFC3339Nano, string(b[:end])); err == nil {
			m.time, m.hasTime = t.UnixNano(), true
			return b[end+1:], true
		}
	}
	return b, false
}

// inYear gives t, which has none, the year that brings it nearest to now.
func inYear(t, now time.Time) time.Time {
	best := t
	for i, year := range []int{now.Year() - 1, now.Year(), now.Year() + 1} {
		c := time.Date(year, t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, now.Location())
		if i == 0 || c.Sub(now).Abs() < best.Sub(now).Abs() {
			best = c
		}
	}
	return best
}

// maxTag bounds what is taken for the name of a program: RFC 3164 has 32.
const maxTag = 64

// readTag reads "TAG[PID]: " or "TAG: ".
func (m *message) readTag(b []byte) {
	colon := bytes.IndexByte(b[:min(len(b), maxTag)], ':')
	if colon <= 0 {
		return
	}
	tag, text := b[:colon], bytes.TrimPrefix(b[colon+1:], []byte{' '})
	if open := bytes.IndexByte(tag, '['); open > 0 && tag[len(tag)-1] == ']' {
		m.pid = tag[open+1 : len(tag)-1]
		tag = tag[:open]
	}
	if bytes.ContainsAny(tag, " \t\"") {
		m.pid = nil
		return
	}
	m.app, m.text = tag, text
}

var severities = [8]string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}

var facilities = [24]string{
	"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
	"ntp", "security", "console", "solaris-cron", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
}
