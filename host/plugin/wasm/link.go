// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/penstock-io/penstock/host/plugin/wasm/internal/modfile"
	"github.com/penstock-io/penstock/spec/abi"
)

const (
	i32 = api.ValueTypeI32
	i64 = api.ValueTypeI64
	f64 = api.ValueTypeF64
)

// hostFunc is one import of module penstock. It gets the instance that calls, and leaves its result in stack[0].
type hostFunc struct {
	params, results []api.ValueType
	call            func(in *instance, mem api.Memory, stack []uint64)
}

var hostFuncs = map[string]hostFunc{
	abi.ImportEmit:     {[]api.ValueType{i32, i32}, []api.ValueType{i64}, emit},
	abi.ImportCursor:   {[]api.ValueType{i32, i32, i32, i32}, []api.ValueType{i32}, setCursor},
	abi.ImportResult:   {[]api.ValueType{i32, i32, i32, i32}, []api.ValueType{i32}, reject},
	abi.ImportFail:     {[]api.ValueType{i32, i32, i32, i32, i32, i32}, []api.ValueType{i32}, fail},
	abi.ImportPosition: {[]api.ValueType{i64, i64, i64}, []api.ValueType{i32}, position},
	abi.ImportLog:      {[]api.ValueType{i32, i32, i32}, []api.ValueType{i32}, logLine},
	abi.ImportMetric:   {[]api.ValueType{i32, i32, i32, f64}, []api.ValueType{i32}, metric},
	abi.ImportNow:      {nil, []api.ValueType{i64}, now},
	abi.ImportSleep:    {[]api.ValueType{i32}, []api.ValueType{i32}, sleep},
	abi.ImportSecret:   {[]api.ValueType{i32, i32, i32, i32}, []api.ValueType{i32}, secret},
	abi.ImportYield:    {[]api.ValueType{i32}, []api.ValueType{i32}, yield},

	abi.ImportNetOpen:     {[]api.ValueType{i32, i32, i32}, []api.ValueType{i32}, netOpen},
	abi.ImportNetAccept:   {[]api.ValueType{i32, i32}, []api.ValueType{i32}, netAccept},
	abi.ImportNetRead:     {[]api.ValueType{i32, i32, i32, i32}, []api.ValueType{i32}, netRead},
	abi.ImportNetWrite:    {[]api.ValueType{i32, i32, i32, i32, i64}, []api.ValueType{i32}, netWrite},
	abi.ImportNetRecvFrom: {[]api.ValueType{i32, i32, i32, i32, i32, i32}, []api.ValueType{i64}, netRecvFrom},
	abi.ImportNetShutdown: {[]api.ValueType{i32}, []api.ValueType{i32}, netShutdown},
	abi.ImportNetClose:    {[]api.ValueType{i32}, []api.ValueType{i32}, netClose},
	abi.ImportNetPass:     {[]api.ValueType{i32, i32, i32}, []api.ValueType{i32}, netPass},
	abi.ImportNetInfo:     {[]api.ValueType{i32, i32, i32}, []api.ValueType{i32}, netInfo},
	abi.ImportNetWait:     {[]api.ValueType{i32, i32, i32}, []api.ValueType{i32}, netWait},

	abi.ImportHTTPSend:   {[]api.ValueType{i32, i32, i32, i32, i32}, []api.ValueType{i32}, httpSend},
	abi.ImportHTTPStatus: {[]api.ValueType{i32, i32}, []api.ValueType{i32}, httpStatus},
	abi.ImportHTTPHead:   {[]api.ValueType{i32, i32, i32}, []api.ValueType{i32}, httpHead},
	abi.ImportHTTPRead:   {[]api.ValueType{i32, i32, i32, i32}, []api.ValueType{i32}, httpRead},
	abi.ImportHTTPClose:  {[]api.ValueType{i32}, []api.ValueType{i32}, httpClose},
	abi.ImportHTTPNext:   {[]api.ValueType{i32, i32, i32}, []api.ValueType{i32}, httpNext},
	abi.ImportHTTPReply:  {[]api.ValueType{i32, i32, i32, i32, i64}, []api.ValueType{i32}, httpReply},
}

// checkImports looks at what module imports before any time is spent on compiling it. All errors are told at once.
func (r *Runtime) checkImports(module []byte) error {
	list, err := modfile.Imports(module)
	if err != nil {
		return err
	}
	wasi := r.wasi.ExportedFunctionDefinitions()
	var errs []error
	for _, i := range list {
		_, inWASI := wasi[i.Name]
		_, known := hostFuncs[i.Name]
		switch {
		case i.Kind != modfile.FuncKind:
			errs = append(errs, fmt.Errorf("it imports %s, which is not a function; a guest brings its own memory, tables and globals", i))
		case i.Module == wasi_snapshot_preview1.ModuleName && inWASI:
		case i.Module == abi.Module && i.Name != abi.ImportYield && known:
		case i.Module == abi.Module && i.Name == abi.ImportYield:
			errs = append(errs, fmt.Errorf("it imports %s, which only the host may insert", i))
		default:
			errs = append(errs, fmt.Errorf("it imports %s, which this host does not have", i))
		}
	}
	return errors.Join(errs...)
}

