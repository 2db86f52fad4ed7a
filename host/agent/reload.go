// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/pipeline"
	"github.com/penstock-io/penstock/host/plan"
	"github.com/penstock-io/penstock/host/plugin/subprocess"
)

// Reload reads a configuration anew and goes over to it, in steps:
//
//  1. everything new is built beside the old: files, secrets, plugins, channels, addresses. Where any of it fails, the old runs on untouched;
//  2. what is not the same is swapped at the border of a transaction: see [switchover]. What is the same is not touched;
//  3. what is new is on probation. Where it breaks, the agent goes back by itself to what ran before.
//
// Reloads wait for each other. It returns when the probation is over. When ctx ends before the swap has begun, nothing is changed; later it is finished
// all the same. With ask.DryRun it only says what would be done. An error that whoever asked can do something about is an [*admin.Refusal].
func (a *Agent) Reload(ctx context.Context, ask admin.Reload) (admin.Reloaded, error) {
	if ask.DryRun {
		next, p, err := a.planned(ask)
		if err != nil {
			return admin.Reloaded{}, err
		}
		next.Modules.forget()
		a.observe(p)
		if from := a.current(); from != nil {
			p.Status.Barred = barred(a.groups.stranded(from.Config, next.Config, ""))
		}
		return reloaded(p, ""), nil
	}
	ctx, cancel := a.untilStopping(ctx)
	defer cancel()
	select {
	case <-a.begun:
	case <-ctx.Done():
		return admin.Reloaded{}, context.Cause(ctx)
	}
	if err := take(ctx, a.reloads); err != nil {
		return admin.Reloaded{}, fmt.Errorf("wait for the reload before: %w", err)
	}
	defer give(a.reloads)
	select {
	case <-a.stopping: // the context may hear of it later
		return admin.Reloaded{}, errGone
	default:
	}
	a.opts.Log.Info("reload begins", "because", ask.Why, "uid", ask.By.UID, "pid", ask.By.PID)
	p, err := a.reload(ctx, ask)
	result := resultOf(err)
	a.note(ask, result, err)
	return reloaded(p, result), err
}

func reloaded(p *plan.Plan, result string) admin.Reloaded {
	out := admin.Reloaded{Result: result}
	if p == nil {
		return out
	}
	doc, err := json.Marshal(p)
	if err != nil {
		panic("BUG: a plan does not encode: " + err.Error())
	}
	out.Plan, out.Revision = doc, p.To
	return out
}

// reload is Reload for who has the token.
func (a *Agent) reload(ctx context.Context, ask admin.Reload) (*plan.Plan, error) {
	next, p, err := a.planned(ask)
	if err == nil {
		err = asked(ask, p)
	}
	if err == nil {
		err = permitted(ask, p)
	}
	if err != nil {
		return p, err
	}
	return p, a.switchTo(ctx, next, p)
}

// switchTo goes over to a setup by a plan, for who has the token.
func (a *Agent) switchTo(ctx context.Context, next Setup, p *plan.Plan) error {
	before := a.current()
	if err := a.groups.stranded(before.Config, next.Config, ""); err != nil {
		return err
	}
	r, err := a.prepare(ctx, next, before, p)
	if err != nil {
		return &admin.Refusal{Code: admin.CodeRefused, Message: err.Error(), Hint: "What ran before runs on, and nothing of it was touched."}
	}
	for _, path := range p.Weaker() {
		a.opts.Log.Warn("a path will hold less than it does", "delivery", path)
	}
	r.makeSpares(ctx, p)
	s := &switchover{agent: a, from: before, to: r, plan: p, trial: newTrial()}
	return s.run(context.WithoutCancel(ctx))
}

// planned reads the configuration and compares it with what runs.
func (a *Agent) planned(ask admin.Reload) (next Setup, p *plan.Plan, err error) {
	if a.opts.Load == nil {
		return next, nil, &admin.Refusal{Code: admin.CodeRefused, Message: "this agent was not started from pipeline files, and cannot read them again"}
	}
	var may func(*config.Config) error
	if ask.Watch {
		may = a.runsNoProgram
	}
	if next, err = a.opts.Load(ask.Path, a.givenBy(ask), a.look, may); err != nil {
		return next, nil, err
	}
	if next.Modules == nil {
		next.Modules = &Modules{}
	}
	if ask.Plugin != "" {
		next.Modules.anew = map[string]bool{ask.Plugin: true}
	}
	from := a.current()
	if from == nil {
		return next, nil, errGone
	}
	to := plan.Side{Config: next.Config, Revealed: next.Revealed}
	if to.Digests, err = digests(next, from); err != nil {
		return next, nil, &admin.Refusal{Code: admin.CodeRefused, Message: err.Error()}
	}
	side := from.side()
	side.Held = a.held()
	return next, plan.Compare(side, to), nil
}

