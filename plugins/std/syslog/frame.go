// SPDX-License-Identifier: Apache-2.0

package syslog

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/penstock-io/penstock/plugins/std/stream"
)

// octets finds messages before each of which its length stands in decimal, or else lines (RFC 6587); the first byte of each tells which.
type octets struct {
	lines stream.Lines
	max   int
}

// newFramer makes the framer of a connection.
func newFramer(max int) *octets {
	return &octets{lines: stream.Lines{Delimiter: '\n', Max: max}, max: max}
}

// Next implements [stream.Framer].
func (o *octets) Next(data []byte, end bool) (stream.Record, error) {
	if data[0] < '1' || data[0] > '9' {
		return o.lines.Next(data, end)
	}
	n, start := o.length(data)
	switch {
	case start < 0:
		return stream.Record{}, fmt.Errorf("a message begins with %.20q, which is no length up to %d", data, o.max)
	case start > 0 && len(data) >= start+n:
		return stream.Record{Size: start + n, Body: bytes.TrimRight(data[start:start+n], "\n\x00"), Skip: n == 0}, nil
	case end:
		return stream.Record{Size: len(data), Body: data[start:]}, nil // it was cut: better than nothing
	}
	return stream.Record{}, nil
}

// digits is how long a length may be.
const digits = 7

// length reads "123 ": how long the message is, and where it begins. 0, 0: more is needed. start < 0: that is not a length.
func (o *octets) length(data []byte) (n, start int) {
	end := bytes.IndexByte(data[:min(len(data), digits+1)], ' ')
	if end < 0 {
		if len(data) > digits {
			return 0, -1
		}
		_, ok := number(data)
		if !ok {
			return 0, -1
		}
		return 0, 0
	}
	n, err := strconv.Atoi(string(data[:end]))
	if err != nil || n < 0 || n > o.max {
		return 0, -1
	}
	return n, end + 1
}
