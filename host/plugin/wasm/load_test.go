// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/wasm/internal/modfile"
	. "github.com/penstock-io/penstock/host/plugin/wasm/internal/wasmtest"
	"github.com/penstock-io/penstock/spec/abi"
)

func TestAModuleThatBreaksARuleIsRefusedAtLoad(t *testing.T) {
	poll := func(m *Module) *Module {
		m.Plugin(0).Export(abi.ExportPoll, three, one, Const(0))
		return m
	}
	imports := func(module, name string, params, results []byte) *Module {
		m := NewModule()
		m.ImportFrom(module, name, params, results)
		return poll(m)
	}
	tests := map[string]struct {
		module *Module
		want   string
	}{
		"it imports what no host has":             {imports("penstock", "teleport", one, one), "penstock.teleport, which this host does not have"},
		"it imports yield":                        {imports("penstock", "yield", none, one), "penstock.yield, which only the host may insert"},
		"it imports from another module":          {imports("env", "abort", none, none), "env.abort"},
		"it has the right name of a wrong module": {imports("env", "sleep", one, one), "env.sleep, which this host"},
		"it imports a WASI function unheard of":   {imports("wasi_snapshot_preview1", "fd_teleport", none, one), "wasi_snapshot_preview1.fd_teleport"},
		"it imports emit with another type":       {imports("penstock", "emit", three, one), "penstock.emit as (i32, i32, i32) → (i32), but it is (i32, i32) → (i64)"},
		"it imports a global": {func() *Module {
			m := NewModule()
			m.ImportGlobal("env", "base")
			return poll(m)
		}(), "env.base, which is not a function"},
		"it does not speak the ABI": {func() *Module {
			m := NewModule()
			m.Export(abi.ExportPoll, three, one, Const(0))
			return m
		}(), "does not export penstock_abi_1"},
		"it has no poll and says that it is a source": {NewModule().Plugin(0), "does not export penstock_poll"},
		"its poll has another type": {func() *Module {
			m := NewModule().Plugin(0)
			m.Export(abi.ExportPoll, two, one, Const(0))
			return m
		}(), "penstock_poll as (i32, i32) → (i32), but it must be (i32, i32, i32) → (i32)"},
		"its memory has another name": {func() *Module {
			m := poll(NewModule())
			m.MemoryName = "mem"
			return m
		}(), `does not export its memory as "memory"`},
		"it has no memory": {func() *Module {
			m := poll(NewModule())
			m.Pages = 0
			return m
		}(), `does not export its memory as "memory"`},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := shared.Load(t.Context(), plugin.Ref{Name: "x", Source: "x.wasm", Code: pack(t, c.module, abi.Source)})
			if err == nil {
				_ = p.Close()
				t.Fatal("it was loaded")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q does not say %q", err, c.want)
			}
		})
	}
}

func TestAModuleMayImportWhatIsNotGrantedAndIsToldSo(t *testing.T) {
	m := NewModule()
	open := m.Import("net_open", three, one)
	secret := m.Import("secret", four, one)
	m.Plugin(0)
	m.Export(abi.ExportPoll, three, one,
		Const(0), Const(0), Const(0), Const(0), Call(secret),
		Const(0), Const(0), Const(0), Call(open), Add(), // -14
		Const(4), Add())
	s := start(t, m, abi.Source, nil)
	_, err := s.Source.Read(t.Context())
	wantError(t, err, abi.Reject, "EREJECT") // -7 + -7 + 4
	if s.meter.denied("net_open") != 1 || s.meter.denied("secret") != 1 {
		t.Errorf("denied: %v", s.meter.denies)
	}
}

