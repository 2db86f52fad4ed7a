// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
)

func TestAModuleIsReadOnceAndIsTheOneThatIsAskedFor(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.wasm")
	if err := os.WriteFile(file, []byte("code"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%x", sha256.Sum256([]byte("code")))
	var m Modules
	for _, asked := range []string{"", want, strings.ToUpper(want)} {
		code, digest, err := m.Code(config.PluginRef{Source: file, SHA256: asked})
		if err != nil || string(code) != "code" || digest != want {
			t.Errorf("asked for %q: %q with %s, %v", asked, code, digest, err)
		}
	}
	if _, _, err := m.Code(config.PluginRef{Source: file, SHA256: strings.Repeat("0", 64)}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("another one is taken: %v", err)
	}
	if err := os.WriteFile(file, []byte("changed since"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, digest, err := m.Code(config.PluginRef{Source: file}); err != nil || string(code) != "code" || digest != want {
		t.Errorf("what was validated is not what will run: %q with %s, %v", code, digest, err)
	}
}

// looker is a module that refuses every config, and counts what it is asked.
type looker struct{ asked, done int }

func (l *looker) Check(_ context.Context, _ plugin.Limits, looks []plugin.Look) []error {
	l.asked += len(looks)
	said := make([]error, len(looks))
	for i := range said {
		said[i] = &plugin.Error{Class: abi.Config, Code: abi.EINVAL, Message: "refused " + string(looks[i].Config), Path: "path"}
	}
	return said
}

func TestEachModuleLooksAtAllOfItsConfigsInOneGoAndNoProgramIsStarted(t *testing.T) {
	dir := t.TempDir()
	var asks []config.Ask
	for i, name := range []string{"a.wasm", "b.wasm", "a.wasm", "program", "gone.wasm"} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		ref := config.PluginRef{Name: fmt.Sprint("plugin", i), Source: file, Subprocess: name == "program"}
		asks = append(asks, config.Ask{Ref: ref, Kind: abi.Sink, Config: fmt.Append(nil, i)})
	}
	if err := os.Remove(filepath.Join(dir, "gone.wasm")); err != nil {
		t.Fatal(err)
	}
	var l looker
	loads := 0
	m := &Modules{Look: func(dataDir string, ref plugin.Ref, of []config.Ask) (plugin.Checker, func() error, error) {
		if loads++; dataDir != "data" || len(ref.Code) == 0 || ref.Digest == "" {
			t.Errorf("in %q: %+v", dataDir, ref)
		}
		return &l, func() error { l.done++; return nil }, nil
	}}
	var said []string
	for _, a := range m.check("data", asks) {
		said = append(said, fmt.Sprint(a.Path, " ", a.Err))
	}
	want := []string{"path refused 0", "path refused 1", "path refused 2", " <nil>", " <nil>"}
	if !slices.Equal(said, want) || loads != 2 || l.asked != 3 || l.done != 2 {
		t.Errorf("said %q, of %d asked in %d loads, %d ended", said, l.asked, loads, l.done)
	}
}
