// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/penstock-io/penstock/plugins/std/stream"
)

const (
	// chunkSize is how much of a pipe is read at a time: what a pipe of Linux holds.
	chunkSize = 64 << 10
	// killPatience is how long it is waited for the end of what was killed.
	killPatience = time.Second
)

// run is one run of the command.
type run struct {
	pid     int
	begun   time.Time
	limit   time.Time // when it has run for too long; zero: never
	stopped bool      // for that it has been asked to end
	open    int       // pipes of which the end has not come

	outputs []*output
	chunks  chan chunk    // what is read; never closed
	exited  chan ending   // has room for the one; never closed
	quit    chan struct{} // closed when nobody takes chunks any more
	reading sync.WaitGroup
}

// output is one pipe of a run.
type output struct {
	name   string // exec.stream
	pipe   *os.File
	framer stream.Framer
	more   chan struct{} // a token: the last chunk has been taken; never closed

	buf      []byte // read and not taken
	end      bool   // nothing comes after buf
	skipping bool   // the rest of a line that was truncated
}

// chunk is what was read of a pipe. Its data is the receiver's until it asks for more.
type chunk struct {
	from *output
	data []byte
	end  bool
}

// ending is how a run ended.
type ending struct {
	status syscall.WaitStatus
	err    error // it is not known
}

// code is the exit status, as a shell says it.
func (e ending) code() int {
	if e.status.Signaled() {
		return 128 + int(e.status.Signal())
	}
	return e.status.ExitStatus()
}

func (e ending) String() string {
	switch {
	case e.err != nil:
		return "ended, nobody knows how: " + e.err.Error()
	case e.status.Signaled():
		return fmt.Sprintf("was ended by signal %d (%[1]v)", e.status.Signal())
	}
	return fmt.Sprintf("exited with status %d", e.status.ExitStatus())
}

// start starts the command.
func (s *source) start(path string) (_ *run, err error) {
	r := &run{chunks: make(chan chunk), exited: make(chan ending, 1), quit: make(chan struct{})}
	cmd := exec.Cmd{Path: path, Args: s.Command, Dir: s.dir, Env: s.environ(s.dir)}
	var theirs []*os.File
	defer func() {
		for _, f := range theirs {
			_ = f.Close() // the command has its own, or there is none
		}
		for _, o := range r.outputs {
			if err != nil {
				_ = o.pipe.Close()
			}
		}
	}()
	pipe := func(name string) (*os.File, error) {
		ours, w, err := os.Pipe()
		if err != nil {
			return nil, fmt.Errorf("make a pipe for the command: %w", err)
		}
		theirs = append(theirs, w)
		r.outputs = append(r.outputs, &output{name: name, pipe: ours, framer: s.framer(), more: make(chan struct{}, 1)})
		return w, nil
	}
	if cmd.Stdout, err = pipe("stdout"); err != nil {
		return nil, err
	}
	switch s.Stderr {
	case stderrEvents:
		if cmd.Stderr, err = pipe("stderr"); err != nil {
			return nil, err
		}
	case stderrLog:
		cmd.Stderr = os.Stderr // which the agent reads at all times, and takes to its log line by line
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	r.pid, r.begun = cmd.Process.Pid, time.Now()
	_ = cmd.Process.Release() // await waits for it
	if s.Timeout > 0 {
		r.limit = r.begun.Add(s.Timeout)
	}
	for _, o := range r.outputs {
		r.open++
		r.reading.Go(func() { r.read(o) })
	}
	go func() { // ends with the command, or with this process
		status, err := await(r.pid)
		endAll(r.pid)
		r.exited <- ending{status, err}
	}()
	return r, nil
}

// read reads a pipe, a chunk whenever the last one has been taken.
func (r *run) read(o *output) {
	defer o.pipe.Close()
	buf := make([]byte, chunkSize)
	for {
		n, err := o.pipe.Read(buf)
		select {
		case r.chunks <- chunk{o, buf[:n], err != nil}:
		case <-r.quit:
			return
		}
		if err != nil {
			return
		}
		select {
		case <-o.more:
		case <-r.quit:
			return
		}
	}
}

// take keeps a chunk, and has the next one read.
func (r *run) take(c chunk) {
	o := c.from
	o.buf, o.end = append(o.buf, c.data...), c.end
	if c.end {
		r.open--
	} else {
		o.more <- struct{}{}
	}
}

// overdue says whether the run has to end now, and has seen to it: first it is asked, then killed.
func (r *run) overdue(signal syscall.Signal, grace time.Duration) bool {
	if r.limit.IsZero() || time.Now().Before(r.limit) {
		return false
	}
	if r.stopped {
		signal = syscall.SIGKILL
	}
	signalAll(r.pid, signal)
	r.stopped, r.limit = true, time.Now().Add(grace)
	return true
}

// end ends the run, whatever it takes, and answers how many bytes it has printed that nobody had.
func (r *run) end(signal syscall.Signal, grace time.Duration) (lost int, err error) {
	for _, o := range r.outputs {
		lost += len(o.buf)
	}
	signalAll(r.pid, signal)
	t := time.NewTimer(grace)
	defer t.Stop()
	killed, exited := false, false
	for !exited || r.open > 0 {
		select {
		case c := <-r.chunks:
			lost += len(c.data)
			c.data = nil
			r.take(c)
		case <-r.exited:
			exited = true
		case <-t.C:
			if killed {
				close(r.quit)
				return lost, errors.New("what the command has started cannot be ended: the system does not let go of it")
			}
			signalAll(r.pid, syscall.SIGKILL)
			killed = true
			t.Reset(killPatience)
		}
	}
	r.reading.Wait()
	return lost, nil
}
