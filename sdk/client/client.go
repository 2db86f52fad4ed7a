// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/penstock-io/penstock/spec/event"
)

// Batch is what is queued at once: all of it arrives, or nothing.
type Batch struct {
	Events []event.Event // one at least

	// Of a stream, the numbers of the events lie in [First, Next), above all that were queued before. There may be more numbers than events: what is left
	// out counts as sent. A Next of 0 has the client number them, each one above the one before. Without a stream both are ignored.
	First, Next event.Offset
}

// Client sends to one receiver at a time. Its methods may be called by many goroutines; a stream whose events are numbered has one that queues.
type Client struct {
	config Config
	pace   pace
	stop   context.CancelFunc
	work   sync.WaitGroup
	wake   chan struct{} // there is something to send, or to send it in; has room for one, never closed
	opened chan struct{} // closed at the first Welcome
	failed chan struct{} // closed when err is set
	done   chan struct{} // closed when the stream is finished

	mu    sync.Mutex
	box   outbox
	room  chan struct{} // closed, and made anew, when there is more room
	limit int           // bytes of a batch
	able  bool          // the receiver can forget a stream
	stats Stats
	err   error // why there is no more
}

// Stats is how a client stands.
type Stats struct {
	Waiting      int    // events that are not acknowledged
	WaitingBytes int    // encoded
	Acknowledged uint64 // events, since Open
	Calls        uint64 // streams that a receiver has welcomed, since Open
	Address      string // where the client is connected to; "" = nowhere
	Err          error  // how the last attempt ended; nil while the client is connected
}

// Open connects to a receiver, and waits until one has welcomed the client, ctx ends, or all of them have refused it for good. ctx is for the opening alone. The error wraps
// [ErrConfig], is a *[RefusedError], or says what happened last. The client is the caller's to Close.
func Open(ctx context.Context, config Config) (*Client, error) {
	if err := config.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	c := &Client{
		config: config, pace: pace{random: rand.Float64}, wake: make(chan struct{}, 1), opened: make(chan struct{}), failed: make(chan struct{}),
		room: make(chan struct{}), done: make(chan struct{}), box: outbox{lives: config.Incarnations},
	}
	for _, text := range config.Addresses {
		a, err := parseAddress(text)
		if err == nil {
			_, err = config.tls(a)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		c.pace.places = append(c.pace.places, &place{address: a})
	}
	lasting, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.stop = stop
	c.work.Go(func() { c.run(lasting) })
	select {
	case <-c.opened:
		return c, nil
	case <-c.failed:
	case <-ctx.Done():
	}
	err := c.last(context.Cause(ctx))
	c.shut()
	return nil, err
}

// last is why it goes on no more, or has not yet: the last that happened, and cause.
func (c *Client) last(cause error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return c.err
	case c.stats.Err != nil:
		return fmt.Errorf("%w: %w", cause, c.stats.Err)
	case c.stats.Calls == 0:
		return fmt.Errorf("%w: %s has not said Welcome yet", cause, c.config.Addresses[0])
	}
	return cause
}

// Have is where the receiver stood when the client was opened: the application goes on with the event of that number. Without a stream it is the zero Position.
func (c *Client) Have() Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.box.opened
}

// Stats is how the client stands now.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Waiting, s.WaitingBytes, s.Acknowledged = c.box.events, c.box.size, c.box.acked
	return s
}

// Send queues a batch and waits until the receiver has it on disk. When ctx ends before, the error says how the connection stands; what was
// queued by then stays queued, and may still arrive.
func (c *Client) Send(ctx context.Context, b Batch) error {
	r, err := c.Queue(ctx, b)
	if err != nil {
		return err
	}
	return r.Wait(ctx)
}

// Queue takes a batch, and keeps nothing of its memory. It waits while there is no room, until ctx ends: then nothing was queued; smaller batches of other goroutines
// may find room before. The error wraps [ErrTooBig], [ErrOrder] or [ErrClosed], is what ended the client, or says what is wrong with an event.
func (c *Client) Queue(ctx context.Context, b Batch) (Receipt, error) {
	encoded, err := encode(b)
	if err != nil {
		return Receipt{}, err
	}
	for {
		r, room, err := c.queue(b, encoded)
		if !errors.Is(err, ErrFull) {
			return r, err
		}
		select {
		case <-room:
		case <-c.failed:
		case <-ctx.Done():
			return Receipt{}, fmt.Errorf("%w: %w", ErrFull, c.last(context.Cause(ctx)))
		}
	}
}

// TryQueue is Queue that does not wait: the error wraps [ErrFull] when there is no room.
func (c *Client) TryQueue(b Batch) (Receipt, error) {
	encoded, err := encode(b)
	if err != nil {
		return Receipt{}, err
	}
	r, _, err := c.queue(b, encoded)
	return r, err
}

