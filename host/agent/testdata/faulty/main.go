// SPDX-License-Identifier: Apache-2.0

// Command faulty is a module of plugins that fail, for the tests of an agent.
package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

func main() {
	sdk.Main(map[string]sdk.Plugin{
		"traps": {Source: func() sdk.Source { return new(traps) }},
		"down":  {Sink: func() sdk.Sink { return new(down) }},
	})
}

// traps counts, and breaks after every few hundred events, in the middle of a poll.
type traps struct {
	next, count, breaks int
}

func (s *traps) Open(o *sdk.Open) error {
	var c struct{ Count, Every int }
	if err := o.Config(&c); err != nil {
		return err
	}
	s.next, _ = strconv.Atoi(string(o.Cursor["next"]))
	s.count, s.breaks = c.Count, s.next+c.Every
	return nil
}

func (s *traps) Poll(p *sdk.Poll) error {
	for range 50 {
		if s.next == s.count {
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
}

func (s *down) Open(o *sdk.Open) error {
	var c struct {
		Until string
		Hangs bool
	}
	err := o.Config(&c)
	s.path, s.hangs = c.Until, c.Hangs
	return err
}

func (s *down) Write(_ event.Range, _ event.Batch, d *sdk.Delivery) error {
	if _, err := os.Stat(s.path); err != nil {
		if s.hangs {
			return d.Sleep(time.Hour)
		}
		return sdk.Retry(errors.New("the destination is down"), 0)
	}
	return nil
}
