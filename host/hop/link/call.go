// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/penstock-io/penstock/host/hop"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/hoppb"
)

// call is one stream of one upstream.
type call struct {
	s        *source
	stream   grpc.BidiStreamingServer[hoppb.Up, hoppb.Down]
	identity string
	address  string
	sender   string
	up       *upstream // nil: nothing is remembered
	stop     context.CancelCauseFunc
	pokes    chan struct{} // something may be answered; never closed
	ended    chan struct{} // closed when it hands nothing on any more
	welcomed bool          // answer's

	// source.mu guards these, of a call of which nothing is remembered.
	taken, stored, told uint64 // messages
}

// poke has the call look what it can answer.
func (c *call) poke() {
	select {
	case c.pokes <- struct{}{}:
	default:
	}
}

// Send implements [hoppb.HopServer].
func (s *source) Send(stream grpc.BidiStreamingServer[hoppb.Up, hoppb.Down]) error {
	ctx, stop := context.WithCancelCause(stream.Context())
	defer stop(nil)
	c := &call{s: s, stream: stream, stop: stop, pokes: make(chan struct{}, 1), ended: make(chan struct{})}
	c.identity, c.address = identityOf(ctx)
	received := make(chan error, 1)
	greeted := make(chan *hoppb.Welcome, 1)
	s.work.Add(1)
	go func() { // ends when Send has returned, at the latest
		defer s.work.Done()
		defer close(c.ended)
		received <- c.receive(ctx, greeted)
	}()
	defer s.leave(c)
	err := c.answer(ctx, received, greeted)
	if err == nil || stream.Context().Err() != nil {
		return nil
	}
	r := asRefusal(err)
	r.who = c.identity
	if r.worthTelling() {
		s.tell(r, s.open.Log.With("client", c.identity, "sender", c.sender, "peer", c.address))
	}
	return c.say(&hoppb.Down{Says: &hoppb.Down_Refusal{Refusal: &hoppb.Refusal{
		Code: int32(r.code), Message: r.message, RetryAfterMs: r.after.Milliseconds(), Reason: r.reason, Have: r.have.Wire(), Key: r.key,
	}}})
}

func (c *call) say(d *hoppb.Down) error { return c.stream.Send(d) }

// answer says what is to be said, until the call ends: nil when the sender has ended it.
func (c *call) answer(ctx context.Context, received <-chan error, greeted <-chan *hoppb.Welcome) error {
	var pokes chan struct{} // nil until Welcome is said: admit hears them, of what an earlier call has left, which has no answer in this one
	for {
		select {
		case w := <-greeted:
			if err := c.say(&hoppb.Down{Says: &hoppb.Down_Welcome{Welcome: w}}); err != nil {
				return err
			}
			greeted, pokes, c.welcomed = nil, c.pokes, true
		case <-pokes:
			if err := c.answers(); err != nil {
				return err
			}
		case err := <-received:
			if !errors.Is(err, io.EOF) {
				return errors.Join(c.answers(), err)
			}
			received = nil // it sends nothing more, and waits for its answers
			c.poke()
		case <-c.s.closing:
			return errors.Join(c.answers(), &refusal{code: abi.EAGAIN, reason: hoppb.Reason_ENDING, message: "the receiver is stopped, or replaced"})
		case <-ctx.Done():
			return errors.Join(c.answers(), context.Cause(ctx))
		}
		if received == nil && len(greeted) == 0 && c.answered() {
			return nil
		}
	}
}

// answered says whether every message has its answer.
func (c *call) answered() bool {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.up == nil {
		return c.taken == c.told
	}
	return c.up.Unanswered() == 0
}

// answers sends the answers that can be given now.
func (c *call) answers() error {
	for c.welcomed {
		a := new(hoppb.Answer)
		c.s.mu.Lock()
		ok := false
		switch up := c.up; {
		case up == nil:
			ok = c.stored > c.told
			c.told = c.stored
			a.Messages = c.stored
		case up.call == c:
			a.Messages, a.Again, ok = up.Answer()
			a.Have = up.Have().Have.Wire()
		}
		c.s.mu.Unlock()
		if !ok {
			return nil
		}
		if err := c.say(&hoppb.Down{Says: &hoppb.Down_Answer{Answer: a}}); err != nil {
			return err
		}
	}
	return nil
}