// queue queues, or says that there is no room: then something may be heard from room.
func (c *Client) queue(b Batch, encoded event.Batch) (r Receipt, room <-chan struct{}, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return Receipt{}, nil, c.err
	}
	if c.box.finish != unfinished { // the receiver would take it as new
		return Receipt{}, nil, fmt.Errorf("%w: its stream is finished", ErrClosed)
	}
	m, held, err := c.box.number(b)
	switch size := encoded.Size(); {
	case err != nil:
		return Receipt{}, nil, err
	case held:
		close(m.done)
		return Receipt{c, m.done}, nil, nil
	case size > c.limit || size > c.config.Memory:
		return Receipt{}, nil, fmt.Errorf("%w: %d bytes of %d", ErrTooBig, size, min(c.limit, c.config.Memory))
	case c.box.size+size > c.config.Memory:
		return Receipt{}, c.room, ErrFull
	}
	m = c.box.add(m, encoded, c.limit)
	c.poke()
	return Receipt{c, m.done}, nil, nil
}

// encode makes of events what is sent of them.
func encode(b Batch) (event.Batch, error) {
	if len(b.Events) == 0 {
		return event.Batch{}, errors.New("a batch has one event at least")
	}
	size := event.HeaderSize
	for i := range b.Events {
		e := &b.Events[i]
		size += event.RecordSize + len(e.Body)
		for k := range e.Attributes {
			size += event.AttributeSize + len(e.Attributes[k].Key) + len(e.Attributes[k].Value)
		}
	}
	if size > event.MaxBatch-event.EventMargin {
		return event.Batch{}, fmt.Errorf("%w: %d bytes of %d", ErrTooBig, size, event.MaxBatch-event.EventMargin)
	}
	w := event.Builder{Limit: event.MaxBatch}
	for i := range b.Events {
		if err := w.AppendEvent(&b.Events[i]); err != nil {
			return event.Batch{}, fmt.Errorf("event %d of the batch: %w", i, err)
		}
	}
	return w.Batch(), nil
}

// Receipt is for a batch that was queued. The zero Receipt, which goes with an error, is for none.
type Receipt struct {
	c    *Client
	done <-chan struct{} // closed when the receiver has it
}

// Wait waits until the receiver has the batch on disk, and is nil then. When ctx ends before, nothing is known of the batch: it stays queued, and to Wait again is
// fine. Any other error is what has ended the client: the batch may or may not have arrived.
func (r Receipt) Wait(ctx context.Context) error {
	if r.done == nil {
		return errors.New("not acknowledged: nothing was queued")
	}
	select {
	case <-r.done:
		return nil
	default:
	}
	select {
	case <-r.done:
		return nil
	case <-r.c.failed:
		select {
		case <-r.done: // both: it was acknowledged before
			return nil
		default:
		}
		return fmt.Errorf("not acknowledged: %w", r.c.last(nil))
	case <-ctx.Done():
		return fmt.Errorf("not acknowledged yet: %w", r.c.last(context.Cause(ctx)))
	}
}

// Flush waits until all that was queued before is on the receiver's disk.
func (c *Client) Flush(ctx context.Context) error {
	c.mu.Lock()
	var last Receipt
	if n := len(c.box.messages); n > 0 {
		last = Receipt{c, c.box.messages[n-1].done}
	}
	err := c.err
	c.mu.Unlock()
	if last.done == nil {
		return err
	}
	return last.Wait(ctx)
}

// Finish waits until all that was queued is on the receiver's disk, and has the receiver forget the stream: nothing can be queued any more, and nothing may ever be sent
// under that name again, by any client, but to finish it. A receiver remembers each stream for weeks, and some thousands of them: whoever makes a new one for each file or
// job finishes it. What the stream was of has to be out of the way before, or on record as sent: a client that is opened with it afterwards finds the receiver at the beginning.
//
// When ctx ends before, the stream may be finished or not; to call it again is fine, also in another client, which must not send. The error wraps
// [errors.ErrUnsupported] when the receiver does not know how to, or there is no stream; then all was acknowledged.
func (c *Client) Finish(ctx context.Context) error {
	c.mu.Lock()
	able := c.able && c.config.Stream != ""
	if able && c.box.finish == unfinished {
		c.box.finish = wanted
	}
	c.mu.Unlock()
	if !able {
		if err := c.Flush(ctx); err != nil {
			return err
		}
		return fmt.Errorf("the receiver keeps the stream in mind until it is old: %w", errors.ErrUnsupported)
	}
	c.poke()
	select {
	case <-c.done:
		return nil
	case <-c.failed:
		return fmt.Errorf("not finished: %w", c.last(nil))
	case <-ctx.Done():
		return fmt.Errorf("not finished yet: %w", c.last(context.Cause(ctx)))
	}
}

// Close ends the client at once, and waits until it has ended. It flushes nothing: see [Client.Flush]. The error says whether something was not acknowledged, or what had ended
// the client before.
func (c *Client) Close() error {
	c.mu.Lock()
	err := c.err
	if n := c.box.events; err == nil && n > 0 {
		err = fmt.Errorf("%d events are not acknowledged, and may or may not have arrived", n)
	}
	c.mu.Unlock()
	c.shut()
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

// shut ends all that runs.
func (c *Client) shut() {
	c.stop()
	c.work.Wait()
	c.fail(ErrClosed)
}

// fail ends the client, for everybody who waits; the first reason counts.
func (c *Client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		close(c.failed)
		c.stop()
	}
}

// poke has the sending goroutine look what there is.
func (c *Client) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}
