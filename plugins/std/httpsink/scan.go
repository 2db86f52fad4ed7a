// SPDX-License-Identifier: Apache-2.0

package httpsink

import (
	"encoding/json"
	"unicode/utf8"
)

// oneLine says whether b is JSON that stands in one line. It says no to some that is: what has escapes beyond the usual, and what is nested
// deep. encoding/json says the same of all, at a tenth of the speed, which in a guest is most of a delivery.
func oneLine(b []byte) bool {
	end := value(b, skip(b, 0), maxNested)
	return end > 0 && skip(b, end) == len(b)
}

// maxNested bounds how deep the scan calls itself; deeper is for encoding/json.
const maxNested = 64

// skip is where what is not a blank begins. A newline is none.
func skip(b []byte, at int) int {
	for at < len(b) && (b[at] == ' ' || b[at] == '\t') {
		at++
	}
	return at
}

// value is where the value ends that begins at at; 0: it is none, or one that this scan leaves to others.
func value(b []byte, at, depth int) int {
	if at >= len(b) || depth == 0 {
		return 0
	}
	switch c := b[at]; {
	case c == '"':
		return quoted(b, at)
	case c == '{':
		return members(b, at, '}', depth)
	case c == '[':
		return members(b, at, ']', depth)
	case c == '-' || '0' <= c && c <= '9' || c == 't' || c == 'f' || c == 'n':
		return word(b, at)
	}
	return 0
}

// members reads an object or an array.
func members(b []byte, at int, end byte, depth int) int {
	at = skip(b, at+1)
	if at < len(b) && b[at] == end {
		return at + 1
	}
	for at < len(b) {
		if end == '}' {
			if b[at] != '"' {
				return 0
			}
			if at = quoted(b, at); at == 0 {
				return 0
			}
			if at = skip(b, at); at >= len(b) || b[at] != ':' {
				return 0
			}
			at = skip(b, at+1)
		}
		if at = value(b, at, depth-1); at == 0 {
			return 0
		}
		if at = skip(b, at); at >= len(b) {
			return 0
		}
		switch b[at] {
		case end:
			return at + 1
		case ',':
			at = skip(b, at+1)
		default:
			return 0
		}
	}
	return 0
}

// quoted reads a string of UTF-8.
func quoted(b []byte, at int) int {
	start, ascii := at, true
	for at++; at < len(b); at++ {
		switch c := b[at]; {
		case c == '"':
			if !ascii && !utf8.Valid(b[start:at]) {
				return 0
			}
			return at + 1
		case c < ' ':
			return 0
		case c >= utf8.RuneSelf:
			ascii = false
		case c == '\\':
			if at++; at >= len(b) {
				return 0
			}
			switch b[at] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			default:
				return 0 // \u is for encoding/json
			}
		}
	}
	return 0
}

// word reads a number, true, false or null: short, so that encoding/json is fast enough.
func word(b []byte, at int) int {
	end := at
	for end < len(b) && (b[end] >= '0' && b[end] <= '9' || b[end] >= 'a' && b[end] <= 'z' || b[end] == 'E' || b[end] == '+' || b[end] == '-' || b[end] == '.') {
		end++
	}
	switch word := b[at:end]; string(word) {
	case "true", "false", "null":
		return end
	default:
		if plainNumber(word) || json.Valid(word) {
			return end
		}
	}
	return 0
}

// plainNumber says whether it is digits alone that do not begin with 0, as most are.
func plainNumber(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0 && b[0] != '0'
}
