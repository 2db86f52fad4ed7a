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

func TestTheDigestThatIsLinkedInGoesFirst(t *testing.T) {
	if got := Digest("std", nil); got != "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" {
		t.Errorf("of nothing: %s", got)
	}
	defer func() { digest = "" }()
	digest = "linked"
	if std, other := Digest("std", nil), Digest("other", nil); std != "linked" || other == "linked" {
		t.Errorf("std %s, other %s", std, other)
	}
}
