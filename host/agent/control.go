// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/dead"
	"github.com/penstock-io/penstock/spec/event"
)

var _ admin.Control = (*Agent)(nil)

// Act does what someone asks for through the control socket.
func (a *Agent) Act(ctx context.Context, act admin.Action) (admin.Outcome, error) {
	none := admin.Outcome{Readers: []admin.Moved{}, Sources: []string{}}
	c, err := a.named(act.Channel)
	if err != nil {
		return none, err
	}
	if !act.DryRun {
		a.opts.Log.Info("asked through the control socket", "component", c.address, "do", cmp.Or(act.With, string(act.Verb)),
			"reader", act.Reader, "uid", act.By.UID, "pid", act.By.PID)
	}
	if !act.DryRun && act.Verb != admin.Look {
		if err := take(ctx, a.turn); err != nil {
			return none, fmt.Errorf("wait for what else changes the agent: %w", err)
		}
		defer give(a.turn)
	}
	out := none
	switch act.Verb {
	case admin.Drain:
		out.Sources, err = a.pauseSources(ctx, c, fmt.Sprintf("%s is drained; go on with: penstock channel drain --resume %s", c.address, bare(c.address)))
	case admin.Resume:
		out.Sources, err = a.pauseSources(ctx, c, "")
	case admin.Look:
	case admin.DeadReplay, admin.DeadDrop:
		var letters dead.Outcome
		letters, err = a.decideDead(ctx, c, act)
		out.Dead = &letters
	default:
		out.Readers, err = a.moveReaders(ctx, c, act)
	}
	return out, err
}

func bare(address string) string { return strings.TrimPrefix(address, "channel.") }

// named finds an open channel.
func (a *Agent) named(address string) (*openChannel, error) {
	channels := a.channels()
	names := make([]string, 0, len(channels))
	for _, c := range channels {
		if c.address == address {
			return c, nil
		}
		names = append(names, bare(c.address))
	}
	return nil, &admin.Refusal{Code: admin.CodeAbsent, Message: fmt.Sprintf("the agent has no channel %q", bare(address)), Hint: "There are: " + strings.Join(names, ", ")}
}

// pauseSources pauses all that put into a channel, relays too, or with "" lets them go on, and names them.
func (a *Agent) pauseSources(ctx context.Context, c *openChannel, reason string) ([]string, error) {
	names := []string{}
	var g errgroup.Group
	for _, s := range a.running() {
		if s.source != nil && s.channel == c || s.into == c {
			names = append(names, s.Address())
			g.Go(func() error { return s.pause(ctx, reason) })
		}
	}
	return names, g.Wait()
}

// moveReaders does to one reader, or to all where none is named, what is asked.
func (a *Agent) moveReaders(ctx context.Context, c *openChannel, act admin.Action) ([]admin.Moved, error) {
	there := slices.Sorted(maps.Keys(c.Stats().Readers))
	names := there
	if act.Reader != "" || act.Verb != admin.Purge {
		if names = readersOf(act.Reader, there); len(names) == 0 {
			return nil, &admin.Refusal{Code: admin.CodeUsage, Message: fmt.Sprintf("%s has no reader %q", c.address, act.Reader), Hint: "There are: " + strings.Join(there, ", ")}
		}
	}
	moved := []admin.Moved{}
	for _, name := range names {
		m, err := a.moveReader(ctx, c, name, act)
		if err != nil {
			return moved, err
		}
		moved = append(moved, m)
	}
	return moved, nil
}

// readersOf returns what belongs to a name: a reader, or all lanes of a sink.
func readersOf(name string, there []string) []string {
	return slices.DeleteFunc(slices.Clone(there), func(r string) bool { return r != name && !strings.HasPrefix(r, name+"/") })
}

