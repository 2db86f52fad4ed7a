// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/dead"
)

// TestAProcessorOfASinkIsNothingToTheOthers has 1000 lines, of which one sink's processor rejects the 19 that have a 1 and end in 7.
func TestAProcessorOfASinkIsNothingToTheOthers(t *testing.T) {
	const processor = `
processor "picky" "p" {
  when     = strcontains(event.body, "1")
  on_error = "dead_letter"
  config { breaks = "line 500" }
}
sink "discard" "s" {
  from    = channel.main
  through = [processor.p]
}
sink "discard" "t" {
  from = channel.main
}
`
	pipeline := strings.Replace(picky, "THROUGH", "", 1) + processor
	r := run(t, t.TempDir(), pipeline)
	eventually(t, "all is delivered", func() bool {
		s, other := r.component("sink.s"), r.component("sink.t")
		return s.Dead == 19 && s.Events == 981 && other.Events == 1000 && other.Dead == 0
	})
	before := r.started()
	if err := r.reload(t, strings.Replace(pipeline, `"1")`, `"none")`, 1)); err != nil {
		t.Fatal(err)
	}
	r.onlyChanged(t, before, "sink.s")
	for _, e := range letters(t, r) {
		if s := string(e.Body); !strings.HasSuffix(s, "7") || !strings.Contains(s, "1") {
			t.Errorf("%q is among the dead letters", s)
		}
	}
	if out := decide(t, r, admin.DeadReplay, dead.Order{}); out.Events != 19 || len(out.Refused) > 0 {
		t.Fatalf("it replayed %+v", out)
	}
	eventually(t, "what is replayed goes through what the processor is now", func() bool { return r.component("sink.s").Events == 1000 })
	if other := r.component("sink.t").Events; other != 1000 {
		t.Errorf("another sink has %d events", other)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
}
