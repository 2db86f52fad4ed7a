// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock-io/penstock/spec/event"
)

// Group is a sink group's part of a [Status]. Counters count since it was opened.
type Group struct {
	Address   string   `json:"address"` // "sink_group.orders"
	Channel   string   `json:"channel"`
	Policy    string   `json:"policy"`
	Delivery  string   `json:"delivery"`
	Waiting   uint64   `json:"waiting"`   // events that no member has delivered
	Failovers uint64   `json:"failovers"` // times that a member failed or was held, and others took in its place
	Members   []Member `json:"members"`   // those that are preferred first, last those that are members no more, and may hold something
}

// Member is one sink of a group.
type Member struct {
	Address  string    `json:"address"`
	State    string    `json:"state"`          // "active", "standby", "returning", "ejected", "out"
	Until    time.Time `json:"until,omitzero"` // when the state ends by itself
	Up       bool      `json:"up"`             // it works, as far as is known
	Failures int       `json:"failures"`       // in a row
	Pending  uint64    `json:"pending"`        // events on their way
	Doubt    *Doubt    `json:"in_doubt,omitempty"`
}

// Doubt is what a member was given, and nobody knows whether its destination holds it.
type Doubt struct {
	Events uint64    `json:"events"`
	Ranges []Span    `json:"ranges"`
	Since  time.Time `json:"since"` // or earlier, where it is the time at which the agent started
}

// Span is a range of offsets.
type Span struct {
	First event.Offset `json:"first"`
	Next  event.Offset `json:"next"`
}

// InDoubt is how many events are, of all members.
func (g Group) InDoubt() (n uint64) {
	for _, m := range g.Members {
		if m.Doubt != nil {
			n += m.Doubt.Events
		}
	}
	return n
}

// groupCollector reads the figures of groups when someone scrapes.
type groupCollector struct {
	up, doubt, failovers *prometheus.Desc

	mu   sync.Mutex
	read func() []Group // nil: there are none
}

func newGroupCollector() *groupCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(namespace+"_group_"+name, help, append([]string{"component"}, labels...), nil)
	}
	return &groupCollector{
		up: desc("member_up", "1 while the member of the sink group works, as far as is known; 0: it failed and has not delivered since, is held, paused or away.", "member"),
		doubt: desc("in_doubt_events", "Events that the member was given, and of which nobody knows whether its destination holds them: with exactly_once they wait for it.",
			"member"),
		failovers: desc("failovers_total", "Times that a member of the sink group failed or was held, so that others took in its place."),
	}
}

// Groups makes each scrape read how the sink groups stand.
func (m *Metrics) Groups(read func() []Group) {
	m.groups.mu.Lock()
	defer m.groups.mu.Unlock()
	m.groups.read = read
}

// Describe implements [prometheus.Collector].
func (c *groupCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.up
	out <- c.doubt
	out <- c.failovers
}

// Collect implements [prometheus.Collector].
func (c *groupCollector) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	read := c.read
	c.mu.Unlock()
	if read == nil {
		return
	}
	for _, g := range read() {
		out <- prometheus.MustNewConstMetric(c.failovers, prometheus.CounterValue, float64(g.Failovers), g.Address)
		for _, m := range g.Members {
			doubt := uint64(0)
			if m.Doubt != nil {
				doubt = m.Doubt.Events
			}
			out <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, flag(m.Up), g.Address, m.Address)
			out <- prometheus.MustNewConstMetric(c.doubt, prometheus.GaugeValue, float64(doubt), g.Address, m.Address)
		}
	}
}

// Resolve is what somebody knows of what is in doubt.
type Resolve struct {
	Group  string `json:"-"` // its address
	By     Peer   `json:"-"` // as the kernel says
	Member string `json:"member"`
	Ranges []Span `json:"ranges"` // what it was said of; what came into doubt since then is left alone
	Held   bool   `json:"held"`   // its destination holds them; else it does not
}

// Resolved is what came of it.
type Resolved struct {
	Group  string `json:"group"`
	Member string `json:"member"`
	Held   bool   `json:"held"`
	Events uint64 `json:"events"` // of which that was said, and which were in doubt still
}

// maxResolve bounds the request: as many ranges as a group may have.
const maxResolve = 64 << 10

func (s *Server) resolve(w http.ResponseWriter, r *http.Request) {
	ask := Resolve{}
	if err := json.NewDecoder(io.LimitReader(r.Body, maxResolve)).Decode(&ask); err != nil || ask.Member == "" || len(ask.Ranges) == 0 {
		writeRefusal(w, &Refusal{Code: CodeUsage, Message: "cannot resolve: the request is not one of this version"})
		return
	}
	noWriteDeadline(w) // the member is stopped first
	ask.Group = r.PathValue("group")
	ask.By, _ = r.Context().Value(peerKey{}).(Peer)
	out, err := s.opts.Components.Resolve(r.Context(), ask)
	if err != nil {
		writeRefusal(w, err)
		return
	}
	writeJSON(w, http.StatusOK, out)
}

// SettleDoubt tells the agent of that data directory what is known of what is in doubt. ErrNoAgent when there is none; a [*Refusal] when it would not.
func SettleDoubt(ctx context.Context, dataDir string, ask Resolve) (Resolved, error) {
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	var out Resolved
	if err := demand(ctx, dataDir, http.MethodPost, "/api/v1/groups/"+ask.Group+"/resolve", ask, &out); err != nil {
		return out, fmt.Errorf("have the agent of %s resolve what %s may hold: %w", dataDir, ask.Member, err)
	}
	return out, nil
}
