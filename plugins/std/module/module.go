// SPDX-License-Identifier: Apache-2.0

// Package module holds the plugins of module std, by their names in its manifest, which is plugin.hcl in the folder above. The three
// smallest are here, the others in folders of their own.
package module

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

// Plugins are the plugins of the module.
func Plugins() map[string]sdk.Plugin {
	return map[string]sdk.Plugin{
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
	}
}
