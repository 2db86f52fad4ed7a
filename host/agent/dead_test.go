// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// picky is a pipeline of 1000 lines, of which a hundred end in 7 and one breaks a plugin.
const picky = `
plugin "faulty" {
  source = "./faulty.wasm"
  grant {
    dir "until" {
      path = "DIR"
    }
  }
}
plugin "picky" {
  source = "./faulty.wasm"
}
source "faulty" "g" {
  into = channel.main
  THROUGH
  config {
    count = 1000
    every = 1000000
  }
}
channel "wal" "main" {
  dead_letter = channel.rejected
}
channel "wal" "rejected" {}
`

// letters reads what is in the channel of dead letters, without taking anything out.
func letters(t *testing.T, r rig) (all []event.Event) {
	t.Helper()
	c := r.channels()[1]
	reader, err := c.Reader(channel.ReaderSpec{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for n := reader.Info().Waiting; uint64(len(all)) < n; {
		lease, err := reader.Take(t.Context(), channel.Want{})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range lease.Delivery().Batch.All() {
			c := event.Event{Body: []byte(string(e.Body))}
			for _, a := range e.Attributes {
				c.Attributes = append(c.Attributes, event.Attribute{Key: strings.Clone(a.Key), Value: []byte(string(a.Value))})
			}
			all = append(all, c)
		}
		if err := lease.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func TestWhatASinkRejectsOrBreaksOnIsAmongTheDeadLettersAndAddsUp(t *testing.T) {
	text := strings.Replace(picky, "THROUGH", "", 1) + `
sink "faulty" "s" {
  from = channel.main
  config {
    until  = "DIR/until"
    picky  = true
    breaks = "line 500"
  }
}
`
	r := run(t, t.TempDir(), text)
	eventually(t, "all is decided", func() bool {
		s := r.component("sink.s")
		return s.Events+s.Dead == 1000 && s.Waiting == 0
	})
	s := r.component("sink.s")
	if s.Events != 899 || s.Dead != 101 || s.Rejected != 101 {
		t.Errorf("delivered %d, dead %d, rejected %d", s.Events, s.Dead, s.Rejected)
	}
	held := r.channels()[1].Stats().Readers[DeadReader]
	if held.Waiting != 101 || !held.InUse {
		t.Errorf("the dead letters are held by %+v", held)
	}
	all := letters(t, r)
	broke := 0
	seen := map[string]bool{}
	for _, e := range all {
		class, _ := e.Attribute(event.DeadClass)
		plugin, _ := e.Attribute(event.DeadPlugin)
		offset, _ := e.Attribute(event.DeadOffset)
		if seen[string(offset)] = true; string(plugin) != "faulty/down 0.1.0" {
			t.Errorf("plugin %q", plugin)
		}
		if string(class) == "fatal" {
			broke++
		}
	}
	if len(seen) != 101 || broke != 1 {
		t.Errorf("%d letters, %d that broke it", len(seen), broke)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if said := strings.Count(r.log.String(), "are kept as dead letters"); said == 0 || said > 4 || strings.Contains(r.log.String(), "sources begin anew") {
		t.Errorf("it is said %d times", said)
	}
}

func TestWhatAProcessorRejectsOrBreaksOnIsAmongTheDeadLettersAndAddsUp(t *testing.T) {
	text := strings.Replace(picky, "THROUGH", "through = [processor.p]", 1) + `
processor "picky" "p" {
  on_error = "dead_letter"
  config { breaks = "line 500" }
}
sink "discard" "s" {
  from = channel.main
}
`
	r := run(t, t.TempDir(), text)
	eventually(t, "all is delivered", func() bool {
		return r.component("source.g").Dead == 101 && r.component("sink.s").Events == 899
	})
	for _, e := range letters(t, r) {
		processor, _ := e.Attribute(event.DeadProcessor)
		digest, _ := e.Attribute(event.DeadDigest)
		if string(processor) != "processor.p" || len(digest) != 32 {
			t.Errorf("processor %q, digest %q", processor, digest)
		}
	}
	figures, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range figures {
		if f.GetName() == "penstock_processor_events_total" || f.GetName() == "penstock_dead_letter_events" {
			for _, m := range f.GetMetric() {
				got[m.GetLabel()[1].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	for name, want := range map[string]float64{"in": 1000, "out": 899, "filtered": 0, "dropped": 0, "dead_letter": 101, "passed": 0, "rejected": 100, "broke": 1} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
}
