// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/memory"
	"github.com/penstock-io/penstock/host/expr"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// begins holds for bodies that begin so, cannot say of those that begin with "?", and counts how often it is asked.
func begins(with string, asked *int) When {
	return func() func(*event.Event) (bool, error) {
		return func(e *event.Event) (bool, error) {
			if asked != nil {
				*asked++
			}
			if bytes.HasPrefix(e.Body, []byte("?")) {
				return false, errors.New("it cannot be said")
			}
			return bytes.HasPrefix(e.Body, []byte(with)), nil
		}
	}
}

// counted observes what is left out.
type counted struct {
	quiet
	filtered, undecided, unmatched, committed int
}

func (c *counted) Committed(d Delivered) {
	c.filtered, c.undecided, c.unmatched = c.filtered+d.Filtered, c.undecided+d.Undecided, c.unmatched+d.Unmatched
	c.committed += d.Batch.Len()
}

// collector is a destination that keeps what it is given, and breaks on a body.
type collector struct {
	got    []string
	at     []event.Offset
	writes int
	breaks string
	stop   func() // after so many events
	after  int
}

func (c *collector) Write(_ context.Context, _ event.Range, b event.Batch) (plugin.Outcome, error) {
	c.writes++
	for _, e := range b.All() {
		if c.breaks != "" && string(e.Body) == c.breaks {
			return plugin.Outcome{}, &plugin.Error{Class: abi.Fatal, Message: "trap"}
		}
	}
	for o, e := range b.All() {
		c.got, c.at = append(c.got, string(e.Body)), append(c.at, o)
	}
	if c.stop != nil && len(c.got) >= c.after {
		c.stop()
	}
	return plugin.Outcome{}, nil
}
func (c *collector) Close() error { return nil }

// filtered runs a sink over a channel until nothing waits.
func filtered(t *testing.T, main channel.Channel, name string, f Filter, to *collector, edit func(*Sink)) *counted {
	t.Helper()
	r, err := main.Reader(channel.ReaderSpec{Name: name, Start: channel.Oldest})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	seen := &counted{}
	s := newSink(&trace{})
	s.Reader, s.Filter, s.Observer, s.Buffers = r, f, seen, channel.NewPool(1<<20)
	s.Open = func(context.Context, channel.ReaderInfo) (plugin.Instance, error) {
		return plugin.Instance{Sink: to}, nil
	}
	if edit != nil {
		edit(s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	synctest.Wait()
	for range 100000 {
		if r.Info().Waiting == 0 {
			break
		}
		sleep(ctx, s.Backoff.Max+1)
		synctest.Wait()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := r.Info().Waiting; n > 0 {
		t.Errorf("%d events wait", n)
	}
	return seen
}

func TestEachSinkOfARouteGetsItsCaseAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		main := memory.New(memory.Options{})
		defer main.Close()
		asked := 0
		first := NewRoute(false, []When{begins("a", &asked), begins("", nil)})
		all := NewRoute(true, []When{begins("a", nil), begins("ab", nil)})
		rest := NewRoute(false, []When{begins("a", nil), begins("b", nil), nil})
		cases := []struct {
			name      string
			f         Filter
			want      []string
			offsets   []int
			undecided int
			unmatched int
		}{
			{"sink.a", Filter{Route: first, Case: 0}, []string{"a1", "a2", "ab"}, []int{0, 4, 6}, 1, 1},
			{"sink.others", Filter{Route: first, Case: 1}, []string{"b1", "c1", "c2"}, []int{1, 2, 5}, 1, 1},
			{"sink.all.a", Filter{Route: all, Case: 0}, []string{"a1", "a2", "ab"}, []int{0, 4, 6}, 1, 4},
			{"sink.all.ab", Filter{Route: all, Case: 1}, []string{"ab"}, []int{6}, 1, 4},
			{"sink.b", Filter{Route: rest, Case: 1}, []string{"b1"}, []int{1}, 1, 0},
			{"sink.rest", Filter{Route: rest, Case: 2}, []string{"c1", "?1", "c2"}, []int{2, 3, 5}, 0, 0},
			{"sink.where", Filter{Where: begins("a", nil)}, []string{"a1", "a2", "ab"}, []int{0, 4, 6}, 1, 0},
			{"sink.both", Filter{Route: rest, Case: 0, Where: begins("ab", nil)}, []string{"ab"}, []int{6}, 1, 0},
			{"sink.none", Filter{Where: begins("x", nil)}, nil, nil, 1, 0},
			{"sink.every", Filter{}, []string{"a1", "b1", "c1", "?1", "a2", "c2", "ab"}, []int{0, 1, 2, 3, 4, 5, 6}, 0, 0},
		}
		for _, c := range cases { // so that none comes when the events are gone
			r, err := main.Reader(channel.ReaderSpec{Name: c.name})
			if err != nil || r.Close() != nil {
				t.Fatal(err)
			}
		}
		put(t, main, "a1", "b1", "c1", "?1", "a2", "c2", "ab")
		for _, c := range cases {
			to := &collector{}
			seen := filtered(t, main, c.name, c.f, to, nil)
			if !slices.Equal(to.got, c.want) {
				t.Errorf("%s got %q, not %q", c.name, to.got, c.want)
			}
			for i, o := range to.at {
				if o-to.at[0] != event.Offset(c.offsets[i]-c.offsets[0]) {
					t.Errorf("%s got offsets %v", c.name, to.at)
				}
			}
			if seen.filtered != 7-len(c.want) || seen.committed != len(c.want) || seen.undecided != c.undecided || seen.unmatched != c.unmatched {
				t.Errorf("%s counted %d filtered, %d undecided, %d unmatched, %d committed", c.name, seen.filtered, seen.undecided, seen.unmatched, seen.committed)
			}
			if c.want == nil && to.writes > 0 {
				t.Errorf("%s was written to %d times, for nothing", c.name, to.writes)
			}
		}
		if asked != 7 {
			t.Errorf("the route was asked %d times of 7 events", asked)
		}
	})
}

