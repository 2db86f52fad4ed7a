// SPDX-License-Identifier: Apache-2.0

// Package plugin defines what a plugin is to the host, whatever it runs in.
//
// A [Runtime] loads a [Plugin]; a plugin opens any number of instances: a [Source], a [Sink] or a
// [Processor]. A plugin keeps nothing that its successor would need: the cursor and the leases are the host's. So
// hot reload, recovery and fail-over are one thing: open again from the committed cursor, take again.
package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// Source brings events in. Read and Ack may be called at the same time, each by one goroutine.
type Source interface {
	// Read waits for the next batch. io.EOF: there will be no more. Other errors are *Error; after one
	// of class Fatal the instance is dead. The caller owns the batch's one hold.
	Read(ctx context.Context) (Emission, error)
	// Ack says what became of everything up to seq: nil, it is durable; else seq and all later are
	// refused, and Close follows. Cumulative, in order.
	Ack(ctx context.Context, seq uint64, err error) error
	io.Closer
}

// Emission is one batch of a source, and how its cursor changes with it.
type Emission struct {
	Seq     uint64       // the instance's own count, from 1
	Batch   event.Batch  // may be empty: only the cursor moves
	Changed event.Cursor // an empty value deletes
}

// Leaver is a Source that can hand out what it has taken in already, before it is closed: of what it reads there is no second copy.
type Leaver interface {
	// Leave has the source take nothing in any more. Read then hands out what is left, and at its end answers io.EOF. It is called where Read is.
	Leave()
}

// Sink takes events out. Its methods are called by one goroutine.
type Sink interface {
	// Write hands over the batch of range r. nil: the destination holds all of it but Outcome.Rejected.
	// ErrRejected: it has applied nothing, and Outcome.Rejected (none listed: every event) will never be taken. Other
	// errors are *Error: nothing is known to be applied. The batch is the caller's again after Write returns. When ctx
	// ends it returns as soon as it can; the caller then closes the instance before the range goes to another.
	Write(ctx context.Context, r event.Range, b event.Batch) (Outcome, error)
	io.Closer
}

// Streamer is a Sink that takes a delivery before the ones before it have their outcome. Send and Outcome may be called at the same time, each by one
// goroutine; Write is not called beside them.
type Streamer interface {
	Sink
	// Window is how many deliveries may wait for their outcome.
	Window() int
	// Send hands over the batch of a range, above those that were sent before. The batch is the caller's again when it returns. After an error, which is an
	// *Error, the instance is dead; of class [abi.Reject], also of an Outcome, it says that the destination will not take so much at a time.
	Send(ctx context.Context, r event.Range, b event.Batch) error
	// Outcome waits until the destination holds the oldest delivery that was sent and has no outcome yet: a Streamer lists no rejects. After an error, which is
	// an *Error, the instance is dead, and nothing is known of that delivery and those after it.
	Outcome(ctx context.Context) error
}

// Outcome is what a destination said, or a processor.
type Outcome struct{ Rejected []Rejection }

// Rejection is one event that will never be taken.
type Rejection struct {
	Index  int // in the batch
	Code   abi.Code
	Reason string
}

// Pruner is a sink that stores ranges, and may drop those below low.
type Pruner interface {
	Prune(ctx context.Context, low event.Offset) error
}

// Processor changes batches: one in, one out, which may be empty. Pure. One goroutine.
type Processor interface {
	// Process leaves b with its owner; the caller owns the result's one hold. nil: the result is what became of all events but
	// Outcome.Rejected. ErrRejected: there is no result, and Outcome.Rejected (none listed: some event, it cannot say which) will
	// never be processed. Other errors are *Error.
	Process(ctx context.Context, b event.Batch) (event.Batch, Outcome, error)
	io.Closer
}

// Runtime loads plugins of one kind of machinery.
type Runtime interface {
	// Load reads, checks and prepares the plugin; no code of it runs.
	Load(ctx context.Context, ref Ref) (Plugin, error)
	io.Closer
}