// receive takes what the sender says, until the call ends.
func (c *call) receive(ctx context.Context, greeted chan<- *hoppb.Welcome) error {
	late := time.AfterFunc(hoppb.HelloWithin, func() {
		c.stop(&refusal{code: abi.EINVAL, message: fmt.Sprintf("a call begins with a Hello, within %v", hoppb.HelloWithin)})
	})
	up, err := c.stream.Recv()
	late.Stop() // what greet waits for may take longer
	if err != nil {
		return err
	}
	w, err := c.greet(ctx, up.GetHello())
	if err != nil {
		return err
	}
	greeted <- w
	for {
		up, err := c.stream.Recv()
		if err != nil {
			return err
		}
		switch m := up.GetMessage(); {
		case m != nil:
			err = c.take(ctx, m)
		case up.GetFinish() != nil:
			err = c.finish(ctx)
		default:
			err = fmt.Errorf("%w: what follows a Hello is messages, and perhaps a Finish", hop.ErrProtocol)
		}
		if err != nil {
			return err
		}
	}
}

// greet lets an upstream begin.
func (c *call) greet(ctx context.Context, h *hoppb.Hello) (*hoppb.Welcome, error) {
	s := c.s
	c.sender = printable(h.GetSender())
	switch {
	case !hop.Allowed(s.Clients, c.identity):
		return nil, &refusal{code: abi.EACCES, reason: hoppb.Reason_NOT_ALLOWED, after: 5 * time.Second, message: notAllowed(c.identity)}
	case h == nil || h.Version == 0:
		return nil, fmt.Errorf("%w: a call begins with a Hello, which has a version", hop.ErrProtocol)
	case len(h.Stream) > hoppb.MaxStream || printable(h.Stream) != h.Stream:
		return nil, fmt.Errorf("%w: a stream has %d bytes at most, of printable ASCII without blanks", hop.ErrProtocol, hoppb.MaxStream)
	}
	w := &hoppb.Welcome{
		Version: hoppb.Version, Window: uint32(s.Window), MaxBatch: event.MaxBatch, Encodings: []hoppb.Encoding{hoppb.Encoding_ZSTD}, Receiver: s.open.Component,
		Finish: h.Stream != "",
	}
	if h.Stream == "" {
		return w, nil
	}
	key := hop.Key(c.identity, h.Stream)
	if err := s.admit(ctx, c, key); err != nil {
		return nil, err
	}
	lives := make([]hop.Life, 0, len(h.Incarnations))
	for _, i := range h.Incarnations {
		lives = append(lives, hop.Life{ID: i.Id, First: event.Offset(i.First), Next: event.Offset(i.Next)})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	lost, err := c.up.Hello(lives, h.Durable, h.Parts)
	if d, ok := errors.AsType[*hop.DivergedError](err); ok {
		return nil, &refusal{
			code: abi.EINVAL, reason: hoppb.Reason_DIVERGED, have: d.Have, key: key,
			message: d.Error(),
		}
	}
	if err != nil {
		return nil, err
	}
	if lost > c.up.lost { // it comes back with the same until it has sent something
		s.count("upstream_lost_events", float64(lost-c.up.lost))
		s.open.Log.Warn("an upstream whose channel is not at fsync has lost events that are here: it goes on behind them",
			"client", c.identity, "sender", c.sender, "events", lost)
	}
	c.up.lost = lost
	have := c.up.Have()
	have.Welcome(w)
	s.open.Log.Debug("an upstream sends", "client", c.identity, "sender", c.sender, "peer", c.address, "have", have.Have.String(), "parts", len(have.Parts))
	return w, nil
}

func (s *source) count(name string, n float64) {
	if s.open.Metrics != nil {
		s.open.Metrics.Plugin(s.open.Component, abi.MetricCounter, name, n)
	}
}

func notAllowed(identity string) string {
	switch identity {
	case "":
		return "it shows no certificate that says who it is: the tls block of the receiver needs ca, and that of the sender cert and key"
	case localIdentity:
		return `whoever comes without TLS is "local", and clients of the receiver does not list that`
	}
	return fmt.Sprintf("%q is not one of those that clients of the receiver lists", identity)
}

// printable is s without what is none, or a blank.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f {
			return -1
		}
		return r
	}, s)
}

