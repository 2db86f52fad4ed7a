// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

// from is what of an event goes into a column.
type from int

const (
	fromBody from = iota
	fromField
	fromTime
	fromAttribute
	fromAttributes
	fromOffset
	fromIncarnation
	fromStream
)

// kind is how a column wants its values written.
type kind int

const (
	asText   kind = iota // and all else that reads what is text
	asBytes              // bytea
	asJSON               // json, jsonb
	asTime               // timestamp, timestamptz, date, time
	asNumber             // of which a time is nanoseconds since 1970
)

// kinds are those of types, by their names in pg_type; others are text.
var kinds = map[string]kind{
	"bytea": asBytes, "json": asJSON, "jsonb": asJSON, "timestamptz": asTime, "timestamp": asTime, "date": asTime, "time": asTime, "timetz": asTime,
	"int8": asNumber, "int4": asNumber, "int2": asNumber, "numeric": asNumber, "float8": asNumber, "float4": asNumber,
}

// column is one of the table, and what goes into it.
type column struct {
	name      string
	source    string // as it is written in the config
	from      from
	attribute string
	path      []step
	kind      kind // known when the table was seen
}

// created is the type that a column has in a table made by create = true.
func (c *column) created() string {
	switch c.from {
	case fromTime:
		return "timestamptz"
	case fromAttributes:
		return "jsonb"
	case fromOffset:
		return "bigint"
	}
	return "text"
}

// maxColumns is what a table of PostgreSQL may have.
const maxColumns = 1600

// parseColumns reads the argument columns, in the order of names.
func parseColumns(config map[string]string) ([]column, error) {
	if len(config) == 0 {
		config = map[string]string{"time": "time", "attributes": "attributes", "body": "body"}
	}
	if len(config) > maxColumns {
		return nil, sdk.ConfigError("columns", "has %d columns, a table has at most %d", len(config), maxColumns)
	}
	var columns []column
	for _, name := range slices.Sorted(maps.Keys(config)) {
		c, err := parseColumn(name, config[name])
		if err != nil {
			return nil, sdk.ConfigError("columns", "column %q: %w", name, err)
		}
		columns = append(columns, c)
	}
	return columns, nil
}

var wholes = map[string]from{
	"body": fromBody, "time": fromTime, "attributes": fromAttributes, "offset": fromOffset, "incarnation": fromIncarnation, "stream": fromStream,
}

func parseColumn(name, text string) (column, error) {
	c := column{name: name, source: text}
	if name == "" || strings.ContainsRune(name, 0) {
		return c, fmt.Errorf("is no name of a column")
	}
	if f, ok := wholes[text]; ok {
		c.from = f
		return c, nil
	}
	if attribute, ok := strings.CutPrefix(text, "attributes."); ok && attribute != "" {
		c.from, c.attribute = fromAttribute, attribute
		return c, nil
	}
	if rest, ok := strings.CutPrefix(text, "body"); ok && rest != "" {
		path, err := parsePath(rest)
		c.from, c.path = fromField, path
		return c, err
	}
	return c, fmt.Errorf(`%q is none of body, body.FIELD, time, attributes, attributes.NAME, offset, incarnation and stream`, text)
}

// encoder writes events as lines of COPY's text format. What its columns want of an event and cannot have is an error, which is about that event alone.
type encoder struct {
	columns     []column
	stream      string
	incarnation string
	body        checkedBody
	scratch     []byte
}

// append adds the line of one event.
func (w *encoder) append(to []byte, at event.Offset, e *event.Event) ([]byte, error) {
	w.body = checkedBody{text: e.Body}
	for i := range w.columns {
		if i > 0 {
			to = append(to, '\t')
		}
		var err error
		if to, err = w.value(to, &w.columns[i], at, e); err != nil {
			return to, fmt.Errorf("column %q: %w", w.columns[i].name, err)
		}
	}
	return append(to, '\n'), nil
}