// Ref says where a plugin is.
type Ref struct {
	Name   string // for messages and metrics
	Source string // as written in the pipeline file: "builtin:std", "./x.wasm"
	Code   []byte // the module; nil where Path says what to run
	// Digest is the sha256, in hex, of Code, which whoever read it has worked out; or that what is at Path must have; "" = not known, and any.
	Digest string
	// Path is the binary of a plugin that runs as a child process, Args what it is started with (nil: its path; else the first is what it
	// sees as its own name), and Manifest what it holds, where that does not lie beside it.
	Path     string
	Args     []string
	Manifest *abi.Manifest
	// Trusted says that the plugin's processor time is not bounded: it is not counted, and a call that does not end holds its component.
	Trusted bool
	// Background says that others run meanwhile, and that loading is to take from them what they leave.
	Background bool
	// Module and Table bound the size of the code in bytes, and the entries of each table; 0 = the default.
	Module uint64
	Table  uint32
}

// Plugin is a loaded plugin. Its methods may be called by many goroutines.
type Plugin interface {
	Manifest() abi.Manifest
	// Digest is the sha256 of the code, in hex.
	Digest() string
	// Open starts an instance: a Source, a Sink or a Processor by kind. Errors are *Error.
	Open(ctx context.Context, kind abi.Kind, open Request) (Instance, error)
	// Close frees the compiled code. All instances must have been closed.
	io.Closer
}

// Preparer is a plugin that can start an instance ahead of its open, which is then over in less time.
type Preparer interface {
	// Prepare starts what Open would, and calls nothing of it. Cursor, Stream and Incarnations of the request may be missing. Errors are *Error.
	Prepare(ctx context.Context, kind abi.Kind, open Request) (Spare, error)
}

// Spare is an instance that has been started and not opened. It has one owner.
type Spare interface {
	// Open opens it, once, with the request that it was prepared with, and what was missing in that. Where it fails, nothing is left of it.
	Open(ctx context.Context, open Request) (Instance, error)
	// Close frees one that was not opened; else it does nothing.
	io.Closer
}

// Checker is a plugin that can look deeper at configs than its manifest does, without any grant and without I/O.
type Checker interface {
	// Check asks about configs, and answers in their order: nil: nothing is wrong with it, the plugin does not look, or could not in time, which ctx
	// bounds too; else an *Error that says what is wrong, Path the argument. limits are those that instances have.
	Check(ctx context.Context, limits Limits, looks []Look) []error
}

// Look is a config that a plugin is asked about.
type Look struct {
	Kind   abi.Kind
	Plugin string          // its name in the manifest
	Config json.RawMessage // checked against the manifest, defaults filled in
}

// Request is what an instance is opened with.
type Request struct {
	Component    string          // the address, e.g. "source.shop": for messages, logs and metrics
	Plugin       string          // the plugin's name in the manifest
	Config       json.RawMessage // checked against the manifest, defaults filled in
	Instance     abi.Instance
	Cursor       event.Cursor      // source: where to go on
	Forgets      time.Duration     // source: entries of its cursor that were not set for so long are forgotten; 0: none is
	Channel      string            // sink: the name of the channel that it reads
	Reader       string            // sink: what reads it: its own address, or that of its group
	Stream       string            // sink: see channel.ReaderInfo
	Incarnations []abi.Incarnation // sink
	Ends         []event.Offset    // sink: behind the last event of each of these; of the newest, which goes on, the greatest that there is
	Durable      bool              // sink: what it is given, no crash takes away
	Shared       bool              // sink: others are given some of the stream, and perhaps again what this one was given
	// Settled says, to a sink of several that each keep what they were given of the stream, what needs to go to none of them any more: all below low, and
	// what is above it. The ranges are the caller's. nil: it gets all of the stream, or is Shared.
	Settled  func() (low event.Offset, above []event.Range)
	Dirs     []Dir    // granted
	Programs []string // granted to a child process: paths, those that end in a slash of directories, and names that PATH finds
	Network  bool     // granted to a child process: whatever the machine reaches
	Grants   Grants
	Limits   Limits
	Stdout   io.Writer     // granted by a need of kind "stdout"; nil: what the plugin prints goes to its log
	Buffers  event.Buffers // where emitted batches are copied to
	Log      *slog.Logger
	Metrics  Metrics // may be nil
}

