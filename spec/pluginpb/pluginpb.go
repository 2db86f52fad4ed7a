// SPDX-License-Identifier: Apache-2.0

// Package pluginpb is the contract between an agent and a plugin that runs as its child process: plugin.proto, the code
// that is generated of it (`make proto`), and what the two agree on before the first message. spec/subprocess.md is the
// same in words.
//
// It is no part of a plugin for WebAssembly, whose contract is package abi alone.
package pluginpb

// Version of this contract, as the handshake negotiates it.
const Version = 1

// The environment of a child, beside what was granted to it. The names are those of github.com/hashicorp/go-plugin.
const (
	// CookieKey and CookieValue tell a child that an agent has started it, and not a person. They keep nothing secret.
	CookieKey   = "PENSTOCK_PLUGIN"
	CookieValue = "an agent runs this; see penstock plugin --help"
	// VersionsKey names the versions that the agent speaks: "1", later "1,2".
	VersionsKey = "PLUGIN_PROTOCOL_VERSIONS"
	// SocketDirKey names the directory, the child's alone, where it makes its socket.
	SocketDirKey = "PLUGIN_UNIX_SOCKET_DIR"
	// DialKey names the unix socket where a child asks for connections to what it was granted.
	DialKey = "PENSTOCK_DIAL"
)

// DialConnected is the first byte of what the agent answers, at the socket of DialKey, to a line with a handle's name: the bytes of the connection
// follow, in both directions. Anything else is a code, a blank, and why there is none.
const DialConnected = '+'

// Handshake is the one line that a child writes to its standard output, with its version and the path of its socket filled in.
const Handshake = "1|%d|unix|%s|grpc|\n"

// HealthService is the name that a child serves health under.
const HealthService = "plugin"

// Window is how many bytes may be under way on a stream before the receiver has read them: the largest batch, so that none waits for
// its own first half to be read. Both sides set it.
const Window = 16<<20 + 64<<10

// MaxMessage is the largest message: the largest batch, and what goes with it.
const MaxMessage = 16<<20 + 4<<20
