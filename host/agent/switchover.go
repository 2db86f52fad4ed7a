// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/pipeline"
	"github.com/penstock-io/penstock/host/plan"
)

// switchover goes from one revision to another, and back if need be. Each component that is not the same is replaced by itself:
//
//	stop   it ends at the border of a transaction: no poll, no take any more; what has begun commits or rolls back; readers are closed
//	open   its successor is made of the other revision: readers are opened, where the old one stood
//	start  it runs, from the committed cursor
//
// None waits for another, so that one which takes long to stop keeps nobody else. What is new altogether comes last, when what is removed
// has let go of what both of them may use. An address that is listened on stays open all the time.
type switchover struct {
	agent    *Agent
	from, to *revision
	plan     *plan.Plan
	trial    *trial

	mu       sync.Mutex
	replaced map[string]bool // by address: the old one has ended
}

// wentBack is why a reload ended with what ran before.
type wentBack struct {
	err   error
	stuck bool // there was no way back: the new one is held
}

func (w *wentBack) Error() string {
	if w.stuck {
		return fmt.Sprintf("what was new has failed, and there is no way back: %v", w.err)
	}
	return fmt.Sprintf("went back to what ran before: %v", w.err)
}

func (w *wentBack) Unwrap() error { return w.err }

// run does it, sees the probation through, and closes what nobody has any more.
func (s *switchover) run(ctx context.Context) error {
	a := s.agent
	err := s.alone(ctx, s.forward)
	if err == nil && s.stirs() {
		err = s.trial.wait(a.stopping, s.to.Config.Agent.Probation)
	}
	s.to.spares.close()
	switch way := s.noWayBack(); {
	case err == nil:
		return s.settle()
	case errors.Is(err, errGone): // nobody will know whether it was good
		return errors.Join(err, s.from.close(s.to))
	case way != "":
		back := &wentBack{err: fmt.Errorf("%w; %s", err, way), stuck: true}
		return errors.Join(back, s.alone(ctx, func(ctx context.Context) error { return errors.Join(s.holdFailed(ctx, back), s.create()) }), s.from.close(s.to))
	}
	back := &wentBack{err: err}
	a.opts.Log.Warn("what is new has failed, going back to what ran before", "reason", err)
	err = s.alone(ctx, s.back)
	a.resurvey(s.from.channels)
	return errors.Join(back, err, s.to.close(s.from), s.forgetHolds())
}

// alone does something while nobody else changes what runs.
func (s *switchover) alone(ctx context.Context, do func(context.Context) error) error {
	if err := take(ctx, s.agent.turn); err != nil {
		return err
	}
	defer give(s.agent.turn)
	return do(ctx)
}

// stirs says whether anything is started anew.
func (s *switchover) stirs() bool {
	return slices.ContainsFunc(s.plan.Steps, func(step plan.Step) bool { return runs(step) && step.Do != plan.Remove })
}

// runs says whether a step is of something that runs by itself.
func runs(s plan.Step) bool {
	return strings.HasPrefix(s.Address, "source.") || strings.HasPrefix(s.Address, "sink.")
}

// forward goes from the old revision to the new one.
func (s *switchover) forward(ctx context.Context) error {
	a := s.agent
	s.replaced = map[string]bool{}
	a.become(s.to)
	a.resurvey(append(slices.Clone(s.to.channels), s.from.channels...))
	var g errgroup.Group
	for _, step := range s.plan.Steps {
		if runs(step) && step.Do != plan.Create {
			g.Go(func() error { return s.replace(ctx, step.Before(), after(step), s.from, s.to) })
		}
	}
	if err := errors.Join(g.Wait(), s.keepsAll()); err != nil {
		return err
	}
	return s.create()
}

// create opens what is new altogether, and is not there yet.
func (s *switchover) create() error {
	var g errgroup.Group
	for _, step := range s.plan.Steps {
		if runs(step) && step.Do == plan.Create && s.agent.component(step.Address) == nil {
			g.Go(func() error { return s.open(nil, step.Address, s.to) })
		}
	}
	return g.Wait()
}

// back goes from the new revision to the old one: what has not been replaced yet stays.
func (s *switchover) back(ctx context.Context) error {
	a := s.agent
	s.trial.over()
	var created errgroup.Group
	for _, step := range s.plan.Steps {
		if runs(step) && step.Do == plan.Create {
			created.Go(func() error { return s.replace(ctx, step.Address, "", s.to, s.from) })
		}
	}
	err := created.Wait()
	s.from.tried.Store(s.to.Config)
	a.become(s.from)
	replaced := maps.Clone(s.replaced) // by those that start here it is written to
	var g errgroup.Group
	for _, step := range s.plan.Steps {
		switch {
		case !runs(step) || step.Do == plan.Create || !replaced[step.Before()]:
		case step.Do == plan.Remove:
			g.Go(func() error { return s.open(nil, step.Address, s.from) })
		default:
			g.Go(func() error { return s.replace(ctx, step.Address, step.Before(), s.to, s.from) })
		}
	}
	return errors.Join(err, g.Wait())
}

// after is the address that a component has when the step is done, "" for none.
func after(s plan.Step) string {
	if s.Do == plan.Remove {
		return ""
	}
	return s.Address
}

