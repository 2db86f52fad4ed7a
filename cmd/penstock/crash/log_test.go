// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// logger writes a log as a busy program does: in bursts, with writes that end in the middle of a line,
// and rotation by rename. Everything it writes it also writes to a second file, which is never rotated: what is expected.
type logger struct {
	path     string
	expected *bufio.Writer
	rng      *rand.Rand
	texts    [][]byte
	lines    int // written
	written  int64
	file     *os.File
	start    int64 // of the present file, in what was written
	first    int   // lines that were written before it
	rotated  int
}

// texts returns real text to log: lines of the standard library's sources, with their tabs,
// quotes, long lines, empty lines and letters of every script.
func texts(t *testing.T) [][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(runtime.GOROOT(), "src", "net", "http", "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no sources in GOROOT %s: %v", runtime.GOROOT(), err)
	}
	files = append(files, filepath.Join(runtime.GOROOT(), "src", "strconv", "quote_test.go"))
	var lines [][]byte
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, slices.Collect(bytes.Lines(text))...)
	}
	return lines
}

func newLogger(t *testing.T, path, expected string, rng *rand.Rand) *logger {
	t.Helper()
	e, err := os.Create(expected)
	if err != nil {
		t.Fatal(err)
	}
	l := &logger{path: path, expected: bufio.NewWriter(e), rng: rng, texts: texts(t)}
	if l.file, err = os.Create(path); err != nil {
		t.Fatal(err)
	}
	return l
}

// burst writes n lines.
func (l *logger) burst(n int) error {
	var b []byte
	for range n {
		l.lines++
		b = fmt.Appendf(b, "2026-07-01T12:00:00.%06dZ %-5s app[%d] seq=%d ", l.lines%1e6, [...]string{"INFO", "WARN", "DEBUG"}[l.lines%3], 100+l.lines%7, l.lines)
		b = append(b, l.texts[l.rng.IntN(len(l.texts))]...)
		if b[len(b)-1] != '\n' {
			b = append(b, '\n')
		}
	}
	if _, err := l.expected.Write(b); err != nil {
		return err
	}
	l.written += int64(len(b))
	for cut := l.rng.IntN(len(b)); len(b) > 0; cut = len(b) {
		if _, err := l.file.Write(b[:cut]); err != nil {
			return err
		}
		b = b[cut:]
	}
	return nil
}

// rotate renames the log, to a name that the glob does not match, and begins a new one.
func (l *logger) rotate() error {
	l.rotated++
	if err := os.Rename(l.path, fmt.Sprintf("%s.%d", l.path, l.rotated)); err != nil {
		return err
	}
	if err := l.file.Close(); err != nil {
		return err
	}
	f, err := os.Create(l.path)
	l.file, l.start, l.first = f, l.written, l.lines
	return err
}

// run writes until total lines are there or stop is closed. It rotates only when something of the
// present file has come out: an agent that is down sees one rotation, as with a log rotated daily.
func (l *logger) run(total int, perSecond int, out func() int64, stop <-chan struct{}) error {
	const tick = 5 * time.Millisecond
	every := time.NewTicker(tick)
	defer every.Stop()
	for l.lines < total {
		select {
		case <-stop:
			return nil
		case <-every.C:
		}
		n := 1 + l.rng.IntN(2*perSecond/int(time.Second/tick)+1)
		if err := l.burst(min(n, total-l.lines)); err != nil {
			return err
		}
		if l.rng.IntN(100) == 0 && out() > l.start {
			if err := l.rotate(); err != nil {
				return err
			}
		}
	}
	return l.expected.Flush()
}

// An agent that is down while a log is rotated twice never sees the file between. What the idle source has said must not look as if something of it had come out.
func TestALogOfWhichNothingHasComeOutIsNotRotated(t *testing.T) {
	r := newRig(t)
	for i, out := range []string{idleWant, idleWant + "one\n"} {
		if err := os.WriteFile(r.path("out", "out.log"), []byte(out), 0o644); err != nil {
			t.Fatal(err)
		}
		log := newLogger(t, r.path("logs", "app.log"), r.path("expected"), rand.New(rand.NewPCG(1, 2)))
		if err := log.run(1500, 1000, r.appSize, nil); err != nil {
			t.Fatal(err)
		}
		if log.rotated != i { // after that nothing of the second file has come out either
			t.Errorf("with %q it is rotated %d times", out, log.rotated)
		}
	}
}

// compare reads two files side by side and says where they first differ.
func compare(want, got io.Reader) error {
	w, g := bufio.NewReaderSize(want, 1<<20), bufio.NewReaderSize(got, 1<<20)
	for line := 1; ; line++ {
		a, errA := w.ReadBytes('\n')
		b, errB := g.ReadBytes('\n')
		if !bytes.Equal(a, b) {
			return fmt.Errorf("line %d differs:\nwritten  %q\ncame out %q", line, a, b)
		}
		if errA == io.EOF && errB == io.EOF {
			return nil
		}
		if errA != nil || errB != nil {
			return fmt.Errorf("line %d: %v, %v", line, errA, errB)
		}
	}
}

func TestTheComparisonFindsALostARepeatedAndAChangedLine(t *testing.T) {
	for _, got := range []string{"a\nc\n", "a\nb\nb\nc\n", "a\nB\nc\n", "a\nc\nb\n", "a\nb\n", "a\nb\nc\nd\n", "a\nb\nc"} {
		if compare(bytes.NewReader([]byte("a\nb\nc\n")), bytes.NewReader([]byte(got))) == nil {
			t.Errorf("%q passes for the same", got)
		}
	}
	if err := compare(bytes.NewReader([]byte("a\nb\n")), bytes.NewReader([]byte("a\nb\n"))); err != nil {
		t.Error(err)
	}
}

// tail is the end of what the agent said, for the report of a failure.
type tail struct {
	mu  sync.Mutex
	b   []byte
	all bool // it is kept from the beginning on, for a test that looks for something in it
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if over := len(t.b) - 16<<10; over > 0 && !t.all {
		t.b = t.b[over:]
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}

// with are the lines that have a text in them.
func (t *tail) with(text string) (lines []string) {
	for line := range strings.Lines(t.String()) {
		if strings.Contains(line, text) {
			lines = append(lines, line)
		}
	}
	return lines
}