// Dir is a granted directory. The plugin sees it under its path on the host.
type Dir struct {
	Path  string // absolute, clean
	Write bool   // else read-only
}

// Limits bound an instance. Zero means the default: see package abi.
type Limits struct {
	MemoryBytes uint64
	BatchEvents int           // source: asked of each poll
	BatchBytes  int           // source: asked of each poll, and the most that an emit may have
	Handles     int           // files that are open at a time, and as many connections and listeners
	Call        time.Duration // processor time of one call; 0 = what is usual for it
	Share       float64       // seconds of processor time in a second, over which the plugin has to wait; 1 = no bound
	LogRate     int           // lines in a second
	Metrics     int           // names of metrics, of the module as a whole
	OutputBytes int           // emitted by one call, beside the first batch
}

// The names of limits, as a pipeline file and the label of penstock_plugin_denied_total have them.
const (
	LimitMemory  = "memory"
	LimitCall    = "cpu"
	LimitShare   = "cpu_share"
	LimitDepth   = "depth"
	LimitHandles = "handles"
	LimitLogRate = "log_rate"
	LimitMetrics = "metrics"
	LimitBatch   = "batch" // what a poll was asked for
	LimitModule  = "module_size"
	LimitTable   = "table"
)

// Metrics receives what a plugin reports of itself and what the host sees of it. Calls may come from many goroutines.
type Metrics interface {
	// Plugin is a metric that the plugin reported: abi.MetricCounter or abi.MetricGauge.
	Plugin(component string, kind int, name string, value float64)
	// Call is one call into the plugin that took so long, and so much processor time.
	Call(component string, took, cpu time.Duration)
	// Memory is how much memory the instance has.
	Memory(component string, bytes uint64)
	// Denied is something that the plugin tried and was not granted, or that went over a limit: then capability is the limit's name.
	Denied(component, capability string)
}

// Instance is what Open gives: exactly one of Source, Sink and Processor is set.
type Instance struct {
	Source    Source
	Sink      Sink
	Processor Processor
	Held      []Held // sink: ranges that the destination said it holds
	MaxBatch  int    // sink that streams: bytes that its destination takes at a time; 0 = as many as there may be
}

// Held is a range that a destination holds.
type Held struct {
	Incarnation uint64
	Range       event.Range
}

// ErrRejected is what Sink.Write answers when it applied nothing because of what it rejected.
var ErrRejected = errors.New("rejected")

// Error is an error of a plugin, with what the host is to do about it.
type Error struct {
	Class   abi.Class
	Code    abi.Code      // what the plugin returned; 0 when it broke
	Message string        // what happened, in the plugin's or the host's words
	Hint    string        // what the user can do, or ""
	Path    string        // the argument of the config that is wrong, or ""
	Delay   time.Duration // for Retry: not before; 0 = the host's back-off
	Err     error         // what is under it, or nil
}

// Error gives message, code and hint in one line.
func (e *Error) Error() string {
	var s strings.Builder
	s.WriteString(e.Message)
	if e.Message == "" {
		s.WriteString(e.Class.String())
	}
	if e.Code != 0 {
		fmt.Fprintf(&s, " (%s)", e.Code)
	}
	if e.Path != "" {
		fmt.Fprintf(&s, ", in config.%s", e.Path)
	}
	if e.Hint != "" {
		fmt.Fprintf(&s, "; %s", e.Hint)
	}
	return s.String()
}

// Unwrap returns what is under it.
func (e *Error) Unwrap() error { return e.Err }

// ClassOf says what to do about err. What is not an *Error is Retry: the destination may take it later.
func ClassOf(err error) abi.Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	if errors.Is(err, ErrRejected) {
		return abi.Reject
	}
	return abi.Retry
}
