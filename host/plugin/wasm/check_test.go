// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	. "github.com/penstock-io/penstock/host/plugin/wasm/internal/wasmtest"
	"github.com/penstock-io/penstock/spec/abi"
)

// checks is a module of which the n-th call of penstock_check of an instance does the n-th of some things, and the last for all later ones.
func checks(t *testing.T, do ...func(m *Module, fail, sleep uint32) []Code) *Plugin {
	m := NewModule()
	_, _, fail, sleep := importer(m)
	calls := m.Global()
	m.Plugin(0)
	m.Export(abi.ExportProcess, one, one, Const(0))
	body := []Code{GetGlobal(calls), Const64(1), Add64(), SetGlobal(calls)}
	for i, what := range do {
		body = append(body, GetGlobal(calls), Const64(int64(i)+1), Eq64(), If(what(m, fail, sleep)...))
	}
	m.Export(abi.ExportCheck, one, one, append(body, Const(0))...)
	return load(t, pack(t, m, abi.Processor)).(*Plugin)
}

func answers(code abi.Code) func(*Module, uint32, uint32) []Code {
	return func(m *Module, fail, _ uint32) []Code {
		path, text := m.Data("a.b"), m.Data("is not good")
		return []Code{Const(int32(code)), Const(-1), Const(path), Const(3), Const(text), Const(11), Call(fail), Drop(), Const(int32(code)), Return()}
	}
}

// looks are n times the same config.
func looks(n int) []plugin.Look {
	all := make([]plugin.Look, n)
	for i := range all {
		all[i] = plugin.Look{Kind: abi.Processor, Plugin: "test", Config: json.RawMessage(`{}`)}
	}
	return all
}

func TestOneInstanceLooksAtAllConfigsAndSaysWhichItRefuses(t *testing.T) {
	p := checks(t, answers(abi.OK), answers(abi.EINVAL), answers(abi.EAGAIN), answers(abi.EACCES), answers(abi.ENOSYS), answers(abi.EINVAL))
	said := p.Check(t.Context(), plugin.Limits{}, looks(7))
	for i, err := range said {
		if i != 1 && i != 5 {
			if err != nil {
				t.Errorf("config %d: %v", i, err)
			}
			continue
		}
		wantError(t, err, abi.Config, "is not good")
		if e, _ := errors.AsType[*plugin.Error](err); e == nil || e.Path != "a.b" {
			t.Errorf("config %d: %+v", i, e)
		}
	}
}

func TestALookThatBreaksEndsItsInstanceAloneAndNotForEver(t *testing.T) {
	p := checks(t, answers(abi.OK), func(*Module, uint32, uint32) []Code { return []Code{Trap()} })
	said := p.Check(t.Context(), plugin.Limits{}, looks(10))
	for i, err := range said {
		if broken := i%2 == 1 && i < 2*maxBrokenChecks; broken {
			wantError(t, err, abi.Fatal, "the plugin broke in penstock_check")
		} else if err != nil {
			t.Errorf("config %d: %v", i, err)
		}
	}
}

func TestALookIsBoundedInTimeAndMemory(t *testing.T) {
	t.Parallel()
	p := checks(t, func(*Module, uint32, uint32) []Code { return []Code{forever()} })
	wantError(t, p.Check(t.Context(), plugin.Limits{Call: time.Hour}, looks(1))[0], abi.Fatal, "used more than 1s of processor time in one call of penstock_check")
	if said := p.Check(t.Context(), plugin.Limits{MemoryBytes: pageSize}, looks(1)); said[0] != nil {
		t.Errorf("it looks with less memory than it starts with: %v", said[0])
	}
	trusted, err := shared.Load(t.Context(), plugin.Ref{Name: "test", Code: pack(t, endless(), abi.Processor), Trusted: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := trusted.Close(); err != nil {
			t.Error(err)
		}
	}()
	if said := trusted.(plugin.Checker).Check(t.Context(), plugin.Limits{}, looks(1)); said[0] != nil {
		t.Error(said[0])
	}
}

// endless is a module that looks for ever.
func endless() *Module {
	m := NewModule().Plugin(0)
	m.Export(abi.ExportProcess, one, one, Const(0))
	m.Export(abi.ExportCheck, one, one, forever(), Const(0))
	return m
}

func TestALookThatSleepsEndsWithItsContextAndSaysNothing(t *testing.T) {
	p := checks(t, func(_ *Module, _, sleep uint32) []Code {
		return []Code{Const(1 << 30), Call(sleep), Drop(), Const(int32(abi.EINVAL)), Return()}
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		said := p.Check(ctx, plugin.Limits{}, looks(5))
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
		for i, err := range said {
			if err != nil {
				t.Errorf("config %d: %v", i, err)
			}
		}
	})
}

func TestAModuleWithoutALookSaysNothing(t *testing.T) {
	m := NewModule().Plugin(0)
	m.Export(abi.ExportProcess, one, one, Const(0))
	if said := load(t, pack(t, m, abi.Processor)).(*Plugin).Check(t.Context(), plugin.Limits{}, looks(1)); len(said) != 1 || said[0] != nil {
		t.Error(said)
	}
}
