// SPDX-License-Identifier: Apache-2.0

// Package admin serves metrics, health, control and the page over HTTP.
//
// An agent hands in what there is to say ([Agent]) and keeps its figures in [Metrics]; a [Server]
// serves both on a loopback address and, always, on a unix control socket in the data directory.
// The package does not know how pipelines are built or run.
//
// Invariants: no series ever carries a value of an event or the name of a file; every series of a
// declared component exists, at 0, before its first event; figures are written once a batch, without
// a map lookup; nothing but the owner of the agent, or root, gets past the control socket; nothing is
// served on an address that other machines reach.
package admin

import (
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/guarantee"
	"github.com/penstock-io/penstock/spec/event"
)

// Agent is what a server asks. Calls come from many goroutines, and must not wait for a disk or a destination.
type Agent interface {
	// Status returns the state of everything at this moment.
	Status() Status
	// Live says why the agent should be killed and started again, or nil: whether the log writers make
	// progress. A destination that is down is no reason.
	Live() error
	// Ready says why the agent does not yet, or no longer, do its work, one sentence a reason. Empty: it does.
	Ready() []string
}

// Status is a picture of a running agent. As JSON it is what /api/v1/status answers.
type Status struct {
	Agent      string            `json:"agent"`
	Labels     map[string]string `json:"labels,omitempty"`
	Version    string            `json:"version"`
	Revision   string            `json:"revision"` // of the configuration, as hex
	PID        int               `json:"pid"`
	Started    time.Time         `json:"started"`
	DataDir    string            `json:"data_dir"`
	HTTP       string            `json:"http,omitempty"`  // the address of metrics and health; "" when there is none
	HTTPS      bool              `json:"https,omitempty"` // it is encrypted
	Components []Component       `json:"components"`
	Channels   []Channel         `json:"channels"`
	Groups     []Group           `json:"groups"`
	// Paths are those from each source to each sink, with the guarantee that holds.
	Paths  []guarantee.Report `json:"paths"`
	Reload Reloads            `json:"reload"`
	TLS    []TLS              `json:"tls,omitempty"` // the tls blocks that are in use
}

// Component is a source, a processor or a sink. Counters count since the agent started.
type Component struct {
	Address  string    `json:"address"` // "source.shop"
	Kind     string    `json:"kind"`    // "source", "processor" or "sink"
	Plugin   string    `json:"plugin"`
	Channel  string    `json:"channel"`        // where it puts, or takes from
	Into     string    `json:"into,omitempty"` // of a relay: the channel that it puts into
	State    State     `json:"state"`
	Since    time.Time `json:"since,omitzero"`   // of the state
	Started  time.Time `json:"started,omitzero"` // as it is configured now: a reload that does not change it leaves it alone
	Reason   string    `json:"reason,omitempty"`
	Failure  string    `json:"last_failure,omitempty"` // why it waited to try again, the last time
	FailedAt time.Time `json:"last_failure_at,omitzero"`
	Events   uint64    `json:"events"` // source: durable; sink: held by the destination
	Bytes    uint64    `json:"bytes"`
	Waiting  uint64    `json:"waiting"` // sink: in the channel, not committed yet; source: read, not durable yet
	Retries  uint64    `json:"retries"`
	Rejected uint64    `json:"rejected"`
	Filtered uint64    `json:"filtered"`        // sink: committed, and not for it by its case of a route or its where
	Consumed uint64    `json:"consumed"`        // sink: committed, and its processors have left nothing of it, beside what is among the dead letters
	Dead     uint64    `json:"dead_letters"`    // given to the dead letters
	Parts    []Part    `json:"parts,omitempty"` // of a sink that delivers several batches at a time
	May      []string  `json:"may"`             // what its plugin may touch, a few words each
	// Denied is how often the plugin, or who connected to it, tried what was not granted or went over a limit: by its name, "memory", "listen.per_peer".
	Denied    map[string]uint64 `json:"denied,omitempty"`
	Listeners []Listener        `json:"listeners,omitempty"`
}