// take judges one message, and hands it on.
func (c *call) take(ctx context.Context, m *hoppb.Message) error {
	s := c.s
	if c.up == nil {
		batch, err := c.unpack(m)
		if err != nil {
			return err
		}
		s.mu.Lock()
		c.taken++
		over := c.taken-c.stored > uint64(s.Window)
		s.mu.Unlock()
		if over {
			batch.Release()
			return c.overWindow()
		}
		return c.hand(ctx, arrival{of: c, batch: batch})
	}
	s.mu.Lock()
	if c.up.Unanswered() >= s.Window {
		s.mu.Unlock()
		return c.overWindow()
	}
	before := c.up.At()
	span := hop.Span{Incarnation: m.Incarnation, Range: event.Range{First: event.Offset(m.First), Next: event.Offset(m.Next)}}
	verdict, after, err := c.up.Judge(hop.FromWire(m.Prev), hop.SpansFromWire(m.Settled), span)
	s.mu.Unlock()
	switch {
	case err != nil:
		return err
	case verdict != hop.Put:
		c.poke()
		return nil
	}
	batch, err := c.unpack(m)
	if err != nil {
		return err
	}
	grows := c.up.size(after) - c.up.size(before)
	s.mu.Lock()
	if grows > 0 && s.kept+grows > hoppb.MaxCursor {
		s.outdated()
	}
	if grows > 0 && s.kept+grows > hoppb.MaxCursor {
		s.mu.Unlock()
		batch.Release()
		return &refusal{code: abi.EAGAIN, after: time.Minute, message: "what is kept of all upstreams is as much as the cursor of a source has room for: " +
			"let some send to another source, have programs finish their streams (penstock send --remove), or wait until forget_after of the channel has forgotten some"}
	}
	s.kept += max(grows, 0)
	c.up.Take(span, after)
	s.mu.Unlock()
	if err := c.hand(ctx, arrival{of: c, after: after, frees: max(-grows, 0), batch: batch}); err != nil {
		s.mu.Lock()
		s.kept -= max(grows, 0)
		c.up.Drop(before)
		s.mu.Unlock()
		return err
	}
	return nil
}

// finish forgets the upstream: in a transaction of its own, behind all that it has sent.
func (c *call) finish(ctx context.Context) error {
	if c.up == nil {
		return fmt.Errorf("%w: nothing is remembered of a stream without a name", hop.ErrProtocol)
	}
	c.s.mu.Lock()
	before := c.up.At()
	kept, err := c.up.Finish()
	c.s.mu.Unlock()
	if err != nil {
		return err
	}
	if !kept {
		c.poke()
		return nil
	}
	if err := c.hand(ctx, arrival{of: c, end: true, frees: c.up.size(before)}); err != nil {
		c.s.mu.Lock()
		c.up.Drop(before)
		c.s.mu.Unlock()
		return err
	}
	return nil
}

func (c *call) overWindow() error {
	return fmt.Errorf("%w: more than the %d messages of the window wait for their answer", hop.ErrProtocol, c.s.Window)
}

// hand gives a batch to whoever reads.
func (c *call) hand(ctx context.Context, a arrival) error {
	late := time.NewTimer(fullAfter)
	defer late.Stop()
	var err error
	select {
	case c.s.arrivals <- a:
		return nil
	case <-late.C:
		err = &refusal{code: abi.EAGAIN, reason: hoppb.Reason_FULL, after: plugin.RetryAfter, message: "there is no room in the receiver's channel"}
	case <-c.s.closing:
		err = &refusal{code: abi.EAGAIN, reason: hoppb.Reason_ENDING, message: "the receiver is stopped, or replaced"}
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	a.batch.Release()
	return err
}

// unpack makes a batch of what came, in memory of the channel's.
func (c *call) unpack(m *hoppb.Message) (event.Batch, error) {
	packed, buf := m.Batch, (*event.Buffer)(nil)
	switch m.Encoding {
	case hoppb.Encoding_PSB1:
		if len(packed) > event.MaxBatch {
			return event.Batch{}, fmt.Errorf("%w: a batch of %d bytes", hop.ErrProtocol, len(packed))
		}
		buf = c.s.open.Buffers.Get(len(packed))
		copy(buf.Bytes(), packed)
	case hoppb.Encoding_ZSTD:
		size, err := unpackedSize(packed)
		if err != nil {
			return event.Batch{}, fmt.Errorf("%w: %w", hop.ErrProtocol, err)
		}
		buf = c.s.open.Buffers.Get(size)
		if err := unzstd(buf.Bytes(), packed); err != nil {
			buf.Release()
			return event.Batch{}, fmt.Errorf("%w: %w", hop.ErrProtocol, err)
		}
	default:
		return event.Batch{}, fmt.Errorf("%w: encoding %d is not one of Welcome", hop.ErrProtocol, m.Encoding)
	}
	if _, err := event.Parse(buf.Bytes()); err != nil {
		buf.Release()
		return event.Batch{}, fmt.Errorf("%w: %w", hop.ErrProtocol, err)
	}
	return event.Trusted(buf.Bytes(), 0, buf), nil
}
