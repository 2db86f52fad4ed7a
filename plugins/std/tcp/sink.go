// SPDX-License-Identifier: Apache-2.0

package tcp

import (
	"errors"
	"log/slog"
	"time"

	"github.com/penstock-io/penstock/plugins/std/filesink/line"
	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

// maxHeard is how much of what the other end says is read away before a delivery: it is not expected to say anything.
const maxHeard = 64 << 10

// sink writes lines over one connection, which it opens when it has something to write.
type sink struct {
	net     sdk.Network
	log     *slog.Logger
	conn    *sdk.Conn // nil: none
	timeout time.Duration
	lines   *line.Encoder
	buf     []byte // reused
	opened  sdk.Counter
}

// NewSink makes the sink.
func NewSink() sdk.Sink { return new(sink) }

// Open implements [sdk.Sink].
func (s *sink) Open(o *sdk.Open) error {
	var cfg struct {
		Format  string        `json:"format"`
		Timeout time.Duration `json:"timeout"`
	}
	if err := o.Config(&cfg); err != nil {
		return err
	}
	format, err := line.Parse(cfg.Format)
	s.net, s.log, s.timeout, s.lines, s.opened = o.Network(), o.Log, cfg.Timeout, line.New(format), o.Counter("tcp_connections")
	return err
}

// Write implements [sdk.Sink]. After an error the connection is closed, so that the other end can tell a line that was cut.
func (s *sink) Write(_ event.Range, b event.Batch, _ *sdk.Delivery) error {
	if err := s.connect(); err != nil {
		return err
	}
	s.buf = s.lines.AppendBatch(s.buf[:0], b, nil)
	if _, err := s.conn.Write(s.buf); err != nil {
		return errors.Join(err, s.Close())
	}
	return nil
}

// connect has a connection whose other end has not gone: the first that is written to one that has is lost without an error.
func (s *sink) connect() (err error) {
	if s.conn != nil && !s.gone() {
		return nil
	}
	if s.conn != nil {
		s.log.Info("the other end closed the connection, connecting again")
		if err := s.Close(); err != nil {
			return err
		}
	}
	if s.conn, err = s.net.Dial("address", s.timeout); err != nil {
		s.conn = nil
		return err
	}
	s.conn.ReadWait, s.conn.WriteWait = 0, s.timeout
	s.opened.Add(1)
	return nil
}

// gone reads away what the other end says, and notices its end.
func (s *sink) gone() bool {
	var buf [4 << 10]byte
	for range maxHeard / len(buf) {
		if _, err := s.conn.Read(buf[:]); err != nil {
			return !errors.Is(err, sdk.ErrTimeout) && !errors.Is(err, sdk.ErrInterrupted)
		}
	}
	return false
}

// Close implements [sdk.Closer].
func (s *sink) Close() error {
	if s.conn == nil {
		return nil
	}
	c := s.conn
	s.conn = nil
	return c.Close()
}

var _ sdk.Closer = (*sink)(nil)
