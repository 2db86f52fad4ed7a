// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"bytes"
	"strings"
	"testing"
)

func FuzzIndex(f *testing.F) {
	f.Add([]byte("abc\n"), byte('\n'))
	f.Add([]byte(strings.Repeat("x", 40)+"\n\n"), byte('\n'))
	f.Add(bytes.Repeat([]byte{0x0b, 0x0a, 0x8a, 0x09, 0xff}, 20), byte('\n'))
	f.Add(bytes.Repeat([]byte{1, 0x80, 0}, 30), byte(0))
	f.Fuzz(func(t *testing.T, b []byte, c byte) {
		for from := range min(len(b), 9) {
			if got, want := index(b[from:], c), bytes.IndexByte(b[from:], c); got != want {
				t.Fatalf("%q in %q is at %d, want %d", c, b[from:], got, want)
			}
		}
	})
}

// FuzzFramers cuts a stream anywhere: what is found does not depend on where it was cut.
func FuzzFramers(f *testing.F) {
	f.Add([]byte("one\r\ntwo\n\nthree, which is long"), uint8(3), false)
	f.Add([]byte("\x00\x00\x00\x03one\x00\x00\x00\x00\x00\x00\x00\x02ab"), uint8(1), true)
	f.Fuzz(func(t *testing.T, data []byte, step uint8, lengths bool) {
		framer := func() Framer {
			if lengths {
				return &Lengths{Max: 10}
			}
			return &Lines{Delimiter: '\n', Max: 10}
		}
		whole := records(t, framer(), data, len(data))
		parts := records(t, framer(), data, int(step)+1)
		if strings.Join(whole, "|") != strings.Join(parts, "|") {
			t.Errorf("whole: %q, in parts of %d: %q", whole, step+1, parts)
		}
	})
}

// records is what a framer finds when so many bytes come at a time.
func records(t *testing.T, f Framer, data []byte, step int) (found []string) {
	var rest []byte
	for {
		n := min(step, len(data))
		rest, data = append(rest, data[:n]...), data[n:]
		for len(rest) > 0 {
			r, err := f.Next(rest, len(data) == 0)
			if err != nil {
				return append(found, "!")
			}
			if r.Size < 0 || r.Size > len(rest) || len(r.Body) > r.Size {
				t.Fatalf("a record of %d bytes in %d", r.Size, len(rest))
			}
			if r.Size == 0 {
				break
			}
			if !r.Skip {
				found = append(found, string(r.Body))
			}
			rest = rest[r.Size:]
		}
		if len(data) == 0 {
			return found
		}
	}
}
