// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock-io/penstock/host/channel"
)

// channelFamilies are the families that a channel's commit path writes to. The rest is read from
// its Stats when someone scrapes: see [channelCollector].
type channelFamilies struct {
	transactions                *prometheus.CounterVec
	commit, fsync, fsyncGrouped *prometheus.HistogramVec
}

func newChannelFamilies(r registrar) channelFamilies {
	return channelFamilies{
		transactions: r.counter("channel_transactions_total", "Transactions, by operation (put, take) and result.", "component", "op", "result"),
		commit:       r.histogram("channel_commit_seconds", "The longest time that a transaction of a group waited to become durable.", secondsBuckets, "component"),
		fsync:        r.histogram("channel_fsync_seconds", "Time of one flush to disk.", secondsBuckets, "component"),
		fsyncGrouped: r.histogram("channel_fsync_batch_transactions", "Transactions that became durable together.", countBuckets, "component"),
	}
}

// refusals are the reasons of channel.Observer.Refused, which are results of a put.
var refusals = [...]string{"full", "prior", "error", "limit", "reader"}

// ChannelMetrics is one channel's part.
type ChannelMetrics struct {
	committed    prometheus.Counter
	refused      [len(refusals)]prometheus.Counter
	refusedOther prometheus.Counter
	commit       prometheus.Observer
	fsync        prometheus.Observer
	grouped      prometheus.Observer
	component    string
	scraped      *channelCollector
}

// Channel declares a channel and returns its part: hand Observer to the channel when it is opened,
// then the open channel to Watch.
func (m *Metrics) Channel(component string) *ChannelMetrics {
	f := m.channel
	c := &ChannelMetrics{
		committed:    f.transactions.WithLabelValues(component, "put", "committed"),
		refusedOther: f.transactions.WithLabelValues(component, "put", "other"),
		commit:       f.commit.WithLabelValues(component),
		fsync:        f.fsync.WithLabelValues(component),
		grouped:      f.fsyncGrouped.WithLabelValues(component),
		component:    component,
		scraped:      m.scraped,
	}
	for i, reason := range refusals {
		c.refused[i] = f.transactions.WithLabelValues(component, "put", reason)
	}
	return c
}

// Observer returns what the channel tells as it happens.
func (c *ChannelMetrics) Observer() channel.Observer {
	return channel.Observer{Committed: c.onCommitted, Synced: c.onSynced, Refused: c.onRefused}
}

// Watch makes each scrape read the channel's figures, until it is called with nil.
func (c *ChannelMetrics) Watch(op channel.Operator) { c.scraped.watch(c.component, op) }

func (c *ChannelMetrics) onCommitted(transactions, _ int, _ int64, took time.Duration) {
	c.committed.Add(float64(transactions))
	if took == 0 {
		return // only cursors moved: that waits for company on purpose, and says nothing of the disk
	}
	c.grouped.Observe(float64(transactions))
	c.commit.Observe(took.Seconds())
}

func (c *ChannelMetrics) onSynced(took time.Duration) { c.fsync.Observe(took.Seconds()) }

func (c *ChannelMetrics) onRefused(reason string) {
	for i, name := range refusals {
		if name == reason {
			c.refused[i].Inc()
			return
		}
	}
	c.refusedOther.Inc()
}

// channelCollector reads the figures of every open channel when someone scrapes, so that they cost
// nothing in between and are never stale.
type channelCollector struct {
	descs []*prometheus.Desc // in the order of figures
	lag   *prometheus.Desc
	tally *prometheus.Desc
	drops *prometheus.Desc
	// unaccounted is conservation: spec/delivery.md §1.
	unaccounted *prometheus.Desc
	kept        *prometheus.Desc

	mu   sync.Mutex
	open map[string]channel.Operator
}

