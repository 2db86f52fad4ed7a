// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"time"

	"github.com/penstock-io/penstock/host/pipeline"
	"github.com/penstock-io/penstock/spec/abi"
)

// trial is the probation of what a reload has started. The first grave failure ends it: a plugin that breaks, refuses its configuration or does not
// come back in time. A destination that is down is none, since the version before would find it the same.
type trial struct {
	failed chan error    // room for one, never closed
	ended  chan struct{} // closed by over
}

func newTrial() *trial { return &trial{failed: make(chan error, 1), ended: make(chan struct{})} }

// wait returns nil when nothing grave has happened in time, and errGone when the agent stops before.
func (t *trial) wait(stopping <-chan struct{}, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case err := <-t.failed:
		return err
	case <-stopping:
		return errGone
	case <-timer.C:
	}
	select { // both at once
	case err := <-t.failed:
		return err
	default:
		return nil
	}
}

// over ends it: what fails from now on is a failure like any other.
func (t *trial) over() {
	select {
	case <-t.ended:
	default:
		close(t.ended)
	}
}

func (t *trial) fail(err error) {
	select {
	case <-t.ended:
	case t.failed <- err:
	default: // there is one already
	}
}

// judge looks at what a component says of itself while it is on probation. It is held, or has failed gravely and is opened again.
func (c *component) judge(s pipeline.State, reason string) {
	t := c.trial.Load()
	if t == nil || s != pipeline.Held && s != pipeline.Retrying {
		return
	}
	if grave := c.grave.Swap(false); grave || s == pipeline.Held {
		t.fail(fmt.Errorf("%s: %w", c.Address(), errors.New(reason)))
	}
}

// failed counts what went wrong. The state that follows says why.
func (c *component) failed(class abi.Class, address string) {
	if class == abi.Fatal {
		c.plugins.Trapped(address)
	}
	if class == abi.Fatal || class == abi.Config {
		c.grave.Store(true)
	}
	if t := c.trial.Load(); t != nil && class == abi.Fatal && address != c.Address() {
		t.fail(fmt.Errorf("%s: %s broke", c.Address(), address))
	}
}

// pausedByHand says whether somebody has paused the component, which its successor is then too. It has ended.
func (c *component) pausedByHand() bool {
	state, _, _ := c.fate()
	return c.paused != "" && state == pipeline.Paused
}
