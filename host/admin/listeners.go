// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"maps"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Listener is an address that a component listens on. Counters count since the agent started.
type Listener struct {
	Handle      string            `json:"handle"`
	Address     string            `json:"address"` // with the port that it has
	Connections int               `json:"connections"`
	Limit       int               `json:"limit"`             // of connections; 0: none come, but datagrams
	Accepted    uint64            `json:"accepted"`          // connections, as all that follow
	Refused     uint64            `json:"refused"`           // there was no room, or no more for that peer
	Ended       uint64            `json:"ended"`             // quiet for too long, or passed on and not taken
	Passed      uint64            `json:"passed"`            // how often one was passed on from an instance to the next
	Failed      uint64            `json:"failed"`            // handshakes in which one side refused the other, and accepts
	Lost        uint64            `json:"lost"`              // the client was gone before the handshake was over, or that took too long
	Answers     map[string]uint64 `json:"answers,omitempty"` // of an HTTP server, by "2xx", "4xx", "5xx"; "none": the client had gone
}

// listenerCollector reads the figures of listeners when someone scrapes.
type listenerCollector struct {
	open, total, answers *prometheus.Desc

	mu   sync.Mutex
	from map[string]func() []Listener // by component
}

func newListenerCollector() *listenerCollector {
	return &listenerCollector{
		open: prometheus.NewDesc(namespace+"_listener_connections", "Connections that are open.", []string{"component", "handle"}, nil),
		total: prometheus.NewDesc(namespace+"_listener_connections_total",
			"Connections, by what became of them: accepted; refused = over limits.listen or limits.serve; ended = quiet for too long; passed = on to the next instance, each time; failed = refused in the handshake of TLS, by either side; lost = gone before that was over.",
			[]string{"component", "handle", "result"}, nil),
		answers: prometheus.NewDesc(namespace+"_listener_answers_total",
			"Answers of an HTTP server, by status: 2xx, 4xx, 5xx and others; none = the client had gone.", []string{"component", "handle", "status"}, nil),
		from: map[string]func() []Listener{},
	}
}

// Listeners makes each scrape read what a component listens on, until it is called with nil.
func (m *Metrics) Listeners(component string, read func() []Listener) {
	m.listeners.mu.Lock()
	defer m.listeners.mu.Unlock()
	if read == nil {
		delete(m.listeners.from, component)
		return
	}
	m.listeners.from[component] = read
}

// Describe implements [prometheus.Collector].
func (c *listenerCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.open
	out <- c.total
	out <- c.answers
}

// Collect implements [prometheus.Collector].
func (c *listenerCollector) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	from := maps.Clone(c.from)
	c.mu.Unlock()
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	for _, component := range sortedKeys(from) {
		for _, l := range from[component]() {
			if l.Limit == 0 {
				continue
			}
			out <- prometheus.MustNewConstMetric(c.open, prometheus.GaugeValue, float64(l.Connections), component, l.Handle)
			counter(c.total, l.Accepted, component, l.Handle, "accepted")
			counter(c.total, l.Refused, component, l.Handle, "refused")
			counter(c.total, l.Ended, component, l.Handle, "ended")
			counter(c.total, l.Passed, component, l.Handle, "passed")
			counter(c.total, l.Failed, component, l.Handle, "failed")
			counter(c.total, l.Lost, component, l.Handle, "lost")
			for _, status := range sortedKeys(l.Answers) {
				counter(c.answers, l.Answers[status], component, l.Handle, status)
			}
		}
	}
}
