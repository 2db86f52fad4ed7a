// SPDX-License-Identifier: Apache-2.0

// Package config reads pipeline files (HCL) and says what is wrong with them, and where.
//
// [Load] turns a directory into an immutable [Config]: parse all, collect the blocks, load manifests,
// check every argument against its table, compute grants, look at the graph. Of a plugin's code none runs but what looks at its own
// config, if [Options] has it.
//
// Invariants:
//
//   - All mistakes are reported at once, in the order of the files. Each has a file, a line and a code that never
//     changes its meaning ([Codes], [Explain]); there is a Config if and only if none of them is an error.
//   - The language is data: language.go holds every block and argument with its type, default and
//     meaning. Decoding, suggestions and spec/hcl.md all come from that table, and a plugin's own arguments go through the same checks.
//   - References (channel.main) are read statically: the graph is known without evaluating anything.
//   - What a file says is bounded before it is parsed, so that no input can exhaust the stack.
package config

import (
	"encoding/json"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/penstock-io/penstock/spec/abi"
)

// Options are what loading needs to know of the world around the files. Every func may be nil.
type Options struct {
	// Manifest loads a plugin's manifest; no code of the plugin runs. The text of its error is shown to
	// the user at the line that names the plugin, and should say what can be done.
	Manifest func(ref PluginRef) (abi.Manifest, error)
	// Check has plugins look deeper at their configs than manifests can; nil: none looks. The answers are in the order of the asks. It does no I/O for
	// them, and they are not asked about configs that hold secrets, which are not known. dataDir is that of the agent.
	Check func(dataDir string, asks []Ask) []Answer
	// Builtin says which builtin module holds the plugin of that kind and name, e.g. "std".
	Builtin func(kind abi.Kind, name string) (module string, ok bool)
	// Native says of a builtin module that it runs as a child process alone.
	Native func(module string) bool
	// Builtins lists the names of the builtin plugins of a kind, for suggestions.
	Builtins func(kind abi.Kind) []string
	// DiskFree says how many bytes data under path may come to take: what is free, and what it takes already.
	DiskFree func(path string) (uint64, error)
	// Absent says of a directory that a component is granted that it is not there; nil: nobody looks.
	Absent func(dir string) bool
	// ChannelKinds are the kinds of channel there are; nil means "wal" and "memory".
	ChannelKinds []string
	// Version is that of the running agent, for required_version; "" is not compared.
	Version string
	// Isolation says whether child processes are kept to their grants, but for those that have a network of their own, and if not, what they are
	// trusted with, and why. nil: nothing is known to keep them.
	Isolation func() (kept bool, trusted []string)
	// Variables are what the configuration is given from outside.
	Variables Variables
	// Overlay is text that stands for that of files, by their absolute paths: what is open in an editor, saved or not.
	Overlay map[string][]byte
	// Dir is the directory against which relative paths of data are taken: globs, data_dir, grants.
	// "" is the working directory. (A plugin's "./x.wasm" is relative to the file that says so.)
	Dir string
}

// Ask is a component of which the plugin is to look at its config.
type Ask struct {
	Ref    PluginRef
	Kind   abi.Kind
	Name   string          // of the plugin, in its manifest
	Config json.RawMessage // as [Component] has it
	Limits Limits
}

// Answer is what a plugin says of a config.
type Answer struct {
	Err  error  // nil: it finds nothing wrong, or does not look
	Path string // the argument that Err is about, "a.b" for what is within one; "": the config as a whole
}

// PluginRef says where a plugin is.
type PluginRef struct {
	Name   string // of the plugin block, or of the builtin module
	Source string // "builtin:std", or the absolute path of a .wasm or a binary
	SHA256 string // that the file must have, in lower-case hex; "" = any

	Subprocess   bool   // it runs as a child process, and not as WebAssembly
	Kept         bool   // and is kept to its grants, but for addresses if it has a network of its own
	TrustedWith  string // if it is not: what it can do beyond them, and why
	Trusted      bool   // its processor time is not bounded
	ModuleBytes  uint64 // the largest that is loaded
	TableEntries uint32 // the most of each table
}

// Config is a checked configuration. It is not changed after Load.
type Config struct {
	Agent      Agent
	Secrets    []Secret // each in the order of the files
	Channels   []Channel
	Processors []Processor
	Routes     []Route
	Sources    []Source
	Sinks      []Sink
	Groups     []Group  // of sinks
	Moved      []Move   // names that things had before; see [Config.Formerly]
	Off        []string // addresses of what is switched off
	Revision   string   // sha256 over the files' names and contents, and the values of variables, in hex
}

