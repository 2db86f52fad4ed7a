// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/penstock/host/plugin/wasm"
	"github.com/penstock-io/penstock/spec/abi"
)

const (
	// sendBlock is how many lines a sender has ready: they are written again and again, so that the sender takes little of the processor.
	sendBlock = 4096
	// receiveBuffer is how much is read at once, for the same reason.
	receiveBuffer = 1 << 20
	// dialAgain is how long a sender waits for the agent to listen.
	dialAgain = 5 * time.Millisecond
)

// benchPlugin is the module that has the source and the sink of path tcp.
type benchPlugin struct {
	file         string // "": they come with the binary
	source, sink string // names
}

var builtinTCP = benchPlugin{source: "tcp", sink: "tcp"}

// tcpPlugin finds a source and a sink in a module. They take the arguments listen and address, as those that come with the binary do.
func tcpPlugin(file string) (p benchPlugin, err error) {
	if file == "" {
		return builtinTCP, nil
	}
	code, err := os.ReadFile(file)
	if err != nil {
		return p, err
	}
	m, err := wasm.ManifestOf(code)
	if err != nil {
		return p, fmt.Errorf("%s: %w", file, err)
	}
	if p.file, err = filepath.Abs(file); err != nil { // the pipeline that names it lies elsewhere
		return p, err
	}
	for _, has := range m.Plugins {
		switch {
		case has.Kind == abi.Source && p.source == "":
			p.source = has.Name
		case has.Kind == abi.Sink && p.sink == "":
			p.sink = has.Name
		}
	}
	if p.source == "" || p.sink == "" {
		return p, fmt.Errorf("%s has not both a source and a sink", file)
	}
	return p, nil
}

// blocks writes what of a pipeline concerns the plugins of path tcp.
func (p benchPlugin) blocks(listen, address string) (plugins, source, sink string) {
	listens := fmt.Sprintf("listen \"listen\" { address = %q }", listen)
	dials := fmt.Sprintf("dial \"address\" { address = %q }", address)
	if p.file != "" {
		const block = "plugin %q {\n  source = %q\n  grant {\n    %s\n  }\n}\n\n"
		if p.source == p.sink {
			plugins = fmt.Sprintf(block, p.source, p.file, listens+"\n    "+dials)
		} else {
			plugins = fmt.Sprintf(block, p.source, p.file, listens) + fmt.Sprintf(block, p.sink, p.file, dials)
		}
	}
	source = fmt.Sprintf("source %q \"in\" {\n  into = channel.main\n  config { listen = %q }\n}\n", p.source, listen)
	sink = fmt.Sprintf("sink %q \"out\" {\n  from = channel.main\n  config { address = %q }\n}\n", p.sink, address)
	return plugins, source, sink
}

// peers are the two programs that an agent stands between on path tcp: one sends lines, one receives them.
type peers struct {
	listener net.Listener
	agent    string // where the source listens
	work     errgroup.Group
	received int
}

// newPeers begins to listen for the sink, and finds a port for the source. run, or else close, must follow.
func newPeers() (*peers, error) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &peers{agent: free.Addr().String()}
	if p.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, errors.Join(err, free.Close())
	}
	return p, free.Close()
}

// run sends and receives so many lines, until it is done or ctx ends. wait must follow.
func (p *peers) run(ctx context.Context, lines, size int) {
	p.work.Go(func() error { return p.send(ctx, lines, size) })
	p.work.Go(func() error {
		defer context.AfterFunc(ctx, func() { _ = p.listener.Close() })()
		return p.receive(ctx, lines)
	})
}

// wait ends when both have what they wanted, or their ctx has ended.
func (p *peers) wait(lines int) error {
	err := errors.Join(p.work.Wait(), p.close())
	if err == nil && p.received != lines {
		err = fmt.Errorf("%d lines were sent and %d received", lines, p.received)
	}
	return err
}

func (p *peers) close() error {
	if err := p.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

func (p *peers) send(ctx context.Context, lines, size int) error {
	var block []byte
	for i := range sendBlock {
		block = appendLine(block, i, size)
	}
	conn, err := p.dial(ctx)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	for left := lines; left > 0; left -= sendBlock {
		if _, err := conn.Write(block[:min(left, sendBlock)*(size+1)]); err != nil {
			return fmt.Errorf("send: %w", errors.Join(err, conn.Close()))
		}
	}
	return conn.Close()
}

func (p *peers) dial(ctx context.Context) (net.Conn, error) {
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", p.agent)
		if err == nil || ctx.Err() != nil {
			return conn, err
		}
		time.Sleep(dialAgain)
	}
}

// receive counts lines of one connection after the other.
func (p *peers) receive(ctx context.Context, lines int) error {
	buf := make([]byte, receiveBuffer)
	for p.received < lines {
		conn, err := p.listener.Accept()
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		for p.received < lines && err == nil {
			var n int
			n, err = conn.Read(buf)
			p.received += bytes.Count(buf[:n], []byte{'\n'})
		}
		stop()
		_ = conn.Close() // only read from
	}
	return nil
}
