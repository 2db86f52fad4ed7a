// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

// logWriter writes a log the way a shop's server does, and knows how many lines it wrote. Each ends with
// seq=N, N counting from 1.
type logWriter struct {
	path   string
	rotate uint64 // after so many lines the file is renamed to path + ".1", once
	file   *os.File
	random *rand.Rand
	wrote  atomic.Uint64
}

// demoSeed makes each demo write the same story.
const demoSeed = 7420

func newLogWriter(path string, rotate uint64) (*logWriter, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("begin the demo's log: %w", err)
	}
	return &logWriter{path: path, rotate: rotate, file: file, random: rand.New(rand.NewPCG(demoSeed, 0))}, nil
}

// lines is how many were written.
func (w *logWriter) lines() uint64 { return w.wrote.Load() }

// run writes rate lines a second until ctx ends, a few at a time, as a server under load does.
func (w *logWriter) run(ctx context.Context, rate int, rotated func(from, to string)) (err error) {
	defer func() { err = errors.Join(err, w.file.Close()) }()
	const burst = 10
	tick := time.NewTicker(burst * time.Second / time.Duration(rate))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for range burst {
			if err := w.line(); err != nil {
				return err
			}
		}
		if n := w.wrote.Load(); n >= w.rotate && n-burst < w.rotate {
			if err := w.rename(); err != nil {
				return err
			}
			rotated(w.path, w.path+".1")
		}
	}
}

// line writes one line. It counts once it is in the file.
func (w *logWriter) line() error {
	n := w.wrote.Load() + 1
	line := fmt.Appendf(nil, "%s %s seq=%d\n", time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), w.story(), n)
	if _, err := w.file.Write(line); err != nil {
		return fmt.Errorf("write the demo's log: %w", err)
	}
	w.wrote.Store(n)
	return nil
}

// story is what happened in the shop.
func (w *logWriter) story() string {
	r := w.random
	order, took := 10000+r.IntN(90000), 1+r.IntN(250)
	switch n := r.IntN(100); {
	case n < 55:
		return fmt.Sprintf("INFO  http: GET /products/%d 200 %dms", r.IntN(5000), took)
	case n < 75:
		return fmt.Sprintf("INFO  cart: order %d: %d items, %d.%02d EUR", order, 1+r.IntN(9), r.IntN(400), r.IntN(100))
	case n < 88:
		return fmt.Sprintf("INFO  payment: order %d paid by card in %dms", order, 5*took)
	case n < 95:
		return fmt.Sprintf("DEBUG stock: product %d: %d left", r.IntN(5000), r.IntN(60))
	case n < 99:
		return fmt.Sprintf("WARN  payment: order %d: provider slow, %dms", order, 20*took)
	}
	return fmt.Sprintf("ERROR mail: order %d: 451 mailbox busy, will retry", order)
}

// rename rotates as logrotate does: the old file has another name, and a new one begins.
func (w *logWriter) rename() error {
	if err := os.Rename(w.path, w.path+".1"); err != nil {
		return fmt.Errorf("rotate the demo's log: %w", err)
	}
	file, err := os.OpenFile(w.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("rotate the demo's log: %w", err)
	}
	old := w.file
	w.file = file
	return old.Close()
}

// tally is what a file holds of the lines 1 … written.
type tally struct {
	lines, lost, repeated uint64
	inOrder               bool
}

// maxDemoLine bounds a line when the output is read back; the demo's have some 90 bytes.
const maxDemoLine = 64 << 10

// countLines reads a file back and compares it with what was written: each number once, in order.
func countLines(path string, written uint64) (tally, error) {
	c := tally{inOrder: true}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		c.lost = written
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("read the output back: %w", err)
	}
	defer file.Close()
	seen := make([]bool, written+1)
	last := uint64(0)
	in := bufio.NewScanner(file)
	in.Buffer(nil, maxDemoLine)
	for in.Scan() {
		c.lines++
		_, after, _ := bytes.Cut(in.Bytes(), []byte(" seq="))
		n, err := strconv.ParseUint(string(after), 10, 64)
		switch {
		case err != nil || n == 0 || n > written:
			return c, fmt.Errorf("the output's line %d was never written: %q", c.lines, in.Text())
		case seen[n]:
			c.repeated++
		}
		c.inOrder = c.inOrder && n >= last
		seen[n], last = true, n
	}
	if err := in.Err(); err != nil {
		return c, fmt.Errorf("read the output back: %w", err)
	}
	for _, there := range seen[1:] {
		if !there {
			c.lost++
		}
	}
	return c, nil
}