// runsNoProgram refuses a configuration that asks another program for a secret than the one that runs: it would be started before there is a plan, in
// which nobody could have seen it.
func (a *Agent) runsNoProgram(next *config.Config) error {
	var from []config.Secret
	if r := a.current(); r != nil {
		from = r.Config.Secrets
	}
	for _, s := range next.Secrets {
		if s.RunsProgram() && !slices.ContainsFunc(from, func(old config.Secret) bool { return old.From == s.From }) {
			return notByItself("secret." + s.Name + ": another program is asked for it")
		}
	}
	return nil
}

// givenBy is what the files are given with a reload, which keeps what earlier ones gave.
func (a *Agent) givenBy(ask admin.Reload) admin.Variables {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.given.And(ask.Variables)
}

// side is the revision for a comparison.
func (r *revision) side() plan.Side {
	s := plan.Side{Config: r.Config, Revealed: r.Revealed, Digests: map[string]string{}}
	for address, l := range r.plugins {
		s.Digests[address] = l.Digest()
	}
	return s
}

// held are the components that stand still until somebody acts.
func (a *Agent) held() map[string]bool {
	held := map[string]bool{}
	for _, c := range a.running() {
		state, _, _ := c.fate()
		held[c.Address()] = state == pipeline.Held
	}
	return held
}

// digests are those of the plugins that a setup would run. A program that is a child process is the same as long as its reference is.
func digests(next Setup, from *revision) (map[string]string, error) {
	all := map[string]string{}
	for _, c := range next.Config.Components() {
		digest, err := next.digestOf(c.Ref, from)
		if err != nil {
			return nil, fmt.Errorf("plugin %s: %w", c.Ref.Name, err)
		}
		all[c.Address()] = digest
	}
	return all, nil
}

func (s Setup) digestOf(ref config.PluginRef, from *revision) (string, error) {
	if ref.Source == relaySource {
		return relayPlugin{}.Digest(), nil
	}
	if module, ok := insideOf(ref.Source); ok {
		return inside[module].load().Digest(), nil
	}
	if !ref.Subprocess {
		_, digest, err := s.Modules.Code(ref)
		return digest, err
	}
	if l := from.loaded(ref, ""); l != nil && !s.Modules.anew[ref.Name] {
		return l.Digest(), nil
	}
	if strings.HasPrefix(ref.Source, builtinScheme) {
		return "", nil // it comes with this program
	}
	return subprocess.Digest(ref.Source)
}

// misasked wraps the refusal of what was asked for, which says nothing of the files: they were not to be taken up like that.
type misasked struct{ error }

func (m misasked) Unwrap() error { return m.error }

// asked says why it is not that plan which was asked for, or nil.
func asked(ask admin.Reload, p *plan.Plan) error {
	switch {
	case ask.Hash != "" && ask.Hash != p.Hash:
		return misasked{&admin.Refusal{Code: admin.CodeRefused, Message: fmt.Sprintf("the plan is another by now: it is %s, and %s was asked for", p.Hash, ask.Hash), Hint: "Look at it again: penstock plan"}}
	case ask.Plugin != "" && len(p.Refused) == 0:
		return onlyPlugin(ask.Plugin, p)
	}
	return nil
}

// permitted says why a plan is not carried out, or nil.
func permitted(ask admin.Reload, p *plan.Plan) error {
	switch {
	case len(p.Refused) > 0:
		return &admin.Refusal{Code: admin.CodeRefused, Message: strings.Join(p.Refused, "; ")}
	case ask.Watch && len(p.Asks()) > 0:
		return notByItself(p.Asks()...)
	}
	return nil
}

// notByItself refuses what somebody has to decide.
func notByItself(asks ...string) error {
	return &admin.Refusal{
		Code: admin.CodeAsks, Message: "what the files say now is not taken up by itself: " + strings.Join(asks, "; "),
		Hint: "Look at it with: penstock plan\nThen take it up with: penstock reload",
	}
}

