// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	. "github.com/penstock-io/penstock/host/plugin/wasm/internal/wasmtest"
	"github.com/penstock-io/penstock/spec/abi"
)

// answering is a source that accepts one connection, and for each thing that comes over it emits a batch and answers what came, once that
// is durable. It polls without a timeout, so that nothing wakes it but the host.
func answering() *Module {
	m := NewModule()
	open := m.Import(abi.ImportNetOpen, three, one)
	accept := m.Import(abi.ImportNetAccept, two, one)
	wait := m.Import(abi.ImportNetWait, three, one)
	read := m.Import(abi.ImportNetRead, four, one)
	write := m.Import(abi.ImportNetWrite, []byte{I32, I32, I32, I32, I64}, one)
	emit := m.Import(abi.ImportEmit, two, []byte{I64})
	name, event, ready, buf := m.Data("in"), batch("event"), m.Data("????"), m.Data(strings.Repeat("?", 64))
	at := m.Data(event)
	m.Plugin(0)
	m.Export(abi.ExportPoll, three, one,
		Const(name), Const(2), Const(0), Call(open), Drop(),
		Const(ready), Const(1), Const(-1), Call(wait), Set(3),
		Get(3), Const(0), Code{0x48}, If(Get(3), Return()), // < 0: interrupted
		Const(ready), Load32(), Set(3), // the handle that is ready
		Get(3), Const(name), Const(2), Const(0), Call(open), Code{0x46}, // == the listener
		If(Get(3), Const(0), Call(accept), Drop(), Const(0), Return()),
		Get(3), Const(buf), Const(64), Const(0), Call(read), Set(4),
		Get(4), Const(0), Code{0x48}, If(Get(4), Return()),
		Get(3), Const(buf), Get(4), Const(0), Const(at), Const(int32(len(event))), Call(emit), Call(write), Drop(),
		Const(0))
	return m
}

// dialled is a listener of the host, and how to reach it.
func dialled(t *testing.T) (grant plugin.Listener, dial func() net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	conns := make(chan net.Conn, 1)
	return plugin.Listener{Conns: conns, Addr: ln.Addr()}, func() net.Conn {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		in, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conns <- in
		return c
	}
}

func TestAnAnswerOverTCPComesAfterTheCommit(t *testing.T) {
	grant, dial := dialled(t)
	s := start(t, answering(), abi.Source, func(r *plugin.Request) { r.Grants.Listen = map[string]plugin.Listener{"in": grant} })
	peer := dial()
	say := func(text string) plugin.Emission {
		t.Helper()
		if _, err := io.WriteString(peer, text); err != nil {
			t.Fatal(err)
		}
		e, err := s.Source.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		e.Batch.Release()
		return e
	}
	var trace []string
	heard := make(chan string, 4)
	go func() {
		defer close(heard)
		r := bufio.NewReader(peer)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			heard <- strings.TrimSpace(line)
		}
	}()
	first, second := say("one\n"), say("two\n")
	select {
	case got := <-heard:
		t.Fatalf("heard %q before anything was durable", got)
	case <-time.After(20 * time.Millisecond):
	}
	// The guest is busy with a poll that nothing ends: the answer must not need it.
	polling := make(chan error, 1)
	go func() { _, err := s.Source.Read(t.Context()); polling <- err }()
	for _, e := range []plugin.Emission{first, second} {
		trace = append(trace, "durable")
		if err := s.Source.Ack(t.Context(), e.Seq, nil); err != nil {
			t.Fatal(err)
		}
		trace = append(trace, <-heard)
	}
	if got := strings.Join(trace, " "); got != "durable one durable two" {
		t.Errorf("trace: %s", got)
	}
	s.close(t)
	if err := <-polling; err == nil {
		t.Error("the poll did not end with the instance")
	}
	if got, ok := <-heard; ok {
		t.Errorf("heard %q", got)
	}
}

func TestARefusedAnswerOverTCPIsNotSent(t *testing.T) {
	grant, dial := dialled(t)
	s := start(t, answering(), abi.Source, func(r *plugin.Request) { r.Grants.Listen = map[string]plugin.Listener{"in": grant} })
	peer := dial()
	_, _ = io.WriteString(peer, "one\n")
	e, err := s.Source.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e.Batch.Release()
	if err := s.Source.Ack(t.Context(), e.Seq, io.ErrShortWrite); err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(peer); len(got) > 0 {
		t.Errorf("heard %q", got)
	}
}

func TestAnInterruptedNetWaitReturnsAtOnce(t *testing.T) {
	grant, _ := dialled(t)
	m := NewModule()
	open := m.Import(abi.ImportNetOpen, three, one)
	wait := m.Import(abi.ImportNetWait, three, one)
	name, out := m.Data("in"), m.Data("????")
	m.Plugin(0)
	m.Export(abi.ExportPoll, three, one, Const(name), Const(2), Const(0), Call(open), Drop(), Const(out), Const(1), Const(-1), Call(wait))
	m.Export(abi.ExportAck, []byte{I64, I32}, nil)
	s := start(t, m, abi.Source, func(r *plugin.Request) { r.Grants.Listen = map[string]plugin.Listener{"in": grant} })
	done := make(chan error, 1)
	go func() { _, err := s.Source.Read(t.Context()); done <- err }()
	worst, least := time.Duration(0), time.Hour
	for range 20 {
		time.Sleep(5 * time.Millisecond)
		began := time.Now()
		if err := s.Source.Ack(t.Context(), 1, nil); err != nil {
			t.Fatal(err)
		}
		took := time.Since(began)
		worst, least = max(worst, took), min(least, took)
	}
	t.Logf("the longest that an ack waited for a guest in net_wait: %v", worst)
	if least > time.Millisecond { // on a machine that is busy some take longer
		t.Errorf("each ack waited %v or more", least)
	}
	s.close(t)
	if err := <-done; err == nil {
		t.Error("the poll did not end with the instance")
	}
}

func TestConnectionsEndWithAGuestThatTrapsAndItsSuccessorHasTheListener(t *testing.T) {
	grant, dial := dialled(t)
	m := NewModule()
	open := m.Import(abi.ImportNetOpen, three, one)
	accept := m.Import(abi.ImportNetAccept, two, one)
	name := m.Data("in")
	m.Plugin(0)
	m.Export(abi.ExportPoll, three, one,
		Const(name), Const(2), Const(0), Call(open), Const(-1), Call(accept), Drop(), Trap())
	for range 2 {
		s := start(t, m, abi.Source, func(r *plugin.Request) { r.Grants.Listen = map[string]plugin.Listener{"in": grant} })
		peer := dial()
		_, err := s.Source.Read(t.Context())
		wantError(t, err, abi.Fatal, "unreachable")
		_ = peer.SetReadDeadline(time.Now().Add(10 * time.Second))
		if n, err := peer.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the other end reads %d, %v", n, err)
		}
	}
}
