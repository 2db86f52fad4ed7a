// SPDX-License-Identifier: Apache-2.0

// Command goecho is what the echo plugins of the other SDKs are, as far as they are measured: a processor that hands on what it is given. keep
// hands events on whole, rebuild encodes them anew, half leaves out every other one.
package main

import (
	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

func main() {
	sdk.Main(map[string]sdk.Plugin{"echo": {Processor: func() sdk.Processor { return new(echo) }}})
}

type echo struct {
	Mode string `json:"mode"`
}

func (p *echo) Open(o *sdk.Open) error { return o.Config(p) }

func (p *echo) Process(b event.Batch, out *sdk.Output) error {
	switch p.Mode {
	case "rebuild":
		for e := out.Each(b); e.Next(); {
			if err := out.AppendEvent(e.Offset(), e.Event()); err != nil {
				return err
			}
		}
	case "half":
		for i, e := 0, out.Each(b); e.Next(); i++ {
			if i%2 == 0 {
				e.Keep()
			}
		}
	default:
		for e := out.Each(b); e.Next(); {
			e.Keep()
		}
	}
	return nil
}
