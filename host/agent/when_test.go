// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"strings"
	"testing"
)

// TestAProcessorWithAConditionAddsUp has 1000 lines, of which 271 have a 1 in their number; of these the processor rejects the 19 that end in 7. It would
// break on line 500, and never sees it.
func TestAProcessorWithAConditionAddsUp(t *testing.T) {
	for when, rest := range map[string]string{
		`strcontains(event.body, "1")`:                              "skipped",
		`strcontains(event.body, "1") || event.attributes.none > 5`: "undecided",
	} {
		r := run(t, t.TempDir(), strings.Replace(picky, "THROUGH", "through = [processor.p]", 1)+`
processor "picky" "p" {
  when     = `+when+`
  on_error = "dead_letter"
  config { breaks = "line 500" }
}
sink "discard" "s" {
  from = channel.main
}
`)
		eventually(t, "all is delivered", func() bool {
			return r.component("source.g").Dead == 19 && r.component("sink.s").Events == 981
		})
		for _, e := range letters(t, r) {
			if s := string(e.Body); !strings.HasSuffix(s, "7") || !strings.Contains(s, "1") {
				t.Errorf("%q is among the dead letters", s)
			}
		}
		figures, err := r.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range figures {
			if f.GetName() == "penstock_processor_events_total" {
				for _, m := range f.GetMetric() {
					got[m.GetLabel()[1].GetValue()] = m.GetCounter().GetValue()
				}
			}
		}
		want := map[string]float64{"in": 271, "out": 252, "dead_letter": 19, "skipped": 0, "undecided": 0}
		want[rest] = 729
		for name, want := range want {
			if got[name] != want {
				t.Errorf("%s: %s is %v, want %v", when, name, got[name], want)
			}
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		if said := strings.Count(r.log.String(), "it cannot be said of some events"); said > 0 != (rest == "undecided") || said > 2 {
			t.Errorf("%s: the log says %d times that it cannot be said", when, said)
		}
	}
}
