// SPDX-License-Identifier: Apache-2.0

package config

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
