// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/penstock-io/penstock/host/admin"
)

// screen is where the demo's stdout sink writes. It counts each line, and shows some.
type screen struct {
	out   *terminal
	every int // one line in so many is shown; 0 = none

	mu      sync.Mutex
	partial []byte // of a line that has not ended
	count   uint64
}

func newScreen(out *terminal, every int) *screen { return &screen{out: out, every: every} }

// Write takes what the sink prints, in pieces of any size.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var show []byte
	for rest := p; len(rest) > 0; {
		line, after, ended := bytes.Cut(rest, []byte("\n"))
		s.partial = append(s.partial, line...)
		rest = after
		if !ended {
			break
		}
		if s.every > 0 && s.count%uint64(s.every) == 0 {
			show = append(append(show, s.fit(s.partial)...), '\n')
		}
		s.partial = s.partial[:0]
		s.count++
	}
	if _, err := s.out.Write(show); err != nil {
		return 0, fmt.Errorf("write to the screen: %w", err)
	}
	return len(p), nil
}

// fit cuts a line so that it takes one row of a terminal.
func (s *screen) fit(line []byte) []byte {
	if s.out.tty && len(line) > s.out.width {
		return line[:s.out.width]
	}
	return line
}

// say prints a sentence of the demo's own between the events.
func (s *screen) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.printf(format, args...)
}

func (s *screen) lines() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// report is what came of a demo, counted from the files.
type report struct {
	Written   uint64 `json:"written"`   // lines of the log
	Committed uint64 `json:"committed"` // events in the channel
	Screen    uint64 `json:"screen"`    // lines that reached the screen
	File      uint64 `json:"file"`      // lines in the file
	Lost      uint64 `json:"lost"`      // lines of the log that are not in the file
	Repeated  uint64 `json:"repeated"`  // lines that are in the file more than once
	InOrder   bool   `json:"in_order"`
	Syncs     uint64 `json:"syncs"`
	Kept      string `json:"kept,omitempty"` // the directory, when it is still there
}

// account reads the output back and compares it with what was written.
func (d *demo) account(s admin.Status) (report, error) {
	r := report{Written: d.writer.lines(), Screen: d.screen.lines()}
	for _, c := range s.Channels {
		r.Committed += c.Put
		r.Syncs += c.Syncs
	}
	c, err := countLines(filepath.Join(d.dir, demoOutput), r.Written)
	if err != nil {
		return r, err
	}
	r.File, r.Lost, r.Repeated, r.InOrder = c.lines, c.lost, c.repeated, c.inOrder
	return r, nil
}

func (r report) sound() bool { return r.Lost == 0 && r.Repeated == 0 && r.InOrder }

func (r report) verdict() string {
	order := "in order"
	if !r.InOrder {
		order = "out of order"
	}
	return fmt.Sprintf("%s lost, %s repeated, %s", number(r.Lost), number(r.Repeated), order)
}

func (r report) print(t *terminal) {
	t.printf("\n")
	t.table([][]string{
		{"  written to the log", number(r.Written) + " lines"},
		{"  committed to the channel", number(r.Committed) + " events, with " + plural(r.Syncs, "sync") + " to disk"},
		{"  delivered to the screen", number(r.Screen)},
		{"  delivered to the file", number(r.File)},
	})
	color := green
	if !r.sound() {
		color = red
	}
	t.printf("\n%s\n", t.paint(color, r.verdict()))
	if r.Kept != "" {
		t.printf("\nEverything is in %s\n", r.Kept)
		return
	}
	t.printf("\nNext: examples/tail follows logs of your own; \"penstock schema\" lists the plugins, \"penstock schema source file\" what one of them takes.\n")
}
