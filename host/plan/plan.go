// SPDX-License-Identifier: Apache-2.0

// Package plan says what it takes to go from one configuration to another.
//
// [Compare] is a pure function: it looks at two checked configurations and at the digests of their plugins, and makes the list of
// steps that an agent takes on a reload, and that `penstock plan` prints. It knows nothing of what runs; what is in flight is filled in
// by whoever runs it.
//
// Invariants:
//
//   - The same two sides give the same plan, and the same [Plan.Hash], wherever and whenever they are compared.
//   - What is not among the steps does not change, and is not touched.
//   - The value of a secret is in no field of a plan, changed or not.
package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/guarantee"
)

// Side is a configuration, with what else a comparison needs.
type Side struct {
	Config   *config.Config             // nil: there is nothing
	Digests  map[string]string          // of plugins, sha256 in hex, by the address of the component
	Revealed map[string]config.Revealed // nil: the secrets are not known, and count as unchanged
	Held     map[string]bool            // components that are held, by address: they are tried again, though nothing of them changes
}

// Action is what becomes of one part.
type Action string

// The actions. A restart is of that one component: it is stopped at the border of a transaction, and opened anew from its cursor.
const (
	Create  Action = "create"
	Update  Action = "update" // in place: nothing stops
	Restart Action = "restart"
	Remove  Action = "remove"
)

// Plan is what it takes. It is not changed after Compare, but for what Status is for.
type Plan struct {
	From    string   `json:"from"` // revision; "" = nothing
	To      string   `json:"to"`
	Hash    string   `json:"hash"` // of what is to be done: the same plan has the same
	Steps   []Step   `json:"steps"`
	Refused []string `json:"refused"` // what cannot be done while the agent runs, a sentence each
	Paths   []Path   `json:"paths"`   // from each source to each sink, as they are then; no part of the hash
	Status  Status   `json:"status"`
}

// Path is a way from a source to a sink, and what holds on it.
type Path struct {
	guarantee.Report
	Was *guarantee.Report `json:"was,omitempty"` // before, where that was another guarantee
}

// Weaker says whether less holds than before.
func (p Path) Weaker() bool { return p.Was != nil && !p.Level().Covers(p.Was.Level()) }

// Status is what holds at this moment alone.
type Status struct {
	Running bool              `json:"running"` // it is compared with an agent that runs
	Pending map[string]uint64 `json:"pending"` // events, by what is removed
	Flying  []Flight          `json:"in_flight"`
	Limit   string            `json:"drain_timeout,omitempty"`
	Barred  string            `json:"barred,omitempty"` // why it would be refused at this moment, and what to do; "" = it would not
}

// Flight is what a component that stops has begun, and may finish.
type Flight struct {
	Address string `json:"address"`
	Takes   int    `json:"takes"` // of a source: 0
	Events  uint64 `json:"events"`
}

// Step is what becomes of one part: a channel, a component, a secret, the agent itself.
type Step struct {
	Address string   `json:"address"`
	Was     string   `json:"was,omitempty"` // its name before, where it got another
	Do      Action   `json:"do"`
	Changes []Change `json:"changes"`
	Because []string `json:"because,omitempty"` // other parts, for whose change it is started again
	Held    bool     `json:"held,omitempty"`    // it stands still, and is tried again
	Channel string   `json:"channel,omitempty"` // which it puts into, or takes from
	Plugin  *Digests `json:"plugin,omitempty"`  // whose code changes
	Gains   []string `json:"gains"`             // permissions, a few words each
	Loses   []string `json:"loses"`
	OneWay  string   `json:"one_way,omitempty"` // why there would be no way back

	asks []string // what nobody but a person may decide, a few words each
}

// Change is an argument that has another value. "" = it is not set.
type Change struct {
	Argument string `json:"argument"`
	Old      string `json:"old"`
	New      string `json:"new"`
}

// Digests are those of a plugin that changes.
type Digests struct {
	Name string `json:"name"`
	Old  string `json:"old"`
	New  string `json:"new"`
}

