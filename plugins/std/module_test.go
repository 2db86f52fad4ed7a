// SPDX-License-Identifier: Apache-2.0

//go:build !wasip1

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/plugintest"
	"github.com/penstock-io/penstock/host/plugin/wasm"
	"github.com/penstock-io/penstock/plugins/bundle"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// loadModule loads the module as agents run it, the one that was built last.
func loadModule(tb testing.TB) plugin.Plugin {
	tb.Helper()
	code, err := bundle.Module("std")
	if err != nil {
		tb.Skip(err)
	}
	runtime, err := wasm.New(wasm.Options{CacheDir: filepath.Join(tb.TempDir(), "cache")})
	if err != nil {
		tb.Fatal(err)
	}
	p, err := runtime.Load(tb.Context(), plugin.Ref{Name: "std", Source: "builtin:std", Code: code})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := errors.Join(p.Close(), runtime.Close()); err != nil {
			tb.Error(err)
		}
	})
	return p
}

func asJSON(v any) string {
	doc, err := json.Marshal(v)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return string(doc)
}

func TestModuleKeepsTheContract(t *testing.T) {
	p := loadModule(t)
	var text strings.Builder
	for i := range 50 {
		fmt.Fprintln(&text, "line", i)
	}
	plugintest.Run(t, p,
		plugintest.Case{Kind: abi.Source, Name: "generate", BadConfig: `{"size":1}`, Events: 100,
			Setup: func(string) (plugintest.Opening, error) {
				return plugintest.Opening{Config: `{"count":100,"size":100}`}, nil
			}},
		plugintest.Case{Kind: abi.Source, Name: "file", BadConfig: `{"paths":["["]}`, Events: 50,
			Setup: func(dir string) (plugintest.Opening, error) {
				config := asJSON(map[string]any{"paths": []string{dir + "/*.log"}})
				open := plugintest.Opening{Config: config, Dirs: []plugin.Dir{{Path: dir}}}
				return open, os.WriteFile(dir+"/a.log", []byte(text.String()), 0o600)
			}},
		plugintest.Case{Kind: abi.Source, Name: "spool", BadConfig: `{"path":""}`, Events: 50,
			Setup: func(dir string) (plugintest.Opening, error) {
				open := plugintest.Opening{Config: asJSON(map[string]any{"path": dir, "settle": 0}), Dirs: []plugin.Dir{{Path: dir, Write: true}}}
				return open, os.WriteFile(dir+"/a.log", []byte(text.String()), 0o600)
			}},
		plugintest.Case{Kind: abi.Processor, Name: "filter", BadConfig: `{}`, Setup: with(`{"matches":"a"}`)},
		plugintest.Case{Kind: abi.Processor, Name: "set", BadConfig: `{}`, Setup: with(`{"remove":["a"]}`)},
		plugintest.Case{Kind: abi.Processor, Name: "regex", BadConfig: `{"pattern":"a"}`, Setup: with(`{"pattern":"(?P<a>a)"}`)},
		plugintest.Case{Kind: abi.Processor, Name: "json", BadConfig: `{"fields":{"penstock.a":"b"}}`},
		plugintest.Case{Kind: abi.Processor, Name: "mask", BadConfig: `{"pattern":"("}`, Setup: with(`{"pattern":"a"}`)},
		plugintest.Case{Kind: abi.Sink, Name: "discard"},
		plugintest.Case{Kind: abi.Sink, Name: "stdout", BadConfig: `{"format":"xml"}`},
		plugintest.Case{Kind: abi.Sink, Name: "file", BadConfig: `{"path":""}`,
			Setup: func(dir string) (plugintest.Opening, error) {
				config := asJSON(map[string]any{"path": dir + "/out.log"})
				return plugintest.Opening{Config: config, Dirs: []plugin.Dir{{Path: dir, Write: true}}}, nil
			},
			Stored: func(dir string) ([]string, error) {
				b, err := os.ReadFile(dir + "/out.log")
				return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n"), err
			}},
	)
}

