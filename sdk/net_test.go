// SPDX-License-Identifier: Apache-2.0

package sdk_test

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/sdk/sdktest"
	"github.com/penstock-io/penstock/spec/event"
)

// echo emits what comes over connections, and answers it when it is durable.
type echo struct {
	net   sdk.Network
	ln    *sdk.Listener
	conns map[int32]*sdk.Conn
	buf   [64]byte
}

func (e *echo) Open(o *sdk.Open) (err error) {
	e.net, e.conns = o.Network(), map[int32]*sdk.Conn{}
	e.ln, err = e.net.Listen("listen")
	return err
}

func (e *echo) Poll(p *sdk.Poll) error {
	var ready [8]int32
	n, err := e.net.Wait(ready[:], p.Timeout)
	if errors.Is(err, sdk.ErrTimeout) {
		return nil
	}
	for _, id := range ready[:n] {
		if id == e.ln.ID {
			c, err := e.ln.Accept(0)
			if err != nil {
				return err
			}
			e.conns[c.ID] = c
			continue
		}
		if err := e.serve(p, e.conns[id]); err != nil {
			return err
		}
	}
	return err
}

func (e *echo) serve(p *sdk.Poll, c *sdk.Conn) error {
	n, err := c.Read(e.buf[:])
	if err == io.EOF {
		delete(e.conns, c.ID)
		return c.Close()
	}
	if err != nil {
		return err
	}
	info, err := c.Info()
	if err != nil {
		return err
	}
	if err := p.Append(event.Event{Body: e.buf[:n], Attributes: []event.Attribute{{Key: "peer", Value: []byte(info.Remote)}}}); err != nil {
		return err
	}
	seq, err := p.Flush()
	if err != nil {
		return err
	}
	return c.WriteAfter(append([]byte("got "), e.buf[:n]...), seq)
}

func TestASourceAnswersOverAConnectionAfterTheCommit(t *testing.T) {
	s := sdktest.OpenSource(t, func() sdk.Source { return new(echo) }, nil)
	peer := s.Net.Connect("listen", "192.0.2.1:1000")
	peer.Send("hello")
	for range 2 {
		if _, err := s.Poll(); err != nil {
			t.Fatal(err)
		}
	}
	if peer.Received != "" {
		t.Errorf("received %q before the commit", peer.Received)
	}
	s.Commit()
	if len(s.Events) != 1 || s.Events[0].Body != "hello" || s.Events[0].Attributes["peer"] != "192.0.2.1:1000" || peer.Received != "got hello" {
		t.Errorf("received %q, events %v", peer.Received, s.Events)
	}
	peer.Close()
	if _, err := s.Poll(); err != nil || !peer.Closed {
		t.Errorf("at the end: closed %v, %v", peer.Closed, err)
	}
}

// dialler writes events over one connection.
type dialler struct {
	net  sdk.Network
	conn *sdk.Conn
}

func (d *dialler) Open(o *sdk.Open) error {
	token, err := o.Secret("token")
	if err != nil || token != "hunter2" {
		return sdk.ConfigError("token", "is %q, %w", token, err)
	}
	d.net = o.Network()
	return nil
}

func (d *dialler) Write(_ event.Range, b event.Batch, _ *sdk.Delivery) (err error) {
	if d.conn == nil {
		if d.conn, err = d.net.Dial("to", time.Second); err != nil {
			return err
		}
		d.conn.WriteWait = 3 * time.Second
	}
	for _, e := range b.All() {
		if _, err := d.conn.Write(e.Body); err != nil {
			return err
		}
	}
	return nil
}

func TestASinkWritesAllOfItOrSaysThatItDidNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &dialler{}
		s := sdktest.OpenSink(t, func() sdk.Sink { *p = dialler{}; return &late{p} }, nil)
		s.Secrets["token"] = "hunter2"
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
		if err := s.Send("one", "two"); err != nil || s.Net.Peers[0].Received != "onetwo" {
			t.Errorf("received %+v, %v", s.Net.Peers, err)
		}
		s.Net.Peers[0].Room = 4
		began := time.Now()
		if err := s.Send("three"); err == nil || s.Net.Peers[0].Received != "onetwothre" || time.Since(began) != 3*time.Second {
			t.Errorf("a write that finds no room: %v after %v", err, time.Since(began))
		}
		s.Net.Peers[0].Break()
		if err := s.Send("four"); err == nil {
			t.Error("a broken connection took it")
		}
	})
}

// late is a dialler that may be opened without its secret once.
type late struct{ *dialler }

func (l *late) Open(o *sdk.Open) error {
	if _, err := o.Secret("token"); err != nil {
		return nil
	}
	return l.dialler.Open(o)
}