// link makes the module "penstock" that compiled sees: each function that it imports.
func (r *Runtime) link(ctx context.Context, compiled wazero.CompiledModule) (hostModule, error) {
	b := r.engine.NewHostModuleBuilder(abi.Module)
	seen := map[string]bool{}
	for _, def := range compiled.ImportedFunctions() {
		module, name, _ := def.Import()
		if module != abi.Module || seen[name] {
			continue
		}
		seen[name] = true
		f := hostFuncs[name] // checkImports has looked that it is there
		if !slices.Equal(f.params, def.ParamTypes()) || !slices.Equal(f.results, def.ResultTypes()) {
			return hostModule{}, fmt.Errorf("it imports %s.%s as %s, but it is %s", module, name,
				signature(def.ParamTypes(), def.ResultTypes()), signature(f.params, f.results))
		}
		call := api.GoModuleFunc(func(ctx context.Context, m api.Module, stack []uint64) {
			in := ctx.(*callContext).in
			f.call(in, m.Memory(), stack)
			in.tick()
		})
		b.NewFunctionBuilder().WithName(name).WithGoModuleFunction(call, f.params, f.results).Export(name)
	}
	host, err := b.Compile(ctx)
	if err != nil {
		return hostModule{}, fmt.Errorf("link: %w", err)
	}
	m, err := r.engine.InstantiateModule(ctx, host, wazero.NewModuleConfig().WithName(""))
	if err != nil {
		return hostModule{}, errors.Join(fmt.Errorf("link: %w", err), host.Close(ctx))
	}
	return hostModule{m, host}, nil
}

// hostModule frees its code with itself.
type hostModule struct {
	api.Module
	code wazero.CompiledModule
}

func (h hostModule) Close(ctx context.Context) error {
	return errors.Join(h.Module.Close(ctx), h.code.Close(ctx))
}

// answer encodes a code as the result of an import, right for i32 and for i64.
func answer(c abi.Code) uint64 { return uint64(int64(c)) }

// exported says what type an export of the ABI has, and which kind of plugin must have it.
type exported struct {
	params, results []api.ValueType
	kind            abi.Kind // "" = every kind
	optional        bool
}

var exports = map[string]exported{
	abi.ExportMarker:  {},
	abi.ExportAlloc:   {params: []api.ValueType{i32}, results: []api.ValueType{i32}},
	abi.ExportOpen:    {params: []api.ValueType{i32}, results: []api.ValueType{i32}},
	abi.ExportCheck:   {params: []api.ValueType{i32}, results: []api.ValueType{i32}, optional: true},
	abi.ExportClose:   {results: []api.ValueType{i32}, optional: true},
	abi.ExportIdle:    {results: []api.ValueType{i32}, optional: true},
	abi.ExportPoll:    {params: []api.ValueType{i32, i32, i32}, results: []api.ValueType{i32}, kind: abi.Source},
	abi.ExportAck:     {params: []api.ValueType{i64, i32}, kind: abi.Source, optional: true},
	abi.ExportDeliver: {params: []api.ValueType{i64, i64, i32}, results: []api.ValueType{i32}, kind: abi.Sink},
	abi.ExportPrune:   {params: []api.ValueType{i64}, results: []api.ValueType{i32}, kind: abi.Sink, optional: true},
	abi.ExportProcess: {params: []api.ValueType{i32}, results: []api.ValueType{i32}, kind: abi.Processor},
}

const exportInitialize = "_initialize"

// checkExports looks whether the module has what the kinds in its manifest need, all errors at once.
func checkExports(compiled wazero.CompiledModule, m abi.Manifest) error {
	have := compiled.ExportedFunctions()
	if _, ok := have[abi.ExportMarker]; !ok {
		return fmt.Errorf("it does not export %s, so it does not speak version %d of the ABI", abi.ExportMarker, abi.Version)
	}
	var errs []error
	if _, ok := compiled.ExportedMemories()[abi.ExportMemory]; !ok {
		errs = append(errs, fmt.Errorf("it does not export its memory as %q", abi.ExportMemory))
	}
	for name, want := range exports {
		needed := want.kind == "" || slices.ContainsFunc(m.Plugins, func(p abi.Plugin) bool { return p.Kind == want.kind })
		def, ok := have[name]
		switch {
		case !ok && needed && !want.optional:
			errs = append(errs, fmt.Errorf("it does not export %s", name))
		case ok && (!slices.Equal(want.params, def.ParamTypes()) || !slices.Equal(want.results, def.ResultTypes())):
			errs = append(errs, fmt.Errorf("it exports %s as %s, but it must be %s", name,
				signature(def.ParamTypes(), def.ResultTypes()), signature(want.params, want.results)))
		}
	}
	if def, ok := have[exportInitialize]; ok && len(def.ParamTypes())+len(def.ResultTypes()) > 0 {
		errs = append(errs, fmt.Errorf("its %s takes parameters or has results", exportInitialize))
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// checkManifest looks at what the rest of this package relies on.
func checkManifest(m abi.Manifest) error {
	seen := map[[2]string]bool{}
	for _, p := range m.Plugins {
		key := [2]string{string(p.Kind), p.Name}
		switch {
		case p.Kind != abi.Source && p.Kind != abi.Sink && p.Kind != abi.Processor:
			return fmt.Errorf("its manifest has a plugin of unknown kind %q", p.Kind)
		case p.Name == "":
			return fmt.Errorf("its manifest has a %s without a name", p.Kind)
		case seen[key]:
			return fmt.Errorf("its manifest has the %s %q twice", p.Kind, p.Name)
		}
		seen[key] = true
	}
	if len(m.Plugins) == 0 {
		return errors.New("its manifest lists no plugin")
	}
	return nil
}

func signature(params, results []api.ValueType) string {
	names := func(types []api.ValueType) string {
		var s []string
		for _, t := range types {
			s = append(s, api.ValueTypeName(t))
		}
		return "(" + strings.Join(s, ", ") + ")"
	}
	return names(params) + " → " + names(results)
}