// with opens an instance with that config alone.
func with(config string) func(string) (plugintest.Opening, error) {
	return func(string) (plugintest.Opening, error) { return plugintest.Opening{Config: config}, nil }
}

// cpu is the processor time that this process has used: what counts on a machine that is not quiet.
func cpu(tb testing.TB) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// onePool is [event.Buffers] that keeps one buffer: the host's side must not be what is measured.
type onePool struct{ free *event.Buffer }

func (p *onePool) Get(n int) *event.Buffer {
	if b := p.free; b != nil && b.Cap() >= n {
		p.free = nil
		b.Reset(n)
		return b
	}
	return event.NewBuffer(make([]byte, event.Headroom+n+4096), n, func(b *event.Buffer) { p.free = b })
}

func openModule(b *testing.B, p plugin.Plugin, kind abi.Kind, name, dir string, config any) plugin.Instance {
	b.Helper()
	in, err := p.Open(b.Context(), kind, plugin.Request{
		Component: string(kind) + ".bench", Plugin: name, Config: json.RawMessage(asJSON(config)),
		Instance: abi.Instance{Count: 1}, Dirs: []plugin.Dir{{Path: dir, Write: true}},
		Stream: "bench", Incarnations: []abi.Incarnation{{ID: 1}}, Stdout: io.Discard,
		Limits:  plugin.Limits{BatchBytes: 1 << 20, BatchEvents: 4096},
		Buffers: new(onePool), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		b.Fatal(err)
	}
	return in
}

// BenchmarkSource reads lines of 256 bytes out of the module: ns/event is guest, copy and checks.
func BenchmarkSource(b *testing.B) {
	p := loadModule(b)
	for name, lines := range map[string]int{"file": 400_000, "spool": 400_000, "generate": 1 << 40} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			if name != "generate" {
				writeLines(b, dir+"/a.log", lines)
			}
			config := map[string]any{"paths": []string{dir + "/*.log"}, "size": 256, "path": dir, "settle": 0}
			in := openModule(b, p, abi.Source, name, dir, config)
			b.ResetTimer()
			read, before := 0, cpu(b)
			for n := 0; n < b.N; {
				if read >= lines {
					b.StopTimer()
					in.Source.Close()
					in = openModule(b, p, abi.Source, name, dir, config)
					read = 0
					b.StartTimer()
				}
				e, err := in.Source.Read(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				n, read = n+e.Batch.Len(), read+e.Batch.Len()
				e.Batch.Release()
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
			in.Source.Close()
		})
	}
}

func writeLines(b *testing.B, path string, lines int) {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	var buf []byte
	for i := range lines {
		buf = fmt.Appendf(buf[:0], "%0255d\n", i)
		if _, err := f.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkSink writes batches of 4096 lines of 232 bytes into the module.
func BenchmarkSink(b *testing.B) {
	p := loadModule(b)
	var w event.Builder
	for w.Append(event.Event{Time: 1_800_000_000_123_456_789, Body: []byte(strings.Repeat("x", 232))}) == nil && w.Len() < 4096 {
	}
	batch := w.Batch()
	for _, c := range []struct{ name, sink, format string }{
		{"discard", "discard", ""}, {"file raw", "file", "raw"}, {"file json", "file", "json"}, {"stdout raw", "stdout", "raw"},
	} {
		b.Run(c.name, func(b *testing.B) {
			dir := b.TempDir()
			in := openModule(b, p, abi.Sink, c.sink, dir, map[string]any{"path": dir + "/out.log", "format": c.format, "rotate_size": 64 << 20, "rotate_keep": 1})
			b.ResetTimer()
			before := cpu(b)
			for n := 0; n < b.N; n += batch.Len() {
				at := event.Offset(n)
				r := event.Range{First: at, Next: at + event.Offset(batch.Len())}
				if _, err := in.Sink.Write(b.Context(), r, batch.WithBase(at)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
			in.Sink.Close()
		})
	}
}