// moveReader does it while the sink, if there is one, stands still, or all members of the group.
func (a *Agent) moveReader(ctx context.Context, c *openChannel, name string, act admin.Action) (m admin.Moved, err error) {
	sinks := a.sinksOf(c, name)
	if act.Verb == admin.Forget && len(sinks) > 0 {
		return m, &admin.Refusal{
			Code: admin.CodeRefused, Message: fmt.Sprintf("%s is in the pipeline that runs, and would only begin anew", name),
			Hint: fmt.Sprintf("To give up what waits for it: penstock channel purge %s %s\nTo forget it, take it out of the pipeline files, and say penstock reload, first.", bare(c.address), name),
		}
	}
	from := event.Offset(0)
	if act.Verb == admin.Replay {
		if from, err = placeOf(c, name, act.From); err != nil {
			return m, err
		}
	}
	do := func() (err error) {
		if act.From != nil && act.From.Stay { // it may have gone on until it stood still
			from, err = placeOf(c, name, act.From)
		}
		if m = forecast(c, name, act.Verb, from); err == nil {
			err = move(c, &m, act.Verb)
		}
		return err
	}
	switch err = a.groups.undoubted(c.address, name); {
	case err != nil:
	case act.DryRun:
		m = forecast(c, name, act.Verb, from)
	case len(sinks) > 0:
		err = still(ctx, sinks, func() error {
			if err := a.groups.undoubted(c.address, name); err != nil {
				return err
			}
			return refit(sinks, do)
		})
	case name == DeadReader && act.Verb != admin.Forget:
		err = c.dead.without(c, do)
	default:
		err = do()
	}
	if len(sinks) > 0 {
		m.Effects = sinks[0].Plugin.Effects
	}
	if errors.Is(err, channel.ErrGone) {
		err = &admin.Refusal{Code: admin.CodeUsage, Message: err.Error(), Hint: oldestHint}
	}
	return m, err
}

// sinksOf returns the sink that takes from a reader, or the members of the group that do.
func (a *Agent) sinksOf(c *openChannel, reader string) (all []*component) {
	var members []string
	conf := a.current().Config
	for _, g := range conf.Groups {
		if g.Address() == reader && "channel."+g.Feed.From == c.address {
			members = groupMembers(conf, g)
		}
	}
	for _, s := range a.running() {
		if s.sink != nil && s.channel == c && (slices.Contains(members, s.Address()) || len(readersOf(s.Address(), []string{reader})) > 0) {
			all = append(all, s)
		}
	}
	return all
}

// placeOf finds the offset that is meant, for a reader.
func placeOf(c *openChannel, reader string, p *admin.Place) (event.Offset, error) {
	switch {
	case p == nil:
		return 0, &admin.Refusal{Code: admin.CodeUsage, Message: "it is not said from where"}
	case p.Stay:
		return c.Stats().Readers[reader].Low, nil
	case p.Offset == nil:
		return c.Since(p.Since)
	}
	oldest := c.Stats().ReplayFrom
	end, err := c.Since(time.Now().AddDate(1, 0, 0))
	if err == nil && (*p.Offset < oldest || *p.Offset > end) {
		err = &admin.Refusal{Code: admin.CodeUsage, Message: fmt.Sprintf("offset %d is not in the log: the oldest there is is %d, the next will be %d", *p.Offset, oldest, end), Hint: oldestHint}
	}
	return *p.Offset, err
}

const oldestHint = "From the oldest that there is: --from oldest"

// forecast says what a move would do now.
func forecast(c *openChannel, name string, verb admin.Verb, from event.Offset) admin.Moved {
	info := c.Stats().Readers[name]
	m := admin.Moved{Name: name, Waiting: info.Waiting, GivenUp: info.Waiting}
	if verb == admin.Replay {
		after := c.Ahead(from)
		m.From, m.Again, m.GivenUp = from, after-min(after, info.Waiting), info.Waiting-min(after, info.Waiting)
	}
	return m
}

// move does it.
func move(c *openChannel, m *admin.Moved, verb admin.Verb) (err error) {
	switch verb {
	case admin.Forget:
		return c.Forget(m.Name)
	case admin.Replay:
		return c.Replay(m.Name, m.From)
	}
	m.GivenUp, err = c.Purge(m.Name)
	return err
}