// Agent is the process.
type Agent struct {
	Name, ID     string
	DataDir      string // absolute
	DrainTimeout time.Duration
	Probation    time.Duration // of what a reload has started
	Labels       map[string]string
	Origin       bool   // each event of a source is given what tells it from all others
	Listen       string // host:port; "" = no HTTP
	Token        string // name of the secret that who asks over HTTP must show; "" = none
	TLS          *TLS   // of HTTP; nil: it is plain
	LogLevel     string // "debug", "info", "warn", "error"
	LogFormat    string // "text", "json", or "auto": text on a terminal
}

// Channel is a buffer.
type Channel struct {
	Kind, Name    string
	CapacityBytes uint64
	MaxEvents     uint64        // 0 = no bound
	MaxAge        time.Duration // 0 = no bound
	OnFull        string        // "block", "refuse", "drop_oldest", "drop_newest"
	Retain        time.Duration // how long events stay that all sinks have committed
	Durability    string        // "fsync", "interval", "os"
	FlushEvery    time.Duration // of "interval"
	MinFreeBytes  *uint64       // nil: what the kind of channel thinks right
	OnCorrupt     string        // "stop", "quarantine"
	Compression   string        // "none", "s2", "zstd"
	Key           string        // name of the secret that is written with; "" = nothing is encrypted
	OldKeys       []string      // names of those that are read with too
	Scrub         time.Duration // between two rounds; 0 = never
	ForgetAfter   time.Duration // of cursor entries; 0 = never
	DeadLetter    string        // name of the channel that keeps what is not taken; "" = there is none
	DeclRange     hcl.Range
}

// Address is what references and metrics call it, e.g. "channel.main".
func (c Channel) Address() string { return "channel." + c.Name }

// Component is what sources, processors and sinks have in common.
type Component struct {
	Name      string
	Kind      abi.Kind
	Ref       PluginRef
	Plugin    abi.Plugin
	Config    json.RawMessage // an object: defaults filled in, durations as nanoseconds, sizes as bytes, granted paths absolute
	Dirs      []Dir           // granted directories, none within another of the same right
	Needs     []string        // what else is granted, by kind: "stdout", "network"; sorted
	Programs  []string        // granted to run, sorted: paths, those that end in a slash of directories, and names that PATH finds
	Handles   []Handle        // granted addresses, in the order of the manifest
	Env       []string        // granted variables of the agent's environment, sorted
	Secrets   []string        // names of the secrets that it is given, sorted; see [Reveal]
	TLS       *TLS            // for the addresses that are secure; nil: none was named
	Limits    Limits
	DeclRange hcl.Range

	open          map[string]any // the config with what secretHandles take out of it
	hidden        []hidden
	secretHandles []secretHandle
}

// Address is what references and metrics call it, e.g. "source.shop".
func (c Component) Address() string { return string(c.Kind) + "." + c.Name }

// Source fills a channel.
type Source struct {
	Component
	Into    string   // name of a channel
	Through []string // names of processors, in order
}

// Sink drains a channel.
type Sink struct {
	Component
	Feed
	// Into is the name of the channel that a relay puts into; "" of any other sink.
	Into    string
	Through []string // names of processors, in order
	Start   string   // "oldest", "now": where it begins when it is new
	OnLag   string   // "hold", "skip", "detach"
	// Group is the name of the sink_group that it is a member of; "" = it reads alone. Feed and Start are then those of the group.
	Group string
	// Delivery is what it asks of the paths that end in it: "exactly_once", "at_least_once"; "" = nothing.
	Delivery string
	// OrderBy is the attribute by which events are dealt over Lanes; "" = they are not, and Lanes is 1.
	OrderBy string
	Lanes   int
	// Connections is how many instances deliver at the same time. More than 1: in any order.
	Connections int
	// Timeout is how long a delivery may take; 0 = no bound.
	Timeout time.Duration
	Batch   Batch
	Retry   Retry
}

// Batch bounds what a sink is given at a time.
type Batch struct {
	Events, Bytes int
	Wait          time.Duration // how long to gather after the first event is there
}

// Retry bounds the pause between attempts.
type Retry struct{ Min, Max time.Duration }

// Dir is a granted directory.
type Dir struct {
	Path  string // absolute, clean
	Write bool   // read and write; else read
}
