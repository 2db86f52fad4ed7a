// SPDX-License-Identifier: Apache-2.0

package httpsink

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"github.com/penstock-io/penstock/plugins/std/filesink/line"
	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

// encoder writes events as the body of a request.
type encoder struct {
	contentType string
	before      string // the first
	between     string
	after       string // the last
	one         func(to *bytes.Buffer, e event.Event) error
}

func newEncoder(format, content string) (encoder, error) {
	one := appendBody
	switch {
	case content == "object":
		one = objects()
	case content != "" && content != "body":
		return encoder{}, sdk.ConfigError("content", "is %q, wanted body or object", content)
	}
	switch format {
	case "raw":
		if content == "object" {
			return encoder{}, sdk.ConfigError("content", `"object" goes with the formats ndjson and json`)
		}
		plain := func(to *bytes.Buffer, e event.Event) error { to.Write(e.Body); return nil }
		return encoder{"text/plain", "", "\n", "\n", plain}, nil
	case "", "ndjson":
		return encoder{"application/x-ndjson", "", "\n", "\n", one}, nil
	case "json":
		return encoder{"application/json", "[", ",", "]", one}, nil
	}
	return encoder{}, sdk.ConfigError("format", "is %q, wanted raw, ndjson or json", format)
}

func (c encoder) batch(to *bytes.Buffer, events []event.Event) error {
	to.WriteString(c.before)
	for i, e := range events {
		if i > 0 {
			to.WriteString(c.between)
		}
		if err := c.one(to, e); err != nil {
			return err
		}
	}
	to.WriteString(c.after)
	return nil
}

// appendBody writes a body that is JSON as it is, in one line, and any other as a string.
func appendBody(to *bytes.Buffer, e event.Event) error {
	if oneLine(e.Body) {
		to.Write(e.Body)
		return nil
	}
	before := to.Len()
	if text := bytes.TrimLeft(e.Body, " \t\r\n"); len(text) > 0 && bytes.IndexByte([]byte(`{["-0123456789tfn`), text[0]) >= 0 && json.Compact(to, text) == nil {
		return nil
	}
	to.Truncate(before)
	body := e.Body
	if !utf8.Valid(body) {
		body = bytes.ToValidUTF8(body, []byte("\uFFFD")) // JSON has no other bytes; content = "object" keeps them
	}
	to.Write(line.AppendString(to.AvailableBuffer(), body))
	return nil
}

// objects writes what the sinks file and stdout call json: time, attributes and body.
func objects() func(to *bytes.Buffer, e event.Event) error {
	lines := line.New(line.JSON)
	var buf []byte
	return func(to *bytes.Buffer, e event.Event) error {
		buf = lines.Append(buf[:0], e)
		to.Write(bytes.TrimSuffix(buf, []byte{'\n'}))
		return nil
	}
}
