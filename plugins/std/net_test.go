// SPDX-License-Identifier: Apache-2.0

//go:build !wasip1

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/address"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/endpoint"
	"github.com/penstock-io/penstock/host/plugin/plugintest"
	"github.com/penstock-io/penstock/spec/abi"
)

// listening grants an address to listen at as handle "listen", and answers where that is.
func listening(tb testing.TB, at string, o endpoint.ListenOptions) (plugin.Grants, net.Addr) {
	tb.Helper()
	a, err := address.Parse(abi.NeedListen, at)
	if err != nil {
		tb.Fatal(err)
	}
	l, err := endpoint.Listen(a, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	return plugin.Grants{Listen: map[string]plugin.Listener{"listen": l.Grant()}}, l.Grant().Addr
}

// connect connects to where something listens.
func connect(tb testing.TB, to net.Addr) net.Conn {
	tb.Helper()
	c, err := net.Dial(to.Network(), to.String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

const tcpConfig = `{"listen":"x","framing":"lines","max_line":65536,"peer":true}`

func TestThePluginsWithSocketsKeepTheContract(t *testing.T) { inBoth(t, withSockets) }

func withSockets(t *testing.T, p plugin.Plugin) {
	plugintest.Run(t, p,
		plugintest.Case{Kind: abi.Source, Name: "tcp", BadConfig: `{"framing":"xml"}`, Events: 50,
			Setup: func(string) (plugintest.Opening, error) {
				grants, addr := listening(t, "tcp://127.0.0.1:0", endpoint.ListenOptions{})
				c := connect(t, addr)
				for i := range 50 {
					fmt.Fprintln(c, "line", i)
				}
				return plugintest.Opening{Config: tcpConfig, Grants: grants}, c.(*net.TCPConn).CloseWrite()
			}},
		plugintest.Case{Kind: abi.Source, Name: "udp", Events: 50,
			Setup: func(string) (plugintest.Opening, error) {
				grants, addr := listening(t, "udp://127.0.0.1:0", endpoint.ListenOptions{})
				c := connect(t, addr)
				for i := range 50 {
					fmt.Fprintln(c, "datagram", i)
				}
				return plugintest.Opening{Config: `{"listen":"udp://x","max_datagram":1000,"peer":true}`, Grants: grants}, nil
			}},
		plugintest.Case{Kind: abi.Source, Name: "syslog", BadConfig: `{"zone":"Mars"}`, Events: 50,
			Setup: func(string) (plugintest.Opening, error) {
				grants, addr := listening(t, "tcp://127.0.0.1:0", endpoint.ListenOptions{})
				c := connect(t, addr)
				for i := range 50 {
					text := fmt.Sprintf("<13>Jan  3 11:59:59 host app[%d]: text", i)
					fmt.Fprintf(c, "%d %s", len(text), text)
				}
				config := `{"listen":"tcp://x","max_message":1000,"body":"text","zone":"UTC"}`
				return plugintest.Opening{Config: config, Grants: grants}, c.(*net.TCPConn).CloseWrite()
			}},
		plugintest.Case{Kind: abi.Sink, Name: "tcp", BadConfig: `{"format":"xml"}`,
			Setup: func(string) (plugintest.Opening, error) {
				ln, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					return plugintest.Opening{}, err
				}
				t.Cleanup(func() { _ = ln.Close() })
				go func() {
					for {
						c, err := ln.Accept()
						if err != nil {
							return
						}
						go func() { _, _ = io.Copy(io.Discard, c); _ = c.Close() }()
					}
				}()
				a, err := address.Parse(abi.NeedDial, ln.Addr().String())
				if err != nil {
					return plugintest.Opening{}, err
				}
				dialer, err := endpoint.Dial(a, endpoint.DialOptions{})
				return plugintest.Opening{
					Config: `{"address":"x","format":"raw","timeout":5000000000}`,
					Grants: plugin.Grants{Dial: map[string]plugin.Dialer{"address": dialer}},
				}, err
			}})
}

// openSource opens a source of the module with these grants.
func openSource(tb testing.TB, p plugin.Plugin, name, config string, grants plugin.Grants) plugin.Source {
	tb.Helper()
	in, err := p.Open(tb.Context(), abi.Source, plugin.Request{
		Component: "source." + name, Plugin: name, Config: []byte(config), Instance: abi.Instance{Count: 1}, Grants: grants,
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = in.Source.Close() })
	return in.Source
}

// read reads until there are n events, and answers their bodies.
func read(tb testing.TB, s plugin.Source, n int) (bodies []string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	defer cancel()
	for len(bodies) < n {
		e, err := s.Read(ctx)
		if err != nil {
			tb.Fatalf("after %d of %d events: %v", len(bodies), n, err)
		}
		for _, ev := range e.Batch.All() {
			bodies = append(bodies, string(ev.Body))
		}
		e.Batch.Release()
	}
	return bodies
}

func TestOneInstanceServesThousandsOfIdleConnections(t *testing.T) {
	n := 5000
	if testing.Short() {
		n = 500
	}
	grants, addr := listening(t, "tcp://127.0.0.1:0", endpoint.ListenOptions{})
	s := openSource(t, loadModule(t), "tcp", tcpConfig, grants)
	before, goroutines := heap(), runtime.NumGoroutine()
	var conns []net.Conn
	dialled := make(chan struct{})
	go func() {
		defer close(dialled)
		for range n {
			c, err := net.Dial("tcp", addr.String())
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(c, "hello\n") // so that it is known to have been accepted
			conns = append(conns, c)
		}
	}()
	read(t, s, n)
	<-dialled
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	used := heap() - before
	t.Logf("%d idle connections: %d bytes of heap for each, with its other end; %d goroutines more", n, used/int64(n), runtime.NumGoroutine()-goroutines)
	if more := runtime.NumGoroutine() - goroutines; more > 10 {
		t.Errorf("%d goroutines more", more)
	}
	for i := range 100 {
		fmt.Fprintln(conns[i*len(conns)/100], "line", i)
	}
	began := time.Now()
	got := strings.Join(read(t, s, 100), " ")
	t.Logf("100 of them that speak are heard in %v", time.Since(began))
	for i := range 100 {
		if !strings.Contains(got+" ", fmt.Sprintf("line %d ", i)) {
			t.Errorf("line %d is missing", i)
		}
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// BenchmarkTCP takes lines of 256 bytes from a socket, through the module, and lets them go. The processor time is that of this process.
func BenchmarkTCP(b *testing.B) {
	b.Run("wasm", func(b *testing.B) { benchTCP(b, loadModule(b)) })
	b.Run("subprocess", func(b *testing.B) { benchTCP(b, loadChild(b)) })
}

func benchTCP(b *testing.B, p plugin.Plugin) {
	grants, addr := listening(b, "tcp://127.0.0.1:0", endpoint.ListenOptions{})
	in, err := p.Open(b.Context(), abi.Source, plugin.Request{
		Component: "source.tcp", Plugin: "tcp", Config: []byte(tcpConfig), Instance: abi.Instance{Count: 1}, Grants: grants,
		Limits: plugin.Limits{BatchBytes: 1 << 20, BatchEvents: 4096}, Buffers: new(onePool),
	})
	if err != nil {
		b.Fatal(err)
	}
	defer in.Source.Close()
	c := connect(b, addr)
	go func() {
		chunk := []byte(strings.Repeat(strings.Repeat("x", 255)+"\n", 256))
		for {
			if _, err := c.Write(chunk); err != nil {
				return
			}
		}
	}()
	n, used := 0, cpu(b)
	for b.Loop() {
		e, err := in.Source.Read(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		n += e.Batch.Len()
		e.Batch.Release()
	}
	b.ReportMetric(float64((cpu(b)-used).Nanoseconds())/float64(n), "cpu-ns/event")
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(n)/float64(b.N), "events/batch")
}
