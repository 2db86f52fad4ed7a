// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"sync"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock-io/penstock/spec/abi"
)

// maxNames bounds how many metrics of its own a component may have, and how many capabilities are
// told apart: a plugin that puts a value into a name must not fill the registry. What comes later, or
// has a name over maxNameBytes, counts under otherName.
const (
	maxNames     = 1024
	maxNameBytes = 64
	otherName    = "other"
)

// lagName is the gauge by which a source says how far it is behind the outside world, in seconds. It has a family
// of its own. Nobody else can know it, so a source that does not say has no such series.
const lagName = "lag_seconds"

// PluginMetrics is what the runtime of plugins reports to. Its methods may be called by many goroutines.
type PluginMetrics struct {
	info                                   *prometheus.GaugeVec
	calls                                  *prometheus.HistogramVec
	memory, reported, lag                  *prometheus.GaugeVec
	traps, restarts, denied, reportedTotal *prometheus.CounterVec
	cpu                                    *prometheus.CounterVec

	mu         sync.RWMutex
	components map[string]*pluginSeries
}

// pluginSeries is the part of one component, so that a call costs one lookup, not one a label.
type pluginSeries struct {
	calls           prometheus.Observer
	memory          prometheus.Gauge
	cpu             prometheus.Counter
	traps, restarts prometheus.Counter

	mu               sync.Mutex
	counters, gauges map[string]func(float64) // what the plugin reports of itself
	denied           map[string]prometheus.Counter
}

func newPluginMetrics(r registrar) *PluginMetrics {
	return &PluginMetrics{
		info:          r.gauge("plugin_info", "1, for each module that is loaded.", "plugin", "version", "digest", "runtime"),
		calls:         r.histogram("plugin_call_seconds", "Time of one call into the plugin.", secondsBuckets, "component"),
		cpu:           r.counter("plugin_cpu_seconds_total", "Processor time that calls into the plugin took.", "component"),
		memory:        r.gauge("plugin_memory_bytes", "Memory of the plugin's instance.", "component"),
		traps:         r.counter("plugin_traps_total", "Times that an instance broke.", "component"),
		restarts:      r.counter("plugin_restarts_total", "Times that an instance was replaced.", "component"),
		denied:        r.counter("plugin_denied_total", "Things that the plugin tried and was not granted, or that went over a limit.", "component", "capability"),
		lag:           r.gauge("source_lag_seconds", "How far the source is behind the outside world, as its plugin says.", "component"),
		reported:      r.gauge("plugin_reported", "A gauge that the plugin reports of itself.", "component", "name"),
		reportedTotal: r.counter("plugin_reported_total", "A counter that the plugin reports of itself.", "component", "name"),
		components:    map[string]*pluginSeries{},
	}
}

// Loaded says that a module was loaded; digest is its sha256, in hex.
func (p *PluginMetrics) Loaded(plugin, version, digest, runtime string) {
	p.info.WithLabelValues(plugin, version, digest, runtime).Set(1)
}

// Unloaded says that it is not loaded any more.
func (p *PluginMetrics) Unloaded(plugin, version, digest, runtime string) {
	p.info.DeleteLabelValues(plugin, version, digest, runtime)
}

// forget drops the part of a component, whose series are gone.
func (p *PluginMetrics) forget(component string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.components, component)
}

// Trapped counts an instance that broke.
func (p *PluginMetrics) Trapped(component string) { p.of(component).traps.Inc() }

// Restarted counts an instance that was opened in the place of another.
func (p *PluginMetrics) Restarted(component string) { p.of(component).restarts.Inc() }

// Call is one call into the plugin that took so long, and so much processor time.
func (p *PluginMetrics) Call(component string, took, cpu time.Duration) {
	s := p.of(component)
	s.calls.Observe(took.Seconds())
	s.cpu.Add(max(0, cpu.Seconds()))
}

// Memory is how much memory the instance has.
func (p *PluginMetrics) Memory(component string, bytes uint64) {
	p.of(component).memory.Set(float64(bytes))
}

// Denied counts something that the plugin tried and was not granted. capability is a word of the
// host's, never a path or an address.
func (p *PluginMetrics) Denied(component, capability string) {
	s := p.of(component)
	s.mu.Lock()
	defer s.mu.Unlock()
	capability = bounded(s.denied, capability)
	if s.denied[capability] == nil {
		s.denied[capability] = p.denied.WithLabelValues(component, capability)
	}
	s.denied[capability].Inc()
}

// Denials counts what Denied was called with.
func (p *PluginMetrics) Denials(component string) map[string]uint64 {
	s := p.of(component)
	s.mu.Lock()
	defer s.mu.Unlock()
	n := make(map[string]uint64, len(s.denied))
	for capability, c := range s.denied {
		n[capability] = count(c)
	}
	return n
}

// Plugin is a metric that the plugin reports of itself, of kind abi.MetricCounter or abi.MetricGauge.
// An unknown kind, or a counter that would fall, is ignored.
func (p *PluginMetrics) Plugin(component string, kind int, name string, value float64) {
	counter := kind == abi.MetricCounter
	if !counter && kind != abi.MetricGauge || counter && !(value >= 0) {
		return
	}
	s := p.of(component)
	s.mu.Lock()
	defer s.mu.Unlock()
	names := s.gauges
	if counter {
		names = s.counters
	}
	name = bounded(names, name)
	if names[name] == nil {
		names[name] = p.report(component, name, counter)
	}
	names[name](value)
}

// bounded returns the name under which to count name: itself, as long as there are few.
func bounded[V any](seen map[string]V, name string) string {
	if _, ok := seen[name]; ok {
		return name
	}
	if len(seen) >= maxNames || len(name) > maxNameBytes || !utf8.ValidString(name) {
		return otherName
	}
	return name
}

func (p *PluginMetrics) report(component, name string, counter bool) func(float64) {
	switch {
	case counter:
		return p.reportedTotal.WithLabelValues(component, name).Add
	case name == lagName:
		return p.lag.WithLabelValues(component).Set
	}
	return p.reported.WithLabelValues(component, name).Set
}

// declare makes the component's series exist.
func (p *PluginMetrics) declare(component string) { p.of(component) }

// of returns the part of a component, which is made the first time.
func (p *PluginMetrics) of(component string) *pluginSeries {
	p.mu.RLock()
	s := p.components[component]
	p.mu.RUnlock()
	if s != nil {
		return s
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.components[component]; s != nil {
		return s
	}
	s = &pluginSeries{
		calls:    p.calls.WithLabelValues(component),
		memory:   p.memory.WithLabelValues(component),
		cpu:      p.cpu.WithLabelValues(component),
		traps:    p.traps.WithLabelValues(component),
		restarts: p.restarts.WithLabelValues(component),
		counters: map[string]func(float64){},
		gauges:   map[string]func(float64){},
		denied:   map[string]prometheus.Counter{},
	}
	p.components[component] = s
	return s
}
