// SPDX-License-Identifier: Apache-2.0

// Package tcp is the source that takes lines over TCP, TLS and unix sockets, and the sink that sends them.
//
// Neither can promise much: TCP tells a sender that the other system has its bytes, not that anybody has kept them. The source reads only
// what the channel has room for, so that a sender notices; what was read and not yet stored when the agent is killed is lost.
package tcp

import (
	"github.com/penstock-io/penstock/plugins/std/stream"
	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

// The attributes of an event.
const (
	attrPeer    = "tcp.peer"    // who sent it, as address:port
	attrPartial = "tcp.partial" // its line goes on in the next event of the same peer
)

var yes = []byte("true")

// source takes records from connections.
type source struct {
	stream.Server
	peer bool
}

// New makes the source.
func New() sdk.Source { return new(source) }

type config struct {
	Framing string `json:"framing"`
	Max     int    `json:"max_line"`
	Peer    bool   `json:"peer"`
}

// Open implements [sdk.Source].
func (s *source) Open(o *sdk.Open) error {
	var cfg config
	if err := o.Config(&cfg); err != nil {
		return err
	}
	s.peer = cfg.Peer
	switch cfg.Framing {
	case "lines":
		s.Framer = func() stream.Framer { return &stream.Lines{Delimiter: '\n', Max: cfg.Max} }
	case "nul":
		s.Framer = func() stream.Framer { return &stream.Lines{Delimiter: 0, Max: cfg.Max} }
	case "length":
		s.Framer = func() stream.Framer { return &stream.Lengths{Max: cfg.Max} }
	default:
		return sdk.ConfigError("framing", "is %q, wanted lines, nul or length", cfg.Framing)
	}
	s.Accepted, s.Append, s.Alike = s.accepted, s.append, true
	return s.Server.Open(o, "listen", "tcp", cfg.Max+stream.LengthSize)
}

// accepted gives a connection what all its events have in common.
func (s *source) accepted(c *stream.Peer) error {
	if !s.peer || c.Remote == "" {
		return nil
	}
	return c.Attributes.Add(attrPeer, []byte(c.Remote))
}

// append makes an event of a record that is not an ordinary line.
func (s *source) append(p *sdk.Poll, c *stream.Peer, r stream.Record, now int64) error {
	if !r.Partial {
		return p.AppendList(now, &c.Attributes, r.Body)
	}
	attributes := []event.Attribute{{Key: attrPartial, Value: yes}}
	if s.peer && c.Remote != "" {
		attributes = append(attributes, event.Attribute{Key: attrPeer, Value: []byte(c.Remote)})
	}
	return p.Append(event.Event{Time: now, Attributes: attributes, Body: r.Body})
}
