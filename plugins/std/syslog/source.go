// SPDX-License-Identifier: Apache-2.0

// Package syslog is the source that takes messages of RFC 3164 and RFC 5424, over TCP, TLS, UDP and unix sockets.
//
// A message that cannot be read is an event all the same: its body is what came. What can be read becomes attributes, and the event's time.
package syslog

import (
	"bytes"
	"errors"
	"time"

	"github.com/penstock-io/penstock/plugins/std/stream"
	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

// maxAttribute bounds a value: structured data can be long, and a header of nonsense too.
const maxAttribute = 512

// source takes messages.
type source struct {
	stream stream.Server
	grams  stream.Datagrams
	packet bool // datagrams come in
	raw    bool // the body is the message as it came

	zone       *time.Location
	attributes []event.Attribute // reused
	unread     sdk.Counter
}

// New makes the source.
func New() sdk.Source { return new(source) }

type config struct {
	Listen string `json:"listen"`
	Max    int    `json:"max_message"`
	Body   string `json:"body"`
	Zone   string `json:"zone"`
}

// Check implements [sdk.Checker].
func (s *source) Check(o *sdk.Open) error { _, err := s.configure(o); return err }

// Open implements [sdk.Source].
func (s *source) Open(o *sdk.Open) error {
	cfg, err := s.configure(o)
	if err != nil {
		return err
	}
	s.unread = o.Counter("syslog_malformed")
	if s.packet {
		s.grams.Append = s.append
		return s.grams.Open(o, "listen", cfg.Max)
	}
	s.stream.Framer = func() stream.Framer { return newFramer(cfg.Max) }
	s.stream.Append = func(p *sdk.Poll, c *stream.Peer, r stream.Record, now int64) error {
		return s.append(p, c.Remote, r, now)
	}
	return s.stream.Open(o, "listen", "syslog", cfg.Max+digits+1)
}

func (s *source) configure(o *sdk.Open) (cfg config, err error) {
	if err := o.Config(&cfg); err != nil {
		return cfg, err
	}
	if s.zone, err = zoneOf(cfg.Zone); err != nil {
		return cfg, sdk.ConfigError("zone", "is %q: %w", cfg.Zone, err)
	}
	if cfg.Body != "text" && cfg.Body != "message" {
		return cfg, sdk.ConfigError("body", "is %q, wanted text or message", cfg.Body)
	}
	s.raw = cfg.Body == "message"
	s.packet = stream.Packet(cfg.Listen)
	return cfg, nil
}

// zoneOf reads "UTC" or "+01:00": a guest has no table of the names of zones.
func zoneOf(name string) (*time.Location, error) {
	if name == "UTC" {
		return time.UTC, nil
	}
	t, err := time.Parse("-07:00", name)
	if err != nil {
		return nil, errors.New(`write "UTC", or an offset such as "+01:00"`)
	}
	_, offset := t.Zone()
	return time.FixedZone(name, offset), nil
}

// Poll implements [sdk.Source].
func (s *source) Poll(p *sdk.Poll) error {
	if s.packet {
		return s.grams.Poll(p)
	}
	return s.stream.Poll(p)
}

// append makes an event of a message.
func (s *source) append(p *sdk.Poll, peer string, r stream.Record, now int64) error {
	m := parse(r.Body, time.Unix(0, now), s.zone)
	e := event.Event{Time: now, Body: m.text}
	if m.hasTime {
		e.Time = m.time
	}
	if s.raw || m.priority < 0 {
		e.Body = r.Body
	}
	s.attributes = s.attributes[:0]
	if m.priority >= 0 {
		s.set("syslog.facility", []byte(facilities[m.priority>>3]))
		s.set("syslog.severity", []byte(severities[m.priority&7]))
	}
	s.set("syslog.host", m.host)
	s.set("syslog.app", m.app)
	s.set("syslog.pid", m.pid)
	s.set("syslog.id", m.id)
	s.set("syslog.data", m.data)
	s.set("syslog.peer", []byte(peer))
	if r.Partial {
		s.set("syslog.partial", []byte("true"))
	}
	e.Attributes = s.attributes
	err := p.Append(e)
	if err == nil && m.priority < 0 {
		s.unread.Add(1)
	}
	return err
}

func (s *source) set(key string, value []byte) {
	if len(value) > 0 {
		s.attributes = append(s.attributes, event.Attribute{Key: key, Value: bytes.ToValidUTF8(value[:min(len(value), maxAttribute)], nil)})
	}
}

// Close implements [sdk.Closer].
func (s *source) Close() error {
	if s.packet {
		return nil
	}
	return s.stream.Close()
}