func (w *encoder) value(to []byte, c *column, at event.Offset, e *event.Event) ([]byte, error) {
	switch c.from {
	case fromBody:
		return appendBytes(to, c.kind, e.Body, "the body")
	case fromField:
		return w.field(to, c)
	case fromTime:
		return appendTime(to, c.kind, e.Time), nil
	case fromAttribute:
		value, ok := e.Attribute(c.attribute)
		if !ok {
			return append(to, `\N`...), nil
		}
		return appendBytes(to, c.kind, value, "the attribute")
	case fromAttributes:
		return w.attributes(to, e)
	case fromOffset:
		return strconv.AppendUint(to, uint64(at), 10), nil
	case fromIncarnation:
		return append(to, w.incarnation...), nil
	}
	return appendEscaped(to, []byte(w.stream)), nil
}

// appendBytes writes what is bytes to us: as they are into bytea, and as text into all else.
func appendBytes(to []byte, k kind, value []byte, what string) ([]byte, error) {
	switch {
	case k == asBytes:
		to = append(to, `\\x`...)
		return hex.AppendEncode(to, value), nil
	case !utf8.Valid(value):
		return to, fmt.Errorf("%s is not UTF-8, which all columns but bytea have to be", what)
	case bytes.IndexByte(value, 0) >= 0:
		return to, fmt.Errorf("%s has a byte 0, which PostgreSQL takes in bytea alone", what)
	}
	return appendEscaped(to, value), nil
}

// appendEscaped writes a value of a line.
func appendEscaped(to, value []byte) []byte {
	if bytes.IndexByte(value, '\\') < 0 && bytes.IndexByte(value, '\n') < 0 && bytes.IndexByte(value, '\t') < 0 && bytes.IndexByte(value, '\r') < 0 {
		return append(to, value...) // nearly always, and found out many bytes at a time
	}
	for _, c := range value {
		switch c {
		case '\\':
			to = append(to, '\\', '\\')
		case '\n':
			to = append(to, '\\', 'n')
		case '\r':
			to = append(to, '\\', 'r')
		case '\t':
			to = append(to, '\\', 't')
		default:
			to = append(to, c)
		}
	}
	return to
}

// appendTime writes nanoseconds since 1970. PostgreSQL keeps microseconds.
func appendTime(to []byte, k kind, ns int64) []byte {
	if k == asNumber {
		return strconv.AppendInt(to, ns, 10)
	}
	return time.Unix(0, ns).UTC().AppendFormat(to, "2006-01-02T15:04:05.999999999Z07:00")
}

// field writes what stands in the body at a path: NULL where nothing does, or null.
func (w *encoder) field(to []byte, c *column) ([]byte, error) {
	value, err := w.body.at(c.path)
	switch {
	case err != nil:
		return to, err
	case value == nil || string(value) == "null" && c.kind != asJSON:
		return append(to, `\N`...), nil
	case value[0] != '"' || c.kind == asJSON:
		return appendEscaped(to, value), nil
	}
	text, err := unquote(value)
	if err != nil {
		return to, err
	}
	return appendBytes(to, c.kind, text, c.source)
}

// attributes writes all of them as an object; of equal names the first counts.
func (w *encoder) attributes(to []byte, e *event.Event) ([]byte, error) {
	b := append(w.scratch[:0], '{')
	for i := range e.Attributes {
		a := &e.Attributes[i]
		if slices.ContainsFunc(e.Attributes[:i], func(before event.Attribute) bool { return before.Key == a.Key }) {
			continue
		}
		if !utf8.Valid(a.Value) || bytes.IndexByte(a.Value, 0) >= 0 || strings.IndexByte(a.Key, 0) >= 0 {
			return to, fmt.Errorf("the attribute %q is not UTF-8 or has a byte 0, and so does not fit into jsonb: change it with a processor, or map attributes one by one", a.Key)
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(appendJSON(b, a.Key), ':')
		b = appendJSON(b, string(a.Value))
	}
	w.scratch = append(b, '}')
	return appendEscaped(to, w.scratch), nil
}

// appendJSON writes a string of UTF-8 as JSON.
func appendJSON(to []byte, s string) []byte {
	text, _ := json.Marshal(s) // a string cannot fail
	return append(to, text...)
}
