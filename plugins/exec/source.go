// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/penstock-io/penstock/plugins/std/stream"
	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

// The attributes of events.
const (
	attrStream    = "exec.stream"    // stdout or stderr, where both become events
	attrPartial   = "exec.partial"   // the line goes on in the next event of the same stream
	attrTruncated = "exec.truncated" // the line was longer; the rest is nowhere
	attrStatus    = "exec.status"    // of an event that says how a run failed: its exit status, or 128 and the signal
)

const (
	// maxPoll is how much is read in one Poll, be there events in it or not: of a flood of empty lines nothing is left.
	maxPoll = 1 << 20
	// attributesRoom is left beside a body that fills a batch.
	attributesRoom = 256
)

var yes = []byte("true")

// source is one instance.
type source struct {
	config
	log *slog.Logger
	dir string // where the command runs

	run      *run
	runs     int       // how many there were
	due      time.Time // when the next begins
	wait     time.Duration
	over     bool    // there will be none
	cur      *output // whose data is being taken; nil: nobody's
	read     int     // in this Poll
	failure  string  // to be told as an event
	status   int     // of that failure
	polled   time.Time
	started  sdk.Counter
	failed   sdk.Counter
	skipped  sdk.Counter
	long     sdk.Counter
	lost     sdk.Counter
	exit     sdk.Gauge
	attrs    [2]event.Attribute
	allOfRun bool
}

// New makes a source.
func New() sdk.Source { return new(source) }

// Check implements [sdk.Checker].
func (s *source) Check(o *sdk.Open) error { return s.config.read(o) }

// Open implements [sdk.Source].
func (s *source) Open(o *sdk.Open) (err error) {
	if err := s.config.read(o); err != nil {
		return err
	}
	s.log, s.wait, s.allOfRun = o.Log, s.Backoff, s.Event == eventRun
	s.started, s.failed, s.skipped = o.Counter("exec_runs"), o.Counter("exec_failures"), o.Counter("exec_skipped_runs")
	s.long, s.lost, s.exit = o.Counter("exec_long_lines"), o.Counter("exec_lost_bytes"), o.Gauge("exec_status")
	if s.dir = s.Directory; s.dir == "" {
		if s.dir, err = os.Getwd(); err != nil {
			return fmt.Errorf("find the working directory: %w", err)
		}
	} else if info, err := os.Stat(s.dir); err != nil || !info.IsDir() {
		return sdk.ConfigError("directory", "%s cannot be entered by user %d, as which this plugin runs, or is no directory", s.dir, os.Getuid())
	}
	if _, err := s.find(); err != nil {
		return err
	}
	return adopt()
}

// framer finds what an event is.
func (s *source) framer() stream.Framer {
	if s.allOfRun {
		return &whole{}
	}
	return &stream.Lines{Delimiter: '\n'}
}

