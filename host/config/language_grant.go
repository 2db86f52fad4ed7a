// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strconv"

	"github.com/penstock-io/penstock/spec/abi"
)

// grantBlock is what a plugin may touch.
var grantBlock = block{name: "grant", once: true, doc: "What the plugin may touch. Nothing is granted by default.",
	args: arguments(
		arg{name: "stdout", typ: "bool", def: "false", doc: "Write to the agent's standard output."},
		arg{name: "env", typ: "list(string)", doc: "Names of environment variables of the agent that it may read."},
		arg{name: "secrets", typ: "list(string)", doc: "Names of `secret` blocks that its config may hold."}),
	blocks: []block{
		{name: "dir", labels: []string{"handle"}, doc: "A directory with all that is in it, for the handle that the plugin asks for. May be repeated.", args: arguments(
			arg{name: "path", typ: "string", required: true, doc: "The directory. A glob grants the directory before its first wildcard."},
			arg{name: "access", typ: "string", def: defaultAccess, enum: []string{"read", "write"}, doc: "`write` is read and write."})},
		{name: "dial", labels: []string{"handle"}, doc: "An address to connect to. May be repeated.", args: arguments(
			arg{name: "address", typ: "string", required: true, doc: "`tcp://host:port`, `tls://host:port`, `udp://host:port`, `unix:///path` or `unixgram:///path`; `host:port` alone is tcp."})},
		{name: "listen", labels: []string{"handle"}, doc: "An address to listen on. May be repeated.", args: arguments(
			arg{name: "address", typ: "string", required: true, doc: "As for `dial`. Without a host, `tcp://:514`, it is every address of this machine."})},
		{name: "http", labels: []string{"handle"}, doc: "Where HTTP requests may go. May be repeated.", args: arguments(
			arg{name: "url", typ: "string", required: true, doc: "`http://` or `https://`. Requests may go to it and to what is below its path."})},
		{name: "serve", labels: []string{"handle"}, doc: "An address at which HTTP requests are taken. May be repeated.", args: arguments(
			arg{name: "address", typ: "string", required: true, doc: "`tcp://host:port`, `tls://host:port` or `unix:///path`."})},
	},
}

// tlsBlock is how connections are encrypted.
var tlsBlock = block{
	name: "tls", labels: []string{"name"},
	doc: "Certificates, for the addresses of sources and sinks that begin with `tls://` or `https://`. The files are in PEM form, and are read again when they change.",
	args: arguments(
		arg{name: "cert", typ: "string", doc: "The certificate, with those between it and the root after it. Who listens needs one; who connects shows it when it is asked to."},
		arg{name: "key", typ: "string", doc: "Its private key."},
		arg{name: "ca", typ: "string", shown: "the system's", doc: "Who connects: certificates that may have signed that of the other side. Who listens: clients must show a certificate that one of these has signed; without `ca` they need none."},
		arg{name: "verify", typ: "bool", def: "true", doc: "Who connects checks the certificate of the other side. `false` takes any."},
		arg{name: "min_version", typ: "string", def: defaultMinVersion, enum: []string{"1.2", "1.3"}, doc: "The oldest version of TLS that is spoken."}),
}

var tlsArgument = arg{name: "tls", typ: "tls", doc: "The `tls` block for the addresses that begin with `tls://` or `https://`. Who connects can do without: then the system's roots hold."}

// limitsBlock bounds what a plugin may take. Its defaults are those of package abi.
var limitsBlock = block{name: "limits", once: true, doc: "Bounds of each instance, and of the module. What goes over one is refused, told, and counted in `penstock_plugin_denied_total` under the name of the argument.", args: arguments(
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
)}

// maxMetrics is how many series of one component the agent keeps.
const maxMetrics = 1024
