// SPDX-License-Identifier: Apache-2.0

package textfile

import (
	"fmt"
	"regexp"
	"testing"
)

func TestDecimalAddsLikeANumber(t *testing.T) {
	var d decimal
	n := int64(0)
	d.set(n)
	for i := range 1000 {
		add := []int{0, 1, 9, 10, 256, 99_999, 1 << 20}[i%7] * (1 + i/7)
		n += int64(add)
		d.add(add)
		if got := string(d.bytes()); got != fmt.Sprint(n) {
			t.Fatalf("after adding %d: %s, want %d", add, got, n)
		}
	}
}

// TestTheLastLineNeedsNoNewline: the readers of files that grow and of those that are finished show all else.
func TestTheLastLineNeedsNoNewline(t *testing.T) {
	for _, start := range []*regexp.Regexp{nil, regexp.MustCompile("^S")} {
		for text, want := range map[string]string{"S12": "S12", "S123": "S123", "S123\r": "S123", "S1234": "S123", "S\nab": "S"} {
			s := Splitter{Start: start, Limit: 4}
			if start != nil && text == "S\nab" {
				want = "S\nab"
			}
			if c := s.next([]byte(text), SkipNothing, Final); string(c.body) != want || !c.emit {
				t.Errorf("%q: the first event is %q, want %q", text, c.body, want)
			}
			if c := s.next([]byte(text[:2]), SkipNothing, Open); start != nil && c.size != 0 || c.emit && text[1] != '\n' {
				t.Errorf("%q: taken before its end is there: %q", text[:2], c.body)
			}
		}
	}
}
