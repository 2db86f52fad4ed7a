// SPDX-License-Identifier: Apache-2.0

package channeltest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// Of the cases under load.
const (
	producers    = 10
	takers       = 10
	transactions = 30 // of each producer
)

var loadCases = []scenario{
	{"10 producers and 10 competing takers lose and repeat nothing", func(e *env) {
		e.open()
		r := e.anyOrder("sink.group")
		got, offsets := e.load(r, takers)
		if len(got) != total() || len(offsets) != total() {
			e.Fatalf("%d events with %d offsets came of %d", len(got), len(offsets), total())
		}
		e.counts(r, 0, 0)
		for p := range producers {
			e.cursorIs(source(p), at(fmt.Sprint(transactions-1)))
		}
	}},
	{"10 producers come out at one taker, each in its order", func(e *env) {
		e.options.Capacity.Events = 200 // so that they wait for it
		e.open()
		e.load(e.reader("sink.a"), 1)
	}},
}

func source(p int) string { return fmt.Sprint("source.", p) }

// sizeOf is how many events transaction n of producer p has: mixed, some have none.
func sizeOf(p, n int) int { return (p*7 + n*3) % 23 }

func total() (n int) {
	for p := range producers {
		for t := range transactions {
			n += sizeOf(p, t)
		}
	}
	return n
}

// load runs producers against takers until everything came, and returns how often each body and each offset came.
func (e *env) load(r channel.Reader, takers int) (bodies map[string]int, offsets map[event.Offset]int) {
	e.Helper()
	s := &sieve{env: e, bodies: map[string]int{}, offsets: map[event.Offset]int{}, last: map[string]string{}}
	ctx, stop := context.WithCancel(e.Context())
	defer stop()
	var ends []*pending
	for range takers {
		ends = append(ends, e.later(func() error { return s.run(ctx, stop, r, takers == 1) }))
	}
	for p := range producers {
		ends = append(ends, e.later(func() error { return e.produce(p) }))
	}
	for _, end := range ends {
		if err := end.ends("a producer or a taker"); err != nil && !errors.Is(err, context.Canceled) {
			e.Fatal(err)
		}
	}
	for body, n := range s.bodies {
		if n != 1 {
			e.Fatalf("%s came %d times", body, n)
		}
	}
	return s.bodies, s.offsets
}

// produce commits the transactions of producer p, two in flight.
func (e *env) produce(p int) error {
	var before func() error
	for n := range transactions {
		var w event.Builder
		for i := range sizeOf(p, n) {
			if err := w.Append(made(fmt.Sprintf("%d/%04d.%04d", p, n, i))); err != nil {
				return err
			}
		}
		b, err := event.Copy(&e.memory, w.Bytes(), event.MaxBatch)
		if err != nil {
			return err
		}
		tx, err := e.ch.Begin(e.Context())
		if err != nil {
			return err
		}
		if err := tx.Put(channel.Put{Source: source(p), Batch: b, Changed: at(fmt.Sprint(n))}); err != nil {
			return err
		}
		wait := tx.Submit()
		if before != nil {
			if err := before(); err != nil {
				return err
			}
		}
		before = wait
	}
	return before()
}

// sieve counts what takers get.
type sieve struct {
	*env
	mu      sync.Mutex
	bodies  map[string]int
	offsets map[event.Offset]int
	last    map[string]string // of each producer, the latest body
}

// run takes until everything came; every third lease is rolled back first.
func (s *sieve) run(ctx context.Context, stop func(), r channel.Reader, ordered bool) error {
	for n := 0; ; n++ {
		l, err := r.Take(ctx, channel.Want{Events: 1 + n%40, Bytes: 2000 + n%7*100})
		if err != nil {
			return err
		}
		if n%3 == 2 {
			l.Rollback()
			continue
		}
		d := l.Delivery()
		s.mu.Lock()
		for o, ev := range d.Batch.All() {
			body := string(ev.Body)
			s.bodies[body]++
			s.offsets[o]++
			producer, _, _ := strings.Cut(body, "/")
			if ordered && s.last[producer] >= body {
				s.Errorf("%s came after %s", body, s.last[producer])
			}
			s.last[producer] = body
		}
		all := len(s.bodies) == total()
		s.mu.Unlock()
		if err := l.Commit(); err != nil {
			return err
		}
		if all {
			stop()
		}
	}
}
