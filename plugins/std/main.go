// SPDX-License-Identifier: Apache-2.0

// Command std is the module of the plugins that come with an agent: small ones, in one file, so that
// they share one runtime. plugin.hcl beside it is its manifest, README.md says what each does.
package main

import (
	"github.com/penstock-io/penstock/plugins/std/filesink"
	"github.com/penstock-io/penstock/plugins/std/httpsink"
	"github.com/penstock-io/penstock/plugins/std/httpsource"
	"github.com/penstock-io/penstock/plugins/std/process"
	"github.com/penstock-io/penstock/plugins/std/spool"
	"github.com/penstock-io/penstock/plugins/std/syslog"
	"github.com/penstock-io/penstock/plugins/std/tail"
	"github.com/penstock-io/penstock/plugins/std/tcp"
	"github.com/penstock-io/penstock/plugins/std/udp"
	"github.com/penstock-io/penstock/sdk"
)

func main() {
	sdk.Main(map[string]sdk.Plugin{
		"file":     {Source: tail.New, Sink: filesink.New},
		"spool":    {Source: spool.New},
		"http":     {Source: httpsource.New, Sink: httpsink.New},
		"generate": {Source: newGenerate},
		"tcp":      {Source: tcp.New, Sink: tcp.NewSink},
		"udp":      {Source: udp.New},
		"syslog":   {Source: syslog.New},
		"stdout":   {Sink: newStdout},
		"discard":  {Sink: newDiscard},
		"filter":   {Processor: process.NewFilter},
		"set":      {Processor: process.NewSet},
		"regex":    {Processor: process.NewRegex},
		"json":     {Processor: process.NewJSON},
		"mask":     {Processor: process.NewMask},
	})
}
