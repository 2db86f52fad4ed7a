// SPDX-License-Identifier: Apache-2.0

package admin

import "github.com/prometheus/client_golang/prometheus"

func newDeadLetterEvents(r registrar) *prometheus.CounterVec {
	return r.counter("dead_letter_events", "Events that the component gave to the dead letters since the agent started, each time that it did, by reason: "+
		"rejected, too_big = a plugin or its destination will never take it; broke = a plugin broke on it.", "component", "reason")
}

// DeadLetterMetrics is one component's part. Its methods may be called by many goroutines.
type DeadLetterMetrics struct{ reasons map[string]prometheus.Counter }

// DeadLetters declares a component that has dead letters, for these reasons, and returns its part.
func (m *Metrics) DeadLetters(component string, reasons []string) *DeadLetterMetrics {
	d := &DeadLetterMetrics{map[string]prometheus.Counter{}}
	for _, reason := range reasons {
		d.reasons[reason] = m.dead.WithLabelValues(component, reason)
	}
	return d
}

// Kept counts events that are durable among the dead letters, for one of those reasons.
func (d *DeadLetterMetrics) Kept(reason string, events int) { d.reasons[reason].Add(float64(events)) }

// Count is how many there were.
func (d *DeadLetterMetrics) Count() (n uint64) {
	if d == nil {
		return 0
	}
	for _, c := range d.reasons {
		n += count(c)
	}
	return n
}
