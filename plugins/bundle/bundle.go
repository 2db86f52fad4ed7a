// SPDX-License-Identifier: Apache-2.0

// Package bundle holds the Wasm modules that come with the binary. `make plugins` puts them here; a tree in which
// that has not been done still builds, and what needs a module then says so.
package bundle

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
)

// The directory always holds a .gitignore, without which embedding it would fail.
//
//go:embed all:modules
var modules embed.FS

// digest is the sha256 of the module std in hex, which `make build` links in: to work it out takes an agent that starts a tenth of the time until its
// first event. Without it Digest does.
var digest string

// Digest is the sha256 of a module's code, in hex.
func Digest(name string, code []byte) string {
	if name == "std" && digest != "" {
		return digest
	}
	sum := sha256.Sum256(code)
	return hex.EncodeToString(sum[:])
}

// Names are the modules there are, or would be.
func Names() []string { return []string{"std"} }

// Module returns the code of a module, which must not be changed.
func Module(name string) ([]byte, error) {
	code, err := modules.ReadFile("modules/" + name + ".wasm")
	if err != nil {
		return nil, fmt.Errorf("the plugins of module %s are not in this binary: run `make plugins`, then build again", name)
	}
	return code, nil
}
