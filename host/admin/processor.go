// SPDX-License-Identifier: Apache-2.0

package admin

import "github.com/prometheus/client_golang/prometheus"

// processorResults are the values of the label "result": what went in, what came out, and what became of the rest.
var processorResults = [...]string{"in", "out", "filtered", "dropped", "dead_letter", "passed", "skipped", "undecided"}

func newProcessorEvents(r registrar) *prometheus.CounterVec {
	return r.counter("processor_events_total", "Events of a processor: in, out; and of those that went in: filtered = nothing came out, as it wanted; "+
		"dropped, dead_letter, passed = what its on_error did with those that it rejected or broke on. Beside these: skipped = events that passed it by, "+
		"as its when says; undecided = those of which its when has no value.", "component", "result")
}

// ProcessorMetrics is one processor's part, of all its instances. Its methods may be called by many goroutines.
type ProcessorMetrics struct {
	results [len(processorResults)]prometheus.Counter
}

// Processor declares a processor and returns its part.
func (m *Metrics) Processor(component string) *ProcessorMetrics {
	m.plugin.declare(component)
	p := &ProcessorMetrics{}
	for i, result := range processorResults {
		p.results[i] = m.processed.WithLabelValues(component, result)
	}
	return p
}

// Processed counts a batch that went through; the figures are those of processorResults.
func (p *ProcessorMetrics) Processed(in, out, filtered, dropped, deadLetter, passed, skipped, undecided int) {
	for i, n := range [...]int{in, out, filtered, dropped, deadLetter, passed, skipped, undecided} {
		p.results[i].Add(float64(n))
	}
}
