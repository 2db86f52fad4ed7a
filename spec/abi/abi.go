// SPDX-License-Identifier: Apache-2.0

// Package abi names the contract between the host and a plugin: the version, the functions that
// a WebAssembly guest exports, those that it imports, the codes that cross the boundary, and the
// manifest that says what a plugin is before any of its code runs. spec/abi.md is the same in words.
//
// Within version 1 only new imports and optional exports may appear; a number is never used twice.
package abi

import "time"

// Version is the ABI that this tree speaks. A guest of it exports [ExportMarker].
const Version = 1

// Module is the WebAssembly module name of the host's imports.
const Module = "penstock"

// Exports of a guest, a WASI reactor (its _initialize is run once, if present).
const (
	ExportMemory  = "memory"
	ExportMarker  = "penstock_abi_1"   // () marks the ABI; looked up on the compiled module, never called
	ExportAlloc   = "penstock_alloc"   // (size i32) ptr i32: the guest's input arena, valid until the next alloc; 0 = no memory
	ExportOpen    = "penstock_open"    // (len i32) code i32: an open request (see OpenRequest) lies in the arena
	ExportCheck   = "penstock_check"   // (len i32) code i32: optional; a deeper look at the config, no grants and no I/O
	ExportClose   = "penstock_close"   // () code i32: optional
	ExportIdle    = "penstock_idle"    // () code i32: optional; between calls, at most once a second
	ExportPoll    = "penstock_poll"    // (max_events i32, max_bytes i32, timeout_ms i32) code i32: source; calls emit
	ExportAck     = "penstock_ack"     // (seq i64, status i32): source, optional; cumulative; status 0 = durable, < 0 = seq and all later are refused
	ExportPrune   = "penstock_prune"   // (low i64) code i32: sink, optional; stored ranges below low may go
	ExportDeliver = "penstock_deliver" // (first i64, next i64, len i32) code i32: sink; a batch lies in the arena
	ExportProcess = "penstock_process" // (len i32) code i32: processor; calls emit exactly once
)

// Imports from [Module]. All answer ≥ 0 or a negative [Code].
const (
	ImportEmit     = "emit"     // (ptr, len i32) i64: one batch; checked and copied before it returns; the instance's own count, from 1
	ImportCursor   = "cursor"   // (key, klen, val, vlen i32) i32: sets an entry of the cursor of the batch emitted next; an empty value deletes
	ImportResult   = "result"   // (index, code, ptr, len i32) i32: this event of the delivery was rejected, and why
	ImportFail     = "fail"     // (code, delay_ms, path, plen, msg, mlen i32) i32: text and hint for the code returned next
	ImportPosition = "position" // (incarnation, first, next i64) i32: sink, in open: a range that the destination holds already
	ImportLog      = "log"      // (level, ptr, len i32) i32: see the Level constants
	ImportMetric   = "metric"   // (kind, name, len i32, value f64) i32: see the Metric constants
	ImportNow      = "now"      // () i64: wall clock, unix nanoseconds
	ImportSleep    = "sleep"    // (ms i32) i32: 0, or EINTR when the host wants the guest back
	ImportYield    = "yield"    // inserted by the host's rewriter only; a module that imports it itself is refused
)

// Imports from [Module] for what lies outside; each needs a grant, and answers [EACCES] without one. A name is that of a handle in
// the manifest, never an address. Timeouts are in milliseconds, 0 = do not wait, < 0 = until the host wants the guest back;
// a wait that is over is [ETIMEOUT], or [EAGAIN] where the timeout was 0. The parameter after is 0 = at once, or a number
// that emit answered: the host keeps what is to be sent until that batch is durable.
const (
	ImportSecret      = "secret"       // (name, nlen, ptr, cap i32) len i32: if len > cap nothing is written
	ImportNetOpen     = "net_open"     // (name, nlen, timeout i32) fd i32: dials, or hands over the listener
	ImportNetAccept   = "net_accept"   // (fd, timeout i32) fd i32
	ImportNetRead     = "net_read"     // (fd, ptr, cap, timeout i32) n i32: at least 1; EOF at the end
	ImportNetWrite    = "net_write"    // (fd, ptr, len, timeout i32, after i64) n i32
	ImportNetRecvFrom = "net_recvfrom" // (fd, ptr, cap, addr, acap, timeout i32) i64: one datagram; its size, and << 32 that of the sender's address (text, cut to acap)
	ImportNetShutdown = "net_shutdown" // (fd i32) i32: ends what is written; reading goes on
	ImportNetClose    = "net_close"    // (fd i32) i32
	ImportNetPass     = "net_pass"     // (fd, ptr, len i32) i32: gives an accepted connection back, with what was read of it and is not handed over
	ImportNetInfo     = "net_info"     // (fd, ptr, cap i32) len i32: JSON; if len > cap nothing is written
	ImportNetWait     = "net_wait"     // (out, cap, timeout i32) n i32: up to cap handles (u32 each) that can be read or accepted from
	ImportHTTPSend    = "http_send"    // (name, nlen, ptr, len, timeout i32) id i32: one request, as a batch of one event
	ImportHTTPStatus  = "http_status"  // (id, timeout i32) status i32: waits for the head of the response
	ImportHTTPHead    = "http_head"    // (id, ptr, cap i32) len i32: the headers, as a batch of one event; if len > cap nothing is written
	ImportHTTPRead    = "http_read"    // (id, ptr, cap, timeout i32) n i32: of the response's body; EOF at the end
	ImportHTTPClose   = "http_close"   // (id i32) i32
	ImportHTTPNext    = "http_next"    // (ptr, cap, timeout i32) len i32: one request to answer, as a batch of one event; if len > cap it waits to be asked again
	ImportHTTPReply   = "http_reply"   // (id, status, ptr, len i32, after i64) i32: answers it, with a batch of one event, or len 0
)

