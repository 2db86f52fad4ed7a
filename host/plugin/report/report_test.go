// SPDX-License-Identifier: Apache-2.0

package report

import (
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTheLastWordsOfACall(t *testing.T) {
	for name, c := range map[string]struct{ written, want string }{
		"nothing":                    {"", ""},
		"the last lines":             {"one\ntwo\n\nthree\nfour", "three: four"},
		"a panic of Go":              {"hello\npanic: out of cheese\n\ngoroutine 1 [running]:\nmain.main()\n\t/x/main.go:3\n", "panic: out of cheese"},
		"with what it was about":     {"panic: runtime error: invalid memory address\n[signal SIGSEGV]\n\ngoroutine 1:\n", "panic: runtime error: invalid memory address: [signal SIGSEGV]"},
		"a fatal error":              {"fatal error: all goroutines are asleep - deadlock!\n\ngoroutine 1 [select]:\nx\n", "fatal error: all goroutines are asleep - deadlock!"},
		"of Rust":                    {"a\nthread '<unnamed>' panicked at src/lib.rs:1:2:\nno cheese\nnote: run with `RUST_BACKTRACE=1`\nb\nc\n", "thread '<unnamed>' panicked at src/lib.rs:1:2: no cheese"},
		"of an older Rust":           {"thread '<unnamed>' panicked at 'no cheese', src/lib.rs:1:2\nnote: run with `RUST_BACKTRACE=1`\nb\n", "thread '<unnamed>' panicked at 'no cheese', src/lib.rs:1:2"},
		"of Zig":                     {"thread 1 panic: no cheese\n/x/y.zig:1:2: 0x1 in process (x)\n???\n", "thread 1 panic: no cheese: /x/y.zig:1:2: 0x1 in process (x)"},
		"too long, cut in a letter":  {"x" + strings.Repeat("é", MaxWords), "x" + strings.Repeat("é", (MaxWords-1)/2)},
		"not UTF-8":                  {"a\xffb", "a\uFFFDb"},
		"a second crash changes not": {"panic: a\ngoroutine 1:\npanic: b\n", "panic: a"},
	} {
		w := &Lines{Log: NewLog(slog.New(slog.DiscardHandler))}
		_, _ = w.Write([]byte("of the call before\n"))
		w.Begin()
		_, _ = w.Write([]byte(c.written))
		if got := w.Words(); got != c.want || len(got) > MaxWords || !utf8.ValidString(got) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		w.Begin()
		if got := w.Words(); got != "" {
			t.Errorf("%s: the next call begins with %q", name, got)
		}
	}
}
