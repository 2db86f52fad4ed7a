// SPDX-License-Identifier: Apache-2.0

// Package hop is the protocol by which one agent sends events to another, exactly once: spec/hop.md in code.
//
// It is two state machines, with no network, clock or goroutine: [Upstream] is what a receiver knows of one that sends to it, [Sequence] what a
// sender knows of its receiver. Package link carries what they say.
//
// Invariants:
//
//   - A message is put only when the receiver stands where the message says that it follows. So nothing is put twice, and nothing is left out,
//     whatever was lost, sent again or refused on the way.
//   - One of several receivers of a stream gets parts of it, and keeps which: a message is put only when none of it is held. What its sender says is
//     settled counts as held, so what is kept is as much as is not settled, and no more.
//   - Where the receiver stands changes in the record that holds the events; what is answered is on disk.
//   - A receiver that holds what its sender does not know goes no further by itself: neither side could tell what to repeat.
package hop

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/hoppb"
)

// Position is where a receiver stands. The zero Position is before all.
type Position struct {
	Incarnation uint64
	Offset      event.Offset
}

// String implements [fmt.Stringer].
func (p Position) String() string {
	if p == (Position{}) {
		return "nowhere yet"
	}
	return fmt.Sprintf("%d of incarnation %016x", p.Offset, p.Incarnation)
}

// Wire is the position as it is sent; nil of the zero one.
func (p Position) Wire() *hoppb.Position {
	if p == (Position{}) {
		return nil
	}
	return &hoppb.Position{Incarnation: p.Incarnation, Offset: uint64(p.Offset)}
}

// FromWire is what Wire has made.
func FromWire(p *hoppb.Position) Position {
	return Position{p.GetIncarnation(), event.Offset(p.GetOffset())}
}

// Key is what a receiver keeps the position of an upstream under: nobody can name another's.
func Key(identity, stream string) string {
	sum := sha256.Sum256([]byte(identity))
	return hex.EncodeToString(sum[:]) + "/" + stream
}

// Identity is who a certificate says that its owner is: the first URI, else the common name, else the first DNS name; "" when it says none of these.
func Identity(c *x509.Certificate) string {
	switch {
	case len(c.URIs) > 0:
		return c.URIs[0].String()
	case c.Subject.CommonName != "":
		return c.Subject.CommonName
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	}
	return ""
}

// Allowed says whether an identity is one of the patterns, in which a * stands for anything.
func Allowed(patterns []string, identity string) bool {
	return identity != "" && slices.ContainsFunc(patterns, func(p string) bool { return matches(p, identity) })
}

func matches(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	first, last := parts[0], parts[len(parts)-1]
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return true
}

// Life is one incarnation of a sender: what it has numbered is in [First, Next).
type Life struct {
	ID          uint64
	First, Next event.Offset
}

// lives are those of one sender, the oldest first.
type lives []Life

// at is the index of an incarnation, -1 of the zero position's, and whether it is known.
func (l lives) at(id uint64) (int, bool) {
	if id == 0 {
		return -1, true
	}
	i := slices.IndexFunc(l, func(one Life) bool { return one.ID == id })
	return i, i >= 0
}

// compare orders positions whose incarnations are known.
func (l lives) compare(a, b Position) int {
	i, _ := l.at(a.Incarnation)
	j, _ := l.at(b.Incarnation)
	switch {
	case i != j:
		return i - j
	case a.Offset < b.Offset:
		return -1
	case a.Offset > b.Offset:
		return 1
	}
	return 0
}

// check says what is wrong with them, or nil.
func (l lives) check() error {
	if len(l) == 0 || len(l) > hoppb.MaxIncarnations {
		return fmt.Errorf("%d incarnations are listed, of which there are 1 to %d", len(l), hoppb.MaxIncarnations)
	}
	seen := make(map[uint64]bool, len(l))
	for i, one := range l {
		if one.ID == 0 || seen[one.ID] || one.Next < one.First || i > 0 && one.First < l[i-1].Next {
			return fmt.Errorf("incarnation %016x from %d to %d is out of order, or there twice", one.ID, one.First, one.Next)
		}
		seen[one.ID] = true
	}
	return nil
}