// Attributes of a request or a response beside its headers, whose names are in lower case; the event's body is its body.
const (
	HTTPMethod = ":method"
	HTTPPath   = ":path"   // of a client's request: below the base URL that was granted, with its query
	HTTPID     = ":id"     // of a request to answer, in decimal
	HTTPRemote = ":remote" // of a request to answer: the client's address
)

// ManifestSection is the name of the custom section that holds the manifest as JSON.
const ManifestSection = "penstock.manifest"

// Levels of log lines, as slog counts them.
const (
	LevelDebug = -4
	LevelInfo  = 0
	LevelWarn  = 4
	LevelError = 8
)

// Kinds of metric.
const (
	MetricCounter = 0 // value is added
	MetricGauge   = 1 // value is set
)

// Limits that hold in the contract itself.
const (
	// MaxKey bounds the key of a cursor entry, so that STATE stays small.
	MaxKey = 256
	// MaxValue bounds the value of a cursor entry, for the same reason.
	MaxValue = 4 << 10
	// MaxText bounds a log line or an error text that a guest hands over; longer ones are cut.
	MaxText = 16 << 10
)

// Kind says what a plugin does.
type Kind string

// The kinds.
const (
	Source    Kind = "source"
	Processor Kind = "processor"
	Sink      Kind = "sink"
)

// Code is what crosses the boundary for "did not work": negative, numbered for ever.
type Code int32

// The codes. An unknown code counts as EAGAIN.
const (
	OK       Code = 0
	EAGAIN   Code = -1  // retry: try again later
	EINTR    Code = -2  // the host wants the guest back: return now
	EOF      Code = -3  // a source has finished for good
	ETIMEOUT Code = -4  // retry: it took too long
	EIO      Code = -5  // retry: the outside answered wrongly
	EINVAL   Code = -6  // config: a wrong argument
	EACCES   Code = -7  // config: not granted
	ETOOBIG  Code = -8  // split, or reject
	ENOENT   Code = -9  // retry: it is not there (yet)
	EREJECT  Code = -10 // reject: this will never be taken
	ENOSYS   Code = -11 // config: the host or the plugin lacks this
)

// Class is what the host does about an error; the names are those of spec/abi.md.
type Class uint8

// The classes.
const (
	Retry  Class = iota // roll back, back off, try again, for ever by default
	Reject              // this event will never be taken: to the dead letters
	Config              // the component cannot work as configured: hold it
	Fatal               // the plugin broke: replace the instance
)

var classNames = [...]string{Retry: "retry", Reject: "reject", Config: "config", Fatal: "fatal"}

// String names the class in one word.
func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return "unknown"
}

var codes = map[Code]struct {
	name  string
	class Class
}{
	OK: {"OK", Retry}, EAGAIN: {"EAGAIN", Retry}, EINTR: {"EINTR", Retry}, EOF: {"EOF", Retry},
	ETIMEOUT: {"ETIMEDOUT", Retry}, EIO: {"EIO", Retry}, EINVAL: {"EINVAL", Config}, EACCES: {"EACCES", Config},
	ETOOBIG: {"ETOOBIG", Reject}, ENOENT: {"ENOENT", Retry}, EREJECT: {"EREJECT", Reject}, ENOSYS: {"ENOSYS", Config},
}

// String gives the code's name, e.g. "EREJECT".
func (c Code) String() string {
	if k, ok := codes[c]; ok {
		return k.name
	}
	return "EUNKNOWN"
}

// MaxDelay is the longest that anybody is left alone for because it says so.
const MaxDelay = time.Hour

// Delay is how long not to try again when a plugin or a peer names so many milliseconds: none for less than none, and [MaxDelay] at most.
func Delay(ms int64) time.Duration {
	return time.Duration(min(max(ms, 0), MaxDelay.Milliseconds())) * time.Millisecond
}

// Class says what the host does about the code. An unknown code is [Retry].
func (c Code) Class() Class { return codes[c].class }
