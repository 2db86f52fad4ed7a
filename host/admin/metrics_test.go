// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
)

var _ plugin.Metrics = (*PluginMetrics)(nil)

type operator struct{ stats channel.Stats }

func (o operator) Stats() channel.Stats                        { return o.stats }
func (operator) Forget(string) error                           { return nil }
func (operator) Resize(channel.Capacity)                       {}
func (operator) Handover([]string, []channel.ReaderSpec) error { return nil }

func newTestMetrics() (*prometheus.Registry, *Metrics) {
	reg := prometheus.NewRegistry()
	return reg, NewMetrics(reg, Build{Version: "1.2.3", Revision: "abc"})
}

// expose gives the registry's series in the text form, one a line.
func expose(t *testing.T, reg prometheus.Gatherer) map[string]string {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := map[string]string{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			key := f.GetName() + "{" + strings.Join(labels, ",") + "}"
			switch {
			case m.Counter != nil:
				series[key] = fmt.Sprint(m.GetCounter().GetValue())
			case m.Gauge != nil:
				series[key] = fmt.Sprint(m.GetGauge().GetValue())
			case m.Histogram != nil:
				series[key] = fmt.Sprint(m.GetHistogram().GetSampleCount(), " of ", m.GetHistogram().GetSampleSum())
			}
		}
	}
	return series
}

func TestEverySeriesOfADeclaredComponentIsThereAtZero(t *testing.T) {
	reg, m := newTestMetrics()
	m.Source("source.shop")
	m.Sink("sink.orders", "channel.main")
	m.Channel("channel.main").Watch(operator{})
	got := expose(t, reg)
	for _, want := range []string{
		"penstock_component_state{component=source.shop,state=running}",
		"penstock_component_state{component=sink.orders,state=held}",
		"penstock_source_events_total{component=source.shop}",
		"penstock_source_bytes_total{component=source.shop}",
		"penstock_source_acks_total{component=source.shop}",
		"penstock_source_blocked_seconds_total{component=source.shop}",
		"penstock_channel_events{component=channel.main}",
		"penstock_channel_bytes{component=channel.main}",
		"penstock_channel_oldest_event_age_seconds{component=channel.main}",
		"penstock_channel_segments{component=channel.main}",
		"penstock_channel_corrupt_records_total{component=channel.main}",
		"penstock_channel_transactions_total{component=channel.main,op=put,result=committed}",
		"penstock_channel_transactions_total{component=channel.main,op=put,result=full}",
		"penstock_channel_transactions_total{component=channel.main,op=take,result=rolled_back}",
		"penstock_sink_events_total{component=sink.orders,result=committed}",
		"penstock_sink_events_total{component=sink.orders,result=rejected}",
		"penstock_sink_retries_total{component=sink.orders}",
		"penstock_sink_deadlines_total{component=sink.orders}",
		"penstock_sink_errors_total{class=fatal,component=sink.orders}",
		"penstock_plugin_memory_bytes{component=source.shop}",
		"penstock_plugin_traps_total{component=sink.orders}",
		"penstock_plugin_restarts_total{component=sink.orders}",
	} {
		if got[want] != "0" {
			t.Errorf("%s is %q, want 0", want, got[want])
		}
	}
	for _, want := range []string{
		"penstock_channel_fsync_seconds{component=channel.main}",
		"penstock_channel_commit_seconds{component=channel.main}",
		"penstock_sink_batch_seconds{component=sink.orders}",
		"penstock_event_latency_seconds{component=sink.orders}",
		"penstock_plugin_call_seconds{component=source.shop}",
	} {
		if got[want] != "0 of 0" {
			t.Errorf("%s is %q, want 0 of 0", want, got[want])
		}
	}
}

