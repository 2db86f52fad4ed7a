// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strconv"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// grantBlock is what a plugin may touch.
var grantBlock = block{name: "grant", once: true, doc: "What the plugin may touch. Nothing is granted by default.",
	args: arguments(
		arg{name: "stdout", typ: "bool", def: "false", doc: "Write to the agent's standard output."},
		arg{name: "network", typ: "bool", def: "false", doc: "Of child processes: reach whatever the machine reaches, at addresses that the pipeline file does not name."},
		arg{name: "env", typ: "list(string)", doc: "Names of environment variables of the agent that it may read."},
		arg{name: "secrets", typ: "list(string)", doc: "Names of `secret` blocks that its config may hold."}),
	blocks: []block{
		{name: "dir", labels: []string{"handle"}, doc: "A directory with all that is in it, for the handle that the plugin asks for. May be repeated.", args: arguments(
			arg{name: "path", typ: "string", required: true, doc: "The directory. A glob grants the directory before its first wildcard."},
			arg{name: "access", typ: "string", def: defaultAccess, enum: []string{"read", "write"}, doc: "`write` is read and write."})},
		{name: "dial", labels: []string{"handle"}, doc: "An address to connect to. May be repeated.", args: arguments(
			arg{name: "address", typ: "string", required: true, doc: "`tcp://host:port`, `tls://host:port`, `udp://host:port`, `unix:///path` or `unixgram:///path`; `host:port` alone is tcp. The host may be a pattern: `*.shop.example`, `10.0.0.0/8`, `[2001:db8::/32]`."})},
		{name: "listen", labels: []string{"handle"}, doc: "An address to listen on. May be repeated.", args: arguments(
			arg{name: "address", typ: "string", required: true, doc: "As for `dial`. Without a host, `tcp://:514`, it is every address of this machine."})},
		{name: "http", labels: []string{"handle"}, doc: "Where HTTP requests may go. May be repeated.", args: arguments(
			arg{name: "url", typ: "string", required: true, doc: "`http://` or `https://`. Requests may go to it and to what is below its path. The host may be `*.shop.example`."})},
		{name: "serve", labels: []string{"handle"}, doc: "An address at which HTTP requests are taken. May be repeated.", args: arguments(
			arg{name: "address", typ: "string", required: true, doc: "`tcp://host:port`, `tls://host:port` or `unix:///path`."})},
		{name: "exec", labels: []string{"handle"}, doc: "Of child processes: a program that it may run. What that does is bounded by the same grants. May be repeated.", args: arguments(
			arg{name: "path", typ: "string", required: true, doc: "The program; or a directory of programs, with a slash at its end; or a name without any, which is looked up in `PATH`."})},
	},
}

// tlsBlock is how connections are encrypted.
var tlsBlock = block{
	name: "tls", labels: []string{"name"},
	doc: "Certificates, for the addresses of sources and sinks that begin with `tls://` or `https://`. The files are in PEM form, and are read again when they change; while they cannot be used, what they said before is.",
	args: arguments(
		arg{name: "cert", typ: "string", doc: "The certificate, with those between it and the root after it. Who listens needs one; who connects shows it when it is asked to."},
		arg{name: "key", typ: "string", doc: "Its private key."},
		arg{name: "ca", typ: "string", shown: "the system's", doc: "Who connects: certificates that may have signed that of the other side. Who listens: clients must show a certificate that one of these has signed; without `ca` they need none."},
		arg{name: "verify", typ: "bool", def: "true", doc: "Who connects checks the certificate of the other side. `false` takes any."},
		arg{name: "min_version", typ: "string", def: defaultMinVersion, enum: []string{"1.2", "1.3"}, doc: "The oldest version of TLS that is spoken."}),
}

var tlsArgument = arg{name: "tls", typ: "tls", doc: "The `tls` block for the addresses that begin with `tls://` or `https://`. Who connects can do without: then the system's roots hold."}

