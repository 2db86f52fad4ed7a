// SPDX-License-Identifier: Apache-2.0

package channeltest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// env is what a case works with: an opened channel, and words to say what is done with it.
type env struct {
	*testing.T
	opener  Open
	options Options
	ch      channel.Channel
	memory  Memory
}

// open opens the channel as options say.
func (e *env) open() { e.Helper(); e.ch = e.opener(e.T, e.options) }

// reopen closes the channel and opens it again in the same directory.
func (e *env) reopen() {
	e.Helper()
	e.close()
	e.open()
}

func (e *env) close() {
	e.Helper()
	if e.ch == nil {
		return
	}
	e.conserves()
	e.must(e.ch.Close())
	e.ch = nil
}

// finish closes the channel and looks for memory that nobody gave back.
func (e *env) finish() {
	e.Helper()
	e.close()
	if n := e.memory.Live(); n != 0 && !e.Failed() {
		e.Errorf("%d buffers are still held after Close", n)
	}
}

func (e *env) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

// is checks that err is one of the errors that a caller branches on.
func (e *env) is(err, want error) {
	e.Helper()
	if !errors.Is(err, want) {
		e.Fatalf("error is %v, want %v", err, want)
	}
}

// Memory is [event.Buffers] that counts what is held, and overwrites what is freed.
type Memory struct{ live atomic.Int64 }

// Get gives out a fresh buffer.
func (m *Memory) Get(n int) *event.Buffer {
	const trailer = 4096
	m.live.Add(1)
	return event.NewBuffer(make([]byte, event.Headroom+n+trailer), n, func(b *event.Buffer) {
		m.live.Add(-1)
		mem := b.Memory()
		for i := range mem {
			mem[i] = 0xdb // never a batch: whoever still reads it fails
		}
	})
}

// Live is how many buffers are held.
func (m *Memory) Live() int64 { return m.live.Load() }

// batch encodes events with these bodies, each with its time and two attributes made of the body.
func (e *env) batch(bodies ...string) event.Batch {
	e.Helper()
	var w event.Builder
	for _, body := range bodies {
		e.must(w.Append(made(body)))
	}
	b, err := event.Copy(&e.memory, w.Bytes(), event.MaxBatch)
	e.must(err)
	return b
}

// made is the event that batch makes of a body.
func made(body string) event.Event {
	return event.Event{
		Time:       int64(len(body))*1e9 + 1,
		Attributes: []event.Attribute{{Key: "of", Value: []byte(body)}, {Key: "empty", Value: nil}},
		Body:       []byte(body),
	}
}

// bodies gives n different bodies that begin with prefix.
func bodies(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s%04d", prefix, i)
	}
	return out
}

// submit puts one batch in a transaction and submits it.
func (e *env) submit(p channel.Put) (wait func() error) {
	e.Helper()
	tx, err := e.ch.Begin(e.Context())
	e.must(err)
	defer tx.Rollback()
	e.must(tx.Put(p))
	return tx.Submit()
}

// put commits one transaction of source.a with these bodies.
func (e *env) put(bodies ...string) {
	e.Helper()
	e.must(e.submit(channel.Put{Source: "source.a", Batch: e.batch(bodies...)})())
}

// reader registers a reader that starts with the oldest event.
func (e *env) reader(name string) channel.Reader {
	e.Helper()
	return e.readerOf(channel.ReaderSpec{Name: name})
}

func (e *env) readerOf(spec channel.ReaderSpec) channel.Reader {
	e.Helper()
	r, err := e.ch.Reader(spec)
	e.must(err)
	return r
}

// take leases at most n events; 0 is no bound.
func (e *env) take(r channel.Reader, n int) channel.Lease {
	e.Helper()
	return e.takeWant(r, channel.Want{Events: n})
}

func (e *env) takeWant(r channel.Reader, want channel.Want) channel.Lease {
	e.Helper()
	ctx, stop := context.WithTimeout(e.Context(), time.Minute) // of the bubble: nothing that can move is left
	defer stop()
	l, err := r.Take(ctx, want)
	e.must(err)
	return l
}

// drain takes and commits until n events came, and returns their bodies.
func (e *env) drain(r channel.Reader, n int) []string {
	e.Helper()
	var got []string
	for len(got) < n {
		l := e.take(r, 0)
		got = append(got, e.read(l)...)
		e.must(l.Commit())
	}
	return got
}

// read checks a delivery for sense and returns its bodies.
func (e *env) read(l channel.Lease) []string {
	e.Helper()
	d := l.Delivery()
	var got []string
	last := d.Range.First
	for o, ev := range d.Batch.All() {
		if o < last || o >= d.Range.Next {
			e.Fatalf("offset %d in a lease of %v after %d", o, d.Range, last)
		}
		last = o + 1
		want := made(string(ev.Body))
		of, ok := ev.Attribute("of")
		if ev.Time != want.Time || len(ev.Attributes) != 2 || !ok || string(of) != string(ev.Body) {
			e.Fatalf("event %d came back as %+v, want %+v", o, ev, want)
		}
		got = append(got, string(ev.Body))
	}
	if d.Batch.Len() != len(got) {
		e.Fatalf("the batch says that it has %d events, it has %d", d.Batch.Len(), len(got))
	}
	return got
}

// same checks bodies against what was put.
func (e *env) same(got, want []string) {
	e.Helper()
	if !slices.Equal(got, want) {
		e.Fatalf("got %d events %.200q\nwant %d events %.200q", len(got), got, len(want), want)
	}
}

// empty checks that there is nothing to take.
func (e *env) empty(r channel.Reader) {
	e.Helper()
	ctx, stop := context.WithTimeout(e.Context(), time.Minute)
	defer stop()
	l, err := r.Take(ctx, channel.Want{})
	if err == nil {
		e.Fatalf("there is something to take: %v %q", l.Delivery().Range, e.read(l))
	}
	e.is(err, context.DeadlineExceeded)
}

// later runs f at the side and returns how to look at its end.
func (e *env) later(f func() error) *pending {
	p := &pending{env: e, done: make(chan error, 1)}
	go func() { p.done <- f() }() // ends before the bubble does, or synctest says so
	return p
}

type pending struct {
	*env
	done chan error // buffered, never closed: one send
}

// waits checks that f cannot go on.
func (p *pending) waits(what string) {
	p.Helper()
	synctest.Wait()
	select {
	case err := <-p.done:
		p.Fatalf("%s did not wait: %v", what, err)
	default:
	}
}

// ends returns what f answered, and fails when it never does.
func (p *pending) ends(what string) error {
	p.Helper()
	select {
	case err := <-p.done:
		return err
	case <-time.After(time.Hour):
		p.Fatalf("%s still waits", what)
		return nil
	}
}

// operator is the channel's side for those who run it.
func (e *env) operator() channel.Operator {
	e.Helper()
	op, ok := e.ch.(channel.Operator)
	if !ok {
		e.Fatal("the channel is no channel.Operator")
	}
	return op
}