// figures are read from Stats.
var figures = []struct {
	name, help string
	kind       prometheus.ValueType
	value      func(s channel.Stats) float64
}{
	{"events", "Events that some reader has not committed.", prometheus.GaugeValue,
		func(s channel.Stats) float64 { return float64(s.Events) }},
	{"bytes", "Bytes that the channel holds.", prometheus.GaugeValue,
		func(s channel.Stats) float64 { return float64(s.Bytes) }},
	{"capacity_bytes", "Bytes that the channel may hold; 0 means no bound.", prometheus.GaugeValue,
		func(s channel.Stats) float64 { return float64(s.Capacity.Bytes) }},
	{"capacity_events", "Events that the channel may hold; 0 means no bound.", prometheus.GaugeValue,
		func(s channel.Stats) float64 { return float64(s.Capacity.Events) }},
	{"capacity_age_seconds", "For how long the oldest event may be there that some reader has not committed; 0 means no bound.", prometheus.GaugeValue,
		func(s channel.Stats) float64 { return s.Capacity.Age.Seconds() }},
	{"oldest_event_age_seconds", "Time since the oldest held event was committed.", prometheus.GaugeValue,
		func(s channel.Stats) float64 { return age(s.Oldest, time.Now()) }},
	{"segments", "Files of the log.", prometheus.GaugeValue,
		func(s channel.Stats) float64 { return float64(s.Segments) }},
	{"put_events_total", "Events that sources committed.", prometheus.CounterValue,
		func(s channel.Stats) float64 { return float64(s.Put) }},
	{"recovery_seconds", "Time that the channel took to open.", prometheus.GaugeValue,
		func(s channel.Stats) float64 { return s.RecoverySecs }},
	{"corrupt_records_total", "Damaged records that were found.", prometheus.CounterValue,
		func(s channel.Stats) float64 { return float64(s.CorruptRecords) }},
	{"unused_readers", "Readers that no sink uses any more, which hold what they have not committed.", prometheus.GaugeValue,
		func(s channel.Stats) float64 { return float64(unused(s)) }},
	{"quarantine_bytes", "Bytes that repair moved aside, ever.", prometheus.GaugeValue,
		func(s channel.Stats) float64 { return float64(s.QuarantineSize) }},
	{"scrubbed_segments_total", "Segments that were read again to check them.", prometheus.CounterValue,
		func(s channel.Stats) float64 { return float64(s.Scrubbed) }},
	{"last_scrub_timestamp_seconds", "When all segments had been read again; 0: not yet since the agent started.", prometheus.GaugeValue,
		func(s channel.Stats) float64 { return stamp(s.LastScrub) }},
	{"damaged", "1 while damage is known that stays where it is: a sink that gets there will stop.", prometheus.GaugeValue,
		func(s channel.Stats) float64 { return flag(s.Damaged != "") }},
	{"forgotten_cursor_entries_total", "Entries of sources' cursors that were not set for forget_after.", prometheus.CounterValue,
		func(s channel.Stats) float64 { return float64(s.Forgotten) }},
	{"gaps_total", "Readers that stood behind the end of the log when it was opened: what was lost there nobody can count.", prometheus.CounterValue,
		func(s channel.Stats) float64 { return float64(s.Gaps) }},
	{"short_of_disk", "1 while sources wait for room on the disk.", prometheus.GaugeValue,
		func(s channel.Stats) float64 { return flag(s.ShortOfDisk != "") }},
	{"stopped", "1 when the channel stopped after an error of the disk.", prometheus.GaugeValue,
		func(s channel.Stats) float64 { return flag(s.Stopped != nil) }},
}

func newChannelCollector() *channelCollector {
	c := &channelCollector{
		open: map[string]channel.Operator{},
		lag: prometheus.NewDesc(namespace+"_channel_reader_lag_events",
			"Events that this reader has not committed.", []string{"component", "reader"}, nil),
		tally: prometheus.NewDesc(namespace+"_channel_reader_events_total",
			"What became of the events of this reader: offered = committed + passed (others' events) + dropped + its lag, at any quiet moment.",
			[]string{"component", "reader", "outcome"}, nil),
		unaccounted: prometheus.NewDesc(namespace+"_channel_unaccounted_events",
			"Of the events of this reader, those of which it is not known what became: offered - committed - passed - dropped - its lag. It is 0, or something is wrong.",
			[]string{"component", "reader"}, nil),
		drops: prometheus.NewDesc(namespace+"_channel_dropped_events_total",
			"Events that were given up, each once, by reason: corrupt = the disk had damaged them; oldest, newest: on_full; skip, detach: on_lag; purge, picked: someone asked for it.", []string{"component", "reason"}, nil),
	}
	c.kept = prometheus.NewDesc(namespace+"_channel_cursor_bytes",
		"Bytes that are kept of where this source stands; the most is 2 MiB.", []string{"component", "source"}, nil)
	for _, f := range figures {
		c.descs = append(c.descs, prometheus.NewDesc(namespace+"_channel_"+f.name, f.help, []string{"component"}, nil))
	}
	return c
}

func (c *channelCollector) watch(component string, op channel.Operator) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if op == nil {
		delete(c.open, component)
		return
	}
	c.open[component] = op
}

// Describe implements [prometheus.Collector].
func (c *channelCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
	out <- c.lag
	out <- c.tally
	out <- c.unaccounted
	out <- c.drops
	out <- c.kept
}

// Collect implements [prometheus.Collector].
func (c *channelCollector) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	open := maps.Clone(c.open)
	c.mu.Unlock()
	for _, component := range sortedKeys(open) {
		s := open[component].Stats()
		for i, f := range figures {
			out <- prometheus.MustNewConstMetric(c.descs[i], f.kind, f.value(s), component)
		}
		for _, loss := range channel.Losses() {
			out <- prometheus.MustNewConstMetric(c.drops, prometheus.CounterValue, float64(s.Dropped[loss]), component, loss.String())
		}
		for _, source := range sortedKeys(s.Sources) {
			out <- prometheus.MustNewConstMetric(c.kept, prometheus.GaugeValue, float64(s.Sources[source].Bytes), component, source)
		}
		for _, reader := range sortedKeys(s.Readers) {
			r := s.Readers[reader]
			out <- prometheus.MustNewConstMetric(c.lag, prometheus.GaugeValue, float64(r.Waiting), component, reader)
			out <- prometheus.MustNewConstMetric(c.unaccounted, prometheus.GaugeValue, float64(r.Unaccounted()), component, reader)
			for outcome, n := range map[string]uint64{"offered": r.Offered, "committed": r.Committed, "passed": r.Passed, "dropped": r.Dropped} {
				out <- prometheus.MustNewConstMetric(c.tally, prometheus.CounterValue, float64(n), component, reader, outcome)
			}
		}
	}
}

func unused(s channel.Stats) (n int) {
	for _, r := range s.Readers {
		if !r.InUse {
			n++
		}
	}
	return n
}

// stamp is a time as Prometheus has them.
func stamp(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
