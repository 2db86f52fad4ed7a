// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"maps"
	"slices"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// agentCollector shows who the agent is, with the labels that its configuration gives it. It describes nothing, since a reload may change which there are.
type agentCollector struct {
	info atomic.Pointer[prometheus.Metric]
}

// Agent sets what the agent is called, and its labels, from now on. No label may be called "agent" or "id".
func (m *Metrics) Agent(name, id string, labels map[string]string) {
	names, values := []string{"agent", "id"}, []string{name, id}
	for _, label := range slices.Sorted(maps.Keys(labels)) {
		names, values = append(names, label), append(values, labels[label])
	}
	info := prometheus.MustNewConstMetric(prometheus.NewDesc(namespace+"_agent_info", "1, with the agent's name, its id, and its labels.", names, nil),
		prometheus.GaugeValue, 1, values...)
	m.agent.info.Store(&info)
}

// Describe implements [prometheus.Collector].
func (c *agentCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (c *agentCollector) Collect(out chan<- prometheus.Metric) {
	if info := c.info.Load(); info != nil {
		out <- *info
	}
}
