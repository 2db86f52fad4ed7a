// SPDX-License-Identifier: Apache-2.0

// Package wasm runs plugins as WebAssembly modules, on wazero.
//
// A [Runtime] compiles modules, and keeps the machine code in a directory. A module is compiled once
// and shared by its instances; each instance has memory, files and a log of its own, and shares
// nothing else with another. What a guest may call is package spec/abi and WASI preview 1, over
// which stands one rule: what was not granted is not there.
//
// Invariants:
//   - One goroutine at a time is inside an instance: it holds the instance's turn. An ack that waits
//     for the turn ends the guest's sleep.
//   - A view of guest memory lives no longer than the call that took it, and is taken under the turn.
//   - An instance that trapped or exited is dead, its memory freed; whoever calls it is told so.
//   - A batch is copied once, in emit, where it is checked; from then on the host owns it.
//   - A guest comes back to the host every half a millisecond or so (package fuel), whatever it does: so it can be ended, and does not
//     keep the process from collecting garbage. Nothing else ends a call from outside: a context ends a guest's sleeps.
package wasm

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/report"
	"github.com/penstock-io/penstock/host/plugin/wasm/fuel"
	"github.com/penstock-io/penstock/spec/abi"
)

// Options say how a Runtime works.
type Options struct {
	// CacheDir is where compiled code is kept, a directory of ours alone; "" keeps it in memory.
	CacheDir string
	// Log takes what the runtime does of its own accord; nil discards it. Instances have their own.
	Log *slog.Logger
}

// Runtime compiles modules and runs them. Its methods may be called by many goroutines.
type Runtime struct {
	engine   wazero.Runtime
	cache    wazero.CompilationCache
	wasi     api.Module
	cacheDir string
	log      *slog.Logger

	compile sync.Mutex // one at a time: two of the same module would do the work twice
}

var _ plugin.Runtime = (*Runtime)(nil)

// New starts a runtime.
func New(o Options) (*Runtime, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	cache, err := openCache(o.CacheDir)
	if noRoom(err) {
		o.Log.Warn("there is no cache of compiled code: it is made anew at each start", "dir", o.CacheDir, "error", err)
		o.CacheDir = ""
		cache, err = openCache("")
	}
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	// WithCloseOnContextDone stays off: it makes guests 2.4 to 25 times slower, and each call 1.5 µs.
	engine := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCompilationCache(cache))
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, engine); err != nil {
		return nil, errors.Join(fmt.Errorf("set up WASI: %w", err), engine.Close(ctx), cache.Close(ctx))
	}
	wasi := engine.Module(wasi_snapshot_preview1.ModuleName)
	return &Runtime{engine: engine, cache: cache, wasi: wasi, cacheDir: o.CacheDir, log: o.Log}, nil
}

// Close frees everything. All plugins must have been closed.
func (r *Runtime) Close() error {
	ctx := context.Background()
	return errors.Join(r.engine.Close(ctx), r.cache.Close(ctx))
}

// Load checks and compiles a module. That takes a second or two for a Go guest that is not in the
// cache, else some 70 ms. Errors say which rule the module breaks; the caller says which module.
func (r *Runtime) Load(ctx context.Context, ref plugin.Ref) (p plugin.Plugin, err error) {
	if !ref.Background {
		return r.load(ctx, ref, runtime.GOMAXPROCS(0))
	}
	behind(func() { p, err = r.load(ctx, ref, 1) }) // more workers would be threads of the usual priority
	return p, err
}

// behind does something on a thread that stands back behind all others of the process, and waits for it.
func behind(do func()) {
	done := make(chan struct{}) // closed by the goroutine
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and its priority with it
		standBack()
		do()
	}()
	<-done
}