// limitsBlock bounds what a plugin may take. Its defaults are those of package abi.
var limitsBlock = block{name: "limits", once: true, doc: "Bounds of each instance, and of the module. What goes over one is refused, told, and counted in `penstock_plugin_denied_total` under the name of the argument: `memory`, `serve.body`.", args: arguments(
	arg{name: "memory", typ: "size", shown: "what the plugin asks for, else " + formatSize(abi.DefaultMemory), min: 1 << 20, max: 4 << 30, doc: "The most memory that the guest may have."},
	arg{name: "cpu", typ: "duration", min: 1e6, max: hour,
		shown: fmt.Sprintf("%s, and to deliver %s more for each MiB, a poll %s, to open %s", formatDuration(abi.DefaultCall), formatDuration(abi.DefaultCallInput), formatDuration(abi.DefaultPoll), formatDuration(abi.DefaultOpen)),
		doc:   "The most processor time of one call. Then the guest is ended."},
	arg{name: "cpu_share", typ: "number", def: strconv.FormatFloat(abi.DefaultShare, 'f', -1, 64), min: 0.01, max: 1, doc: "The most processor time in a second, in seconds. Over it the guest waits. It runs on one core at a time, so 1 is no bound."},
	arg{name: "handles", typ: "integer", def: strconv.Itoa(abi.DefaultHandles), min: 1, max: 1 << 20, doc: "How many files may be open at a time, and as many sockets."},
	arg{name: "log_rate", typ: "integer", def: strconv.Itoa(abi.DefaultLogRate), min: 1, max: 1e6, doc: "Lines of log in a second; twice as many may come at once. Further ones are counted."},
	arg{name: "metrics", typ: "integer", def: strconv.Itoa(abi.DefaultMetrics), min: 1, max: maxMetrics, doc: "How many metrics of its own the module may report."},
	arg{name: "output", typ: "size", def: formatSize(abi.DefaultOutput), min: 64 << 10, max: 1 << 30, doc: "How much one call may emit, beside the first batch. Then it is told to go on in the next."},
	arg{name: "module_size", typ: "size", def: formatSize(abi.DefaultModule), min: 1 << 10, max: abi.MaxModule, doc: "The largest module that is loaded."},
	arg{name: "table", typ: "integer", def: strconv.Itoa(abi.DefaultTable), min: 1, max: 10_000_000, doc: "The most entries of each table."},
	arg{name: "batch", typ: "size", def: formatSize(abi.DefaultBatch), min: 64 << 10, max: event.MaxBatch, doc: "Source: how much each poll is asked for, and the most that one batch may have; a request that becomes more is answered with 413."},
), blocks: []block{listenLimits, serveLimits}}

// Limits of what a plugin listens on. They count under the names of their blocks: "listen.connections".
var (
	listenLimits = block{name: "listen", once: true, doc: "Bounds of each address that the plugin listens on.", args: arguments(
		arg{name: "connections", typ: "integer", shown: "as many as `handles`", min: 1, max: 1 << 20, doc: "How many connections may be open at a time. When all are taken, one that was quiet for a minute makes room; else the new one is hung up on."},
		perPeer,
		arg{name: "idle_timeout", typ: "duration", def: "0s", max: 7 * 24 * hour, doc: "A TCP connection over which nothing came or went for so long is ended. `0s`: only to make room. On Linux."},
		handshakeTimeout,
	)}
	serveLimits = block{name: "serve", once: true, doc: "Bounds of the address at which the plugin serves HTTP.", args: arguments(
		arg{name: "connections", typ: "integer", def: strconv.Itoa(abi.DefaultHTTPConnections), min: 1, max: 1 << 20, doc: "How many clients may be connected at a time; more are hung up on."},
		perPeer,
		arg{name: "requests", typ: "integer", def: strconv.Itoa(abi.DefaultHTTPRequests), min: 1, max: abi.DefaultHTTPRequests, doc: "How many requests may wait for their answer at a time; more are answered with 503."},
		arg{name: "body", typ: "size", def: formatSize(abi.DefaultHTTPBody), min: 1, max: abi.MaxHTTPBody, doc: "The longest body of a request; a longer one is answered with 413. What it becomes must fit into `batch` too."},
		arg{name: "held", typ: "size", def: formatSize(abi.DefaultHTTPHeld), min: 1, max: 4 << 30, doc: "How much the bodies of all requests may have at a time; more are answered with 503."},
		arg{name: "header", typ: "size", def: formatSize(abi.DefaultHTTPHeader), min: 1 << 10, max: abi.MaxHTTPHeader, doc: "The longest header of a request; a longer one is answered with 431."},
		arg{name: "header_timeout", typ: "duration", def: formatDuration(abi.DefaultHTTPHeaderTimeout), min: 1e7, max: hour, doc: "How long a client may take to send a header; then it is hung up on."},
		arg{name: "body_timeout", typ: "duration", def: formatDuration(abi.DefaultHTTPBodyTimeout), min: 1e7, max: hour, doc: "How long it may take to send the body; then it is answered with 408."},
		arg{name: "queue_timeout", typ: "duration", def: formatDuration(abi.DefaultHTTPQueueTimeout), min: 1e6, max: hour, doc: "How long a request waits until the plugin takes it, which it does not while the channel is full; then it is answered with 503."},
		arg{name: "answer_timeout", typ: "duration", def: formatDuration(abi.DefaultHTTPAnswerTimeout), min: 1e6, max: hour, doc: "How long it waits for its answer after that, then with 503; it may be stored all the same."},
		arg{name: "idle_timeout", typ: "duration", def: formatDuration(abi.DefaultHTTPIdle), min: 1e7, max: 7 * 24 * hour, doc: "How long a connection may rest between two requests."},
		handshakeTimeout,
	)}

	perPeer          = arg{name: "per_peer", typ: "integer", shown: "three quarters of `connections`", min: 1, max: 1 << 20, doc: "How many of them from one IP address."}
	handshakeTimeout = arg{name: "handshake_timeout", typ: "duration", def: formatDuration(abi.DefaultHandshake), min: 1e7, max: hour, doc: "How long the handshake of TLS may take."}
)

// maxMetrics is how many series of one component the agent keeps.
const maxMetrics = 1024
