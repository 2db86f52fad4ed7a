// SPDX-License-Identifier: Apache-2.0

package exec

import (
	_ "embed"

	"github.com/penstock-io/penstock/sdk"
)

// Manifest is plugin.hcl: what the plugin takes and needs.
//
//go:embed plugin.hcl
var Manifest string

// Plugins are those of this module, by their names in the manifest.
func Plugins() map[string]sdk.Plugin {
	return map[string]sdk.Plugin{"exec": {Source: New}}
}