// Part is one loop of a sink.
type Part struct {
	Name    string `json:"name"` // "connection 3", "lane customer/0-of-4"
	State   State  `json:"state"`
	Reason  string `json:"reason,omitempty"`
	Waiting uint64 `json:"waiting,omitempty"` // of a lane: events that it has yet to look at, those of other lanes too
}

// Channel is a channel's part of a [Status].
type Channel struct {
	Address        string            `json:"address"`
	Kind           string            `json:"kind"`
	Events         uint64            `json:"events"` // held: not committed by every reader
	Bytes          uint64            `json:"bytes"`
	CapacityBytes  uint64            `json:"capacity_bytes"`       // 0 = no bound
	CapacityEvents uint64            `json:"capacity_events"`      // 0 = no bound
	CapacityAge    float64           `json:"capacity_age_seconds"` // 0 = no bound
	OldestSeconds  float64           `json:"oldest_seconds"`       // age of the oldest held event
	Put            uint64            `json:"put"`                  // events committed by sources since the agent started
	Syncs          uint64            `json:"syncs"`
	Segments       int               `json:"segments"`
	Quarantine     uint64            `json:"quarantine_bytes"` // moved aside by repair, ever
	ReplayFrom     event.Offset      `json:"replay_from"`      // the oldest that is still there
	Dropped        map[string]uint64 `json:"dropped"`          // events that were given up since the agent started, by reason
	Readers        []Reader          `json:"readers"`
	Stopped        string            `json:"stopped,omitempty"`       // why it takes nothing more
	Damaged        string            `json:"damaged,omitempty"`       // the first place with damage that is known, and stays
	ShortOfDisk    string            `json:"short_of_disk,omitempty"` // why sources wait for room on the disk
}

// Reader is where one reader of a channel stands.
type Reader struct {
	Name    string       `json:"name"`
	Low     event.Offset `json:"low"` // everything below is committed
	Waiting uint64       `json:"waiting"`
	Leased  uint64       `json:"leased"`
	Dropped uint64       `json:"dropped"` // given up since the agent started; what is leased counts when it is rolled back
	InUse   bool         `json:"in_use"`  // else its sink is gone, and it holds what it has not committed
	// Offered are those that it was to get since the channel was opened, Committed those that its leases committed or its destination held
	// already, Passed those that are for others.
	Offered   uint64 `json:"offered"`
	Committed uint64 `json:"committed"`
	Passed    uint64 `json:"passed"`
	Held      uint64 `json:"held"` // of those that are committed, what the destination held already
	// Unaccounted are those of which it is not known what became: 0, or something is wrong.
	Unaccounted int64 `json:"unaccounted"`
}

// ChannelStatus puts a channel's figures, taken at the time now, in the words of a [Status].
func ChannelStatus(address, kind string, s channel.Stats, now time.Time) Channel {
	c := Channel{
		Address: address, Kind: kind,
		Events: s.Events, Bytes: s.Bytes,
		CapacityBytes: s.Capacity.Bytes, CapacityEvents: s.Capacity.Events,
		OldestSeconds: age(s.Oldest, now), Put: s.Put, Syncs: s.Syncs, Segments: s.Segments,
		Quarantine: s.QuarantineSize, ShortOfDisk: s.ShortOfDisk, Damaged: s.Damaged, Readers: []Reader{},
	}
	c.CapacityAge, c.ReplayFrom, c.Dropped = s.Capacity.Age.Seconds(), s.ReplayFrom, map[string]uint64{}
	for loss, n := range s.Dropped {
		c.Dropped[loss.String()] = n
	}
	for _, name := range sortedKeys(s.Readers) {
		r := s.Readers[name]
		c.Readers = append(c.Readers, Reader{
			Name: name, Low: r.Low, Waiting: r.Waiting, Leased: r.Leased, Dropped: r.Dropped, InUse: r.InUse,
			Offered: r.Offered, Committed: r.Committed, Passed: r.Passed, Held: r.Held, Unaccounted: r.Unaccounted(),
		})
	}
	if s.Stopped != nil {
		c.Stopped = s.Stopped.Error()
	}
	return c
}

// age is how long ago oldest was, in seconds; 0 when there is none.
func age(oldest, now time.Time) float64 {
	if oldest.IsZero() {
		return 0
	}
	return max(0, now.Sub(oldest).Seconds())
}
