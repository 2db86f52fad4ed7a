// SPDX-License-Identifier: Apache-2.0

package sdk_test

import (
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/sdk/sdktest"
	"github.com/penstock-io/penstock/spec/event"
)

// ticker is a source of numbered ticks. It goes on with the number that its cursor holds.
type ticker struct {
	every time.Duration
	next  int
}

func (s *ticker) Open(o *sdk.Open) (err error) {
	var cfg struct {
		Every time.Duration `json:"every"`
	}
	if err := o.Config(&cfg); err != nil {
		return err
	}
	if s.every = cfg.Every; s.every <= 0 {
		return sdk.ConfigError("every", "is %v, wanted more than 0", s.every)
	}
	if at, ok := o.Cursor["next"]; ok {
		s.next, err = strconv.Atoi(string(at))
	}
	return err
}

func (s *ticker) Poll(p *sdk.Poll) error {
	if err := p.Sleep(s.every); err != nil {
		return err // the host wants the plugin back
	}
	tick := event.Event{Time: p.Now().UnixNano(), Body: fmt.Appendf(nil, "tick %d", s.next)}
	if err := p.Append(tick); err != nil {
		return err
	}
	s.next++
	return p.SetCursor("next", strconv.AppendInt(nil, int64(s.next), 10))
}

// A plugin is an ordinary program; see the README for how it is built.
func Example() {
	main := func() {
		sdk.Main(map[string]sdk.Plugin{
			"ticker": {Source: func() sdk.Source { return new(ticker) }},
		})
	}
	_ = main
}

// Its test is an ordinary test: kill it before a commit, and the tick comes again.
func TestTickerResumesFromItsCursor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sdktest.OpenSource(t, func() sdk.Source { return new(ticker) }, map[string]any{"every": time.Hour})
		for range 2 {
			if _, err := s.Poll(); err != nil {
				t.Fatal(err)
			}
			s.Commit()
		}
		if _, err := s.Poll(); err != nil { // in flight when it dies
			t.Fatal(err)
		}
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Poll(); err != nil || got[0].Body != "tick 2" {
			t.Fatalf("%v, %v", got, err)
		}
	})
}
