// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"errors"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
)

// Build says which binary this is.
type Build struct {
	Version  string
	Revision string // of the source tree
}

// State is what a component is doing.
type State string

// The states, those of package pipeline, which are also the values of the label "state".
const (
	Starting State = "starting" // being opened
	Running  State = "running"
	Retrying State = "retrying" // the other side fails; backing off
	Held     State = "held"     // stopped until someone acts
	Finished State = "finished" // a source that has no more
	Paused   State = "paused"   // by someone, until they let it go on
	Stopped  State = "stopped"  // ended as asked
)

var states = [...]State{Starting, Running, Retrying, Held, Finished, Paused, Stopped}

// Metrics holds the figures of one agent. Make one with [NewMetrics]; then ask for the part of each
// component before it starts, so that its series exist from the beginning.
type Metrics struct {
	state         *prometheus.GaugeVec
	config        *prometheus.GaugeVec
	reloads       *prometheus.CounterVec
	reloadSuccess prometheus.Gauge
	vecs          *[]family
	source        sourceFamilies
	channel       channelFamilies
	sink          sinkFamilies
	unmatched     *prometheus.CounterVec
	processed     *prometheus.CounterVec
	dead          *prometheus.CounterVec
	plugin        *PluginMetrics
	scraped       *channelCollector
	listeners     *listenerCollector
	groups        *groupCollector
	agent         *agentCollector
	tls           *tlsCollector
	refreshes     *prometheus.CounterVec
}

// NewMetrics registers every family with reg, the agent's own registry, together with those of the
// Go runtime and the process.
func NewMetrics(reg *prometheus.Registry, build Build) *Metrics {
	r := registrar{reg, new([]family)}
	m := &Metrics{
		vecs:      r.made,
		state:     r.gauge("component_state", "1 for the state that the component is in, 0 for the others.", "component", "state"),
		config:    r.gauge("config_revision", "1 for the revision of the configuration that runs.", "revision"),
		source:    newSourceFamilies(r),
		channel:   newChannelFamilies(r),
		sink:      newSinkFamilies(r),
		unmatched: r.counter("route_unmatched_events_total", "Events that are of no case of the route, which gives them up; each once.", "route"),
		processed: newProcessorEvents(r),
		dead:      newDeadLetterEvents(r),
		plugin:    newPluginMetrics(r),
		scraped:   newChannelCollector(),
		listeners: newListenerCollector(),
		groups:    newGroupCollector(),
		agent:     &agentCollector{},
		tls:       newTLSCollector(),
	}
	m.reloads = r.counter("config_reloads_total", "Reloads of the configuration, by result: applied; refused = nothing was touched; "+
		"returned = what was new has failed and what ran before runs again; stuck = it has failed and there is no way back.", "result")
	for _, result := range reloadResults {
		m.reloads.WithLabelValues(result)
	}
	m.refreshes = r.counter("secret_refreshes_total", "Secrets that were read again, by result: same; changed = who uses it runs with it now; returned = they have failed with it, and run with the one before; "+
		"unread = it could not be read, and the one before stays.", "secret", "result")
	m.reloadSuccess = r.gauge("config_last_reload_success", "1 when what the files said at the last reload runs, or there was none; else 0.").WithLabelValues()
	m.reloadSuccess.Set(1)
	r.gauge("build_info", "1, with the version of this binary.", "version", "revision", "goversion").
		WithLabelValues(build.Version, build.Revision, runtime.Version()).Set(1)
	reg.MustRegister(m.scraped, m.listeners, m.groups, m.agent, m.tls, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// ConfigRevision sets the revision of the configuration that runs from now on.
func (m *Metrics) ConfigRevision(revision string) {
	m.config.Reset()
	m.config.WithLabelValues(revision).Set(1)
}

// Refreshed counts that a secret was read again.
func (m *Metrics) Refreshed(secret, result string) { m.refreshes.WithLabelValues(secret, result).Inc() }

// Plugin returns what the plugins' runtime reports to. It implements plugin.Metrics.
func (m *Metrics) Plugin() *PluginMetrics { return m.plugin }

// stateGauges is the state of one component. Set is rare: once a change.
type stateGauges [len(states)]prometheus.Gauge

func (m *Metrics) states(component string) stateGauges {
	var g stateGauges
	for i, s := range states {
		g[i] = m.state.WithLabelValues(component, string(s))
	}
	return g
}

// set makes s the one state that is 1. A state that is not known leaves all at 0.
func (g stateGauges) set(s State) {
	for i, each := range states {
		if each == s {
			g[i].Set(1)
		} else {
			g[i].Set(0)
		}
	}
}

// Histograms come in both forms: the native one, whose buckets grow by a tenth, and classic buckets for
// those who scrape text. nativeBuckets bounds what one native histogram takes.
const (
	nativeFactor  = 1.1
	nativeBuckets = 160
)

// Classic buckets: a disk or a destination answers within 100 µs … 30 s; a latency is up to an hour, after an outage.
var (
	secondsBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	latencyBuckets = []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600}
	countBuckets   = []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384}
)

// registrar makes families, all in the namespace "penstock". It panics on a name that is there
// already, which no input can cause.
type registrar struct {
	reg  prometheus.Registerer
	made *[]family
}

// family is all series of one name.
type family interface {
	DeletePartialMatch(labels prometheus.Labels) int
}

// Forget drops the series of a component or channel that is not there any more.
func (m *Metrics) Forget(component string) {
	for _, f := range *m.vecs {
		f.DeletePartialMatch(prometheus.Labels{"component": component})
	}
	m.plugin.forget(component)
	m.Listeners(component, nil)
}

const namespace = "penstock"

func (r registrar) counter(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	r.reg.MustRegister(v)
	*r.made = append(*r.made, v)
	return v
}

func (r registrar) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
	r.reg.MustRegister(v)
	*r.made = append(*r.made, v)
	return v
}

func (r registrar) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: nativeFactor, NativeHistogramMaxBucketNumber: nativeBuckets,
	}, labels)
	r.reg.MustRegister(v)
	*r.made = append(*r.made, v)
	return v
}

// count reads a counter back, so that a status needs no second set of books.
func count(c prometheus.Counter) uint64 {
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		panic(errors.Join(errors.New("BUG: a counter does not write itself"), err))
	}
	return uint64(m.GetCounter().GetValue())
}