func TestTheDigestIsThatOfWhoeverReadTheModule(t *testing.T) {
	m := NewModule().Plugin(0)
	m.Export(abi.ExportPoll, three, one, Const(0))
	ref := plugin.Ref{Name: "x", Source: "x.wasm", Code: pack(t, m, abi.Source)}
	sum := sha256.Sum256(ref.Code)
	for _, given := range []string{"", hex.EncodeToString(sum[:])} {
		ref.Digest = given
		p, err := shared.Load(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		if p.Digest() != hex.EncodeToString(sum[:]) {
			t.Errorf("given %q: %s", given, p.Digest())
		}
		_ = p.Close()
	}
}

// A compiler that believes what such a module says takes 4 GiB, and the process with it.
func TestAModuleThatSaysItHasMoreThanItIsRefusedAlsoWhenItIsTrusted(t *testing.T) {
	m := NewModule().Plugin(0)
	m.Export(abi.ExportPoll, three, one, Const(0))
	code := modfile.AppendSection(pack(t, m, abi.Source), modfile.Data, []byte("\x01\x01\xff\xff\xff\xff\x0f"))
	for _, trusted := range []bool{false, true} {
		p, err := shared.Load(t.Context(), plugin.Ref{Name: "x", Source: "x.wasm", Code: code, Trusted: trusted})
		if !errors.Is(err, modfile.Err) {
			t.Errorf("trusted %v: %v", trusted, err)
		}
		if err == nil {
			_ = p.Close()
		}
	}
}

func TestManifestsAreReplacedAndReadBack(t *testing.T) {
	code := NewModule().Plugin(0).Bytes()
	if _, err := ManifestOf(code); !errors.Is(err, ErrNoManifest) {
		t.Errorf("a module without one: %v", err)
	}
	for _, version := range []string{"1.0.0", "2.0.0", "2.0.0"} {
		packed, err := Pack(code, abi.Manifest{Name: "x", Version: version})
		if err != nil {
			t.Fatal(err)
		}
		if m, err := ManifestOf(packed); err != nil || m.Version != version {
			t.Errorf("read %+v, %v, want version %s", m, err, version)
		}
		if n := bytes.Count(packed, []byte(abi.ManifestSection)); n != 1 {
			t.Errorf("there are %d manifests", n)
		}
		code = packed
	}
}

func TestAManifestIsCheckedAtLoad(t *testing.T) {
	for want, plugins := range map[string][]abi.Plugin{
		"lists no plugin":  nil,
		"unknown kind":     {{Kind: "pump", Name: "x"}},
		"without a name":   {{Kind: abi.Source}},
		`source "x" twice`: {{Kind: abi.Source, Name: "x"}, {Kind: abi.Sink, Name: "x"}, {Kind: abi.Source, Name: "x"}},
	} {
		code, err := Pack(NewModule().Plugin(0).Bytes(), abi.Manifest{Plugins: plugins})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := shared.Load(t.Context(), plugin.Ref{Code: code}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
}

func TestDamagedModulesAreErrorsAndNotPanics(t *testing.T) {
	m := NewModule()
	m.Import(abi.ImportSleep, one, one)
	code := pack(t, m.Plugin(0), abi.Source)
	for n := range len(code) {
		if _, err := ManifestOf(code[:n]); err == nil {
			t.Errorf("a manifest was found in the first %d of %d bytes", n, len(code))
		}
		if _, err := modfile.Imports(code[:n]); err != nil && !errors.Is(err, modfile.Err) {
			t.Errorf("imports in %d bytes: %v", n, err)
		}
	}
}

func FuzzModule(f *testing.F) {
	m := NewModule()
	m.Import(abi.ImportSleep, one, one)
	code, err := Pack(m.Plugin(0).Bytes(), abi.Manifest{Name: "x"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(code)
	f.Add([]byte(modfile.Preamble))
	f.Fuzz(func(t *testing.T, code []byte) {
		_, _ = modfile.Imports(code)
		packed, err := Pack(code, abi.Manifest{Name: "fuzz"})
		if err != nil {
			return
		}
		if m, err := ManifestOf(packed); err != nil || m.Name != "fuzz" {
			t.Errorf("packed module reads %+v, %v", m, err)
		}
	})
}

func TestAnInstanceThatWasPreparedIsOpenedLaterOrNever(t *testing.T) {
	code, err := goGuest()
	if err != nil {
		t.Fatal(err)
	}
	p, s := load(t, code).(plugin.Preparer), &setup{}
	one, err := p.Prepare(t.Context(), abi.Source, s.request(abi.Source))
	if err != nil {
		t.Fatal(err)
	}
	in, err := one.Open(t.Context(), s.request(abi.Source))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(one.Close(), in.Source.Close()); err != nil {
		t.Error(err)
	}
	never, err := p.Prepare(t.Context(), abi.Source, s.request(abi.Source))
	if err != nil {
		t.Fatal(err)
	}
	inside := never.(*spare).in
	if err := errors.Join(never.Close(), never.Close()); err != nil {
		t.Error(err)
	}
	if inside.mem.reserved != nil || inside.dead == nil {
		t.Error("one that is not opened keeps its memory")
	}
}