func (r *Runtime) load(ctx context.Context, ref plugin.Ref, workers int) (plugin.Plugin, error) {
	if ref.Digest == "" {
		sum := sha256.Sum256(ref.Code)
		ref.Digest = hex.EncodeToString(sum[:])
	}
	if most := cmp.Or(ref.Module, abi.DefaultModule); uint64(len(ref.Code)) > most {
		return nil, fmt.Errorf("it has %s, over limits.%s of %s; raise that if you trust it to be worth the memory", size(uint64(len(ref.Code))), plugin.LimitModule, size(most))
	}
	manifest, err := ManifestOf(ref.Code)
	if err != nil {
		return nil, err
	}
	if err := checkManifest(manifest); err != nil {
		return nil, err
	}
	if err := r.checkImports(ref.Code); err != nil {
		return nil, err
	}
	code, err := r.prepare(ref)
	if err != nil {
		return nil, err
	}
	compiled, err := r.compileModule(ctx, code, workers)
	if err != nil {
		return nil, err
	}
	p := &Plugin{runtime: r, name: ref.Name, manifest: manifest, digest: ref.Digest, trusted: ref.Trusted, compiled: compiled, exports: map[string]bool{}, metrics: report.NewMetrics()}
	for name := range compiled.ExportedFunctions() {
		p.exports[name] = true
	}
	if p.host, err = r.link(ctx, compiled); err == nil {
		err = checkExports(compiled, manifest)
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// prepared goes up when prepare makes something else of a module than before, beside what package fuel does to it, since the result is kept.
const prepared = 1

// prepare is the one place that every module passes before it is compiled: what bounds it is written into it here. That takes some 80 ms for a
// Go guest, so that the result is kept beside the machine code, under the digest of the module and what it depends on beside that.
func (r *Runtime) prepare(ref plugin.Ref) ([]byte, error) {
	table := cmp.Or(ref.Table, abi.DefaultTable)
	if ref.Trusted {
		code, err := withoutManifest(ref.Code)
		if err == nil {
			err = fuel.Check(code)
		}
		if err == nil {
			code, err = joinSegments(code)
		}
		if err != nil {
			return nil, err
		}
		return boundTables(code, table)
	}
	if r.cacheDir == "" {
		return bounded(ref.Code, table)
	}
	kept := keptAt(r.cacheDir, ref)
	if out, ok := readChecked(kept); ok {
		return out, nil
	}
	out, err := bounded(ref.Code, table)
	if err == nil {
		if err := writeChecked(kept, out); err != nil {
			r.log.Warn("a rewritten module cannot be kept, and is made anew at the next start", "error", err)
		}
	}
	return out, err
}

// keptAt is where what prepare makes of a module is kept.
func keptAt(cacheDir string, ref plugin.Ref) string {
	table := cmp.Or(ref.Table, abi.DefaultTable)
	return filepath.Join(cacheDir, fmt.Sprintf("fuel-%d-%d-%d-%d-%s.wasm", fuel.Version, prepared, maxDepth, table, ref.Digest))
}

// Kept says whether a module has been loaded by a runtime with a cache, so that loading it again takes no seconds. Nothing is made or changed.
func Kept(cacheDir string, ref plugin.Ref) bool {
	info, err := os.Lstat(keptAt(cacheDir, ref))
	return err == nil && info.Mode().IsRegular()
}

// bounded writes into a module what lets the host end a call, and how large its tables may be.
func bounded(code []byte, table uint32) ([]byte, error) {
	code, err := withoutManifest(code) // so that two modules that differ in what they say are compiled once
	if err == nil {
		code, err = fuel.Rewrite(code, fuel.Options{Depth: maxDepth})
	}
	if err == nil {
		code, err = joinSegments(code)
	}
	if err != nil {
		return nil, err
	}
	return boundTables(code, table)
}

func (r *Runtime) compileModule(ctx context.Context, code []byte, workers int) (wazero.CompiledModule, error) {
	r.compile.Lock()
	defer r.compile.Unlock()
	ctx = experimental.WithCompilationWorkers(ctx, workers)
	m, err := r.engine.CompileModule(ctx, code)
	if err != nil && r.cacheDir != "" && spoiled(err) {
		r.log.Warn("compiled code in the cache is damaged, compiling anew", "dir", r.cacheDir, "error", err)
		if err := trimCache(r.cacheDir, -1); err != nil { // an empty file too
			return nil, err
		}
		m, err = r.engine.CompileModule(ctx, code)
	}
	if noRoom(err) { // it is compiled, and the engine has it in memory until it ends: that is what is found now
		r.log.Warn("compiled code cannot be kept, and is made anew at the next start", "dir", r.cacheDir, "error", err)
		m, err = r.engine.CompileModule(ctx, code)
	}
	if err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	if r.cacheDir != "" {
		if err := trimCache(r.cacheDir, maxCache); err != nil {
			r.log.Warn("compilation cache is over its bound", "dir", r.cacheDir, "error", err)
		}
	}
	return m, nil
}

// moduleConfig is what WASI gives to each instance: true clocks, true randomness, nothing of the
// host's environment.
func moduleConfig() wazero.ModuleConfig {
	return wazero.NewModuleConfig().
		WithName(""). // many instances of one module
		WithStartFunctions().
		WithSysWalltime().
		WithSysNanotime().
		WithOsyield(runtime.Gosched).
		WithRandSource(rand.Reader)
}
