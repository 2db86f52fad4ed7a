// SPDX-License-Identifier: Apache-2.0

// Package line writes events as lines of text, for the sinks whose output people and tools read.
package line

import (
	"encoding/base64"
	"slices"
	"time"
	"unicode/utf8"

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

// Append writes e as one line onto dst. What JSON text cannot hold, a body or a value that is not
// UTF-8, stands as base64 under body_base64 and attributes_base64. Raw adds a newline and
// changes nothing: a body of several lines stays so.
func (f Format) Append(dst []byte, e event.Event) []byte {
	if f == Raw {
		dst = append(dst, e.Body...)
		return append(dst, '\n')
	}
	dst = append(dst, `{"time":"`...)
	dst = time.Unix(0, e.Time).UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, '"')
	dst = appendAttributes(dst, e.Attributes)
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
		dst = appendString(dst, a.Key)
		dst = value(append(dst, ':'), a.Value)
		open = ','
	}
	if open == '{' {
		dst = append(dst, '{')
	}
	return append(dst, '}')
}

// appendString quotes s, which is UTF-8.
func appendString[T string | []byte](dst []byte, s T) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}

func appendBase64(dst, s []byte) []byte {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, s)
	return append(dst, '"')
}
