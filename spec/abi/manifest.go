// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"encoding/json"
	"fmt"
)

// A Manifest says what a module holds. It lies in the custom section [ManifestSection] of a Wasm
// module, written there by `penstock plugin pack` from the plugin.hcl beside the source, and is
// read without running the module. Unknown fields are ignored.
type Manifest struct {
	Name    string   `json:"name"`    // of the module, e.g. "std"
	Version string   `json:"version"` // semantic version of the module
	Plugins []Plugin `json:"plugins"`

	// Runtime is what a plugin.hcl says of how its folder is built: "" for what is usual in its language, RuntimeWasm or RuntimeSubprocess.
	// It is no part of the manifest that is packed: what was built is the one or the other.
	Runtime string `json:"-"`
}

// What a plugin runs as.
const (
	RuntimeWasm       = "wasm"
	RuntimeSubprocess = "subprocess"
)

// A Plugin is one entry of a manifest. Kind and Name together are unique in a module.
type Plugin struct {
	Kind Kind   `json:"kind"`
	Name string `json:"name"`
	Doc  string `json:"doc,omitempty"` // one paragraph for people

	Arguments []Argument `json:"arguments,omitempty"` // of the config block, in the order of the docs
	Needs     []Need     `json:"needs,omitempty"`     // what it asks of the host, by handle
	Limits    Limits     `json:"limits,omitzero"`     // what it is known to need; the pipeline file may say otherwise

	// Replay is a source's claim: "cursor" (resumes exactly from its cursor), "ack" (the sender may
	// send again after a lost answer), "none" (what was in flight at a crash is lost).
	Replay string `json:"replay,omitempty"`
	// Effects is a sink's claim: "transactional" (reports in open the ranges it holds),
	// "idempotent" (keys by offset or origin), "none".
	Effects string `json:"effects,omitempty"`
	// Concurrent is a sink's claim that several instances with the same config may write at the same time.
	Concurrent bool `json:"concurrent,omitempty"`
	// Multiplies is a processor's word that it may make several events of one. Without it each comes to one at most.
	Multiplies bool `json:"multiplies,omitempty"`
	// CursorVersion is the form of cursor that this source writes; Reads lists the older ones it resumes from.
	CursorVersion uint32   `json:"cursor_version,omitempty"`
	Reads         []uint32 `json:"reads,omitempty"`
	// Partitioned says that cursor keys can be dealt over several instances.
	Partitioned bool `json:"partitioned,omitempty"`
}

// An Argument describes one argument of a plugin's config block.
type Argument struct {
	Name string `json:"name"`
	// Type in HCL type syntax: string, number, bool, list(string), map(string), object({a = string, b = optional(number)}),
	// and besides those "integer" (a number that is whole), and "duration" ("200ms") and "size" ("4MiB"), which arrive at
	// the plugin as nanoseconds and bytes.
	Type       string          `json:"type"`
	Required   bool            `json:"required,omitempty"`
	Default    json.RawMessage `json:"default,omitempty"`
	Enum       []string        `json:"enum,omitempty"`
	Pattern    string          `json:"pattern,omitempty"` // RE2, matched against the whole string
	Min        *float64        `json:"min,omitempty"`     // of the number, duration (ns) or size (bytes)
	Max        *float64        `json:"max,omitempty"`
	Sensitive  bool            `json:"sensitive,omitempty"`  // never shown
	Deprecated string          `json:"deprecated,omitempty"` // what to use instead
	Doc        string          `json:"doc,omitempty"`
}

// A Need is one handle that a plugin asks for. What it gets is its needs ∩ what is granted.
type Need struct {
	Handle string `json:"handle"`
	Kind   string `json:"kind"`             // one of the Need constants
	Value  string `json:"value,omitempty"`  // an HCL expression over config, e.g. "config.paths"; what it comes to is said at each kind
	Access string `json:"access,omitempty"` // dir: "read" (the default) or "write" (read and write)
}

// The kinds of need. Those marked so are of plugins that run as child processes. An address is tcp://host:port (or host:port alone), tls://host:port, udp://host:port, unix:///path or
// unixgram:///path.
const (
	NeedDir    = "dir"    // a path, a glob, or a list of them
	NeedStdout = "stdout" // no value
	NeedDial   = "dial"   // an address
	NeedListen = "listen" // an address
	NeedHTTP   = "http"   // a URL: where requests may go, and below which path
	NeedServe  = "serve"  // an address, tcp, tls or unix: where requests come in
	NeedEnv    = "env"    // a name, or a list of them, of environment variables of the agent
	NeedSecret = "secret" // the value of an argument that is sensitive; the guest asks for it by the handle
	// NeedExec (child processes): a program to run, a directory of them, or a list. A name without a slash is looked up in PATH.
	NeedExec    = "exec"
	NeedNetwork = "network" // (child processes) any text, or null: whatever the machine reaches
)

// Limits bound an instance. Zero means the host's default.
type Limits struct {
	MemoryBytes uint64 `json:"memory,omitempty"`
}

// Find returns the plugin of that kind and name, or false.
func (m Manifest) Find(kind Kind, name string) (Plugin, bool) {
	for _, p := range m.Plugins {
		if p.Kind == kind && p.Name == name {
			return p, true
		}
	}
	return Plugin{}, false
}

// ParseManifest reads the JSON of a manifest section.
func ParseManifest(section []byte) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(section, &m); err != nil {
		return Manifest{}, fmt.Errorf("parse manifest: %w", err)
	}
	return m, nil
}
