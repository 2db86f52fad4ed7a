// SPDX-License-Identifier: Apache-2.0

// Command std is the module of the plugins that come with an agent: small ones, in one file, so that
// they share one runtime. plugin.hcl beside it is its manifest, README.md says what each does.
package main

import (
	"github.com/penstock-io/penstock/plugins/std/module"
	"github.com/penstock-io/penstock/sdk"
)

func main() { sdk.Main(module.Plugins()) }
