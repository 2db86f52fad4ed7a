// SPDX-License-Identifier: Apache-2.0

// Command faulty is a module of plugins that fail, for the tests of an agent.
package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

func main() {
	sdk.Main(map[string]sdk.Plugin{
		"traps": {Source: func() sdk.Source { return new(traps) }},
		"down":  {Sink: func() sdk.Sink { return new(down) }},
		"picky": {Processor: func() sdk.Processor { return new(picky) }},
		"pass":  {Processor: func() sdk.Processor { return pass{} }},
	})
}

// mode is what this build does of what it should not: set by the linker.
var mode string

// pass hands on what it gets, as long as its build is a good one.
type pass struct{}

func (pass) Open(*sdk.Open) error {
	switch mode {
	case "refuses":
		return sdk.ConfigError("", "this version wants another configuration")
	case "traps":
		panic("breaking, as I was built to")
	}
	return nil
}

func (pass) Process(b event.Batch, out *sdk.Output) error {
	switch mode {
	case "breaks":
		panic("breaking, as I was built to")
	case "loops":
		for {
		}
	}
	for at, e := range b.All() {
		if err := out.Append(at, e); err != nil {
			return err
		}
	}
	return nil
}

// traps counts, and breaks after every few hundred events, in the middle of a poll; after none at once, also when it has counted all.
type traps struct {
	next, count, breaks int
	always              bool
}

func (s *traps) Open(o *sdk.Open) error {
	var c struct{ Count, Every int }
	if err := o.Config(&c); err != nil {
		return err
	}
	s.next, _ = strconv.Atoi(string(o.Cursor["next"]))
	s.count, s.breaks, s.always = c.Count, s.next+c.Every, c.Every == 0
	return nil
}

func (s *traps) Poll(p *sdk.Poll) error {
	for range 50 {
		if s.next == s.count && !s.always {
			return sdk.Done
		}
		if s.next == s.breaks {
			panic("breaking, as I was told")
		}
		if err := p.Append(event.Event{Body: fmt.Appendf(nil, "line %d", s.next)}); err != nil {
			return err
		}
		s.next++
	}
	return p.SetCursor("next", strconv.AppendInt(nil, int64(s.next), 10))
}

// down is a destination that does not answer until a file is there; or takes the batch and says nothing.
type down struct {
	path  string
	hangs bool
	picky picky
	picks bool // it is there, and picky
}

func (s *down) Open(o *sdk.Open) error {
	var c struct {
		Until string
		Hangs bool
		Picky bool

		Password string
	}
	err := o.Config(&c)
	if strings.HasPrefix(c.Password, "wrong") {
		return sdk.ConfigError("password", "nobody is let in with this one")
	}
	s.path, s.hangs, s.picks = c.Until, c.Hangs, c.Picky
	return errors.Join(err, s.picky.Open(o))
}

func (s *down) Write(r event.Range, b event.Batch, d *sdk.Delivery) error {
	if s.picks {
		return s.picky.Write(r, b, d)
	}
	if _, err := os.Stat(s.path); err != nil {
		if s.hangs {
			return d.Sleep(time.Hour)
		}
		return sdk.Retry(errors.New("the destination is down"), 0)
	}
	return nil
}

// picky rejects lines that end in 7, and breaks on one. As a sink it has applied nothing then.
type picky struct{ breaks string }

func (s *picky) Open(o *sdk.Open) error {
	var c struct{ Breaks string }
	err := o.Config(&c)
	s.breaks = c.Breaks
	return err
}

func (s *picky) look(body []byte) (rejected error) {
	if string(body) == s.breaks {
		panic("breaking, as I was told")
	}
	if body[len(body)-1] == '7' {
		return errors.New("it ends in 7")
	}
	return nil
}

func (s *picky) Write(_ event.Range, b event.Batch, d *sdk.Delivery) error {
	i, bad := 0, false
	for _, e := range b.All() {
		if err := s.look(e.Body); err != nil {
			bad = true
			if err := d.Reject(i, err); err != nil {
				return err
			}
		}
		i++
	}
	if bad {
		return sdk.Reject(errors.New("some lines end in 7"))
	}
	return nil
}

func (s *picky) Process(b event.Batch, out *sdk.Output) error {
	i := 0
	for at, e := range b.All() {
		err := s.look(e.Body)
		if err == nil {
			err = out.Append(at, e)
		} else {
			err = out.Reject(i, err)
		}
		if err != nil {
			return err
		}
		i++
	}
	return nil
}
