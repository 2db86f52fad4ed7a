// SPDX-License-Identifier: Apache-2.0

package channeltest

import (
	"errors"

	"github.com/penstock-io/penstock/host/channel"
)

var errInjected = errors.New("injected fault")

// failing makes the named step fail while it is set.
func (e *env) failing(step string) (set func(bool)) {
	fail := make(chan bool, 1) // a mutex that synctest can see through; never closed
	fail <- false
	e.options.Fault = func(s string) error {
		on := <-fail
		defer func() { fail <- on }()
		if on && s == step {
			return errInjected
		}
		return nil
	}
	return func(on bool) { <-fail; fail <- on }
}

// change submits an event of the source together with a cursor change, both called name.
func (e *env) change(source, name string) (wait func() error) {
	e.Helper()
	return e.submit(channel.Put{Source: source, Batch: e.batch(name), Changed: at(name)})
}

var faultCases = map[string][]scenario{
	StepPut: {
		{"a transaction that could not be written is refused, and so is all that follows of its source", func(e *env) {
			fail := e.failing(StepPut)
			e.open()
			r := e.reader("sink.a")
			e.must(e.change("source.a", "1")())
			fail(true)
			two := e.change("source.a", "2")
			three := e.change("source.a", "3")
			if err := two(); err == nil || errors.Is(err, channel.ErrPrior) || errors.Is(err, channel.ErrIndeterminate) {
				e.Fatalf("it answered %v", err)
			}
			if three() == nil {
				e.Fatal("what followed was committed")
			}
			fail(false)
			e.is(e.change("source.a", "4")(), channel.ErrPrior)
			e.must(e.change("source.b", "b")()) // another source is not concerned
			e.cursorIs("source.a", at("1"))
			e.must(e.change("source.a", "2 again")())
			e.cursorIs("source.a", at("2 again"))
			e.same(e.drain(r, 3), []string{"1", "b", "2 again"})
			e.empty(r)
		}},
		{"the observer hears why a transaction was refused", func(e *env) {
			fail := e.failing(StepPut)
			reasons := map[string]int{}
			e.options.Observer.Refused = func(reason string) { reasons[reason]++ }
			e.open()
			fail(true)
			if e.change("source.a", "1")() == nil {
				e.Fatal("committed")
			}
			fail(false)
			e.is(e.change("source.a", "2")(), channel.ErrPrior)
			if reasons["error"] != 1 || reasons["prior"] != 1 || len(reasons) != 2 {
				e.Errorf("it heard %v", reasons)
			}
		}},
		{"a refused transaction uses no room and gives its memory back", func(e *env) {
			fail := e.failing(StepPut)
			e.options.Capacity.Events = 2
			e.options.OnFull = channel.Refuse
			e.open()
			r := e.reader("sink.a")
			e.must(e.change("source.a", "1")())
			fail(true)
			for range 3 {
				if e.change("source.a", "never")() == nil {
					e.Fatal("committed")
				}
				e.cursorIs("source.a", at("1"))
			}
			fail(false)
			e.must(e.change("source.a", "2")())
			e.same(e.drain(r, 2), []string{"1", "2"})
		}},
	},
	StepSync: {
		{"nothing is seen before it is durable", func(e *env) {
			gate, reached := make(chan struct{}), make(chan struct{}, 100) // gate is closed below
			armed := make(chan bool, 1)                                    // holds one token while the gate is to hold
			e.options.Fault = func(s string) error {
				if s == StepSync && len(armed) > 0 {
					reached <- struct{}{}
					<-gate
				}
				return nil
			}
			e.open()
			r := e.reader("sink.a")
			armed <- true
			put := e.later(e.change("source.a", "1"))
			<-reached
			put.waits("a wait before the flush")
			e.empty(r)
			if info := r.Info(); info.Waiting != 0 {
				e.Errorf("%d events wait before the flush", info.Waiting)
			}
			asked := e.later(func() error {
				_, err := e.ch.Cursor(e.Context(), "source.a")
				return err
			})
			asked.waits("Cursor with a change in flight")
			close(gate)
			e.must(put.ends("the wait"))
			e.must(asked.ends("Cursor"))
			e.same(e.drain(r, 1), []string{"1"})
			e.cursorIs("source.a", at("1"))
		}},
		{"a failed flush stops the channel for good: nothing is acknowledged after it", func(e *env) {
			fail := e.failing(StepSync)
			e.open()
			r := e.reader("sink.a")
			e.must(e.change("source.a", "1")())
			fail(true)
			e.is(e.change("source.a", "2")(), channel.ErrIndeterminate)
			fail(false)
			_, err := e.ch.Begin(e.Context())
			e.is(err, channel.ErrStopped)
			if e.operator().Stats().Stopped == nil {
				e.Error("the stats do not say that it stopped")
			}
			e.same(e.drain(r, 1), []string{"1"}) // takes go on
			_ = e.ch.Close()                     // may say that it stopped
			e.ch = nil
			e.open()
			r = e.reader("sink.a")
			if p, err := e.ch.Cursor(e.Context(), "source.a"); err != nil || string(p.Cursor["k"]) != "1" && string(p.Cursor["k"]) != "2" {
				e.Errorf("after a failed flush the cursor is %q, %v", p.Cursor, err)
			}
			e.put("3")
		}},
		{"a flush that fails with more in the queue leaves none of it acknowledged", func(e *env) {
			fail := e.failing(StepSync)
			e.open()
			fail(true)
			var queued []func() error // before anybody waits: the first who does may flush at once
			for i := range 8 {
				queued = append(queued, e.change(source(i%3), "x"))
			}
			var waits []*pending
			for _, wait := range queued {
				waits = append(waits, e.later(wait))
			}
			for _, w := range waits {
				err := w.ends("a wait after a failed flush")
				if !errors.Is(err, channel.ErrIndeterminate) && !errors.Is(err, channel.ErrStopped) && !errors.Is(err, channel.ErrPrior) {
					e.Fatalf("it answered %v", err)
				}
			}
			_ = e.ch.Close()
			e.ch = nil
		}},
	},
}