func TestABatchIsCountedOnItsWay(t *testing.T) {
	reg, m := newTestMetrics()
	source, sink, ch := m.Source("source.shop"), m.Sink("sink.orders", "channel.main"), m.Channel("channel.main")
	source.Read(100, 25600)
	source.Acked(100)
	source.Blocked(1500 * time.Millisecond)
	source.State(Running)
	o := ch.Observer()
	o.Committed(3, 100, 25600, 4*time.Millisecond)
	o.Synced(2 * time.Millisecond)
	o.Refused("full")
	o.Refused("a reason of a later version")
	sink.Retried("retry")
	sink.Failed("fatal")
	sink.Failed("of a later version")
	sink.Committed(100, 25600, time.Second, 2*time.Second)
	sink.Committed(1, 10, time.Second, -1)
	sink.Rejected(2)
	sink.Filtered(5, 1)
	m.Unmatched("route.by_level", 3)
	sink.Expired()
	sink.State(Held)
	m.ConfigRevision("old")
	m.ConfigRevision("new")
	got := expose(t, reg)
	for key, want := range map[string]string{
		"penstock_source_events_total{component=source.shop}":                                    "100",
		"penstock_source_bytes_total{component=source.shop}":                                     "25600",
		"penstock_source_acks_total{component=source.shop}":                                      "100",
		"penstock_source_blocked_seconds_total{component=source.shop}":                           "1.5",
		"penstock_component_state{component=source.shop,state=running}":                          "1",
		"penstock_component_state{component=source.shop,state=starting}":                         "0",
		"penstock_component_state{component=sink.orders,state=held}":                             "1",
		"penstock_channel_transactions_total{component=channel.main,op=put,result=committed}":    "3",
		"penstock_channel_transactions_total{component=channel.main,op=put,result=full}":         "1",
		"penstock_channel_transactions_total{component=channel.main,op=put,result=other}":        "1",
		"penstock_channel_transactions_total{component=channel.main,op=take,result=committed}":   "2",
		"penstock_channel_transactions_total{component=channel.main,op=take,result=rolled_back}": "1",
		"penstock_channel_commit_seconds{component=channel.main}":                                "1 of 0.004",
		"penstock_channel_fsync_seconds{component=channel.main}":                                 "1 of 0.002",
		"penstock_channel_fsync_batch_transactions{component=channel.main}":                      "1 of 3",
		"penstock_sink_events_total{component=sink.orders,result=committed}":                     "101",
		"penstock_sink_events_total{component=sink.orders,result=rejected}":                      "2",
		"penstock_sink_errors_total{class=retry,component=sink.orders}":                          "1",
		"penstock_sink_errors_total{class=fatal,component=sink.orders}":                          "1",
		"penstock_sink_errors_total{class=other,component=sink.orders}":                          "1",
		"penstock_sink_events_total{component=sink.orders,result=filtered}":                      "5",
		"penstock_sink_events_total{component=sink.orders,result=undecided}":                     "1",
		"penstock_route_unmatched_events_total{route=route.by_level}":                            "3",
		"penstock_sink_retries_total{component=sink.orders}":                                     "1",
		"penstock_sink_deadlines_total{component=sink.orders}":                                   "1",
		"penstock_sink_batch_seconds{component=sink.orders}":                                     "2 of 2",
		"penstock_event_latency_seconds{component=sink.orders}":                                  "1 of 2",
		"penstock_config_revision{revision=new}":                                                 "1",
		"penstock_config_revision{revision=old}":                                                 "",
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
	if c, want := source.Counts(), (SourceCounts{100, 25600, 100}); c != want {
		t.Errorf("source counts %+v, want %+v", c, want)
	}
	if c, want := sink.Counts(), (SinkCounts{Committed: 101, Bytes: 25610, Rejected: 2, Filtered: 5, Retries: 1}); c != want {
		t.Errorf("sink counts %+v, want %+v", c, want)
	}
}

func TestAChannelIsReadWhenItIsScraped(t *testing.T) {
	reg, m := newTestMetrics()
	ch := m.Channel("channel.main")
	ch.Watch(operator{channel.Stats{
		Events: 7, Bytes: 70, Capacity: channel.Capacity{Bytes: 1 << 30}, Oldest: time.Now().Add(-time.Hour),
		Put: 9, Segments: 2, CorruptRecords: 1, Forgotten: 4, Scrubbed: 5, LastScrub: time.Unix(7, 5e8), Damaged: "log/1", Sources: map[string]channel.SourceInfo{"source.shop": {Bytes: 96}}, Gaps: 3, ShortOfDisk: "1 MiB is free", Stopped: errors.New("disk"),
		Readers: map[string]channel.ReaderInfo{"sink.orders": {Waiting: 7}},
	}})
	got := expose(t, reg)
	for key, want := range map[string]string{
		"penstock_channel_events{component=channel.main}":                               "7",
		"penstock_channel_capacity_bytes{component=channel.main}":                       "1.073741824e+09",
		"penstock_channel_put_events_total{component=channel.main}":                     "9",
		"penstock_channel_corrupt_records_total{component=channel.main}":                "1",
		"penstock_channel_forgotten_cursor_entries_total{component=channel.main}":       "4",
		"penstock_channel_cursor_bytes{component=channel.main,source=source.shop}":      "96",
		"penstock_channel_scrubbed_segments_total{component=channel.main}":              "5",
		"penstock_channel_last_scrub_timestamp_seconds{component=channel.main}":         "7.5",
		"penstock_channel_damaged{component=channel.main}":                              "1",
		"penstock_channel_gaps_total{component=channel.main}":                           "3",
		"penstock_channel_short_of_disk{component=channel.main}":                        "1",
		"penstock_channel_stopped{component=channel.main}":                              "1",
		"penstock_channel_reader_lag_events{component=channel.main,reader=sink.orders}": "7",
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
	if age := got["penstock_channel_oldest_event_age_seconds{component=channel.main}"]; !strings.HasPrefix(age, "3600") {
		t.Errorf("oldest event is %s s old, want about 3600", age)
	}
	ch.Watch(nil)
	if n, err := testutil.GatherAndCount(reg, "penstock_channel_events"); n != 0 || err != nil {
		t.Errorf("a closed channel still has %d series (%v)", n, err)
	}
}

func TestAPluginCannotFillTheRegistry(t *testing.T) {
	reg, m := newTestMetrics()
	p := m.Plugin()
	for i := range 10 * maxNames {
		p.Plugin("source.shop", abi.MetricCounter, fmt.Sprint("lines_of_", i), 1)
		p.Plugin("source.shop", abi.MetricGauge, fmt.Sprint("size_of_", i), 1)
		p.Denied("source.shop", fmt.Sprint("capability ", i))
	}
	p.Plugin("source.shop", abi.MetricGauge, "bad \xff name", 1)
	p.Plugin("source.shop", abi.MetricGauge, strings.Repeat("x", maxNameBytes+1), 1)
	p.Plugin("source.shop", abi.MetricCounter, "falls", -1)
	p.Plugin("source.shop", 17, "of a later version", 1)
	for _, family := range []string{"penstock_plugin_reported", "penstock_plugin_reported_total", "penstock_plugin_denied_total"} {
		if n, err := testutil.GatherAndCount(reg, family); n != maxNames+1 || err != nil {
			t.Errorf("%s has %d series (%v), want %d and one for the others", family, n, err, maxNames)
		}
	}
	if got := expose(t, reg)["penstock_plugin_reported_total{component=source.shop,name=other}"]; got != fmt.Sprint(9*maxNames) {
		t.Errorf("others count %s, want %d", got, 9*maxNames)
	}
}

func TestWhatAPluginReportsIsExposed(t *testing.T) {
	reg, m := newTestMetrics()
	p := m.Plugin()
	p.Loaded("std", "0.1.0", "9b74", "wasm")
	p.Call("source.shop", time.Millisecond, time.Microsecond)
	p.Memory("source.shop", 4096)
	p.Trapped("source.shop")
	p.Restarted("source.shop")
	p.Denied("source.shop", "dir")
	p.Plugin("source.shop", abi.MetricCounter, "lines", 2)
	p.Plugin("source.shop", abi.MetricCounter, "lines", 3)
	p.Plugin("source.shop", abi.MetricGauge, "lines", 7)
	p.Plugin("source.shop", abi.MetricGauge, "lag_seconds", 1.5)
	got := expose(t, reg)
	for key, want := range map[string]string{
		"penstock_plugin_info{digest=9b74,plugin=std,runtime=wasm,version=0.1.0}": "1",
		"penstock_plugin_call_seconds{component=source.shop}":                     "1 of 0.001",
		"penstock_plugin_cpu_seconds_total{component=source.shop}":                "1e-06",
		"penstock_plugin_memory_bytes{component=source.shop}":                     "4096",
		"penstock_plugin_traps_total{component=source.shop}":                      "1",
		"penstock_plugin_restarts_total{component=source.shop}":                   "1",
		"penstock_plugin_denied_total{capability=dir,component=source.shop}":      "1",
		"penstock_plugin_reported_total{component=source.shop,name=lines}":        "5",
		"penstock_plugin_reported{component=source.shop,name=lines}":              "7",
		"penstock_source_lag_seconds{component=source.shop}":                      "1.5",
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
}

func TestHistogramsAreNativeAndClassic(t *testing.T) {
	reg, m := newTestMetrics()
	m.Sink("sink.orders", "channel.main").Committed(1, 1, time.Second, time.Second)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "penstock_sink_batch_seconds" {
			continue
		}
		h := f.GetMetric()[0].GetHistogram()
		if len(h.GetPositiveSpan()) == 0 || len(h.GetBucket()) != len(secondsBuckets) {
			t.Errorf("%d native spans, %d classic buckets", len(h.GetPositiveSpan()), len(h.GetBucket()))
		}
		return
	}
	t.Error("no such family")
}

func TestMetricsFollowThePrometheusRules(t *testing.T) {
	reg, m := newTestMetrics()
	m.Source("source.shop")
	m.Channel("channel.main").Watch(operator{})
	m.Sink("sink.orders", "channel.main")
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "penstock_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func BenchmarkABatch(b *testing.B) {
	_, m := newTestMetrics()
	source, sink := m.Source("source.shop"), m.Sink("sink.orders", "channel.main")
	b.ReportAllocs()
	for b.Loop() {
		source.Read(1000, 256000)
		source.Acked(1000)
		sink.Committed(1000, 256000, time.Millisecond, 2*time.Millisecond)
	}
}

func TestWhatListensIsReadAtEachScrape(t *testing.T) {
	reg, m := newTestMetrics()
	l := Listener{Handle: "in", Address: "tcp://127.0.0.1:514", Limit: 10, Connections: 3, Accepted: 5, Refused: 2, Ended: 1, Passed: 8, Failed: 4, Lost: 9, Answers: map[string]uint64{"2xx": 7}}
	m.Listeners("source.in", func() []Listener { return []Listener{l, {Handle: "datagrams"}} })
	l.Accepted = 6
	got := expose(t, reg)
	for series, want := range map[string]string{
		"penstock_listener_connections{component=source.in,handle=in}":                       "3",
		"penstock_listener_connections_total{component=source.in,handle=in,result=accepted}": "6",
		"penstock_listener_connections_total{component=source.in,handle=in,result=refused}":  "2",
		"penstock_listener_connections_total{component=source.in,handle=in,result=ended}":    "1",
		"penstock_listener_connections_total{component=source.in,handle=in,result=failed}":   "4",
		"penstock_listener_connections_total{component=source.in,handle=in,result=lost}":     "9",
		"penstock_listener_connections_total{component=source.in,handle=in,result=passed}":   "8",
		"penstock_listener_answers_total{component=source.in,handle=in,status=2xx}":          "7",
		"penstock_listener_connections{component=source.in,handle=datagrams}":                "",
	} {
		if got[series] != want {
			t.Errorf("%s is %q, want %q", series, got[series], want)
		}
	}
	m.Plugin().Denied("source.in", "listen.per_peer")
	m.Plugin().Denied("source.in", "listen.per_peer")
	if n := m.Plugin().Denials("source.in"); len(n) != 1 || n["listen.per_peer"] != 2 {
		t.Error(n)
	}
}

func TestAScrapeReadsHowGroupsStand(t *testing.T) {
	reg, m := newTestMetrics()
	for series := range expose(t, reg) {
		if strings.HasPrefix(series, "penstock_group_") {
			t.Errorf("%s is there without a group", series)
		}
	}
	m.Groups(func() []Group {
		return []Group{{Address: "sink_group.all", Failovers: 3, Members: []Member{{Address: "sink.a", Doubt: &Doubt{Events: 7}}, {Address: "sink.b", Up: true}}}}
	})
	got := expose(t, reg)
	for series, want := range map[string]string{
		"penstock_group_failovers_total{component=sink_group.all}":               "3",
		"penstock_group_member_up{component=sink_group.all,member=sink.a}":       "0",
		"penstock_group_member_up{component=sink_group.all,member=sink.b}":       "1",
		"penstock_group_in_doubt_events{component=sink_group.all,member=sink.a}": "7",
		"penstock_group_in_doubt_events{component=sink_group.all,member=sink.b}": "0",
	} {
		if got[series] != want {
			t.Errorf("%s is %q, want %s", series, got[series], want)
		}
	}
}

func TestCertificatesHaveTheirTime(t *testing.T) {
	reg, m := newTestMetrics()
	m.TLS(func() []TLS {
		return []TLS{{Block: "tls.a", CertUntil: time.Unix(1000, 0), CAUntil: time.Unix(2000, 0)}, {Block: "tls.b", CAUntil: time.Unix(3000, 0), Broken: "why"}}
	})
	got := expose(t, reg)
	for series, want := range map[string]string{
		"penstock_tls_expiry_timestamp_seconds{file=cert,tls=a}": "1000",
		"penstock_tls_expiry_timestamp_seconds{file=ca,tls=a}":   "2000",
		"penstock_tls_expiry_timestamp_seconds{file=cert,tls=b}": "", // it has none
		"penstock_tls_expiry_timestamp_seconds{file=ca,tls=b}":   "3000",
		"penstock_tls_files_broken{tls=a}":                       "0",
		"penstock_tls_files_broken{tls=b}":                       "1",
	} {
		if got[series] != want {
			t.Errorf("%s is %q, want %q", series, got[series], want)
		}
	}
}
