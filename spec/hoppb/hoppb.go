// SPDX-License-Identifier: Apache-2.0

// Package hoppb is the contract between an agent and whoever sends events to it over a hop: hop.proto, the code that is generated of it
// (`make proto`), and the numbers that both sides have to know. spec/hop.md is the same in words.
package hoppb

import "time"

// Version is the newest of the protocol.
const Version = 1

// ALPN is the application protocol that both sides name in the handshake of TLS.
const ALPN = "h2"

// Limits that both sides keep to: spec/hop.md §10.
const (
	// MaxMessage is the largest message in bytes: the largest batch, and what goes with it.
	MaxMessage = 16<<20 + 64<<10
	// Window is how many bytes of answers may be on their way to a sender, of which none is long. Where one is said, gRPC does not measure the link with pings of
	// the sender's, of which a receiver need not take more than one in PingEvery.
	Window = 64 << 10
	// MaxWindow is the most that a receiver lets a sender leave unanswered, in messages.
	MaxWindow = 64
	// MaxStream is the longest name of a stream, in bytes: with the identity in front it is the key of an entry of a cursor, which has 256 at most.
	MaxStream = 191
	// MaxIncarnations is how many a Hello has at most.
	MaxIncarnations = 1024
)

const (
	// HelloWithin is how long a sender may take to say Hello.
	HelloWithin = 10 * time.Second
	// PingAfter is after how long of silence a side asks whether the other is there, and PingWithin how long that one may take.
	PingAfter, PingWithin = 20 * time.Second, 10 * time.Second
	// PingEvery is how often a receiver lets itself be asked.
	PingEvery = 5 * time.Second
)

// PositionSize is how long a position is in a cursor: {u64 incarnation, u64 offset}, little-endian.
const PositionSize = 16

// SpanSize is how long each part above it is: {u64 incarnation, u64 first, u64 next}, little-endian.
const SpanSize = 24

// MaxParts is of how many separate ranges above its position a receiver keeps that it holds them, as many as an entry of a cursor has room for, which is
// 4 KiB; and how many a message says are settled.
const MaxParts = 170

// MaxCursor is how many bytes of keys and positions a receiver keeps of all its upstreams: what a channel keeps of one source.
const MaxCursor = 2 << 20

// CursorVersion is the form of the entries: see spec/abi.md on cursor_version.
const CursorVersion = 1
