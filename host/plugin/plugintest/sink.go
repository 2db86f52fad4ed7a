// SPDX-License-Identifier: Apache-2.0

package plugintest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// delivery is one batch and the offsets that it covers.
type delivery struct {
	r      event.Range
	bodies []string
}

// deliveries are a few batches of plain lines, of different lengths; the second is wider than its
// events, as after a filter.
func deliveries() []delivery {
	var list []delivery
	at := event.Offset(0)
	for i, n := range []int{1, 5, 64} {
		d := delivery{r: event.Range{First: at, Next: at + event.Offset(n)}}
		for j := range n {
			d.bodies = append(d.bodies, fmt.Sprintf("delivery %d line %d", i, j))
		}
		if i == 1 {
			d.r.Next += 3
		}
		at = d.r.Next
		list = append(list, d)
	}
	return list
}

// encode makes a batch of events.
func encode(base event.Offset, events ...event.Event) (event.Batch, error) {
	var w event.Builder
	for _, e := range events {
		if err := w.Append(e); err != nil {
			return event.Batch{}, err
		}
	}
	b, err := event.Parse(w.Bytes())
	return b.WithBase(base), err
}

func (d delivery) write(ctx context.Context, dst plugin.Sink) error {
	events := make([]event.Event, len(d.bodies))
	for i, body := range d.bodies {
		events[i] = event.Event{Time: int64(i), Body: []byte(body)}
	}
	b, err := encode(d.r.First, events...)
	if err != nil {
		return err
	}
	out, err := dst.Write(ctx, d.r, b)
	if err != nil {
		return fmt.Errorf("write %s: %w", d.r, err)
	}
	if len(out.Rejected) > 0 {
		return fmt.Errorf("write %s: %w: %+v", d.r, errRejectsPlain, out.Rejected[0])
	}
	return nil
}

var errRejectsPlain = errors.New("it rejects plain lines")

// expected are the bodies of all deliveries.
func expected() (bodies []string) {
	for _, d := range deliveries() {
		bodies = append(bodies, d.bodies...)
	}
	return bodies
}

// stored compares what the destination has with all deliveries.
func (s subject) stored(dir string) error {
	if s.compares() {
		got, err := s.arrived()
		if err != nil {
			return err
		}
		return same(got, expected())
	}
	if s.Stored == nil {
		return nil
	}
	got, err := s.Stored(dir)
	if err != nil {
		return fmt.Errorf("read what is stored: %w", err)
	}
	return same(got, expected())
}

// arrived is what all servers have, once the plugin has sent all.
func (s subject) arrived() (bodies []string, err error) {
	for _, d := range s.network.servers {
		got, err := d.bodies(len(expected()), true)
		if err != nil {
			return nil, err
		}
		bodies = append(bodies, got...)
	}
	return bodies, nil
}

func (s subject) stores(ctx context.Context, dir string) error {
	s.network.each(func(d *destination) { d.keep = true })
	r, err := s.world(dir)
	if err != nil {
		return err
	}
	in, err := s.open(ctx, r)
	if err != nil {
		return err
	}
	for _, d := range deliveries() {
		if err := d.write(ctx, in.Sink); err != nil {
			return errors.Join(err, in.Sink.Close())
		}
	}
	return errors.Join(in.Sink.Close(), s.stored(dir))
}

// holds does as a host that forgets after each delivery whether it was made, and has only the sink's word.
func (s subject) holds(ctx context.Context, dir string) error {
	r, err := s.world(dir)
	if err != nil {
		return err
	}
	for _, d := range deliveries() {
		for try := range 2 {
			if err := s.deliverUnlessHeld(ctx, r, d, try > 0); err != nil {
				return err
			}
		}
	}
	return s.stored(dir)
}

func (s subject) deliverUnlessHeld(ctx context.Context, r plugin.Request, d delivery, mustHold bool) error {
	in, err := s.open(ctx, r)
	if err != nil {
		return err
	}
	held := covered(in.Held, d.r)
	if !held {
		err = d.write(ctx, in.Sink)
	}
	if err := errors.Join(err, in.Sink.Close()); err != nil {
		return err
	}
	if mustHold && !held {
		return fmt.Errorf("%s was written, and when opened again the sink reports %v", d.r, in.Held)
	}
	return nil
}

// covered says whether the ranges together hold all of r.
func covered(held []plugin.Held, r event.Range) bool {
	at := r.First
	for moved := true; moved && at < r.Next; {
		moved = false
		for _, h := range held {
			if h.Incarnation == incarnation && h.Range.First <= at && at < h.Range.Next {
				at, moved = h.Range.Next, true
			}
		}
	}
	return at >= r.Next
}

// survives hands over what is well-formed and unusual. The sink may reject it; it must not break, and must go on.
func (s subject) survives(ctx context.Context, dir string) error {
	r, err := s.world(dir)
	if err != nil {
		return err
	}
	in, err := s.open(ctx, r)
	if err != nil {
		return err
	}
	at := event.Offset(1 << 40)
	for _, h := range hostile() {
		next := at + event.Offset(max(len(h.events), 1))
		err := offer(ctx, in.Sink, event.Range{First: at, Next: next}, h.events)
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", h.says, err), in.Sink.Close())
		}
		at = next
	}
	return in.Sink.Close()
}

func offer(ctx context.Context, dst plugin.Sink, r event.Range, events []event.Event) error {
	b, err := encode(r.First, events...)
	if err != nil {
		return err
	}
	out, err := dst.Write(ctx, r, b)
	if err != nil && !errors.Is(err, plugin.ErrRejected) && plugin.ClassOf(err) != abi.Reject {
		return err
	}
	for _, x := range out.Rejected {
		if x.Index < 0 || x.Index >= len(events) {
			return fmt.Errorf("it rejects event %d of %d", x.Index, len(events))
		}
	}
	return nil
}

type unusual struct {
	says   string
	events []event.Event
}

func hostile() []unusual {
	many := make([]event.Attribute, event.GuestAttributes)
	for i := range many {
		many[i] = event.Attribute{Key: fmt.Sprint("key-", i), Value: []byte{byte(i)}}
	}
	crowd := make([]event.Event, 5000)
	plain := []event.Event{{Time: 1, Body: []byte("plain")}}
	return []unusual{
		{"a plain event", plain},
		{"no event", nil},
		{"an event with nothing in it", []event.Event{{}}},
		{"line breaks and zeros in a body", []event.Event{{Body: []byte("a\nb\r\n\x00c\n")}}},
		{"bytes that are not UTF-8", []event.Event{{Body: []byte("\xff\xfe\x80"), Attributes: []event.Attribute{{Key: "k", Value: []byte("\xff")}}}}},
		{"times at both ends", []event.Event{{Time: -1 << 63}, {Time: 1<<63 - 1}}},
		{"an attribute without a name, twice", []event.Event{{Attributes: []event.Attribute{{}, {Value: []byte("v")}}}}},
		{"as many attributes as there may be", []event.Event{{Attributes: many}}},
		{"a body of a MiB", []event.Event{{Body: []byte(strings.Repeat("x", 1<<20))}}},
		{"thousands of empty events", crowd},
		{"a plain event after all that", plain},
	}
}
