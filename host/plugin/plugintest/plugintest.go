// SPDX-License-Identifier: Apache-2.0

// Package plugintest checks that a plugin keeps its side of the contract, whatever it runs in: a
// sane manifest, errors of the right class, a life cycle that can be gone through again, a source
// that resumes from its cursor without loss or repeat, a sink that survives any batch, and one that
// keeps what it claims about effects.
//
//	func TestItKeepsTheContract(t *testing.T) {
//		plugintest.Run(t, plugin, plugintest.Case{Kind: abi.Source, Name: "file", Setup: …, Events: 100})
//	}
//
// A check is a function that answers an error and knows nothing of package testing, so that the same
// ones can stand behind a command.
package plugintest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// patience is how long a source may take for its next event before it counts as hung.
const patience = 30 * time.Second

// moment is how long a source at its end is watched: two polls of one that waits as long as it may.
const moment = 500 * time.Millisecond

// Case says how one plugin of a module is tried.
type Case struct {
	Kind abi.Kind
	Name string
	// Setup prepares a world in a fresh directory, and says with what an instance is opened there. Each
	// check has a directory of its own; within one, instances follow one another in the same. nil: config {} and no grants.
	Setup func(dir string) (Opening, error)
	// BadConfig is a config that the manifest lets through and the plugin must refuse; "" when there is none.
	BadConfig string
	// Events is how many events a source brings in that world.
	Events int
	// Clients and Requests are who sends to a source: the clients at the same time, the requests one after the other.
	Clients  []Client
	Requests []Request
	// Servers stand for what a sink connects to, by the name of its handle.
	Servers map[string]Server
	// Stored reads what a sink has put there: the bodies of all events, in order. nil: that is not looked at.
	Stored func(dir string) ([]string, error)
	// Input are the bodies of a batch for a processor.
	Input []string
	// Output are the bodies of what a processor makes of Input, or of what a source brings: in any order where there are several
	// Clients. nil: that is not looked at.
	Output []string
}

// Opening is what an instance is opened with.
type Opening struct {
	Config string // JSON
	Dirs   []plugin.Dir
	Grants plugin.Grants
	Limits plugin.Limits
	// Handles are opened here, on the loopback interface alone, and added to Grants.
	Handles []Handle
}

// Check is one thing that is looked at.
type Check struct {
	Says string // what must hold, as a sentence
	Run  func(ctx context.Context, dir string) error
}

