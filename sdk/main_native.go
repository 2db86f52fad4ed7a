// SPDX-License-Identifier: Apache-2.0

//go:build !wasip1

package sdk

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// Main gives the module its plugins, by the names in its manifest. Call it from main, and nothing after it.
//
// Built for this machine and not for WebAssembly, a plugin says how to build it and exits with status 2.
func Main(plugins map[string]Plugin) {
	fmt.Fprintf(os.Stderr, `This is a Penstock plugin (%s); it runs inside an agent, as WebAssembly. Build it with

	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o plugin.wasm .
	penstock plugin pack plugin.wasm

and name plugin.wasm in the pipeline file.
`, strings.Join(slices.Sorted(maps.Keys(plugins)), ", "))
	os.Exit(2)
}