// replace stops the component of an address and, unless it is removed, opens its successor, which may have another.
func (s *switchover) replace(ctx context.Context, address, next string, from, to *revision) error {
	old := s.agent.component(address)
	switch {
	case old == nil && next == "":
		return nil // its opening has failed
	case old == nil:
		return s.open(nil, next, to)
	}
	s.trace("stop", address)
	ctx, cancel := context.WithTimeoutCause(ctx, from.Config.Agent.DrainTimeout+stopSlack, errBusy)
	defer cancel()
	may := func() error {
		if to != s.to {
			return nil
		}
		return s.agent.groups.stranded(from.Config, to.Config, address) // it may have come into doubt just now, and its group may close with it
	}
	if err := old.retire(ctx, may); err != nil {
		return err
	}
	s.mu.Lock()
	s.replaced[address] = true
	s.mu.Unlock()
	if next == "" {
		s.agent.exchange(old, nil)
		return nil
	}
	return s.open(old, next, to)
}

// stopSlack is how long after the time to drain a component must have stopped: until then an instance may take to end that is caught in a call.
const stopSlack = pipeline.EndGrace + drainSlack

// errBusy is why a component is not waited for any longer.
var errBusy = errors.New("it is still in a call")

// open makes a component and starts it, in the place of an old one if there is one. What cannot be opened is shown, and held.
func (s *switchover) open(old *component, address string, of *revision) error {
	s.trace("open", address)
	c, err := of.build(address)
	if c == nil {
		return err
	}
	if old != nil {
		c.byHand = old.byHand // it runs no more
	}
	if old != nil && old.pausedByHand() {
		c.paused = old.paused
		c.State(pipeline.Paused, c.paused)
	}
	if err != nil {
		c.paused = err.Error()
		c.State(pipeline.Held, c.paused)
	}
	if step := s.plan.Step(address); of == s.to && !step.Held { // what was held before may be so again: that is no worse
		c.trial.Store(s.trial)
	}
	s.agent.exchange(old, c)
	s.trace("start", address)
	return errors.Join(err, s.agent.start(c))
}

// resize gives the channels the capacity that the new revision wants, once there is no way back: what is over a smaller one may be dropped by policy.
func (s *switchover) resize() {
	for _, c := range s.to.Config.Channels {
		if step := s.plan.Step(c.Address()); step != nil && step.Do == plan.Update {
			s.to.channel(c.Name).Resize(capacityOf(c))
		}
	}
}

// keepsAll refuses to give up a channel that would lose what is in it. All who use it have stopped.
func (s *switchover) keepsAll() error {
	for _, c := range s.from.channels {
		if n := c.Stats().Events; s.to.find(c.address) == nil && c.kind == "memory" && n > 0 {
			return &admin.Refusal{
				Code: admin.CodeRefused, Message: fmt.Sprintf("%s is in memory alone, and holds %d events that were not delivered: without it they would be lost", c.address, n),
				Hint: "Empty it first: penstock channel drain " + bare(c.address),
			}
		}
	}
	return nil
}

// settle makes the new revision the one that there is.
func (s *switchover) settle() error {
	s.trial.over()
	s.resize()
	s.agent.resurvey(s.to.channels)
	for _, step := range s.plan.Steps {
		if step.Do == plan.Remove || step.Was != "" {
			s.agent.metrics.Forget(step.Before())
		}
	}
	if err := s.from.close(s.to); err != nil {
		s.agent.opts.Log.Warn("what ran before is not all closed as it should be", "error", err)
	}
	s.agent.survey()
	s.agent.warnUnused()
	s.agent.keepGood(s.to.Setup)
	return nil
}

// noWayBack says why the old version could not go on, or "": a source has written its cursor in a form that it does not read.
func (s *switchover) noWayBack() string {
	for _, step := range s.plan.Steps {
		if step.OneWay == "" {
			continue
		}
		for _, c := range s.from.Config.Sources {
			at := s.to.find(step.Channel).Stats().Sources[step.Address]
			if c.Address() == step.Before() && at.Entries > 0 && at.Version != c.Plugin.CursorVersion && !slices.Contains(c.Plugin.Reads, at.Version) {
				return step.Address + ": " + step.OneWay
			}
		}
	}
	return ""
}

// holdFailed holds the components that cannot go back.
func (s *switchover) holdFailed(ctx context.Context, why error) (err error) {
	s.trial.over()
	s.resize()
	for _, step := range s.plan.Steps {
		if c := s.agent.component(step.Address); step.OneWay != "" && c != nil {
			err = errors.Join(err, c.apart(ctx, func() error {
				c.paused = why.Error()
				c.State(pipeline.Held, c.paused)
				return nil
			}))
		}
	}
	return err
}

// forgetHolds drops what the new revision has left in channels of the old one: the readers that hold dead letters, as far as they hold none.
func (s *switchover) forgetHolds() (err error) {
	for _, c := range s.from.channels {
		if info, there := c.Stats().Readers[DeadReader]; there && !info.InUse && info.Waiting == 0 {
			if ferr := c.Forget(DeadReader); ferr != nil && !errors.Is(ferr, channel.ErrStopped) {
				err = errors.Join(err, ferr)
			}
		}
	}
	return err
}

// trace names a step, for a test.
func (s *switchover) trace(step, address string) { s.agent.step(step, address) }

// step names one of a reload, for a test.
func (a *Agent) step(step, address string) {
	if a.trace != nil {
		a.trace(step + " " + address)
	}
}

// component finds one that there is now; nil: there is none.
func (a *Agent) component(address string) *component {
	components := a.running()
	i := slices.IndexFunc(components, func(c *component) bool { return c.Address() == address })
	if i < 0 {
		return nil
	}
	return components[i]
}

// exchange puts a component in the place of another. Either may be nil.
func (a *Agent) exchange(old, c *component) {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := slices.Clone(a.components)
	i := slices.Index(list, old)
	switch {
	case i >= 0 && c != nil:
		list[i] = c
	case i >= 0:
		list = slices.Delete(list, i, i+1)
	case c != nil:
		list = append(list, c)
	}
	a.components = list
}
