// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/penstock-io/penstock/sdk/client"
	"github.com/penstock-io/penstock/spec/event"
)

const (
	// sendLines and sendBytes bound what is queued at once.
	sendLines, sendBytes = 2000, 256 << 10
	// longestLine is what fits an event, with its attributes, in bytes.
	longestLine = event.MaxBatch - 1<<20
	// sendLook is how often it is looked whether something got through.
	sendLook = 100 * time.Millisecond
	// finishWithin is how long the receiver may take to forget a stream: after that it does so by itself, much later.
	finishWithin = 10 * time.Second
)

var (
	errGaveUp   = errors.New("gave up")
	errReplaced = errors.New("it is not what was sent under this name before")
	errLine     = errors.New("a line is too long")
	errGrown    = errors.New("it is not removed")
)

// sumBits are the lower bits of a position: of a checksum over what lies before it. Above them is how many bytes that is. So a receiver, which stores nothing but the position,
// says of what it has that many bytes, and a file that was replaced is told from one that has grown.
const sumBits = 24

// numbered reads lines, and knows the position behind each.
type numbered struct {
	r    *bufio.Reader
	sum  uint32
	read int64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func newNumbered(in io.Reader) *numbered { return &numbered{r: bufio.NewReaderSize(in, sendBytes)} }

func (n *numbered) position() event.Offset {
	return event.Offset(n.read)<<sumBits | event.Offset(n.sum)&(1<<sumBits-1)
}

func (n *numbered) count(b []byte) {
	n.sum = crc32.Update(n.sum, castagnoli, b)
	n.read += int64(len(b))
}

// skip reads what lies before a position, which has to be what it was.
func (n *numbered) skip(to event.Offset, each func()) error {
	want := int64(to >> sumBits)
	for n.read < want {
		b, err := n.r.Peek(int(min(want-n.read, sendBytes)))
		if len(b) == 0 {
			if errors.Is(err, io.EOF) {
				return fmt.Errorf("%w: it has %s, and the receiver has %s of it", errReplaced, size(uint64(n.read)), size(uint64(want)))
			}
			return err
		}
		n.count(b)
		_, _ = n.r.Discard(len(b)) // they are there
		each()
	}
	if n.position() != to {
		return fmt.Errorf("%w: the first %s differ from what the receiver has", errReplaced, size(uint64(want)))
	}
	return nil
}

// line appends the next line to dst, without its end, and returns io.EOF behind the last.
func (n *numbered) line(dst []byte) ([]byte, error) {
	from := len(dst)
	for {
		part, err := n.r.ReadSlice('\n')
		n.count(part)
		dst = append(dst, part...)
		if len(dst)-from > longestLine {
			return nil, fmt.Errorf("%w: that which ends behind byte %d has more than %s", errLine, n.read, size(longestLine))
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && (!errors.Is(err, io.EOF) || len(dst) == from):
			return nil, err
		}
		line := bytes.TrimSuffix(dst[from:], []byte("\n"))
		return dst[:from+len(bytes.TrimSuffix(line, []byte("\r")))], nil
	}
}

// waits says whether the next line is not there yet.
func (n *numbered) waits() bool {
	b, _ := n.r.Peek(n.r.Buffered()) // what is buffered is there
	return bytes.IndexByte(b, '\n') < 0
}

// readFunc is a Read.
type readFunc func([]byte) (int, error)

// Read implements [io.Reader].
func (f readFunc) Read(b []byte) (int, error) { return f(b) }

// awaited is an input of which nothing may come for long: a Read of it ends with ctx. What that has begun below ends when something comes, or with the command.
func awaited(ctx context.Context, in io.Reader) io.Reader {
	type part struct {
		n   int
		err error
	}
	read := make(chan part, 1) // of the one that goes on; never closed
	buf := make([]byte, sendBytes)
	return readFunc(func(b []byte) (int, error) {
		go func() {
			n, err := in.Read(buf[:min(len(b), len(buf))])
			read <- part{n, err}
		}()
		select {
		case p := <-read:
			return copy(b, buf[:p.n]), p.err
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	})
}

// sending is one run of the command.
type sending struct {
	input      io.Reader
	in         *numbered // the lines of input
	attributes []event.Attribute
	total      int64 // bytes; -1: nobody knows
	bar        progressBar
	answer     sendAnswer
	client     *client.Client
	file       *os.File // to be removed; nil: none is
}

// run sends all there is, and returns when it is on the receiver's disk.
func (s *sending) run(ctx context.Context, f sendFlags) (err error) {
	config := client.Config{Addresses: f.to, Cert: f.cert, Key: f.key, CA: f.ca, Stream: s.answer.Stream, Sender: "penstock send"}
	opening, cancel := ctx, context.CancelFunc(func() {})
	if f.wait > 0 {
		opening, cancel = context.WithTimeoutCause(ctx, f.wait, errGaveUp)
	}
	s.client, err = client.Open(opening, config)
	cancel()
	if err != nil {
		return err
	}
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	if s.total < 0 {
		s.input = awaited(ctx, s.input)
	}
	s.in = newNumbered(s.input)
	var watch sync.WaitGroup
	done := make(chan struct{}) // closed below
	watch.Go(func() { s.watch(done, f.wait, giveUp) })
	err = s.all(ctx)
	if err == nil || errors.Is(err, errLine) {
		err = errors.Join(err, s.client.Flush(ctx))
	}
	close(done)
	watch.Wait()
	stats := s.client.Stats()
	if errors.Is(err, errGaveUp) && stats.Err != nil && !errors.Is(err, stats.Err) { // while it waited for a line
		err = fmt.Errorf("%w: %w", err, stats.Err)
	}
	s.answer.Lines, s.answer.Bytes = stats.Acknowledged, s.in.read-s.answer.Before
	if stats.Address != "" || s.answer.Address == "" {
		s.answer.Address = stats.Address
	}
	if err == nil && s.file != nil {
		err = s.remove(ctx)
	}
	closed := s.client.Close()
	if err != nil {
		return err // it says more
	}
	return closed
}

// remove removes the file, of which all is on the receiver's disk, and then has the receiver forget it: in this order, so that whenever the command is killed the file is there,
// and the receiver knows what it has of it, or it is gone.
func (s *sending) remove(ctx context.Context) error {
	was, err := s.file.Stat()
	if err != nil {
		return err
	}
	is, err := os.Lstat(s.file.Name())
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errGrown, err)
	case !os.SameFile(was, is):
		return fmt.Errorf("%w: it is a link, or another file than was sent", errGrown)
	case is.Size() != s.in.read:
		return fmt.Errorf("%w: it has %s, and %s were sent", errGrown, size(uint64(is.Size())), size(uint64(s.in.read)))
	}
	dir, err := os.Open(filepath.Dir(s.file.Name()))
	if err != nil {
		return err
	}
	err = errors.Join(os.Remove(s.file.Name()), dir.Sync(), dir.Close())
	if s.answer.Removed = err == nil; err != nil || s.answer.Stream == "" {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, finishWithin)
	defer cancel()
	s.answer.Done = s.client.Finish(ctx) == nil // else it is forgotten when it is old
	return nil
}

