// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/abi"
)

// TestTheAlertsSpeakOfMetricsThatThereAre reads the rules that operators are given.
func TestTheAlertsSpeakOfMetricsThatThereAre(t *testing.T) {
	rules, err := os.ReadFile("../../examples/alerts/penstock.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	reg, m := newTestMetrics()
	m.Source("source.shop")
	m.Sink("sink.orders", "channel.main")
	m.DeadLetters("sink.orders", []string{"rejected"})
	m.Channel("channel.main").Watch(operator{channel.Stats{Readers: map[string]channel.ReaderInfo{"sink.orders": {}}}})
	m.Groups(func() []Group {
		return []Group{{Address: "sink_group.all", Members: []Member{{Address: "sink.orders"}}}}
	})
	m.TLS(func() []TLS { return []TLS{{Block: "tls.a", CertUntil: time.Unix(1, 0)}} })
	m.Plugin().Plugin("sink.orders", abi.MetricCounter, "receiver_lost", 1)
	there := map[string]bool{}
	for series := range expose(t, reg) {
		name, _, _ := strings.Cut(series, "{")
		there[name] = true
	}
	named := regexp.MustCompile(`penstock_[a-z_]+`).FindAllString(string(rules), -1)
	if len(named) < 6 {
		t.Errorf("the rules name no more than %q", named)
	}
	for _, name := range named {
		if !there[strings.TrimSuffix(name, "_bucket")] {
			t.Errorf("a rule speaks of %s, which there is not", name)
		}
	}
}

func TestWhatDoesNotAddUpShows(t *testing.T) {
	reg, m := newTestMetrics()
	lost := channel.ReaderInfo{Waiting: 3, Tally: channel.Tally{Offered: 10, Committed: 4, Passed: 1, Dropped: 1}}
	twice := channel.ReaderInfo{Tally: channel.Tally{Offered: 10, Committed: 12}}
	stats := channel.Stats{Readers: map[string]channel.ReaderInfo{"sink.a": lost, "sink.b": twice}}
	m.Channel("channel.main").Watch(operator{stats})
	got := expose(t, reg)
	for reader, want := range map[string]string{"sink.a": "1", "sink.b": "-2"} {
		if n := got["penstock_channel_unaccounted_events{component=channel.main,reader="+reader+"}"]; n != want {
			t.Errorf("of %s %s events are unaccounted for, want %s", reader, n, want)
		}
	}
	for i, r := range ChannelStatus("channel.main", "wal", stats, time.Time{}).Readers {
		if want := []int64{1, -2}[i]; r.Unaccounted != want {
			t.Errorf("status has %d for %s, want %d", r.Unaccounted, r.Name, want)
		}
	}
}