// Poll implements [sdk.Source].
func (s *source) Poll(p *sdk.Poll) error {
	if s.run != nil && !s.run.limit.IsZero() && !s.polled.IsZero() {
		s.run.limit = s.run.limit.Add(time.Since(s.polled)) // nobody read
	}
	defer func() { s.polled = time.Now() }()
	for s.read = 0; s.read < maxPoll; {
		more, err := s.step(p)
		if errors.Is(err, sdk.ErrFull) || err == nil && !more {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// step does the next thing there is to do, and says whether there may be more.
func (s *source) step(p *sdk.Poll) (more bool, err error) {
	switch {
	case s.cur != nil:
		return true, s.take(p)
	case s.failure != "":
		return true, s.tell(p)
	case s.over:
		return false, sdk.Done
	case s.run == nil:
		return s.begin(p)
	}
	return s.attend(p)
}

// take makes events of what has been read.
func (s *source) take(p *sdk.Poll) error {
	o := s.cur
	at := 0
	defer func() { o.buf = o.buf[:copy(o.buf, o.buf[at:])] }()
	now := p.Now().UnixNano()
	for at < len(o.buf) {
		r, err := s.next(p, o, o.buf[at:])
		if err != nil {
			return err
		}
		if r.Size == 0 {
			break
		}
		if err := s.append(p, o, r, now); err != nil {
			return err
		}
		at += r.Size
	}
	s.cur = nil
	return nil
}

// next finds the first record of data. A line is at most as long as has room in a batch.
func (s *source) next(p *sdk.Poll, o *output, data []byte) (stream.Record, error) {
	most := max(1, min(s.MaxLine, p.MaxBody()-attributesRoom))
	switch f := o.framer.(type) {
	case *stream.Lines:
		f.Max = most
	case *whole:
		f.max = most
	}
	return o.framer.Next(data, o.end)
}

// append appends the event that a record is, if it is one.
func (s *source) append(p *sdk.Poll, o *output, r stream.Record, now int64) error {
	if o.skipping || r.Skip {
		o.skipping = o.skipping && r.Partial
		return nil
	}
	attrs := s.attrs[:0]
	if s.Stderr == stderrEvents {
		attrs = append(attrs, event.Attribute{Key: attrStream, Value: []byte(o.name)})
	}
	truncate := r.Partial && s.OnLongLine == "truncate"
	switch {
	case truncate:
		attrs = append(attrs, event.Attribute{Key: attrTruncated, Value: yes})
	case r.Partial:
		attrs = append(attrs, event.Attribute{Key: attrPartial, Value: yes})
	}
	if err := p.Append(event.Event{Time: now, Attributes: attrs, Body: r.Body}); err != nil {
		return err
	}
	if o.skipping = truncate; r.Partial {
		s.long.Add(1)
	}
	return nil
}

// begin starts the command, when it is time.
func (s *source) begin(p *sdk.Poll) (bool, error) {
	if left := time.Until(s.due); left > 0 {
		if p.Len() > 0 {
			return false, nil
		}
		return false, p.Sleep(min(left, p.Timeout))
	}
	path, err := s.find()
	if err != nil {
		return false, err
	}
	if s.run, err = s.start(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOEXEC) {
			return false, s.unusable(path, err)
		}
		return false, sdk.Retry(fmt.Errorf("start %s: %w", path, err), s.backOff())
	}
	s.runs++
	s.started.Add(1)
	return true, nil
}

// attend waits for something to come of the run.
func (s *source) attend(p *sdk.Poll) (bool, error) {
	r := s.run
	var exited chan ending // before its output has been read, its end is nothing to tell
	if r.open == 0 {
		exited = r.exited
	}
	select { // what is there goes before what is waited for
	case c := <-r.chunks:
		s.received(c)
		return true, nil
	default:
	}
	wait := p.Timeout
	if p.Len() > 0 {
		wait = 0
	} else if !r.limit.IsZero() {
		wait = max(0, min(wait, time.Until(r.limit)))
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case c := <-r.chunks:
		s.received(c)
		return true, nil
	case e := <-exited:
		return true, s.ended(e)
	case <-t.C:
		return r.overdue(stopSignals[s.StopSignal], s.Grace), nil
	}
}

func (s *source) received(c chunk) {
	s.run.take(c)
	s.read += len(c.data)
	s.cur = c.from
}

// ended says what comes after a run.
func (s *source) ended(e ending) error {
	r := s.run
	r.reading.Wait()
	s.run = nil
	s.exit.Set(float64(e.code()))
	took := time.Since(r.begun)
	failed := e.err != nil || e.code() != 0 || r.stopped
	words := e.String()
	if r.stopped {
		words = fmt.Sprintf("did not end within %v, and %s", s.Timeout, words)
	}
	s.schedule(r, took, failed)
	if !failed {
		s.log.Debug("the command has ended", "after", took.Round(time.Millisecond).String())
		return nil
	}
	s.failed.Add(1)
	if s.OnFailure == failHold {
		return sdk.ConfigError("command", "%s %s, and on_failure = %q", s.Command[0], words, failHold)
	}
	s.log.Warn("the command "+words, "command", s.Command[0], "after", took.Round(time.Millisecond).String())
	if s.OnFailure == failEvent {
		s.failure, s.status = fmt.Sprintf("%s %s", s.Command[0], words), e.code()
	}
	return nil
}

// schedule says when the command is started again, if it is.
func (s *source) schedule(r *run, took time.Duration, failed bool) {
	switch {
	case s.Interval > 0:
		s.due = r.begun.Add(s.Interval)
		if late := time.Since(s.due); late > 0 { // those that should have begun meanwhile are left out
			missed := late / s.Interval
			s.due = s.due.Add(missed * s.Interval)
			s.skipped.Add(float64(missed))
		}
	case s.Restart == restartNever, s.Restart == restartOnFailure && !failed:
		s.over = true
	default:
		if took >= s.MinUptime {
			s.wait = s.Backoff
		}
		s.due = time.Now().Add(s.backOff())
	}
}

// backOff is the next wait.
func (s *source) backOff() time.Duration {
	d := s.wait
	s.wait = min(2*s.wait, s.MaxBackoff)
	return d
}

// tell appends the event that says that a run failed.
func (s *source) tell(p *sdk.Poll) error {
	attrs := append(s.attrs[:0], event.Attribute{Key: attrStatus, Value: strconv.AppendInt(nil, int64(s.status), 10)})
	if err := p.Append(event.Event{Time: p.Now().UnixNano(), Attributes: attrs, Body: []byte(s.failure)}); err != nil {
		return err
	}
	s.failure = ""
	return nil
}

// Close implements [sdk.Closer]. What the command has printed and nobody has taken is lost with it, as the manifest says; how much is told.
func (s *source) Close() error {
	if s.run == nil {
		return nil
	}
	lost, err := s.run.end(stopSignals[s.StopSignal], s.Grace)
	s.run = nil
	if lost > 0 {
		s.lost.Add(float64(lost))
		s.log.Warn("what the command printed last is not stored: the source ends", "bytes", lost)
	}
	return err
}

// whole is a framer that takes all that one run prints as one record.
type whole struct{ max int }

// Next implements [stream.Framer].
func (w *whole) Next(data []byte, end bool) (stream.Record, error) {
	switch {
	case len(data) > w.max:
		return stream.Record{Size: w.max, Body: data[:w.max], Partial: true}, nil
	case end && len(data) > 0:
		return stream.Record{Size: len(data), Body: data}, nil
	}
	return stream.Record{}, nil
}
