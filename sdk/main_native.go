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
// Built for this machine and not for WebAssembly, a plugin serves the agent that has started it. Started by a person it says how to use it,
// and exits with status 2.
func Main(plugins map[string]Plugin) {
	if startedByAgent() {
		err := serve(plugins)
		fmt.Fprintf(os.Stderr, "cannot serve the agent: %v\n", err)
		os.Exit(1)
	}
	fmt.Fprintf(os.Stderr, "This is a Penstock plugin (%s); %s", strings.Join(slices.Sorted(maps.Keys(plugins)), ", "), howToRun)
	os.Exit(2)
}
