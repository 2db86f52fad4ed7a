// SPDX-License-Identifier: Apache-2.0

// Package stream takes records from many connections at once: lines, or whatever a [Framer] finds.
//
// Invariants:
//   - Connections take turns, a chunk each. What of a chunk does not fit the batch is taken first in the next, before anything else is read:
//     so back-pressure reaches the sender, and nothing is dropped.
//   - An idle connection keeps no buffer: one is shared by all, and only what is left of an unfinished record is set aside.
//   - The last record of a connection that ends is taken as it is.
//   - A connection outlives the instance: at its end it is passed on, with what has been read and is no event yet.
package stream

import (
	"errors"
	"io"
	"log/slog"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

const (
	// chunk is how much is read of one connection before the next has its turn.
	chunk = 256 << 10
	// maxPoll is how much is read in one Poll, be there events in it or not: a flood of empty lines must not use up its processor time.
	maxPoll = 1 << 20
	// acceptCost is what a new connection counts as, of that.
	acceptCost = 16 << 10
	// maxReady is how many connections are looked at between two waits.
	maxReady = 256
	// attributesRoom is left beside a body that fills a batch.
	attributesRoom = 8 << 10
	// keptRest is how large a buffer a connection may keep although nothing is in it.
	keptRest = 4 << 10
)

// Framer finds records in what came over one connection.
type Framer interface {
	// Next finds the first record in data. Size is how many bytes it takes with all that is around it, 0: more is needed. At the end no more
	// will come: what is there is a record. An error says that what follows cannot be understood, and the connection is closed.
	Next(data []byte, end bool) (Record, error)
}

// Record is one record of a connection.
type Record struct {
	Size    int
	Body    []byte // of data
	Skip    bool   // there is no event in it
	Partial bool   // it was too long: the next event goes on with it
}

// Server takes records from all connections of a listener.
type Server struct {
	// Framer makes the framer of a new connection.
	Framer func() Framer
	// Accepted is called with each new connection, if it is not nil.
	Accepted func(c *Peer) error
	// Append appends an event to the batch, with attributes of 8 KiB at most. It answers sdk.ErrFull when there is no room.
	Append func(p *sdk.Poll, c *Peer, r Record, now int64) error
	// Alike says that a whole record becomes an event with the connection's Attributes and no others, so that Append need not be asked.
	Alike bool

	net   sdk.Network
	ln    *sdk.Listener
	log   *slog.Logger
	peers map[int32]*Peer

	ready []int32 // of which left[...] have not been looked at
	left  []int32
	buf   []byte // chunk, and before it room for what a record has already
	max   int    // of a record
	now   int64
	read  int // in this Poll

	cur    *Peer  // whose data is in win; nil: nobody's
	win    []byte // not taken yet
	record Record // at its beginning, as far as it has not been appended; Size 0: not looked at
	torn   bool   // some of it has been appended, and what is left is no record by itself
	end    bool   // nothing comes after win

	connections, broken sdk.Counter
}

// Peer is one connection.
type Peer struct {
	Conn   *sdk.Conn
	Remote string // "": it has no name
	TLS    string // the subject of the certificate it showed, or ""

	Attributes event.AttributeList // what its events have in common, if the server's owner says so

	framer Framer
	rest   []byte // of a record that is not whole
}

// Open begins to listen at what was granted as handle. Metrics begin with prefix. max bounds a record, with what is around it.
func (s *Server) Open(o *sdk.Open, handle, prefix string, max int) (err error) {
	s.net, s.log, s.max = o.Network(), o.Log, max
	s.peers = map[int32]*Peer{}
	s.ready = make([]int32, maxReady)
	s.buf = make([]byte, max+chunk)
	s.connections, s.broken = o.Counter(prefix+"_connections"), o.Counter(prefix+"_broken")
	s.ln, err = s.net.Listen(handle)
	return err
}

// Poll fills one batch.
func (s *Server) Poll(p *sdk.Poll) error {
	s.now, s.read = p.Now().UnixNano(), 0
	for s.read < maxPoll {
		if s.cur != nil {
			if err := s.take(p); err != nil {
				return quiet(err)
			}
		}
		if len(s.left) == 0 {
			if err := s.wait(p); err != nil {
				return quiet(err)
			}
		}
		id := s.left[0]
		s.left = s.left[1:]
		if err := s.serve(id); err != nil {
			return quiet(err)
		}
	}
	return nil
}

// quiet makes nothing of what is no error of a Poll.
func quiet(err error) error {
	if errors.Is(err, sdk.ErrFull) || errors.Is(err, sdk.ErrTimeout) {
		return nil
	}
	return err
}

// wait finds out who is ready: without waiting, once there is something to hand over.
func (s *Server) wait(p *sdk.Poll) error {
	timeout := p.Timeout
	if p.Len() > 0 {
		timeout = 0
	}
	n, err := s.net.Wait(s.ready, timeout)
	s.left = s.ready[:n]
	if timeout > 0 {
		s.now = p.Now().UnixNano()
	}
	return err
}

// serve reads of a connection that is ready, or accepts one.
func (s *Server) serve(id int32) error {
	if id == s.ln.ID {
		return s.accept()
	}
	peer := s.peers[id]
	if peer == nil {
		return nil // it was closed a moment ago
	}
	at := copy(s.buf, peer.rest)
	n, err := peer.Conn.Read(s.buf[at : at+chunk])
	switch {
	case errors.Is(err, sdk.ErrTimeout):
		return nil
	case errors.Is(err, sdk.ErrInterrupted):
		return err
	case err != nil && err != io.EOF:
		s.log.Debug("a connection broke", "peer", peer.Remote, "error", err)
		s.broken.Add(1)
	}
	s.read += n
	peer.setRest(nil)
	s.cur, s.win, s.end = peer, s.buf[:at+n], err != nil
	return nil
}

func (s *Server) accept() error {
	conn, err := s.ln.Accept(0)
	if err != nil {
		return quiet(err) // somebody else has it
	}
	s.connections.Add(1)
	s.read += acceptCost
	peer := &Peer{Conn: conn, framer: s.Framer()}
	s.peers[conn.ID] = peer
	info, err := conn.Info()
	if err != nil {
		return err
	}
	peer.Remote = info.Remote
	if info.TLS != nil && info.TLS.Peer != nil {
		peer.TLS = info.TLS.Peer.Subject
	}
	if s.Accepted != nil {
		return s.Accepted(peer)
	}
	return nil
}

// take appends records of the current connection until there are no more. ErrFull: it goes on in the next Poll.
func (s *Server) take(p *sdk.Poll) error {
	peer := s.cur
	lines, plain := peer.framer.(*Lines)
	plain = plain && s.Alike
	for len(s.win) > 0 {
		if s.record.Size == 0 && plain {
			n, err := lines.appendTo(p, &peer.Attributes, s.win, s.now)
			if s.win = s.win[n:]; err != nil {
				return err
			}
		}
		if s.record.Size == 0 {
			r, err := peer.framer.Next(s.win, s.end)
			if err != nil {
				s.log.Warn("a connection is closed: what came over it cannot be understood", "peer", peer.Remote, "error", err)
				s.broken.Add(1)
				s.end = true
				break
			}
			if r.Size == 0 {
				break
			}
			s.record = r
		}
		if err := s.append(p, peer); err != nil {
			return err
		}
		s.win = s.win[s.record.Size:]
		s.record, s.torn = Record{}, false
	}
	s.cur = nil
	if !s.end {
		peer.setRest(s.win)
		return nil
	}
	delete(s.peers, peer.Conn.ID)
	return peer.Conn.Close()
}

// append appends the current record, in parts if it is longer than a batch.
func (s *Server) append(p *sdk.Poll, peer *Peer) error {
	most := room(p)
	for !s.record.Skip {
		part := s.record
		if len(part.Body) > most {
			part.Body, part.Partial = part.Body[:most], true
		}
		if err := s.Append(p, peer, part, s.now); err != nil {
			return err
		}
		n := len(part.Body)
		if s.torn = &part.Body[0] != &s.win[0]; !s.torn { // what is left of it is a record like any other
			s.win, s.record.Size = s.win[n:], s.record.Size-n
		}
		s.record.Body = s.record.Body[n:]
		s.record.Skip = len(s.record.Body) == 0
	}
	return nil
}

// room is how long a body may be in a batch of p, with attributes beside it.
func room(p *sdk.Poll) int {
	n := p.MaxBody()
	return max(n-min(attributesRoom, n/4), 1)
}

// setRest keeps what is left of a record.
func (c *Peer) setRest(data []byte) {
	if len(data) == 0 && cap(c.rest) > keptRest {
		c.rest = nil
		return
	}
	c.rest = append(c.rest[:0], data...)
}

// Close passes every connection on to the next instance, with what has not become an event yet; or closes it, where that cannot be.
func (s *Server) Close() error {
	var errs []error
	for _, peer := range s.peers {
		rest := peer.rest
		if peer == s.cur {
			rest = s.win
		}
		if peer == s.cur && s.torn || peer.Conn.Pass(rest) != nil {
			errs = append(errs, peer.Conn.Close())
		}
	}
	return errors.Join(errs...)
}
