// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/experimental/sysfs"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/exchange"
	"github.com/penstock-io/penstock/host/plugin/report"
	"github.com/penstock-io/penstock/host/plugin/socket"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// Plugin is one compiled module. Its methods may be called by many goroutines.
type Plugin struct {
	runtime  *Runtime
	name     string
	manifest abi.Manifest
	digest   string
	trusted  bool // its processor time is not bounded
	compiled wazero.CompiledModule
	exports  map[string]bool // its functions, by name
	host     hostModule
	metrics  *report.Metrics
	once     sync.Once
}

var (
	_ plugin.Plugin   = (*Plugin)(nil)
	_ plugin.Preparer = (*Plugin)(nil)
)

// Manifest says what the module holds.
func (p *Plugin) Manifest() abi.Manifest { return p.manifest }

// Digest is the sha256 of the module as it was handed over, in hex.
func (p *Plugin) Digest() string { return p.digest }

// Close frees the compiled code, unless another plugin was loaded from the same bytes. All instances must have been closed.
func (p *Plugin) Close() (err error) {
	p.once.Do(func() { // wazero counts: a second time would take the code from that other plugin
		ctx := context.Background()
		err = p.compiled.Close(ctx)
		if p.host.Module != nil {
			err = errors.Join(err, p.host.Close(ctx))
		}
	})
	return err
}

// Open starts an instance. It takes some 50 µs, plus what the guest does before it answers. Errors are *plugin.Error.
func (p *Plugin) Open(ctx context.Context, kind abi.Kind, open plugin.Request) (plugin.Instance, error) {
	s, err := p.Prepare(ctx, kind, open)
	if err != nil {
		return plugin.Instance{}, err
	}
	return s.Open(ctx, open)
}

// Prepare starts an instance, of which none but its start and its _initialize run: of a guest in Go, some 7 ms.
func (p *Plugin) Prepare(ctx context.Context, kind abi.Kind, open plugin.Request) (plugin.Spare, error) {
	described, ok := p.manifest.Find(kind, open.Plugin)
	if !ok {
		return nil, &plugin.Error{
			Class: abi.Config, Code: abi.EINVAL,
			Message: fmt.Sprintf("plugin %q has no %s %q", p.name, kind, open.Plugin),
			Hint:    fmt.Sprintf("`penstock plugin inspect %s` lists what it has", p.name),
		}
	}
	in, err := p.start(ctx, kind, described, open)
	if err != nil {
		return nil, err
	}
	return &spare{in: in}, nil
}

// spare is an instance that has not been opened.
type spare struct {
	in *instance // nil: it was opened, or closed
}

// Close implements [plugin.Spare].
func (s *spare) Close() error {
	if s.in != nil {
		s.in.discard()
		s.in = nil
	}
	return nil
}

// Open implements [plugin.Spare].
func (s *spare) Open(ctx context.Context, open plugin.Request) (plugin.Instance, error) {
	in := s.in
	s.in = nil
	if err := in.open(ctx, open); err != nil {
		in.discard()
		return plugin.Instance{}, err
	}
	switch {
	case in.kind == abi.Source:
		return plugin.Instance{Source: newSource(in, open.Limits)}, nil
	case in.kind == abi.Processor:
		return plugin.Instance{Processor: &processor{in}}, nil
	case in.guest.prune.there:
		return plugin.Instance{Sink: pruner{&sink{instance: in}}, Held: in.held}, nil
	default:
		return plugin.Instance{Sink: &sink{instance: in}, Held: in.held}, nil
	}
}

