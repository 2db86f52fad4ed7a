// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// sourceFamilies are the families of sources, labelled by component.
type sourceFamilies struct {
	events, bytes, acks, blocked *prometheus.CounterVec
}

func newSourceFamilies(r registrar) sourceFamilies {
	return sourceFamilies{
		events:  r.counter("source_events_total", "Events that the source read.", "component"),
		bytes:   r.counter("source_bytes_total", "Bytes of encoded events that the source read.", "component"),
		acks:    r.counter("source_acks_total", "Events that are durable in the channel and were acknowledged to the source.", "component"),
		blocked: r.counter("source_blocked_seconds_total", "Time that the source waited for room in its channel.", "component"),
	}
}

// SourceMetrics is one source's part. Its methods may be called by many goroutines.
type SourceMetrics struct {
	events, bytes, acks, blocked prometheus.Counter
	state                        stateGauges
}

// Source declares a source and returns its part.
func (m *Metrics) Source(component string) *SourceMetrics {
	m.plugin.declare(component)
	s := &SourceMetrics{
		events:  m.source.events.WithLabelValues(component),
		bytes:   m.source.bytes.WithLabelValues(component),
		acks:    m.source.acks.WithLabelValues(component),
		blocked: m.source.blocked.WithLabelValues(component),
		state:   m.states(component),
	}
	s.State(Starting)
	return s
}

// Read counts a batch that the source gave.
func (s *SourceMetrics) Read(events, bytes int) {
	s.events.Add(float64(events))
	s.bytes.Add(float64(bytes))
}

// Acked counts events that became durable and of which the source was told.
func (s *SourceMetrics) Acked(events int) { s.acks.Add(float64(events)) }

// Blocked counts time that was waited for room.
func (s *SourceMetrics) Blocked(d time.Duration) { s.blocked.Add(d.Seconds()) }

// State sets the state that the source is in.
func (s *SourceMetrics) State(state State) { s.state.set(state) }

// SourceCounts are a source's counters at one moment.
type SourceCounts struct {
	Read, Bytes, Acked uint64 // events, bytes, events
}

// Counts reads the counters.
func (s *SourceMetrics) Counts() SourceCounts {
	return SourceCounts{Read: count(s.events), Bytes: count(s.bytes), Acked: count(s.acks)}
}

// sinkFamilies are the families of sinks, labelled by component.
type sinkFamilies struct {
	events, bytes, retries, errors     *prometheus.CounterVec
	expired                            *prometheus.CounterVec
	batchSeconds, batchEvents, latency *prometheus.HistogramVec
}

func newSinkFamilies(r registrar) sinkFamilies {
	return sinkFamilies{
		events:       r.counter("sink_events_total", "Events, by what became of them: committed; rejected; filtered = not for the sink, by where and its case; and of these undecided = it cannot be said; consumed = nothing was left of it by the sink's processors.", "component", "result"),
		bytes:        r.counter("sink_bytes_total", "Bytes of encoded events, by what became of them.", "component", "result"),
		retries:      r.counter("sink_retries_total", "Batches that were rolled back to be tried again.", "component"),
		errors:       r.counter("sink_errors_total", "Errors of the destination or the plugin, by class.", "component", "class"),
		expired:      r.counter("sink_deadlines_total", "Batches that were not written within the sink's timeout, so that its instance was ended.", "component"),
		batchSeconds: r.histogram("sink_batch_seconds", "Time that the plugin took to write one batch that it committed.", secondsBuckets, "component"),
		batchEvents:  r.histogram("sink_batch_events", "Events of one committed batch.", countBuckets, "component"),
		latency:      r.histogram("event_latency_seconds", "From the time of a batch's first event, at which its source read it, to the commit of the sink.", latencyBuckets, "component"),
	}
}

// classNames are the values of the label "class", those of spec/abi.md.
var classNames = [...]string{"retry", "reject", "config", "fatal"}

// SinkMetrics is one sink's part. Its methods may be called by many goroutines.
type SinkMetrics struct {
	committed, committedBytes, rejected prometheus.Counter
	filtered, undecided                 prometheus.Counter
	consumed                            prometheus.Counter
	retries, expired                    prometheus.Counter
	errors                              [len(classNames)]prometheus.Counter
	otherErrors                         prometheus.Counter
	taken, returned                     prometheus.Counter // the channel's transactions, op "take"
	batchSeconds, batchEvents, latency  prometheus.Observer
	state                               stateGauges
}