// Deals says whether some sink that runs gets other events of its channel than now.
func (p *Plan) Deals() bool {
	return slices.ContainsFunc(p.Steps, func(s Step) bool {
		return s.Do == Restart && strings.HasPrefix(s.Address, "sink.") && slices.ContainsFunc(s.Changes, func(c Change) bool {
			return c.Argument == "where" || strings.HasPrefix(c.Argument, "route.")
		})
	})
}

// Empty says whether there is nothing to do.
func (p *Plan) Empty() bool { return len(p.Steps) == 0 && len(p.Refused) == 0 }

// Step finds the step of a part; nil: it does not change.
func (p *Plan) Step(address string) *Step {
	for i := range p.Steps {
		if p.Steps[i].Address == address {
			return &p.Steps[i]
		}
	}
	return nil
}

// Before is the address that the part has until the step is done.
func (s Step) Before() string { return cmp.Or(s.Was, s.Address) }

// StepOf finds the step of a part by the address that it has until then; nil: it does not change.
func (p *Plan) StepOf(before string) *Step {
	for i := range p.Steps {
		if p.Steps[i].Before() == before && p.Steps[i].Do != Create {
			return &p.Steps[i]
		}
	}
	return nil
}

// Asks says, a few words each, what of the plan is never done by itself when files change: what a plugin may touch grows, or it is
// other code that somebody has vouched for. None: it is all of the kind that may.
func (p *Plan) Asks() []string {
	var all []string
	for _, s := range p.Steps {
		for _, gained := range s.Gains {
			all = append(all, s.Address+" may "+gained)
		}
		for _, asked := range s.asks {
			all = append(all, s.Address+": "+asked)
		}
	}
	return all
}

// Compare says what it takes to go from one side to another.
func Compare(from, to Side) *Plan {
	c := comparison{from: from, to: to, plan: &Plan{Steps: []Step{}, Refused: []string{}, Paths: []Path{}, Status: Status{Pending: map[string]uint64{}, Flying: []Flight{}}}}
	if c.from.Config == nil {
		c.from.Config = &config.Config{}
	}
	c.plan.From, c.plan.To = c.from.Config.Revision, to.Config.Revision
	c.agent()
	c.secrets()
	c.channels()
	c.processors()
	c.sources()
	c.sinks()
	c.groups()
	c.refuseNoReturn()
	c.paths()
	c.plan.Hash = c.plan.hash()
	return c.plan
}

// hash leaves out what holds at a moment.
func (p *Plan) hash() string {
	doc, err := json.Marshal(struct {
		From, To string
		Steps    []Step
		Refused  []string
	}{p.From, p.To, p.Steps, p.Refused})
	if err != nil {
		panic("BUG: a plan does not encode: " + err.Error())
	}
	sum := sha256.Sum256(doc)
	return hex.EncodeToString(sum[:8])
}

// comparison is a plan in the making.
type comparison struct {
	from, to Side
	plan     *Plan
}

// paths says what holds then, and where that is not what holds now.
func (c *comparison) paths() {
	type ends struct{ source, sink string }
	before := make(map[ends]guarantee.Report)
	for _, r := range c.from.Config.Guarantees() {
		before[ends{r.Source, r.Sink}] = r
	}
	for _, r := range c.to.Config.Guarantees() {
		p := Path{Report: r}
		for _, source := range append([]string{r.Source}, c.to.Config.Formerly(r.Source)...) {
			for _, sink := range append([]string{r.Sink}, c.to.Config.Formerly(r.Sink)...) {
				if was, known := before[ends{source, sink}]; known && was.Delivery != r.Delivery && p.Was == nil {
					p.Was = &was
				}
			}
		}
		c.plan.Paths = append(c.plan.Paths, p)
	}
}

func (c *comparison) add(s Step) {
	for _, list := range []*[]string{&s.Gains, &s.Loses} {
		if *list == nil {
			*list = []string{}
		}
	}
	if s.Changes == nil {
		s.Changes = []Change{}
	}
	c.plan.Steps = append(c.plan.Steps, s)
}

// beyond lists what is in a and not in b.
func beyond(a, b []string) (list []string) {
	for _, s := range a {
		if !slices.Contains(b, s) && !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}
