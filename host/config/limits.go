// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/json"
	"time"

	"github.com/penstock-io/penstock/spec/abi"
)

// Limits bound each instance of a component's plugin.
type Limits struct {
	MemoryBytes uint64
	Call        time.Duration // of processor time; 0 = what is usual for the call
	Share       float64       // of a core
	Handles     int
	LogRate     int // lines in a second
	Metrics     int // of the module
	OutputBytes int // of one call
}

// limits are the pipeline's word, else the manifest's, else the default.
func (p *pluginBlock) limits(m abi.Plugin) Limits {
	v := p.limitsBlock()
	l := Limits{
		MemoryBytes: uint64(v.number("memory")), Call: time.Duration(v.number("cpu")), Share: v.fraction("cpu_share"),
		Handles: int(v.number("handles")), LogRate: int(v.number("log_rate")), Metrics: int(v.number("metrics")),
		OutputBytes: int(v.number("output")),
	}
	switch {
	case l.MemoryBytes > 0:
	case m.Limits.MemoryBytes > 0:
		l.MemoryBytes = m.Limits.MemoryBytes
	default:
		l.MemoryBytes = abi.DefaultMemory
	}
	return l
}

// limitsBlock is what the file says, or the defaults, also of a plugin that no file declares.
func (p *pluginBlock) limitsBlock() *values {
	if p.inner == nil {
		return defaultsOf(limitsBlock, p.at)
	}
	return p.child("limits")
}

// bound adds to a reference what bounds the module, and warns of what does not.
func (l *loader) bound(p *pluginBlock) {
	v := p.limitsBlock()
	p.ref.ModuleBytes, p.ref.TableEntries = uint64(v.number("module_size")), uint32(v.number("table"))
	if p.inner == nil {
		return
	}
	if p.ref.Trusted = p.yes("trusted"); p.ref.Trusted {
		l.add("W4004", p.where("trusted"), "The processor time of the plugin %q is not bounded: if a call of it does not end, the agent can only be killed.", p.name())
	}
}

// fraction returns a number.
func (v *values) fraction(name string) float64 {
	n, _ := v.args[name].value.(json.Number)
	f, _ := n.Float64() // the checker has made sure
	return f
}