// onlyPlugin refuses what is not about the code of one plugin.
func onlyPlugin(name string, p *plan.Plan) error {
	ours := false
	var others []string
	for _, s := range p.Steps {
		switch {
		case s.Plugin != nil && s.Plugin.Name == name:
			ours = true
		case len(s.Because) == 0 && !s.Held || len(s.Changes) > 0:
			others = append(others, s.Address)
		}
	}
	switch {
	case len(others) > 0:
		return misasked{&admin.Refusal{
			Code: admin.CodeRefused, Message: fmt.Sprintf("the pipeline files have other changes too: %s", strings.Join(others, ", ")),
			Hint: "Look at them with: penstock plan\nTake up all of it with: penstock reload",
		}}
	case !ours:
		return misasked{&admin.Refusal{Code: admin.CodeUsage, Message: fmt.Sprintf("no component runs a plugin %q whose file has changed", name)}}
	}
	return nil
}

// barred is a refusal in words, with what can be done; "" of none.
func barred(err error) string {
	if err == nil {
		return ""
	}
	if r, ok := errors.AsType[*admin.Refusal](err); ok && r.Hint != "" {
		return r.Message + ". " + r.Hint
	}
	return err.Error()
}

// observe fills in what holds at this moment.
func (a *Agent) observe(p *plan.Plan) {
	r := a.current()
	if r == nil {
		return
	}
	p.Status.Running, p.Status.Limit = true, r.Config.Agent.DrainTimeout.String()
	for _, c := range a.running() {
		step := p.StepOf(c.Address())
		if step == nil {
			continue
		}
		if c.source != nil {
			if n := c.flying.Load(); n > 0 {
				p.Status.Flying = append(p.Status.Flying, plan.Flight{Address: c.Address(), Events: uint64(n)})
			}
			continue
		}
		if step.Do == plan.Remove {
			p.Status.Pending[c.Address()] = c.layout.waiting()
		}
		if takes, events := c.layout.leased(); takes > 0 {
			p.Status.Flying = append(p.Status.Flying, plan.Flight{Address: c.Address(), Takes: takes, Events: events})
		}
	}
	for _, c := range r.channels {
		if step := p.StepOf(c.address); step != nil && step.Do == plan.Remove {
			p.Status.Pending[c.address] = c.Stats().Events
		}
	}
	slices.SortFunc(p.Status.Flying, func(a, b plan.Flight) int { return strings.Compare(a.Address, b.Address) })
}

// resultOf puts an outcome in one word: see [admin.Reloads].
func resultOf(err error) string {
	if back, ok := errors.AsType[*wentBack](err); ok {
		if back.stuck {
			return admin.ReloadStuck
		}
		return admin.ReloadReturned
	}
	if err != nil {
		return admin.ReloadRefused
	}
	return admin.ReloadApplied
}

// note keeps what became of a reload, for status, metrics and the log.
func (a *Agent) note(ask admin.Reload, result string, err error) {
	r := a.current()
	_, mis := errors.AsType[misasked](err)
	a.metrics.Reloaded(result, !mis)
	last := admin.LastReload{At: time.Now(), Result: result, Because: ask.Why}
	if r != nil {
		last.Revision = r.Config.Revision
		a.introduce(r.Config)
	}
	if err != nil {
		last.Reason = err.Error()
		refusal, ok := errors.AsType[*admin.Refusal](err)
		if !ok {
			refusal = &admin.Refusal{}
		}
		a.opts.Log.Error("reload: "+results[result], "reason", err, "revision", last.Revision, "do", strings.ReplaceAll(refusal.Hint, "\n", "; "))
	} else {
		a.opts.Log.Info("reload: "+results[result], "revision", last.Revision)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		a.given = a.given.And(ask.Variables)
	}
	if !mis { // of whoever asked for what there is not, and was told: what became of the files stays
		a.reloaded.Last = &last
	}
}

var results = map[string]string{
	admin.ReloadApplied: "what the files say runs now", admin.ReloadRefused: "refused, what ran before runs on",
	admin.ReloadReturned: "what was new has failed, and what ran before runs again", admin.ReloadStuck: "what was new has failed, and there is no way back",
}

func (a *Agent) lastReload() admin.Reloads {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.reloaded
}

// take waits for a token. give gives it back.
func take(ctx context.Context, token chan struct{}) error {
	select {
	case token <- struct{}{}:
		if ctx.Err() == nil { // both at once
			return nil
		}
		give(token)
		return context.Cause(ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func give(token chan struct{}) { <-token }

// untilStopping returns a context that ends with ctx, or when the agent begins to stop.
func (a *Agent) untilStopping(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{}) // closed by the goroutine's end
	go func() {
		defer close(done)
		select {
		case <-a.stopping:
			cancel(errGone)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-done
	}
}
