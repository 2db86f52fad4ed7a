// SPDX-License-Identifier: Apache-2.0

// Package udp is the source that takes datagrams, of UDP and of unix sockets, an event each.
//
// Nobody waits for the answer to a datagram: what comes while the channel is full, or faster than it is read, the system drops. How many
// those were it knows (netstat -su), not the plugin.
package udp

import (
	"github.com/penstock-io/penstock/plugins/std/stream"
	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

// source takes datagrams.
type source struct {
	stream.Datagrams
	attributes [2]event.Attribute // reused
}

// New makes the source.
func New() sdk.Source { return new(source) }

// Open implements [sdk.Source].
func (s *source) Open(o *sdk.Open) error {
	var cfg struct {
		Max  int  `json:"max_datagram"`
		Peer bool `json:"peer"`
	}
	if err := o.Config(&cfg); err != nil {
		return err
	}
	s.Append = func(p *sdk.Poll, sender string, r stream.Record, now int64) error {
		attributes := s.attributes[:0]
		if cfg.Peer && sender != "" {
			attributes = append(attributes, event.Attribute{Key: "udp.peer", Value: []byte(sender)})
		}
		if r.Partial {
			attributes = append(attributes, event.Attribute{Key: "udp.truncated", Value: []byte("true")})
		}
		return p.Append(event.Event{Time: now, Attributes: attributes, Body: r.Body})
	}
	return s.Datagrams.Open(o, "listen", cfg.Max)
}
