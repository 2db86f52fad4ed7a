// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/config"
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
