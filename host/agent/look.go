// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plugin"
)

// lookTime is how long the plugins of one module may look at configs, all told. A guest in Go takes some 7 ms to start, and microseconds for a config.
const lookTime = 2 * time.Second

// Look loads a module that is not builtin, for it to look at configs: at those of asks. done lets go of it. nil, nil, nil: it is not asked, since loading
// it takes too long for who wants to know, or there is nothing new to learn.
type Look func(dataDir string, ref plugin.Ref, asks []config.Ask) (c plugin.Checker, done func() error, err error)

// check has plugins look at their configs, each module in one go. One that cannot be loaded says nothing: who opens it is told why. A program would have
// to be started as a child process, and is not.
func (m *Modules) check(dataDir string, asks []config.Ask) []config.Answer {
	answers := make([]config.Answer, len(asks))
	of := map[config.PluginRef][]int{}
	for i, ask := range asks {
		module, builtin := strings.CutPrefix(ask.Ref.Source, builtinScheme)
		within, inHere := insideOf(ask.Ref.Source)
		switch {
		case inHere:
			answers[i].Path, answers[i].Err = inside[within].check(ask.Kind, ask.Config)
		case builtin && m.Check != nil:
			answers[i].Path, answers[i].Err = m.Check(module, ask.Kind, ask.Name, ask.Config)
		case !builtin && !ask.Ref.Subprocess && m.Look != nil:
			of[keyOf(ask.Ref)] = append(of[keyOf(ask.Ref)], i)
		}
	}
	for _, at := range of {
		m.look(dataDir, asks, at, answers)
	}
	return answers
}

// look has one module answer the asks at some places.
func (m *Modules) look(dataDir string, asks []config.Ask, at []int, answers []config.Answer) {
	var ours []config.Ask
	var looks []plugin.Look
	for _, i := range at {
		ours = append(ours, asks[i])
		looks = append(looks, plugin.Look{Kind: asks[i].Kind, Plugin: asks[i].Name, Config: asks[i].Config})
	}
	ref, err := m.target(ours[0].Ref)
	if err != nil {
		return
	}
	c, done, err := m.Look(dataDir, ref, ours)
	if err != nil || c == nil {
		return
	}
	defer func() { _ = done() }() // nothing that anybody has is lost with it
	ctx, cancel := context.WithTimeout(context.Background(), lookTime)
	defer cancel()
	for n, err := range c.Check(ctx, limitsOf(config.Component{Limits: ours[0].Limits}), looks) {
		if e, ok := errors.AsType[*plugin.Error](err); ok {
			answers[at[n]] = config.Answer{Err: errors.New(e.Message), Path: e.Path}
		}
	}
}

// look loads a module beside those that run. What runs as it is has looked at its config when it was opened.
func (a *Agent) look(_ string, ref plugin.Ref, asks []config.Ask) (plugin.Checker, func() error, error) {
	if !slices.ContainsFunc(asks, func(ask config.Ask) bool { return !a.opened(ask, ref.Digest) }) {
		return nil, nil, nil
	}
	runtime, err := a.runtime("wasm", nil)
	if err != nil {
		return nil, nil, err
	}
	ref.Background = true
	p, err := runtime.Load(context.Background(), ref)
	if err != nil {
		return nil, nil, err
	}
	return p.(plugin.Checker), p.Close, nil
}

// opened says whether a component is opened with just that.
func (a *Agent) opened(ask config.Ask, digest string) bool {
	r := a.current()
	return r != nil && slices.ContainsFunc(r.Config.Components(), func(c config.Component) bool {
		l := r.plugins[c.Address()]
		return c.Kind == ask.Kind && c.Plugin.Name == ask.Name && bytes.Equal(c.Config, ask.Config) && l != nil && l.ref == keyOf(ask.Ref) && l.Digest() == digest
	})
}
