// SPDX-License-Identifier: Apache-2.0

package event

// Attributes that a dead letter has behind its own: where it was, and why nobody takes it. Two letters in which those of
// identity are equal are one event, which was kept twice because something crashed in between.
const (
	DeadPrefix = ReservedPrefix + "dead."

	// Identity: of an event of a channel, channel, incarnation and offset; of one that was on its way into a channel, digest.
	DeadComponent   = DeadPrefix + "component"   // that gave it up: "sink.archive", "source.shop"
	DeadProcessor   = DeadPrefix + "processor"   // of that component: "processor.parse"; absent when it was none
	DeadGroup       = DeadPrefix + "group"       // whose member that is: "sink_group.web", which is the identity in the component's place; else absent
	DeadChannel     = DeadPrefix + "channel"     // the uuid of the channel that it was in
	DeadIncarnation = DeadPrefix + "incarnation" // of that channel, in hex
	DeadOffset      = DeadPrefix + "offset"      // in that channel, in decimal
	DeadDigest      = DeadPrefix + "digest"      // SHA-256 of its attributes and body, the first half, in hex

	DeadReason   = DeadPrefix + "reason"   // in the words of the plugin or its destination, cut to MaxDeadReason
	DeadClass    = DeadPrefix + "class"    // "reject", or "fatal" when a plugin broke on it
	DeadCode     = DeadPrefix + "code"     // the name of a code of package abi; absent when the plugin broke
	DeadPlugin   = DeadPrefix + "plugin"   // name and version
	DeadAttempts = DeadPrefix + "attempts" // how often it was tried, as far as known
	DeadTime     = DeadPrefix + "time"     // when it was given up, RFC 3339; its own time is the event's
)

// Room for those attributes beside any event.
const (
	// MaxDeadReason is the longest reason that is kept, in bytes.
	MaxDeadReason = 1 << 10
	// DeadRoom is kept free for them, beside EventMargin, by whoever makes events larger on their way into a channel: keys, the reason,
	// and for the others the 200 bytes that a name has at most.
	DeadRoom = 4 << 10
)