// Sink declares a sink that takes from the channel of that address, and returns its part.
func (m *Metrics) Sink(component, channel string) *SinkMetrics {
	m.plugin.declare(component)
	f := m.sink
	s := &SinkMetrics{
		committed:      f.events.WithLabelValues(component, "committed"),
		rejected:       f.events.WithLabelValues(component, "rejected"),
		filtered:       f.events.WithLabelValues(component, "filtered"),
		undecided:      f.events.WithLabelValues(component, "undecided"),
		consumed:       f.events.WithLabelValues(component, "consumed"),
		committedBytes: f.bytes.WithLabelValues(component, "committed"),
		retries:        f.retries.WithLabelValues(component),
		expired:        f.expired.WithLabelValues(component),
		otherErrors:    f.errors.WithLabelValues(component, "other"),
		taken:          m.channel.transactions.WithLabelValues(channel, "take", "committed"),
		returned:       m.channel.transactions.WithLabelValues(channel, "take", "rolled_back"),
		batchSeconds:   f.batchSeconds.WithLabelValues(component),
		batchEvents:    f.batchEvents.WithLabelValues(component),
		latency:        f.latency.WithLabelValues(component),
		state:          m.states(component),
	}
	for i, class := range classNames {
		s.errors[i] = f.errors.WithLabelValues(component, class)
	}
	s.State(Starting)
	return s
}

// Committed counts a batch that the destination holds: took is the plugin's time for it, latency that
// since the time of its first event; below 0, it is not known.
func (s *SinkMetrics) Committed(events, bytes int, took, latency time.Duration) {
	s.committed.Add(float64(events))
	s.committedBytes.Add(float64(bytes))
	s.taken.Inc()
	if events == 0 {
		return // the destination was not asked
	}
	s.batchSeconds.Observe(took.Seconds())
	s.batchEvents.Observe(float64(events))
	if latency >= 0 {
		s.latency.Observe(latency.Seconds())
	}
}

// Consumed counts events that the sink's processors have left nothing of, beside those that are dead letters.
func (s *SinkMetrics) Consumed(events int) { s.consumed.Add(float64(events)) }

// Filtered counts events of a lease that ended well and are not for the sink; of these, so many of which it could not be said.
func (s *SinkMetrics) Filtered(events, undecided int) {
	s.filtered.Add(float64(events))
	s.undecided.Add(float64(undecided))
}

// Unmatched counts events that are of no case of a route, which gives them up.
func (m *Metrics) Unmatched(route string, events int) {
	m.unmatched.WithLabelValues(route).Add(float64(events))
}

// Retried counts a batch that was rolled back because of an error of that class.
func (s *SinkMetrics) Retried(class string) {
	s.retries.Inc()
	s.returned.Inc()
	s.Failed(class)
}

// Failed counts an error of that class that rolled no batch back, as at open.
func (s *SinkMetrics) Failed(class string) {
	for i, name := range classNames {
		if name == class {
			s.errors[i].Inc()
			return
		}
	}
	s.otherErrors.Inc()
}

// Expired counts a batch that was not written in time. It is counted as Failed too.
func (s *SinkMetrics) Expired() { s.expired.Inc() }

// Rejected counts events that the destination will never take.
func (s *SinkMetrics) Rejected(events int) { s.rejected.Add(float64(events)) }

// State sets the state that the sink is in.
func (s *SinkMetrics) State(state State) { s.state.set(state) }

// SinkCounts are a sink's counters at one moment.
type SinkCounts struct {
	Committed, Bytes, Rejected, Filtered, Consumed, Retries uint64 // events, bytes, events, events, events, batches
}

// Counts reads the counters.
func (s *SinkMetrics) Counts() SinkCounts {
	return SinkCounts{
		Committed: count(s.committed), Bytes: count(s.committedBytes),
		Rejected: count(s.rejected), Filtered: count(s.filtered), Consumed: count(s.consumed), Retries: count(s.retries),
	}
}
