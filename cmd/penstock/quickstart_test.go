// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheLogIsWrittenAndRotatedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	w, err := newLogWriter(path, 100)
	if err != nil {
		t.Fatal(err)
	}
	rotations := 0
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second+time.Millisecond)
		defer cancel()
		if err := w.run(ctx, 200, func(string, string) { rotations++ }); err != nil {
			t.Error(err)
		}
	})
	if w.lines() != 200 || rotations != 1 {
		t.Fatalf("%d lines, %d rotations, want 200 lines and 1 rotation", w.lines(), rotations)
	}
	old, _ := os.ReadFile(path + ".1")
	now, err := os.ReadFile(path)
	if err != nil || bytes.Count(old, []byte("\n")) != 100 || bytes.Count(now, []byte("\n")) != 100 {
		t.Errorf("%d lines in the old file, %d in the new (%v)", bytes.Count(old, []byte("\n")), bytes.Count(now, []byte("\n")), err)
	}
	joined := filepath.Join(t.TempDir(), "joined")
	if err := os.WriteFile(joined, append(old, now...), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := countLines(joined, 200); err != nil || c != (tally{lines: 200, inOrder: true}) {
		t.Errorf("counted %+v (%v)", c, err)
	}
}

func TestTheReportCountsWhatIsThere(t *testing.T) {
	for _, c := range []struct {
		name, output string
		want         tally
		wrong        string
	}{
		{"all, in order", "a seq=1\nb seq=2\nc seq=3\n", tally{3, 0, 0, true}, ""},
		{"one missing", "a seq=1\nc seq=3\n", tally{2, 1, 0, true}, ""},
		{"one twice", "a seq=1\nb seq=2\nb seq=2\nc seq=3\n", tally{4, 0, 1, true}, ""},
		{"two swapped", "b seq=2\na seq=1\nc seq=3\n", tally{3, 0, 0, false}, ""},
		{"nothing", "", tally{0, 3, 0, true}, ""},
		{"cut line", "a seq=1\nb se", tally{}, "never written"},
		{"a line of nobody's", "a seq=1\nb seq=7\n", tally{}, "never written"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "out")
			if err := os.WriteFile(path, []byte(c.output), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := countLines(path, 3)
			if c.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Errorf("%v, want %q", err, c.wrong)
				}
				return
			}
			if err != nil || got != c.want {
				t.Errorf("%+v (%v), want %+v", got, err, c.want)
			}
		})
	}
	if c, err := countLines(filepath.Join(t.TempDir(), "none"), 3); err != nil || c.lost != 3 {
		t.Errorf("no file: %+v (%v), want 3 lost", c, err)
	}
}

func TestTheScreenCountsLinesHoweverTheyCome(t *testing.T) {
	var shown bytes.Buffer
	s := newScreen(newTerminal(&shown), 2)
	for _, piece := range []string{"on", "e\ntwo\nthr", "ee\n", "", "four\nfi"} {
		if n, err := s.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatalf("wrote %d of %q: %v", n, piece, err)
		}
	}
	if s.lines() != 4 || shown.String() != "one\nthree\n" {
		t.Errorf("%d lines, shown %q", s.lines(), shown.String())
	}
	s = newScreen(newTerminal(&shown), 0)
	if s.Write([]byte("quiet\n")); s.lines() != 1 || strings.Contains(shown.String(), "quiet") {
		t.Errorf("%d lines, shown %q", s.lines(), shown.String())
	}
}

func TestTheDemoIsTheExample(t *testing.T) {
	example, err := os.ReadFile("../../examples/quickstart/pipeline.hcl")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(example, quickstartPipeline) {
		t.Error("examples/quickstart/pipeline.hcl and quickstart.hcl differ: copy one over the other")
	}
}