// TestASinkThatGetsFewEventsIsGivenThemTogether: it takes more at a time, and never more is written at once than its bounds.
func TestASinkThatGetsFewEventsIsGivenThemTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		main := memory.New(memory.Options{})
		defer main.Close()
		var bodies []string
		for i := range 20000 {
			body := "x"
			if i%100 == 0 || i > 15000 && i < 15500 {
				body = fmt.Sprintf("a%d", i)
			}
			bodies = append(bodies, body)
		}
		for part := range slices.Chunk(bodies, 1000) {
			put(t, main, part...)
		}
		largest := 0
		to := &collector{}
		seen := filtered(t, main, "sink.a", Filter{Where: begins("a", nil)}, to, func(s *Sink) {
			s.Want = channel.Want{Events: 100}
			s.Open = func(context.Context, channel.ReaderInfo) (plugin.Instance, error) {
				return plugin.Instance{Sink: &measured{to, &largest}}, nil
			}
		})
		if seen.committed != 695 || seen.filtered != 19305 || !slices.IsSorted(to.at) {
			t.Errorf("%d delivered, %d filtered", seen.committed, seen.filtered)
		}
		if largest > 100 || to.writes > 60 {
			t.Errorf("%d events in %d writes, the largest of %d", seen.committed, to.writes, largest)
		}
	})
}

type measured struct {
	*collector
	largest *int
}

func (m *measured) Write(ctx context.Context, r event.Range, b event.Batch) (plugin.Outcome, error) {
	*m.largest = max(*m.largest, b.Len())
	return m.collector.Write(ctx, r, b)
}

// TestAnEventThatBreaksThePluginIsFoundAmongThoseOfAFilter: what others get is neither a conviction nor a sign of life.
func TestAnEventThatBreaksThePluginIsFoundAmongThoseOfAFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		main, rejected := memory.New(memory.Options{}), memory.New(memory.Options{})
		defer main.Close()
		defer rejected.Close()
		var bodies []string
		for i := range 500 {
			body := "x"
			if i%10 == 3 {
				body = fmt.Sprintf("a%d", i)
			}
			bodies = append(bodies, body)
		}
		put(t, main, bodies...)
		to := &collector{breaks: "a253"}
		seen := filtered(t, main, "sink.a", Filter{Where: begins("a", nil)}, to, func(s *Sink) {
			s.Dead = &DeadLetters{Component: s.Address, Address: "channel.rejected", Channel: rejected}
		})
		if dead := bodiesOf(t, rejected, "r"); len(to.got) != 49 || !slices.Equal(dead, []string{"a253"}) {
			t.Errorf("%d delivered, dead %q", len(to.got), dead)
		}
		if seen.filtered != 450 {
			t.Errorf("%d filtered", seen.filtered)
		}
	})
}

// expression compiles a condition as the agent does.
func expression(b *testing.B, text string) When {
	x, diags := hclsyntax.ParseExpression([]byte(text), "x.hcl", hcl.InitialPos)
	if diags.HasErrors() {
		b.Fatal(diags)
	}
	program, problems := expr.Compile(x, nil, expr.Bool)
	if problems.HasErrors() {
		b.Fatal(problems)
	}
	return func() func(*event.Event) (bool, error) { return program.Evaluator().Bool }
}

// BenchmarkRoute is what a route with two cases on an attribute costs an event: asked for the first time, and known from another reader.
func BenchmarkRoute(b *testing.B) {
	var w event.Builder
	for i := range 4096 {
		level := []string{"info", "error", "debug"}[i%3]
		e := event.Event{Body: bytes.Repeat([]byte("x"), 200), Attributes: []event.Attribute{
			{Key: "file.path", Value: []byte("/var/log/app.log")}, {Key: "level", Value: []byte(level)}}}
		if err := w.Append(e); err != nil {
			b.Fatal(err)
		}
	}
	batch := w.Batch().WithBase(routeBlock)
	for _, known := range []bool{false, true} {
		b.Run(fmt.Sprintf("known=%v", known), func(b *testing.B) {
			r := NewRoute(false, []When{expression(b, `event.attributes.level == "error"`), expression(b, `event.attributes.level == "debug"`), nil})
			p := newPicker(Filter{Route: r}, channel.NewPool(16<<20))
			for b.Loop() {
				if !known {
					r.blocks[1+1].block = 0
				}
				out, err := p.pick(batch)
				if err != nil {
					b.Fatal(err)
				}
				out.release()
			}
			b.ReportMetric(float64(b.N)*4096/b.Elapsed().Seconds()/1e6, "Mevents/s")
		})
	}
}
