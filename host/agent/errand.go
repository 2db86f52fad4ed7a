// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/penstock/host/pipeline"
)

// errand is something to do while a component stands still.
type errand struct {
	do    func() error
	taken atomic.Bool // by whoever does it, or by whoever asked for it and gave up
	done  chan error  // one value, never closed
}

func (e *errand) run() {
	if e.taken.CompareAndSwap(false, true) {
		e.done <- e.do()
	}
}

// keep runs the component until ctx ends. In between it stops it for errands, and starts it again after each, also where
// it had finished or was held. Errands are done here, one at a time.
func (c *component) keep(ctx context.Context) error {
	defer close(c.gone)
	defer c.ended.Store(true)
	for ctx.Err() == nil && !c.retired {
		e, err := c.untilErrand(ctx)
		if e != nil {
			e.run()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// untilErrand runs the component, unless it is paused. It has stopped when this returns.
func (c *component) untilErrand(ctx context.Context) (e *errand, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var work errgroup.Group
	switch {
	case c.paused != "": // whoever did it has said so
	case c.byHand != "":
		c.standing()
	default:
		work.Go(func() error { return logHeld(c.log, c.run(ctx)) })
	}
	select {
	case e = <-c.errands:
	case <-ctx.Done():
	}
	stop()
	return e, work.Wait()
}

// errGone: the component will not run again.
var errGone = errors.New("the agent is stopping")

// retire ends the component at the border of a transaction, for another one to take its place: what it has open is free then. Where it has not stopped
// when ctx ends, or may says why it has to stay, it goes on, and nothing was changed.
func (c *component) retire(ctx context.Context, may func() error) error {
	err := c.apart(ctx, func() error {
		if err := may(); err != nil {
			return err
		}
		c.retired = true
		if err := c.close(); err != nil {
			c.log.Warn("what had been delivered is not all written down, and may be delivered again", "error", err)
		}
		return nil
	})
	if err == nil {
		<-c.gone
	}
	return err
}

// close gives up what the component has open. It does not run.
func (c *component) close() (err error) {
	if c.layout != nil {
		err = c.layout.close(c.layout.sorted())
	}
	for _, closer := range c.closers {
		err = errors.Join(err, closer.Close())
	}
	return err
}

// apart stops the component at the border of a transaction, has something done, and lets it go on. When ctx ends before it
// has stopped, nothing is done.
func (c *component) apart(ctx context.Context, do func() error) error {
	e := &errand{do: do, done: make(chan error, 1)}
	select {
	case c.errands <- e:
	case <-c.gone:
		return fmt.Errorf("%s: %w", c.Address(), errGone)
	case <-ctx.Done():
		return fmt.Errorf("wait for %s: %w", c.Address(), context.Cause(ctx))
	}
	select {
	case err := <-e.done:
		return err
	case <-ctx.Done():
		if e.taken.CompareAndSwap(false, true) {
			return fmt.Errorf("%s has not stopped yet, and nothing was changed: %w", c.Address(), context.Cause(ctx))
		}
		return <-e.done // it has begun
	}
}

// pause keeps the component from running, for a reason; "" lets it go on.
func (c *component) pause(ctx context.Context, reason string) error {
	return c.apart(ctx, func() error {
		if c.paused = reason; reason != "" {
			c.State(pipeline.Paused, reason)
		}
		return nil
	})
}

// still has something done while none of the components runs.
func still(ctx context.Context, components []*component, do func() error) error {
	if len(components) == 0 {
		return do()
	}
	return components[0].apart(ctx, func() error { return still(ctx, components[1:], do) })
}

// refit has something done while nobody has the readers of sinks open, which do not run. Where one's cannot be opened again, that sink is held until
// another try succeeds.
func refit(sinks []*component, do func() error) (err error) {
	for _, c := range sinks {
		err = errors.Join(err, c.layout.close(c.layout.sorted()))
	}
	if err == nil {
		err = do()
	}
	for _, c := range sinks {
		c.paused = ""
		if oerr := c.layout.open(); oerr != nil {
			c.paused = oerr.Error()
			c.State(pipeline.Held, c.paused)
			err = errors.Join(err, oerr)
		}
	}
	return err
}
