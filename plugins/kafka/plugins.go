// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	_ "embed"

	"github.com/penstock-io/penstock/sdk"
)

// Manifest is plugin.hcl: what the plugins take and need.
//
//go:embed plugin.hcl
var Manifest string

// Plugins are those of this module, by their names in the manifest.
func Plugins() map[string]sdk.Plugin {
	return map[string]sdk.Plugin{
		"kafka":       {Source: New, Sink: NewSink},
		"kafka_plain": {Sink: NewPlainSink},
	}
}
