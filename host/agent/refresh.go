// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plan"
)

// refreshTurn is how often it is looked whether a secret is due: as often as one may ask for.
const refreshTurn = time.Second

// refresher reads secrets again at their intervals, and has who uses one that is another start again with it. It belongs to one goroutine.
type refresher struct {
	agent *Agent
	due   map[string]time.Time
	tried config.Secrets // what was found last, whether it runs or not: what was gone back from is not tried again
	of    *revision      // that tried was found beside
}

func newRefresher(a *Agent) *refresher { return &refresher{agent: a, due: map[string]time.Time{}} }

// run goes on until ctx ends.
func (f *refresher) run(ctx context.Context) {
	turn := time.NewTicker(refreshTurn)
	defer turn.Stop()
	for {
		select {
		case now := <-turn.C:
			if r := f.agent.current(); r != nil {
				f.refresh(ctx, r, f.duty(r.Config.Secrets, now))
			}
		case <-ctx.Done():
			return
		}
	}
}

// duty lists those that are due. One that is new is due after its interval.
func (f *refresher) duty(all []config.Secret, now time.Time) (list []config.Secret) {
	for name := range f.due {
		if !slices.ContainsFunc(all, func(s config.Secret) bool { return s.Name == name && s.Refresh > 0 }) {
			delete(f.due, name)
		}
	}
	for _, s := range all {
		at, known := f.due[s.Name]
		switch {
		case s.Refresh <= 0:
		case !known || at.After(now.Add(s.Refresh)): // it is to be read sooner from now on
			f.due[s.Name] = now.Add(s.Refresh)
		case !at.After(now):
			f.due[s.Name] = now.Add(s.Refresh)
			list = append(list, s)
		}
	}
	return list
}

// refresh reads secrets again, and goes over to those that are others.
func (f *refresher) refresh(ctx context.Context, r *revision, due []config.Secret) {
	a := f.agent
	if f.of != r {
		f.of, f.tried = r, r.Secrets
	}
	var names []string
	for _, s := range due {
		found, changed, err := f.tried.Again(ctx, s)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			a.metrics.Refreshed(s.Name, "unread")
			a.opts.Log.Warn("a secret cannot be read again, and stays what it was", "secret", s.Name, "error", err)
		case changed:
			f.tried, names = found, append(names, s.Name)
		default:
			a.metrics.Refreshed(s.Name, "same")
		}
	}
	if len(names) == 0 {
		return
	}
	a.opts.Log.Info("a secret is another: who is given it starts again", "secrets", names)
	result, err := "changed", f.apply(ctx, r)
	switch {
	case errors.Is(err, errGone), errors.Is(err, errOvertaken), ctx.Err() != nil:
		return // a reload reads all of them
	case err != nil:
		result = "returned"
		a.opts.Log.Error("it does not do, and the one before is used on: put it right where it comes from, or reload", "secrets", names, "error", err)
	default:
		a.opts.Log.Info("who is given the secret runs with it", "secrets", names)
	}
	for _, name := range names {
		a.metrics.Refreshed(name, result)
	}
	if now := a.current(); now != nil { // and what was gone back from is known
		f.of = now
	}
}

// errOvertaken is why secrets are not taken up that were read beside files which do not run any more.
var errOvertaken = errors.New("a reload came first")

// apply goes over to the secrets that were found, with all else as it runs: files that have changed meanwhile are for a reload.
func (f *refresher) apply(ctx context.Context, r *revision) error {
	a := f.agent
	ctx, cancel := a.untilStopping(ctx)
	defer cancel()
	if err := take(ctx, a.reloads); err != nil {
		return err
	}
	defer give(a.reloads)
	select {
	case <-a.stopping:
		return errGone
	default:
	}
	if a.current() != r {
		return errOvertaken
	}
	revealed, diags := config.RevealWith(r.Config, f.tried)
	if diags.HasErrors() {
		return diags
	}
	from, to := r.side(), r.side()
	to.Revealed = revealed
	p := plan.Compare(from, to)
	err := a.switchTo(ctx, Setup{Config: r.Config, Keys: r.Keys, Secrets: f.tried, Revealed: revealed, Modules: r.Modules.keep()}, p)
	a.metrics.Reloaded(resultOf(err), false)
	return err
}
