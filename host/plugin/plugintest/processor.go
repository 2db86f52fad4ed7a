// SPDX-License-Identifier: Apache-2.0

package plugintest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// processor opens a processor, hands it to do, and closes it.
func (s subject) processor(ctx context.Context, dir string, do func(plugin.Processor) error) error {
	r, err := s.world(dir)
	if err != nil {
		return err
	}
	in, err := s.open(ctx, r)
	if err != nil {
		return err
	}
	return errors.Join(do(in.Processor), in.Processor.Close())
}

func batchOf(bodies []string) (event.Batch, error) {
	events := make([]event.Event, len(bodies))
	for i, body := range bodies {
		events[i] = event.Event{Time: int64(i), Body: []byte(body)}
	}
	return encode(0, events...)
}

// converts compares what becomes of the case's input with its output.
func (s subject) converts(ctx context.Context, dir string) error {
	return s.processor(ctx, dir, func(p plugin.Processor) error {
		b, err := batchOf(s.Input)
		if err != nil {
			return err
		}
		out, _, err := p.Process(ctx, b)
		if err != nil {
			return fmt.Errorf("process: %w", err)
		}
		defer out.Release()
		var got []string
		for _, e := range out.All() {
			got = append(got, string(e.Body))
		}
		return same(got, s.Output)
	})
}

// processes hands over what is well-formed and unusual. The processor may reject it; it must not break, and must go on.
func (s subject) processes(ctx context.Context, dir string) error {
	return s.processor(ctx, dir, func(p plugin.Processor) error {
		for _, h := range hostile() {
			b, err := encode(0, h.events...)
			if err != nil {
				return err
			}
			out, _, err := p.Process(ctx, b)
			switch {
			case err == nil:
				out.Release()
			case plugin.ClassOf(err) != abi.Reject:
				return fmt.Errorf("%s: %w", h.says, err)
			}
		}
		return nil
	})
}

// repeats looks whether a processor is a function of its batch: after a crash the host asks another instance.
func (s subject) repeats(ctx context.Context, dir string) error {
	var first []byte
	for range 2 {
		err := s.processor(ctx, dir, func(p plugin.Processor) error {
			for range 2 {
				b, err := s.usual()
				if err != nil {
					return err
				}
				out, _, err := p.Process(ctx, b)
				if err != nil && plugin.ClassOf(err) == abi.Reject {
					return nil
				}
				if err != nil {
					return fmt.Errorf("process: %w", err)
				}
				got := bytes.Clone(out.Bytes())
				out.Release()
				if first != nil && !bytes.Equal(first, got) {
					return errors.New("the same batch came out otherwise")
				}
				first = got
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// keepsCount looks whether a processor makes one event of one at most, which it says by not saying that it multiplies: on the way to a sink an event has one offset.
func (s subject) keepsCount(ctx context.Context, dir string) error {
	usual, err := s.usual()
	if err != nil {
		return err
	}
	batches := []event.Batch{usual}
	for _, h := range hostile() {
		b, err := encode(0, h.events...)
		if err != nil {
			return err
		}
		batches = append(batches, b)
	}
	return s.processor(ctx, dir, func(p plugin.Processor) error {
		for _, b := range batches {
			out, _, err := p.Process(ctx, b)
			if err != nil {
				if plugin.ClassOf(err) == abi.Reject {
					continue
				}
				return fmt.Errorf("process: %w", err)
			}
			err = once(b, out)
			out.Release()
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// once says of which event of a batch there are several in what was made of it.
func once(b, out event.Batch) error {
	n, last := 0, event.Offset(0)
	for o := range out.All() {
		if n++; n == 1 || o != last {
			last = o
			continue
		}
		for at, e := range b.All() {
			if at == o {
				return fmt.Errorf("it makes several events of event %d, %.40q: say multiplies = true in plugin.hcl, or make one", o, e.Body)
			}
		}
	}
	return nil
}

// usual is a batch of plain events, the case's own where it has some.
func (s subject) usual() (event.Batch, error) {
	bodies := s.Input
	for i := 0; len(bodies) < batchEvents; i++ {
		if len(s.Input) > 0 {
			bodies = append(bodies[:len(bodies):len(bodies)], s.Input[i%len(s.Input)])
			continue
		}
		bodies = append(bodies, fmt.Sprintf("line %d of a plain text", i))
	}
	return batchOf(bodies)
}

const (
	// batchEvents is how many events the batches have that are given over and over.
	batchEvents = 1000
	// warm is after how many batches the memory is taken as what the plugin needs; then it gets nine times as many.
	warm = 100
	// slack is how much memory may come on top: a collector does its work when it wants to.
	slack = 8 << 20
	// longEnough is how long a slow plugin is watched: then twice what it has when it is warm must do.
	longEnough = 5 * time.Second
)

// leaks gives a hundred thousand events, and then up to nine hundred thousand, and compares the memory.
func (s subject) leaks(ctx context.Context, dir string) error {
	var m memory
	given, _, err := s.feed(ctx, dir, 10*warm, &m)
	if err == nil && m.last > m.warm+slack {
		err = fmt.Errorf("it had %d MiB after %d events, and %d MiB after %d", m.warm>>20, warm*batchEvents, m.last>>20, given*batchEvents)
	}
	return err
}

// Speed is how many events a second a sink or processor takes, of plain lines, one batch of a thousand after the other.
func Speed(ctx context.Context, p plugin.Plugin, c Case, dir string) (perSecond float64, err error) {
	const batches = 200
	var given int
	var took time.Duration
	err = tried(ctx, p, c, dir, func(s subject, ctx context.Context, dir string) (err error) {
		given, took, err = s.feed(ctx, dir, batches, &memory{})
		return err
	})
	return float64(given*batchEvents) / took.Seconds(), err
}

// memory remembers what an instance has.
type memory struct {
	plugin.Metrics
	warm, last uint64
}

func (m *memory) Plugin(string, int, string, float64) {}
func (m *memory) Call(_ string, _, _ time.Duration)   {}
func (m *memory) Denied(string, string)               {}
func (m *memory) Memory(_ string, bytes uint64)       { m.last = bytes }

// feed gives up to so many batches to one instance, and says how many, and how long that took.
func (s subject) feed(ctx context.Context, dir string, batches int, m *memory) (given int, took time.Duration, err error) {
	r, err := s.world(dir)
	if err != nil {
		return 0, 0, err
	}
	r.Metrics = m
	in, err := s.open(ctx, r)
	if err != nil {
		return 0, 0, err
	}
	b, err := s.usual()
	begun := time.Now()
	i := 0
	for ; i < batches && err == nil && (i < 2*warm || time.Since(begun) < longEnough); i++ {
		if in.Sink != nil {
			first := event.Offset(i * batchEvents)
			_, err = in.Sink.Write(ctx, event.Range{First: first, Next: first + batchEvents}, b.WithBase(first))
		} else {
			var out event.Batch
			if out, _, err = in.Processor.Process(ctx, b); err == nil {
				out.Release()
			}
		}
		if errors.Is(err, plugin.ErrRejected) || err != nil && plugin.ClassOf(err) == abi.Reject {
			err = nil
		}
		if i == warm {
			m.warm = m.last
		}
	}
	return i, time.Since(begun), errors.Join(err, closeInstance(in))
}