// watch gives up when nothing gets through.
func (s *sending) watch(done <-chan struct{}, wait time.Duration, giveUp context.CancelCauseFunc) {
	look := time.NewTicker(sendLook)
	defer look.Stop()
	last, since := uint64(0), time.Now()
	for {
		select {
		case <-look.C:
		case <-done:
			return
		}
		stats := s.client.Stats()
		if stats.Waiting == 0 || stats.Acknowledged != last {
			last, since = stats.Acknowledged, time.Now()
		}
		if wait > 0 && time.Since(since) >= wait {
			giveUp(errGaveUp)
			return
		}
	}
}

// all queues everything behind what the receiver has.
func (s *sending) all(ctx context.Context) error {
	s.answer.Address = s.client.Stats().Address
	have := s.client.Have().Offset
	if err := s.in.skip(have, func() { s.bar.draw(s.in.read, s.total) }); err != nil {
		return err
	}
	s.answer.Before = s.in.read
	var (
		events []event.Event
		memory []byte // of their bodies
	)
	first := s.in.position()
	behind := first // the last line
	queue := func() error {
		if len(events) == 0 {
			return nil
		}
		if _, err := s.client.Queue(ctx, client.Batch{Events: events, First: first, Next: behind}); err != nil {
			return err
		}
		first, events, memory = behind, events[:0], memory[:0]
		s.bar.draw(s.in.read, s.total)
		return nil
	}
	for {
		if len(events) >= sendLines || len(memory) >= sendBytes || len(events) > 0 && s.in.waits() {
			if err := queue(); err != nil {
				return err
			}
		}
		if s.in.read >= 1<<(64-sumBits) && s.answer.Stream != "" {
			return fmt.Errorf("positions of a file end at %s: send it with --again, or in parts", size(1<<(64-sumBits)))
		}
		from := len(memory)
		more, err := s.in.line(memory)
		switch {
		case errors.Is(err, io.EOF):
			return queue()
		case errors.Is(err, errLine):
			return errors.Join(err, queue())
		case err != nil:
			return err
		}
		memory, behind = more, s.in.position()
		events = append(events, event.Event{Time: time.Now().UnixNano(), Attributes: s.attributes, Body: memory[from:]})
	}
}
