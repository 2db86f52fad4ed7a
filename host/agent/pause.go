// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/pipeline"
)

var _ admin.Components = (*Agent)(nil)

// Pause has a source or sink stand still until someone lets it go on, or the agent ends. It stops at the border of a transaction: what a source had
// read is committed, what a sink had begun to deliver is delivered or comes again. Whatever else stops and starts it meanwhile, a drain or a
// replay, leaves it paused.
func (a *Agent) Pause(ctx context.Context, p admin.Pause) (admin.Standing, error) {
	c, err := a.componentOf(p.Component)
	if err != nil {
		return admin.Standing{}, err
	}
	do := "pause"
	switch {
	case p.Reset:
		do = "reset"
	case p.Resume:
		do = "resume"
	}
	a.opts.Log.Info("asked through the control socket", "component", c.Address(), "do", do, "uid", p.By.UID, "pid", p.By.PID)
	if err := take(ctx, a.turn); err != nil {
		return admin.Standing{}, fmt.Errorf("wait for what else changes the agent: %w", err)
	}
	defer give(a.turn)
	if c, err = a.componentOf(p.Component); err != nil { // another by now, or none
		return admin.Standing{}, err
	}
	s := admin.Standing{Component: c.Address()}
	if state, _, _ := c.fate(); p.Resume && state != pipeline.Paused && state != pipeline.Held {
		s.State = admin.State(state) // an errand would start it anew
		return s, nil
	}
	err = c.apart(ctx, func() (err error) {
		switch {
		case p.Reset:
			s.Changed, err = true, c.reset(ctx)
		case p.Resume:
			s.Changed, err = c.resume()
		default:
			s.Changed = c.halt(p.By)
		}
		return err
	})
	state, reason, _ := c.fate()
	s.State, s.Reason = admin.State(state), reason
	return s, err
}

func (a *Agent) componentOf(address string) (*component, error) {
	var names []string
	kind, _, _ := strings.Cut(address, ".")
	for _, c := range a.running() {
		if c.Address() == address {
			return c, nil
		}
		if name, ok := strings.CutPrefix(c.Address(), kind+"."); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	r := &admin.Refusal{Code: admin.CodeUsage, Message: "the agent has no " + address}
	if len(names) > 0 {
		r.Hint = "There are: " + strings.Join(names, ", ")
	}
	return nil, r
}

// halt keeps the component from running. It does not run now, and says whether nobody had done so before.
func (c *component) halt(by admin.Peer) bool {
	if c.byHand != "" {
		return false
	}
	kind, name, _ := strings.Cut(c.Address(), ".")
	c.byHand = fmt.Sprintf("by %s; go on with: penstock %s resume %s", person(by), kind, name)
	if c.paused == "" {
		c.standing()
	}
	return true
}

// resume lets it go on. It does not run now.
func (c *component) resume() (bool, error) {
	was := c.byHand
	c.byHand = ""
	switch state, reason, _ := c.fate(); {
	case c.paused != "" && was == "":
		return false, &admin.Refusal{Code: admin.CodeRefused, Message: fmt.Sprintf("%s is %s, and not by penstock %s pause: %s", c.Address(), state, c.Kind, reason)}
	case c.paused != "":
		c.State(pipeline.Paused, c.paused)
	case was != "" || state == pipeline.Held: // one that is held is tried again
		c.State(pipeline.Starting, "")
		return true, nil
	}
	return was != "", nil
}

// person is who asked, as far as the system tells.
func person(p admin.Peer) string {
	if p.PID < 0 {
		return "somebody"
	}
	return fmt.Sprintf("user %d, process %d", p.UID, p.PID)
}

// standing shows that a component is paused by hand, which it may have been before.
func (c *component) standing() {
	if state, reason, _ := c.fate(); state != pipeline.Paused || reason != c.byHand {
		c.State(pipeline.Paused, c.byHand)
	}
}
