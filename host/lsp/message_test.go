// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
)

func TestAHeaderThatIsNoneIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "EOF",
		"\r\n":                                "no Content-Length",
		"GET / HTTP/1.1\r\n\r\n":              "no Content-Length",
		"Content-Length: \r\n\r\n":            "has 0 … 16777216 bytes",
		"Content-Length: -1\r\n\r\n":          "has 0 … 16777216 bytes",
		"Content-Length: x\r\n\r\n":           "has 0 … 16777216 bytes",
		"Content-Length: 16777217\r\n\r\n":    "has 0 … 16777216 bytes",
		"Content-Length: 99999999999\r\n\r\n": "has 0 … 16777216 bytes",
		"Content-Length: 9999999999999999999999\r\n\r\n": "has 0 … 16777216 bytes",
		"Content-Length: 5\r\n\r\nabc":                   "unexpected EOF",
		"Content-Length: 5":                              "read the header",
		"\x00\xff\xfe\n\n":                               "no Content-Length",
		strings.Repeat("x", maxHeader+1):                 "read the header",
		strings.Repeat("a: b\r\n", maxHeader):            "is longer than 4096 bytes",
	} {
		_, err := readMessage(bufio.NewReaderSize(strings.NewReader(text), maxHeader))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, wanted %q", text, err, want)
		}
	}
}

func TestALengthThatIsRefusedTakesNoMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		_, _ = readMessage(bufio.NewReaderSize(strings.NewReader("Content-Length: 1073741824\r\n\r\n"), maxHeader)) // refused
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 {
		t.Errorf("%d bytes for nothing", n)
	}
}

// FuzzReadMessage reads whatever comes: no panic, no body beyond the bound, and what is read comes out the same when it is written again.
func FuzzReadMessage(f *testing.F) {
	for _, text := range []string{"Content-Length: 2\r\n\r\n{}", "content-length:2\n\n{}Content-Length: 0\r\n\r\n", "X: y\r\nContent-Length: -1\r\n\r\n", "Content-Length: 99999999999\r\n\r\n", "\x00"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r := bufio.NewReaderSize(bytes.NewReader(text), maxHeader)
		for {
			body, err := readMessage(r)
			if err != nil {
				return
			}
			if len(body) > maxMessage || len(body) > len(text) {
				t.Fatalf("a body of %d bytes", len(body))
			}
			again, err := readMessage(bufio.NewReaderSize(io.MultiReader(strings.NewReader(fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body))), bytes.NewReader(body)), maxHeader))
			if err != nil || !bytes.Equal(again, body) {
				t.Fatalf("%q became %q: %v", body, again, err)
			}
		}
	})
}
