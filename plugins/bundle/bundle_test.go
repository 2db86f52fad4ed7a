// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"bytes"
	"strings"
	"testing"
)

func TestModuleThatIsNotThereSaysWhatToDo(t *testing.T) {
	if _, err := Module("no-such-module"); err == nil || !strings.Contains(err.Error(), "make plugins") {
		t.Fatalf("error is %v", err)
	}
}

func TestModulesThatAreThereAreWebAssembly(t *testing.T) {
	for _, name := range Names() {
		code, err := Module(name)
		if err == nil && !bytes.HasPrefix(code, []byte("\x00asm")) {
			t.Errorf("%s begins with %q", name, code[:min(4, len(code))])
		}
	}
}