// start makes an instance and runs its _initialize. What goes wrong frees it again.
func (p *Plugin) start(ctx context.Context, kind abi.Kind, described abi.Plugin, open plugin.Request) (*instance, error) {
	limit := cmp.Or(open.Limits.MemoryBytes, described.Limits.MemoryBytes, abi.DefaultMemory)
	if least := uint64(p.compiled.ExportedMemories()[abi.ExportMemory].Min()) * pageSize; least > limit {
		return nil, &plugin.Error{
			Class: abi.Config, Code: abi.EINVAL,
			Message: fmt.Sprintf("the plugin starts with %s of memory, over its limit of %s", size(least), size(limit)),
			Hint:    "raise limits.memory",
		}
	}
	mem, err := reserve(limit)
	if err != nil {
		return nil, &plugin.Error{Class: abi.Retry, Code: abi.EAGAIN, Message: err.Error(), Err: err}
	}
	in := newInstance(p, kind, open, mem)
	in.call.Context = experimental.WithMemoryAllocator(experimental.WithImportResolver(ctx, p.resolve), mem)
	in.inside, in.call.starting = exportStart, true
	in.budget.begin(exportStart, 0)
	in.module, err = p.runtime.engine.InstantiateModule(&in.call, p.compiled, in.config())
	in.call.starting = false
	if err != nil {
		err = in.die(err)
		in.discard()
		return nil, err
	}
	in.guest = p.guestOf(kind)
	if in.guest.initialize.there {
		if _, err := in.run(ctx, &in.guest.initialize); err != nil {
			in.discard()
			return nil, err
		}
		in.guest.initialize.f = nil // it is called once
	}
	return in, nil
}

// resolve links imports of module penstock to what this plugin's module asked for.
func (p *Plugin) resolve(name string) api.Module {
	if name == abi.Module {
		return p.host.Module
	}
	return nil
}

// config is what WASI shows to the instance.
func (in *instance) config() wazero.ModuleConfig {
	var out io.Writer = &report.Lines{Log: in.log, Stream: "stdout"}
	if in.stdout != nil {
		out = in.stdout
	}
	c := moduleConfig().
		WithStdout(out).
		WithStderr(in.stderr).
		WithNanosleep(in.nanosleep).
		WithFSConfig(wazero.NewFSConfig().(sysfs.FSConfig).WithSysFSMount(in.dirs, "/"))
	if dir, err := os.Getwd(); err == nil {
		c = c.WithEnv("PWD", dir) // so that relative paths mean the same to the guest as in the pipeline file
	}
	for name, value := range in.grants.Env {
		c = c.WithEnv(name, value)
	}
	return c
}

func newInstance(p *Plugin, kind abi.Kind, open plugin.Request, mem *memory) *instance {
	log := open.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	in := &instance{
		plugin: p, kind: kind, component: open.Component, metrics: open.Metrics, buffers: open.Buffers, stdout: open.Stdout,
		grants:  open.Grants,
		log:     report.NewLog(log),
		mem:     mem,
		limit:   cmp.Or(open.Limits.BatchBytes, event.DefaultBatch),
		output:  cmp.Or(open.Limits.OutputBytes, abi.DefaultOutput),
		names:   cmp.Or(open.Limits.Metrics, abi.DefaultMetrics),
		budget:  newBudget(open.Limits, open.Metrics != nil),
		turn:    make(chan struct{}, 1),
		nudge:   make(chan struct{}, 1),
		closing: make(chan struct{}),
		timer:   time.NewTimer(time.Hour),
	}
	in.timer.Stop()
	in.call.in = in
	in.sockets = socket.New(guestCalls{in}, open.Grants, open.Limits.Handles)
	in.requests = exchange.NewClient(guestCalls{in}, open.Grants.HTTP, in.log)
	in.serving = exchange.NewServer(guestCalls{in}, open.Grants.Serve, in.log)
	in.stderr = &report.Lines{Log: in.log, Stream: "stderr"}
	in.log.Bound(cmp.Or(open.Limits.LogRate, abi.DefaultLogRate), func() { in.count(plugin.LimitLogRate) })
	in.dirs = newDirs(open.Dirs,
		func(path string) { in.denied("dir", path) }, in.fileFailed)
	in.dirs.tick = in.tick
	in.dirs.most = cmp.Or(open.Limits.Handles, abi.DefaultHandles)
	if in.buffers == nil {
		in.buffers = event.Heap{}
	}
	return in
}

// open hands the request to the guest and waits for its answer.
func (in *instance) open(ctx context.Context, open plugin.Request) error {
	code, err := in.ask(ctx, &in.guest.open, open)
	if err == nil && code < 0 {
		err = in.failed(code)
	}
	in.opened = err == nil
	return err
}
