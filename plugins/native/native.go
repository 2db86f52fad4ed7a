// SPDX-License-Identifier: Apache-2.0

// Package native holds the plugins that are linked into the program itself, which then runs as its own child process and serves them:
// one file to ship, and processes that are apart all the same.
package native

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"github.com/penstock-io/penstock/plugins/exec"
	"github.com/penstock-io/penstock/plugins/kafka"
	"github.com/penstock-io/penstock/plugins/postgres"
	"github.com/penstock-io/penstock/plugins/std/module"
	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/abi"
)

var modules = map[string]func() map[string]sdk.Plugin{
	"std":      module.Plugins,
	"postgres": postgres.Plugins,
	"kafka":    kafka.Plugins,
	"exec":     exec.Plugins,
}

// Manifests are the plugin.hcl of those modules that are nowhere else: they need what WebAssembly does not have.
func Manifests() map[string]string {
	return map[string]string{"postgres": postgres.Manifest, "kafka": kafka.Manifest, "exec": exec.Manifest}
}

// Names are the modules there are, sorted.
func Names() []string { return slices.Sorted(maps.Keys(modules)) }

// Check has a plugin of a module look deeper at a config than its manifest can, without any I/O: nil: it finds nothing wrong, or does not look. path
// is the argument that err is about, "" for the config as a whole.
func Check(module string, kind abi.Kind, name string, config json.RawMessage) (path string, err error) {
	plugins, ok := modules[module]
	if !ok {
		return "", nil
	}
	err = sdk.Check(plugins(), kind, name, config)
	if e, ok := errors.AsType[*sdk.Error](err); ok {
		return e.Path, e.Err
	}
	return "", err
}

// Serve serves a module to the agent that has started this process, and does not return; or, started by a person, says what that is for
// and exits with status 2. It returns false when there is no such module.
func Serve(name string) bool {
	plugins, ok := modules[name]
	if !ok {
		return false
	}
	sdk.Main(plugins())
	return true
}
