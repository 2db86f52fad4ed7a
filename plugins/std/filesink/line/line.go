// SPDX-License-Identifier: Apache-2.0

// Package line writes events as lines of text, for the sinks whose output people and tools read.
package line

import (
	"encoding/base64"
	"encoding/binary"
	"slices"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

// A Format says how an event becomes a line. The zero Format is [Raw].
type Format uint8

// The formats.
const (
	Raw  Format = iota // the body and a newline
	JSON               // {"time":…,"attributes":{…},"body":"…"} and a newline
)

// Parse returns the format of that name, an argument called "format" of a config.
func Parse(name string) (Format, error) {
	switch name {
	case "", "raw":
		return Raw, nil
	case "json":
		return JSON, nil
	}
	return Raw, sdk.ConfigError("format", `is %q, wanted "raw" or "json"`, name)
}

// An Encoder writes events as lines. It is not safe for concurrent use.
type Encoder struct {
	format  Format
	decoder event.Decoder
	at      int64  // the time that stamp is of: events that came together share it
	stamp   []byte // `{"time":"…"`
}

// New returns an encoder for that format.
func New(f Format) *Encoder { return &Encoder{format: f} }

// AppendBatch writes the events of b as lines onto dst, but for those that skip (if it is not nil) answers true for.
func (c *Encoder) AppendBatch(dst []byte, b event.Batch, skip func(event.Offset) bool) []byte {
	if c.format == Raw {
		c.decoder.Reset(b)
		dst = slices.Grow(dst, b.Size()) // a record's header is longer than a newline
		for d := &c.decoder; d.Next(); {
			if skip == nil || !skip(d.Offset()) {
				dst = append(dst, d.Body()...)
				dst = append(dst, '\n')
			}
		}
		return dst
	}
	for at, e := range c.decoder.All(b) {
		if skip == nil || !skip(at) {
			dst = c.Append(dst, e)
		}
	}
	return dst
}

// Append writes e as one line onto dst. What JSON text cannot hold, a body or a value that is not
// UTF-8, stands as base64 under body_base64 and attributes_base64. Raw adds a newline and
// changes nothing: a body of several lines stays so.
func (c *Encoder) Append(dst []byte, e event.Event) []byte {
	if c.format == Raw {
		dst = append(dst, e.Body...)
		return append(dst, '\n')
	}
	if c.at != e.Time || c.stamp == nil {
		c.at = e.Time
		c.stamp = time.Unix(0, e.Time).UTC().AppendFormat(append(c.stamp[:0], `{"time":"`...), time.RFC3339Nano)
		c.stamp = append(c.stamp, '"')
	}
	dst = appendAttributes(append(dst, c.stamp...), e.Attributes)
	if utf8.Valid(e.Body) {
		dst = appendString(append(dst, `,"body":`...), e.Body)
	} else {
		dst = appendBase64(append(dst, `,"body_base64":`...), e.Body)
	}
	return append(dst, '}', '\n')
}

func appendAttributes(dst []byte, attrs []event.Attribute) []byte {
	valid := func(a event.Attribute) bool { return utf8.Valid(a.Value) }
	all := true
	for _, a := range attrs {
		all = all && valid(a)
	}
	dst = appendMap(append(dst, `,"attributes":`...), attrs, valid, appendString)
	if !all {
		invalid := func(a event.Attribute) bool { return !valid(a) }
		dst = appendMap(append(dst, `,"attributes_base64":`...), attrs, invalid, appendBase64)
	}
	return dst
}

// appendMap writes the chosen attributes as an object; of equal keys only the first counts.
func appendMap(dst []byte, attrs []event.Attribute, choose func(event.Attribute) bool, value func(dst, s []byte) []byte) []byte {
	open := byte('{')
	for i, a := range attrs {
		before := slices.ContainsFunc(attrs[:i], func(b event.Attribute) bool { return a.Key == b.Key })
		if before || !choose(a) {
			continue
		}
		dst = append(dst, open)
		dst = appendString(dst, unsafe.Slice(unsafe.StringData(a.Key), len(a.Key)))
		dst = value(append(dst, ':'), a.Value)
		open = ','
	}
	if open == '{' {
		dst = append(dst, '{')
	}
	return append(dst, '}')
}

// AppendString writes s, which is UTF-8, as a string of JSON onto dst.
func AppendString(dst, s []byte) []byte { return appendString(dst, s) }

// appendString quotes s, which is UTF-8.
func appendString(dst, s []byte) []byte {
	dst = append(dst, '"')
	for {
		n := plain(s)
		dst = append(dst, s[:n]...)
		if n == len(s) {
			return append(dst, '"')
		}
		dst = appendEscape(dst, s[n])
		s = s[n+1:]
	}
}

// plain is how many bytes of s come before the first that must be escaped. It looks at eight at a
// time: a comparison of each byte took most of the time of a JSON line.
func plain(s []byte) int {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; len(s)-n >= 8; n += 8 {
		x := binary.LittleEndian.Uint64(s[n:])
		quote, slash := x^(ones*'"'), x^(ones*'\\')
		// A byte of these is below a bound when subtracting it borrows; bytes over 127 are never escaped.
		if ((x-ones*' ')&^x|(quote-ones)&^quote|(slash-ones)&^slash)&high != 0 {
			break
		}
	}
	for ; n < len(s); n++ {
		if c := s[n]; c < ' ' || c == '"' || c == '\\' {
			break
		}
	}
	return n
}

func appendEscape(dst []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}

func appendBase64(dst, s []byte) []byte {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, s)
	return append(dst, '"')
}