// Run runs all checks as subtests.
func Run(t *testing.T, p plugin.Plugin, cases ...Case) {
	t.Helper()
	t.Run("the manifest is sane", func(t *testing.T) {
		for _, err := range Manifest(p.Manifest()) {
			t.Error(err)
		}
	})
	for _, c := range cases {
		for _, check := range Checks(p, c) {
			t.Run(fmt.Sprintf("%s %s: %s", c.Kind, c.Name, check.Says), func(t *testing.T) {
				if err := check.Run(t.Context(), t.TempDir()); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// Checks lists what applies to a case, by its kind and by what the manifest claims.
func Checks(p plugin.Plugin, c Case) []Check {
	described, ok := p.Manifest().Find(c.Kind, c.Name)
	if !ok {
		missing := func(context.Context, string) error { return fmt.Errorf("the manifest has no %s %q", c.Kind, c.Name) }
		return []Check{{"it is in the manifest", missing}}
	}
	var checks []Check
	add := func(says string, check func(subject, context.Context, string) error) {
		checks = append(checks, Check{says, func(ctx context.Context, dir string) error { return tried(ctx, p, c, dir, check) }})
	}
	add("it can be opened and closed, again and again", subject.lives)
	if c.BadConfig != "" {
		add("a wrong config is an error of class config", subject.refusesBadConfig)
	}
	switch c.Kind {
	case abi.Source:
		sourceChecks(c, described, add)
	case abi.Sink:
		sinkChecks(c, described, add)
	case abi.Processor:
		if c.Output != nil {
			add("it makes of its input what is expected", subject.converts)
		}
		add("it survives any batch that is well-formed", subject.processes)
		add("it makes the same of the same batch, in any instance", subject.repeats)
		if !described.Multiplies {
			add("it makes one event of one at most, since it does not say that it multiplies", subject.keepsCount)
		}
		add("it needs no more memory after many events than after some", subject.leaks)
	}
	return checks
}

func sourceChecks(c Case, p abi.Plugin, add func(string, func(subject, context.Context, string) error)) {
	add("it brings its events, in batches that count up", subject.brings)
	if p.Replay == "cursor" {
		add("it resumes from its cursor without loss or repeat", subject.resumes)
	}
	if len(c.Requests) > 0 {
		add("it answers that it has taken a request when that is durable, and not before", subject.answersAfter)
	}
	if len(c.Clients)+len(c.Requests) > 0 {
		add("it goes on, whatever others send", subject.withstands)
	}
}

func sinkChecks(c Case, p abi.Plugin, add func(string, func(subject, context.Context, string) error)) {
	add("it survives any batch that is well-formed", subject.survives)
	if c.Stored != nil || c.compares() {
		add("it stores what it was given, in order", subject.stores)
	}
	if p.Effects == "transactional" && len(c.Servers) == 0 {
		add("it reports what it holds, so that nothing is stored twice", subject.holds)
	}
	if c.compares() && c.fails() {
		add("it loses nothing when its destination refuses for a while", subject.insists)
		add("it loses nothing when its destination hangs up", subject.reconnects)
	}
	if len(c.Servers) > 0 {
		add("it never takes a refusal for success", subject.minds)
	}
	add("it needs no more memory after many events than after some", subject.leaks)
}

// tried runs one check, with a network of its own.
func tried(ctx context.Context, p plugin.Plugin, c Case, dir string, check func(subject, context.Context, string) error) (err error) {
	s := subject{p, c, newNetwork(c.Servers)}
	defer func() { err = errors.Join(err, s.network.close()) }()
	return check(s, ctx, dir)
}

// subject is a plugin and how it is tried.
type subject struct {
	plugin plugin.Plugin
	Case
	network *network
}

// world prepares the directory and answers what every instance in it is opened with.
func (s subject) world(dir string) (plugin.Request, error) {
	o := Opening{Config: "{}"}
	if s.Setup != nil {
		var err error
		if o, err = s.Setup(dir); err != nil {
			return plugin.Request{}, fmt.Errorf("set up: %w", err)
		}
	}
	if err := s.network.open(o.Handles, &o.Grants); err != nil {
		return plugin.Request{}, fmt.Errorf("set up: %w", err)
	}
	return plugin.Request{
		Component: string(s.Kind) + "." + s.Name, Plugin: s.Name, Config: json.RawMessage(o.Config), Dirs: o.Dirs,
		Instance: abi.Instance{Count: 1}, Buffers: event.Heap{},
		Stream: "plugintest/1/1", Incarnations: []abi.Incarnation{{ID: incarnation}}, Limits: o.Limits, Grants: o.Grants,
	}, nil
}

// incarnation is of the channel that all deliveries here come from.
const incarnation = 0xfeedfacecafebeef

// open opens an instance of the right kind.
func (s subject) open(ctx context.Context, r plugin.Request) (plugin.Instance, error) {
	in, err := s.plugin.Open(ctx, s.Kind, r)
	if err != nil {
		return in, fmt.Errorf("open: %w", err)
	}
	set := [...]bool{in.Source != nil, in.Sink != nil, in.Processor != nil}
	if want := [...]bool{s.Kind == abi.Source, s.Kind == abi.Sink, s.Kind == abi.Processor}; set != want {
		return in, errors.New("open: the instance is not of the kind that was asked for, and of that alone")
	}
	return in, nil
}

// closeInstance closes whatever the instance is.
func closeInstance(in plugin.Instance) error {
	switch {
	case in.Source != nil:
		return in.Source.Close()
	case in.Sink != nil:
		return in.Sink.Close()
	case in.Processor != nil:
		return in.Processor.Close()
	}
	return nil
}

func (s subject) lives(ctx context.Context, dir string) error {
	r, err := s.world(dir)
	if err != nil {
		return err
	}
	const lives = 3
	for range lives {
		in, err := s.open(ctx, r)
		if err != nil {
			return err
		}
		if err := closeInstance(in); err != nil {
			return fmt.Errorf("close: %w", err)
		}
	}
	return nil
}

func (s subject) refusesBadConfig(ctx context.Context, dir string) error {
	r, err := s.world(dir)
	if err != nil {
		return err
	}
	r.Config = json.RawMessage(s.BadConfig)
	in, err := s.open(ctx, r)
	if err == nil {
		return errors.Join(fmt.Errorf("it was opened with %s", s.BadConfig), closeInstance(in))
	}
	e, ok := errors.AsType[*plugin.Error](err)
	switch {
	case !ok:
		return fmt.Errorf("the error has no class: %w", err)
	case e.Class != abi.Config:
		return fmt.Errorf("the class is %s: %w", e.Class, err)
	case e.Message == "":
		return errors.New("the error does not say what is wrong")
	}
	return nil
}

// Manifest says what is wrong with a manifest.
func Manifest(m abi.Manifest) (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if m.Name == "" || m.Version == "" || len(m.Plugins) == 0 {
		bad("name is %q, version %q, and it lists %d plugins", m.Name, m.Version, len(m.Plugins))
	}
	for i, p := range m.Plugins {
		at := fmt.Sprintf("%s %q", p.Kind, p.Name)
		if p.Name == "" || !slices.Contains([]abi.Kind{abi.Source, abi.Processor, abi.Sink}, p.Kind) {
			bad("%s: no such kind, or no name", at)
		}
		if slices.ContainsFunc(m.Plugins[:i], func(o abi.Plugin) bool { return o.Kind == p.Kind && o.Name == p.Name }) {
			bad("%s is there twice", at)
		}
		if p.Kind == abi.Source && !slices.Contains([]string{"cursor", "ack", "none"}, p.Replay) {
			bad("%s: replay is %q", at, p.Replay)
		}
		if p.Kind == abi.Sink && !slices.Contains([]string{"transactional", "idempotent", "none"}, p.Effects) {
			bad("%s: effects is %q", at, p.Effects)
		}
		errs = append(errs, arguments(at, p)...)
	}
	return errs
}

func arguments(at string, p abi.Plugin) (errs []error) {
	seen := map[string]bool{}
	for _, a := range p.Arguments {
		switch {
		case a.Name == "" || a.Type == "" || seen[a.Name]:
			errs = append(errs, fmt.Errorf("%s: argument %q of type %q lacks one of them, or is there twice", at, a.Name, a.Type))
		case len(a.Default) > 0 && !json.Valid(a.Default):
			errs = append(errs, fmt.Errorf("%s: the default of %q is not JSON", at, a.Name))
		case a.Required && len(a.Default) > 0:
			errs = append(errs, fmt.Errorf("%s: %q is required and has a default", at, a.Name))
		}
		seen[a.Name] = true
	}
	for _, n := range p.Needs {
		if n.Handle == "" || n.Kind == "" || n.Access != "" && n.Access != "read" && n.Access != "write" {
			errs = append(errs, fmt.Errorf("%s: need %q of kind %q with access %q", at, n.Handle, n.Kind, n.Access))
		}
	}
	return errs
}
