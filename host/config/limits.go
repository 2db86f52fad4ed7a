// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
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
	BatchBytes  int // of a source
	Listen      ListenLimits
	Serve       ServeLimits
}

// ListenLimits bound each address that a component listens on.
type ListenLimits struct {
	Connections, PerPeer int           // PerPeer 0: three quarters
	Idle, Handshake      time.Duration // Idle 0: only to make room
}

// ServeLimits bound the address at which a component serves HTTP. Its timeouts are those of the arguments with their names.
type ServeLimits struct {
	ListenLimits
	Requests             int
	BodyBytes, HeldBytes int64
	HeaderBytes          int
	Header, Body         time.Duration
	Queue, Answer        time.Duration
}

// limits are the pipeline's word, else the manifest's, else the default.
func (p *pluginBlock) limits(m abi.Plugin) Limits {
	v := p.limitsBlock()
	l := Limits{
		MemoryBytes: uint64(v.number("memory")), Call: time.Duration(v.number("cpu")), Share: v.fraction("cpu_share"),
		Handles: int(v.number("handles")), LogRate: int(v.number("log_rate")), Metrics: int(v.number("metrics")),
		OutputBytes: int(v.number("output")), BatchBytes: int(v.number("batch")), Listen: v.child("listen").listenLimits(), Serve: v.child("serve").serveLimits(),
	}
	l.Listen.Connections = cmp.Or(l.Listen.Connections, l.Handles)
	switch {
	case l.MemoryBytes > 0:
	case m.Limits.MemoryBytes > 0:
		l.MemoryBytes = m.Limits.MemoryBytes
	default:
		l.MemoryBytes = abi.DefaultMemory
	}
	return l
}

func (v *values) listenLimits() ListenLimits {
	return ListenLimits{
		Connections: int(v.number("connections")), PerPeer: int(v.number("per_peer")),
		Idle: time.Duration(v.number("idle_timeout")), Handshake: time.Duration(v.number("handshake_timeout")),
	}
}

func (v *values) serveLimits() ServeLimits {
	return ServeLimits{
		ListenLimits: v.listenLimits(),
		Requests:     int(v.number("requests")), HeaderBytes: int(v.number("header")),
		BodyBytes: v.number("body"), HeldBytes: v.number("held"),
		Header: time.Duration(v.number("header_timeout")), Body: time.Duration(v.number("body_timeout")),
		Queue: time.Duration(v.number("queue_timeout")), Answer: time.Duration(v.number("answer_timeout")),
	}
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
	l.fitting(v)
	if p.ref.Trusted = p.yes("trusted"); p.ref.Trusted {
		l.add("W4004", p.where("trusted"), "The processor time of the plugin %q is not bounded: if a call of it does not end, the agent can only be killed.", p.name())
	}
}

// fitting reports limits that contradict each other.
func (l *loader) fitting(v *values) {
	listen, serve := v.child("listen"), v.child("serve")
	handles := v.number("handles")
	for _, b := range []*values{listen, serve} {
		if all, one := cmp.Or(b.number("connections"), handles), b.number("per_peer"); one > all && all > 0 {
			l.add("E1307", b.where("per_peer"), "per_peer is %d, of %d connections in all.", one, all)
		}
	}
	if held, body := serve.number("held"), serve.number("body"); body > held && held > 0 {
		l.add("E1307", serve.where("held"), "held is %s, in which a body of %s has no room.", formatSize(held), formatSize(body))
	}
	if all := listen.number("connections"); all > handles && handles > 0 {
		l.add("W4005", listen.where("connections"), "The plugin has handles for %d sockets, and %d may connect: those beyond wait until others have gone.", handles, all)
	}
}

// fraction returns a number.
func (v *values) fraction(name string) float64 {
	n, _ := v.args[name].value.(json.Number)
	f, _ := n.Float64() // the checker has made sure
	return f
}
