// SPDX-License-Identifier: Apache-2.0

// Command poison is a module with the sink "file" that breaks on one line, and takes it when it is built as mended.
package main

import (
	"bytes"

	"github.com/penstock-io/penstock/plugins/std/filesink"
	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

// mended is set by the linker.
var mended string

type sink struct {
	*filesink.Sink
	breaks []byte
}

func (s *sink) Open(o *sdk.Open) error {
	var c struct{ Breaks string }
	if err := o.Config(&c); err != nil {
		return err
	}
	s.breaks = []byte(c.Breaks)
	return s.Sink.Open(o)
}

func (s *sink) Write(r event.Range, b event.Batch, d *sdk.Delivery) error {
	for _, e := range b.All() {
		if mended == "" && bytes.HasSuffix(e.Body, s.breaks) {
			panic("this line is poison to me")
		}
	}
	return s.Sink.Write(r, b, d)
}

func main() {
	sdk.Main(map[string]sdk.Plugin{"poison": {Sink: func() sdk.Sink { return &sink{Sink: filesink.New().(*filesink.Sink)} }}})
}
