// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-plugin/runner"

	"github.com/penstock-io/penstock/host/plugin/report"
)

const (
	// maxHandshake bounds the line that a child begins with: what is longer is none.
	maxHandshake = 1 << 10
	// outputGrace is how long what a child has written may still be read after it is over: what it has started may hold the pipes open.
	outputGrace = time.Second
)

// process is a child, from its start until it has been waited for. To go-plugin it is a runner.
type process struct {
	cmd            *exec.Cmd
	start          func(*process) error
	stdin          *os.File // our end; the child ends when it closes
	handshake      *io.PipeReader
	nothing        *io.PipeReader // go-plugin reads a child's standard error here, of which there is none: it is read in this package
	stdout, stderr io.Writer      // take what the child writes; each is used by one goroutine

	sockets string // the directory where the child makes its socket
	address string // of the socket, once the child has said it

	up, unwanted atomic.Bool   // it has been started; it is to end as soon as it is
	over         chan struct{} // closed when the child has been waited for, and all that it wrote has been read
	state        string        // why it is over; valid then
	status       int           // that it exited with; valid then

	mu     sync.Mutex
	heard  string // the first line, if it is none of the handshake
	last   string // line of its standard error
	crash  string // the line of it where a program says why it breaks
	dying  bool   // it is over, and its group has been killed
	killed bool   // it did not end by itself
}

var _ runner.Runner = (*process)(nil)

// Start implements [runner.Runner].
func (p *process) Start(context.Context) error { return p.start(p) }

// launch starts the command, with pipes for all that it reads and writes. It is called on the starter's thread.
func (p *process) launch(started func() error) (err error) {
	var ours, theirs [3]*os.File
	for i := range ours {
		r, w, pipeErr := os.Pipe()
		if err = errors.Join(err, pipeErr); pipeErr != nil {
			continue
		}
		if ours[i], theirs[i] = r, w; i == 0 {
			ours[i], theirs[i] = w, r
		}
	}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = theirs[0], theirs[1], theirs[2]
	if err == nil {
		err = started()
	}
	for i, f := range theirs {
		if f == nil {
			continue
		}
		_ = f.Close() // the child has its own, or there is none
		if err != nil {
			_ = ours[i].Close()
		}
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", p.cmd.Path, err)
	}
	p.stdin = ours[0]
	hello, say := io.Pipe()
	nothing, never := io.Pipe()
	p.handshake, p.nothing = hello, nothing
	var readers sync.WaitGroup
	readers.Go(func() { p.readStdout(ours[1], say) })
	readers.Go(func() { p.readStderr(ours[2]) })
	go p.wait(ours, &readers, say, never)
	if p.up.Store(true); p.unwanted.Load() {
		go p.kill()
	}
	return nil
}

// wait reaps the child, ends what it has started, and sees to it that nothing is left of it.
func (p *process) wait(ours [3]*os.File, readers *sync.WaitGroup, pipes ...*io.PipeWriter) {
	err := reap(p.cmd, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		killGroup(p.cmd.Process.Pid)
		p.dying = true
	})
	late := time.AfterFunc(outputGrace, func() { _ = errors.Join(ours[1].Close(), ours[2].Close()) })
	readers.Wait()
	late.Stop()
	for _, f := range ours {
		_ = f.Close()
	}
	p.state = p.ending(err)
	for _, w := range pipes {
		_ = w.Close()
	}
	close(p.over)
}

// ending says in words how the child ended.
func (p *process) ending(err error) string {
	exit, ok := errors.AsType[*exec.ExitError](err)
	how := "it exited with code 0"
	switch {
	case ok && exit.Sys().(syscall.WaitStatus).Signaled():
		how = fmt.Sprintf("it was ended by signal %d (%[1]v)", exit.Sys().(syscall.WaitStatus).Signal())
	case ok:
		p.status = exit.ExitCode()
		how = fmt.Sprintf("it exited with code %d", exit.ExitCode())
	case err != nil:
		how = err.Error()
	}
	if words := p.words(); words != "" {
		how += ": " + words
	}
	return how
}

// words is the line of the child's standard error that says most of why it ended: where a crash begins, or else the last.
func (p *process) words() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return cmp.Or(p.crash, p.last)
}

// readStdout hands the first line to go-plugin, and what follows to whom it may concern.
func (p *process) readStdout(from *os.File, handshake *io.PipeWriter) {
	r := bufio.NewReaderSize(from, maxHandshake)
	line, err := r.ReadSlice('\n')
	if parts := strings.SplitN(string(line), "|", 5); err != nil || len(parts) < 5 {
		p.mu.Lock()
		p.heard = strings.ToValidUTF8(strings.TrimSpace(string(line)), "\uFFFD")
		p.mu.Unlock()
		line = append(line, '\n')
	}
	if len(line) > 1 || err == nil {
		_, _ = handshake.Write(line) // go-plugin may have given up
	}
	_, _ = io.Copy(p.stdout, r)
}

func (p *process) readStderr(from *os.File) {
	r := bufio.NewReaderSize(from, 64<<10)
	for {
		line, err := r.ReadSlice('\n')
		_, _ = p.stderr.Write(line)
		if text := strings.ToValidUTF8(strings.TrimSpace(string(line[:min(len(line), maxHandshake)])), "\uFFFD"); text != "" {
			p.mu.Lock()
			if p.last = text; p.crash == "" && report.Crash(text) {
				p.crash = text
			}
			p.mu.Unlock()
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// started says whether there is, or was, a child.
func (p *process) started() bool { return p.up.Load() }

// end closes the child's standard input, gives it so long to end by itself, and kills it and what it has started.
func (p *process) end(grace time.Duration) {
	_ = p.stdin.Close()
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-p.over:
	case <-t.C:
		p.kill()
	}
}

// kill kills the child and what it has started, and waits until it is over.
func (p *process) kill() {
	p.mu.Lock()
	if !p.dying { // else its number may be another's already
		killGroup(p.cmd.Process.Pid)
		p.killed = true
	}
	p.mu.Unlock()
	<-p.over
}

// Wait implements [runner.AttachedRunner].
func (p *process) Wait(context.Context) error {
	<-p.over
	return nil
}

// Kill implements [runner.AttachedRunner].
func (p *process) Kill(context.Context) error {
	p.kill()
	return nil
}

// Diagnose implements [runner.Runner].
func (p *process) Diagnose(context.Context) string { return "" }

// Stdout implements [runner.Runner].
func (p *process) Stdout() io.ReadCloser { return p.handshake }

// Stderr implements [runner.Runner].
func (p *process) Stderr() io.ReadCloser { return p.nothing }

// Name implements [runner.Runner].
func (p *process) Name() string { return p.cmd.Path }

// ID implements [runner.AttachedRunner].
func (p *process) ID() string {
	if !p.started() {
		return ""
	}
	return strconv.Itoa(p.cmd.Process.Pid)
}

// PluginToHost implements [runner.AddrTranslator].
func (p *process) PluginToHost(network, address string) (string, string, error) {
	if network != "unix" || filepath.Dir(address) != p.sockets {
		return "", "", fmt.Errorf("it says that it serves at %s %s, and not at a socket in %s", network, cut(address), p.sockets)
	}
	p.address = address
	return network, address, nil
}

// HostToPlugin implements [runner.AddrTranslator].
func (p *process) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}
